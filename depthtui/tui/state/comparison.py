"""Words about two runs side by side: their names, and what can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from depthtui.data.model import ModelInfo, weights_dtype
from depthtui.data.run import PromptTokens, RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.data.verdict import Verdict
from depthtui.depth.parting import parting_sentence
from depthtui.depth.verdict_words import comparison_sentence
from depthtui.metrics import kept
from depthtui.metrics.registry import METRIC_BY_NAME, METRICS
from depthtui.prompts.tasks import prompt_title
from depthtui.report.skips import changes_of
from depthtui.token_text import printable
from depthtui.tui.state.alignment import Alignment, TokenMatch, is_special
from depthtui.tui.state.session import SessionRun

PLACES = ("answer_start", "skip_positions")
"""Settings that name tokens of one prompt, and fit no other prompt."""

_LONGEST_PROMPT = 24
_LONGEST_TOKEN = 24


def names_of(a: SessionRun, b: SessionRun) -> tuple[str, str]:
    """Names that distinguish two runs: by model, prompt and skipped layers, else by number."""
    models = distinct_names(a.model, b.model)
    prompts = a.prompt.text != b.prompt.text
    layers = changes_of(a.settings) != changes_of(b.settings)
    differ = models[0] != models[1]
    numbers = not (differ or prompts or layers)

    def name(run: SessionRun) -> str:
        parts = [
            models[run is b] if differ else "",
            prompt_title(run.prompt, _LONGEST_PROMPT) if prompts else "",
            (changes_of(run.settings) or "every layer") if layers else "",
            f"run {run.number}" if numbers else "",
        ]
        return " · ".join(filter(None, parts))

    return f"A {name(a)}", f"B {name(b)}"


def distinct_names(a: ModelInfo, b: ModelInfo) -> tuple[str, str]:
    """Names of two models, with dtype and device where the names alone are the same."""
    if a.name != b.name or (weights_dtype(a), a.device) == (weights_dtype(b), b.device):
        return a.name, b.name
    first, second = (f"{model.name} ({weights_dtype(model)} on {model.device})" for model in (a, b))
    return first, second


def caveat(a: RunResult, b: RunResult, alignment: Alignment, settings: SummarySettings) -> str:
    """A sentence on what is compared and what to beware of.

    Args:
        settings: how both are read.
    """
    layers = a.model.n_layers, b.model.n_layers
    parts = [_about_tokens(a.tokens, b.tokens, alignment)]
    if layers[0] != layers[1]:
        parts.insert(
            0,
            f"Rows are matched by relative depth ({layers[0]} and {layers[1]} layers); "
            f"the difference has those of {'A' if layers[0] > layers[1] else 'B'}.",
        )
    if _begins_otherwise(a.tokens, b.tokens, alignment):
        parts.append(
            settings.where_left_out("Means are without token 0.")
            or "u leaves token 0 out of the means."
        )
    return " ".join(parts)


def compared_sentence(
    a: RunResult,
    b: RunResult,
    verdicts: tuple[Verdict | None, Verdict | None],
    settings: SummarySettings,
) -> str:
    """Whether B uses more layers than A, and where they diverge; empty where neither is known."""
    first, second = verdicts
    depths = "" if first is None or second is None else comparison_sentence(first, second)
    return " ".join(filter(None, (depths, parting_sentence(a, b, settings))))


def lacks(run: SessionRun, other: SessionRun, metrics: Sequence[str] | None = None) -> list[str]:
    """The metrics that a run lacks and can compute, and that the other run has.

    `metrics` limits the search; None for all.
    """
    result, other_result = run.result, other.result
    if result is None or other_result is None or run.state.is_live:
        return []
    names = [metric.name for metric in METRICS] if metrics is None else metrics
    lacking = [name for name in names if other_result.has_all(name) and not result.has_all(name)]
    return run.to_compute(lacking)[0]


def lacks_headline(run: SessionRun) -> list[str]:
    """The headline's metric where a run lacks it and can compute it."""
    result = run.result
    if result is None or run.state.is_live or kept.METRIC.why_unavailable(result):
        return []
    # A run that was stopped may have it nevertheless.
    if result.has_all(kept.NAME) and kept.NAME not in result.failed:
        return []
    return run.to_compute([kept.NAME])[0]


def choices_of(run: SessionRun, metrics: Sequence[str]) -> dict[str, Any]:
    """The settings that metrics of a run were computed with and that fit another prompt."""
    names = {name for metric in metrics for name in METRIC_BY_NAME[metric].depends_on}
    return {name: getattr(run.settings, name) for name in sorted(names - set(PLACES))}


def _about_tokens(a: PromptTokens, b: PromptTokens, alignment: Alignment) -> str:
    match alignment.match:
        case TokenMatch.SAME:
            same = "The same tokens" if (a.ids == b.ids).all() else "The same texts, other ids"
            return f"{same}: the difference is token by token."
        case TokenMatch.SHIFTED:
            more, less = ("A", "B") if alignment.longer == "a" else ("B", "A")
            text = (a if more == "A" else b).texts[0]
            token_text = printable(text[:_LONGEST_TOKEN])
            return (
                f"{more} begins with {token_text}, {less} does not: "
                f"token t of {less} is beside t + 1 of {more}."
            )
        case TokenMatch.ANSWER:
            return (
                f"Aligned where the answers begin: {alignment.n_shared} of {len(a)} and {len(b)} "
                "tokens are side by side."
            )
        case TokenMatch.TEXTS:
            shared = f"{alignment.n_shared} of {len(a)} and {len(b)} tokens have the same text"
            return f"{shared}: the difference is of those alone."
        case _:
            tokens = f"{len(a)} and {len(b)}"
            return f"The tokens differ ({tokens}): only curves and means over tokens are compared."


def _begins_otherwise(a: PromptTokens, b: PromptTokens, alignment: Alignment) -> bool:
    """Whether one run begins with a special token that the other lacks."""
    if alignment.match not in (TokenMatch.SHIFTED, TokenMatch.TEXTS):
        return False
    sides = ((a, alignment.b), (b, alignment.a))
    return any(
        is_special(tokens.texts[0]) and others[0] < 0 <= ours[0]
        for (tokens, others), ours in zip(sides, (alignment.a, alignment.b), strict=True)
    )
