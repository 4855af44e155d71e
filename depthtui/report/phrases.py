"""Phrases that every report shares."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeVar

from depthtui.data.depth import DepthEstimate
from depthtui.data.lens import FittedLens
from depthtui.data.lens_view import fit_words, lens_of, lens_title
from depthtui.data.model import ModelInfo, layer_label
from depthtui.data.run import RunResult
from depthtui.data.sentence import plural
from depthtui.depth import rules
from depthtui.depth.published import PublishedModel
from depthtui.depth.reading import Reading
from depthtui.metrics.registry import METRICS
from depthtui.metrics.resampling import FEWEST_UNITS, LEVEL
from depthtui.prompts.tasks import TASKS
from depthtui.report.groups import PooledRuns

Item = TypeVar("Item")
"""What a statement is about."""


def rule_title(rule: str) -> str:
    """A rule's name for people."""
    return rules.named(rule).title


def criterion(estimate: DepthEstimate, short: bool = False) -> str:
    """A rule in short, with its threshold, such as `first < 0.5 × max`, or `< 0.5 of max`."""
    return rules.named(estimate.rule).criterion(estimate.threshold, short)


def depth_in_layers(estimate: DepthEstimate, n_layers: int, unit: str = " layers") -> str:
    """A count of layers, and its share of L, such as `19 of 30 layers (0.63)`, or a dash."""
    if estimate.count is None or estimate.ratio is None:
        return "–"
    return f"{estimate.count} of {n_layers}{unit} ({estimate.ratio:.2f})"


def interval(estimate: DepthEstimate, to: str = " … ") -> str:
    """The interval of the effective depth in layers, such as `19 … 22`, or a dash.

    `±½`, half a layer to either side, where every resample has the same count.
    """
    if estimate.interval is None:
        return "–"
    if estimate.interval[0] == estimate.interval[1]:
        return "±½"
    return to.join(f"{end + 1:g}" for end in estimate.interval)


def published_counts(published: PublishedModel, rule: str) -> str:
    """The paper's numbers of layers by this rule on its data sets, such as `17 / 21 / 20`."""
    return " / ".join(map(str, published.counts(rule))) if rule in published.depths else ""


def by_prompt(estimate: DepthEstimate) -> str:
    """Number of layers where each prompt counts once, with its interval, such as `21 (19 … 22)`."""
    once = estimate.prompt_weighted
    if once is None or once.count is None:
        return "–"
    return f"{once.count}" if once.interval is None else f"{once.count} ({interval(once)})"


def each_prompt_once(estimates: Iterable[DepthEstimate]) -> str:
    """The layers by every rule where each prompt counts once, in a sentence."""
    counts = (f"{rule_title(estimate.rule)} {by_prompt(estimate)}" for estimate in estimates)
    return f"Each prompt counted once: {', '.join(counts)}."


def uneven(reading: Reading) -> str:
    """A sentence where a few long prompts dominate a mean over tokens; else empty."""
    n_prompts, effective = reading.n_prompts, reading.effective_prompts
    if effective >= n_prompts / 2:
        return ""
    return (
        f"The {n_prompts} prompts differ so much in length that the mean over tokens is worth "
        f"{effective:.1f} prompts of one length: prefer the depths where each prompt counts once."
    )


def no_depths(reading: Reading) -> str:
    """Why there is no effective depth at all, in a sentence."""
    names = [metric.name for metric in METRICS if metric.curves and not metric.on_demand]
    if set(names) & set(reading.prompts[0].settings.metrics):
        return "No effective depth: there is nothing to average."
    return f"No effective depth: it needs the metrics {' or '.join(names)}."


def pooling(part: PooledRuns) -> str:
    """The prompts and tokens that the means are over, in a sentence."""
    reading = part.reading
    n_prompts, counted = len(reading.prompts), reading.n_tokens
    tokens = {0: "no tokens", 1: "1 token"}.get(counted, f"{counted:,} tokens")
    prompts = plural(n_prompts, "prompt")
    stopped = {0: "", 1: "; 1 stopped run left out"}.get(
        part.n_stopped, f"; {part.n_stopped} stopped runs left out"
    )
    first, model = reading.settings.tokens_in_words, reading.model
    counted_from = "layers are counted from 0" + calls_words(model)
    means = f"Means over {tokens} of {prompts}, {first}{stopped}; {counted_from}"
    if not reading.depths:
        return f"{means}."
    means += ", so a depth of n layers ends with layer n − 1."
    return " ".join(filter(None, (means, _intervals(reading), uneven(reading))))


def calls_words(model: ModelInfo) -> str:
    """How layers of a looped model are counted, for the middle of a sentence; empty for others."""
    again = next((layer for layer, (turn, _) in enumerate(model.calls) if turn == 2), None)
    if again is None:
        return ""
    name, block = layer_label(model, again), model.calls[again][1]
    return f" in the order in which they run, {name} being block {block} in pass 2"


def lens_sentence(lens: str, results: Sequence[RunResult]) -> str:
    """The fitted lens that runs are read through, in a sentence."""
    lenses = [lens_of(result, lens) for result in results]
    fitted = [values for values in lenses if isinstance(values, FittedLens)]
    if not fitted:
        return f"Read through the {lens_title(lens)}, which no run has."
    of_all = (
        "" if len(fitted) == len(results) else f" {len(fitted)} of {len(results)} prompts have it."
    )
    return f"Read through the {lens_title(lens)}, {fit_words(fitted[0])}.{of_all}"


def _intervals(summary: Reading) -> str:
    """The source of the intervals, or why there are none, in a sentence."""
    if summary.n_prompts < FEWEST_UNITS:
        few = f"{summary.n_prompts}; {FEWEST_UNITS} are needed"
        return f"No interval: too few prompts to say ({few})."
    over = _population({prompt.prompt.task for prompt in summary.prompts})
    return f"{LEVEL:.0%} intervals by bootstrap over prompts. Firm is a claim about {over}."


def _population(tasks: Collection[str]) -> str:
    """The other prompts that a firm count of prompts of some tasks is a claim about."""
    generated = [name for name in tasks if name in TASKS and TASKS[name].is_generated]
    generators = "this generator" if len(generated) == 1 else "these generators"
    draws = [f"other draws of {generators}"] if generated else []
    prompts = ["other prompts like these"] if len(generated) < len(tasks) else []
    return " and ".join(draws + prompts)


def layers_fact(model: ModelInfo) -> str:
    """Number and width of a model's layers, such as `30 layers of width 576`."""
    passes = max((turn for turn, _block in model.calls), default=1)
    blocks = len({block for _turn, block in model.calls})
    return "".join(
        (
            f"{model.n_layers} layers",
            f" ({blocks} blocks in {passes} passes)" if blocks else "",
            f" of width {model.d_model // model.streams}",
            f" in {model.streams} residual streams" if model.streams > 1 else "",
        )
    )


def model_facts(model: ModelInfo) -> list[str]:
    """Facts about a model, most important first."""
    facts = [
        model.source,
        f"revision {model.revision}" if model.revision else "",
        f"states from {model.states_from}" if model.states_from else "",
        model.architecture,
        layers_fact(model),
        "; ".join(f"{len(layers)} {kind}" for kind, layers in model.layers_by_type.items()),
        f"{model.parameters:,} parameters",
        f"vocabulary of {model.vocab_size:,}",
        "attention and MLP in parallel" if model.parallel else "",
        f"no attention/MLP split: {model.split_missing}" if model.split_missing else "",
        f"no logit lens: {model.lens_missing}" if model.lens_missing else "",
    ]
    return [fact for fact in facts if fact]


def provenance_sentence(provenance: dict[str, Any]) -> str:
    """Versions, machine and time in a sentence."""
    if provenance["seconds"] is None:
        return f"depthtui {provenance['depthtui']}; no run was finished."
    source = ", from the cache" if provenance["cached"] else ""
    product = "" if provenance["product"] == "torch" else " with oneDNN's float32 products"
    machine = ", ".join(filter(None, [provenance["platform"], provenance["device"]]))
    return (
        f"depthtui {provenance['depthtui']}, torch {provenance['torch']}{product}, "
        f"transformers {provenance['transformers']}, Python {provenance['python']} on "
        f"{machine}; started {provenance['started']}, "
        f"{provenance['seconds']:.1f} s{source}."
    )


def by_statement(statements: Iterable[tuple[str, Item]]) -> dict[str, list[Item]]:
    """Every statement once, with all subjects that it is about, in their order.

    Args:
        statements: each statement with one subject.
    """
    subjects: dict[str, list[Item]] = {}
    for statement, subject in statements:
        subjects.setdefault(statement, []).append(subject)
    return subjects


def sentence_case(title: str) -> str:
    """A title with a capital first letter; other capitals, such as in `KL`, are kept."""
    return title[:1].upper() + title[1:]
