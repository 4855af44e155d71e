"""The metrics: a folder each, with a light spec and a kernel that only the engine imports.

A new metric is a folder, its import and a line in `ALL`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from depthtui.data.lens_view import LENS_METRICS, LOGIT
from depthtui.data.model import ModelInfo
from depthtui.data.run import Prompt, PromptTokens, RunResult
from depthtui.data.run_settings import DEFAULT_METRICS, ModelSpec, RunSettings
from depthtui.errors import DepthError
from depthtui.metrics import (
    ablation,
    accuracy,
    adapter,
    answers_kept,
    context_depth,
    contributions,
    depth_score,
    direct_effects,
    direct_logits,
    early_exit,
    engine_distance,
    experts,
    fitted_lens,
    heads,
    integrated_gradients,
    kept,
    lens_margin,
    logit_lens,
    margin,
    neighbours,
    nonlinear,
    order,
    pairs,
    parts,
    patch,
    prediction_depth,
    quantisation,
    repeat,
    residual_erasure,
    settling,
    similarity,
    skip_effects,
    speed,
    sufficient,
    task_guess,
    token_depths,
)
from depthtui.metrics.layer_order import PROMPTS_AS_UNITS, TEXTS
from depthtui.metrics.pooling import PromptReading
from depthtui.metrics.ranking import Ranked
from depthtui.metrics.resampling import FEWEST_UNITS
from depthtui.metrics.spec import Measure, Metric

ALL: tuple[Metric, ...] = (
    contributions.METRIC,
    logit_lens.METRIC,
    lens_margin.METRIC,
    margin.METRIC,
    prediction_depth.METRIC,
    early_exit.METRIC,
    token_depths.METRIC,
    similarity.METRIC,
    neighbours.METRIC,
    adapter.METRIC,
    direct_logits.METRIC,
    heads.METRIC,
    experts.METRIC,
    settling.METRIC,
    context_depth.METRIC,
    answers_kept.METRIC,
    accuracy.METRIC,
    fitted_lens.AFFINE,
    fitted_lens.JACOBIAN,
    nonlinear.METRIC,
    ablation.METRIC,
    kept.METRIC,
    sufficient.METRIC,
    parts.METRIC,
    task_guess.METRIC,
    order.METRIC,
    repeat.METRIC,
    pairs.METRIC,
    speed.METRIC,
    quantisation.METRIC,
    skip_effects.METRIC,
    depth_score.METRIC,
    direct_effects.METRIC,
    residual_erasure.METRIC,
    patch.METRIC,
    integrated_gradients.METRIC,
    engine_distance.METRIC,
)
"""All metrics, measured or derived, the quick ones first: the order of every list."""

METRICS = tuple(metric for metric in ALL if metric.stage != "derived")
"""Metrics that a run can be asked for."""

DERIVED = tuple(metric for metric in ALL if metric.stage == "derived")
"""Metrics that come with another metric."""

ON_DEMAND = tuple(metric for metric in METRICS if metric.on_demand)
"""Metrics that are computed on the recorded pass, only on demand."""

LENS_REDUCED = tuple(metric for metric in METRICS if metric.lens_reducer)
"""On-demand metrics that can be computed while the logit lens is read."""

OF_THE_PASS = tuple(metric.name for metric in METRICS if not metric.on_demand)
"""Names of the forward pass's own metrics, which a run has unless it is asked for fewer."""

RANKINGS = tuple(
    metric for metric in reversed(METRICS) if issubclass(metric.result or object, Ranked)
)
"""Metrics that rank the layers to leave out, the most reliable and most expensive first."""

METRIC_BY_NAME: dict[str, Metric] = {metric.name: metric for metric in METRICS}

_MOST_ANSWERS = 100
"""The most prompts of a task that are guessed from each other; more are parted."""

_MOST_REASONS = 3
"""The most reasons that are named where they differ from prompt to prompt."""

_ALL_MEASURES = tuple(
    replace(measure, metric=measure.metric or metric.name)
    for metric in ALL
    for measure in metric.measures
)

MEASURES = tuple(measure for measure in _ALL_MEASURES if measure.by_token)
"""The measures that a heatmap of layers x tokens can draw."""

ALL_MEASURES = (*MEASURES, *(measure for measure in _ALL_MEASURES if not measure.by_token))
"""`MEASURES`, then the maps of layers x layers or heads."""

MEASURE_BY_NAME: dict[str, Measure] = {measure.name: measure for measure in ALL_MEASURES}


def empty_result(
    model: ModelInfo, prompt: Prompt, settings: RunSettings, tokens: PromptTokens
) -> RunResult:
    """Make a run with nothing computed yet.

    It has unknown values where the pass will fill them in, and a reason for each requested metric
    that is unavailable.
    """
    result = RunResult(model, prompt, settings, tokens)
    sizes = model.n_layers, len(tokens), settings.lens_top_k
    for metric in METRICS:
        if metric.name not in settings.metrics:
            continue
        if reason := metric.why_unavailable(result):
            result.unavailable[metric.name] = reason
        elif metric.result is not None and not metric.on_demand:
            result.put(metric.name, metric.result.unknown(*sizes))
    return result


def ranking_names(result: RunResult | None) -> tuple[str, ...]:
    """Names of the rankings, the most reliable first; none that need an answer a run lacks."""

    def has_no_use(metric: Metric) -> bool:
        return result is not None and metric.needs_answer and bool(metric.why_unavailable(result))

    return tuple(metric.name for metric in RANKINGS if not has_no_use(metric))


def rankings_of(result: RunResult) -> list[Ranked]:
    """The rankings of layers that a run has, the most reliable first."""
    rankings = (result.measured.get(metric.name) for metric in RANKINGS)
    return [cast(Ranked, ranking) for ranking in rankings if ranking is not None]


def failures_in_words(failed: Iterable[str], unavailable: Mapping[str, str]) -> list[str]:
    """One sentence for each metric that failed."""
    return [
        f"{METRIC_BY_NAME[name].title} is unavailable: {unavailable[name].rstrip('.')}."
        for name in failed
    ]


def named_metrics(settings: RunSettings) -> tuple[str, ...]:
    """The metrics that settings name; empty where they are a default."""
    defaults = (set(OF_THE_PASS), set(DEFAULT_METRICS))
    return () if set(settings.metrics) in defaults else settings.metrics


def unavailable_in_words(
    names: Collection[str], runs: Collection[RunResult | PromptReading]
) -> list[str]:
    """A sentence for each requested metric that is unavailable in every run.

    Failures are left out. A request for all metrics means all available ones: no sentences.
    """
    sentences: list[str] = []
    if set(names) == set(METRIC_BY_NAME):
        return sentences
    for name in names:
        reasons = [
            run.unavailable[name].rstrip(".")
            for run in runs
            if name in run.unavailable and name not in run.failed
        ]
        if reasons and len(reasons) == len(runs):
            on_all = f" on all {len(runs)} prompts" if len(runs) > 1 else ""
            different = list(dict.fromkeys(reasons))
            words = "; ".join(
                [*different[:_MOST_REASONS], *(["…"] if len(different) > _MOST_REASONS else [])]
            )
            sentences.append(f"{METRIC_BY_NAME[name].title} is unavailable{on_all}: {words}.")
    return sentences


def depending_on(*settings: str) -> tuple[Metric, ...]:
    """The metrics whose values one of these fields of `RunSettings` changes."""
    return tuple(metric for metric in METRICS if set(settings) & set(metric.depends_on))


def with_lens_metric(settings: RunSettings, lens: str) -> RunSettings:
    """The settings of a run that is to be read through a lens: a fitted lens's metric is added."""
    metric = LENS_METRICS[lens]
    if lens == LOGIT or metric in settings.metrics or metric not in METRIC_BY_NAME:
        return settings
    return replace(settings, metrics=(*settings.metrics, metric))


def with_adapter_metric(settings: RunSettings, spec: ModelSpec) -> RunSettings:
    """The settings of a run; a model with an adapter is also measured beside its base.

    Where metrics are named, only these are measured.
    """
    if not spec.adapter or named_metrics(settings):
        return settings
    return replace(settings, metrics=(*settings.metrics, adapter.NAME))


def depends_on_former_prompts(settings: RunSettings) -> bool:
    """Whether the lengths of the prompts before this one matter (paper, metric 2)."""
    names = {metric.name for metric in depending_on("lengths_before")}
    return not names.isdisjoint(settings.metrics)


def with_lengths_before(settings: RunSettings, lengths: Iterable[int]) -> RunSettings:
    """The settings of a run after prompts of `lengths` tokens (paper, metric 2)."""
    if not depends_on_former_prompts(settings):
        return settings
    return replace(settings, lengths_before=tuple(lengths))


def with_other_prompts(
    settings: RunSettings, prompts: Sequence[Prompt], number: int, writes: bool = False
) -> RunSettings:
    """The settings of one of several runs: with all that it needs of the other prompts.

    Args:
        settings: settings of every run.
        prompts: the prompts that are run together.
        number: index of the run's prompt in `prompts`.
        writes: whether the model writes the answers, which are not known before.
    """
    settings = _with_accuracy(settings, prompts[number])
    if {kept.NAME, parts.NAME}.isdisjoint(settings.metrics):
        return settings
    if settings.sufficient_order == "own":
        settings = _with_order_texts(settings, prompts, number)
    prompt = prompts[number]
    if writes or not prompt.answer:
        return settings
    of_task = [
        other
        for other in prompts
        if (other.source, other.level) == (prompt.source, prompt.level) and other.answer
    ]
    place = of_task.index(prompt)
    if settings.sufficient_order != "own":
        settings = _with_order_texts(settings, of_task, place)
    return _with_task_answers(settings, of_task, place) if prompt.has_task else settings


def _with_accuracy(settings: RunSettings, prompt: Prompt) -> RunSettings:
    """With right answers where the prompt has choices, unless metrics are named."""
    others = tuple(name for name in settings.metrics if name != adapter.NAME)
    if not prompt.choices or named_metrics(replace(settings, metrics=others)):
        return settings
    return replace(settings, metrics=(*settings.metrics, accuracy.METRIC.name))


def _with_order_texts(settings: RunSettings, prompts: Sequence[Prompt], number: int) -> RunSettings:
    """With the prompts of the other half, on which its own order is found."""
    if len(prompts) < PROMPTS_AS_UNITS:
        return settings
    texts = [prompt.text for prompt in prompts[(number + 1) % 2 :: 2]]
    # Beside the model's order, the own one is found on as many texts.
    most = len(texts) if settings.sufficient_order == "own" else TEXTS
    return replace(settings, order_texts=tuple(texts[:most]))


def _with_task_answers(
    settings: RunSettings, of_task: Sequence[Prompt], number: int
) -> RunSettings:
    """With the answers of its task, where they are enough."""
    if len(of_task) < FEWEST_UNITS:
        return settings
    parts = np.array_split(range(len(of_task)), -(-len(of_task) // _MOST_ANSWERS))
    (places,) = (part for part in parts if number in part)
    answers = tuple(dict.fromkeys(of_task[place].answer for place in places))
    metrics = tuple(dict.fromkeys((*settings.metrics, task_guess.NAME)))
    return replace(settings, metrics=metrics, task_answers=answers)


def check_names(names: Iterable[str]) -> None:
    """Check that names are names of metrics.

    Raises:
        DepthError: a name is unknown; the message lists all metrics.
    """
    unknown = set(names) - set(METRIC_BY_NAME)
    if unknown:
        raise DepthError(
            f"There is no metric named {', '.join(sorted(unknown))}.",
            f"Choose from {', '.join(METRIC_BY_NAME)}.",
        )


def metrics_with(words: str) -> list[str]:
    """Names of the metrics that have a value of a name, as in files or on screens.

    Such as `similarity` for `block_influence` and for `Angular distance`. Equal names come before
    those of which the words are a part.
    """
    sought = _plain(words)
    names = [(metric, _plain(name)) for metric in ALL for name in _names_in(metric)]
    equal = [metric for metric, name in names if sought == name]
    parts = [metric for metric, name in names if sought and f" {sought} " in f" {name} "]
    return list(dict.fromkeys(metric.derived_from or metric.name for metric in equal + parts))


def _names_in(metric: Metric) -> Iterable[str]:
    """The names of a metric, its measures, curves and arrays."""
    yield from (metric.name, metric.title, *metric.title.split(", "), *metric.curves)
    for measure in metric.measures:
        yield from (measure.name, measure.title)
    yield from getattr(metric.result, "__dataclass_fields__", ())


def _plain(words: str) -> str:
    return " ".join(re.sub("[-_,]", " ", words).lower().split())


def formula_in(measure: Measure, result: RunResult) -> str:
    """A measure's formula for a run's model: a parallel block's MLP is relative to h."""
    return measure.formula.replace("h+a", "h") if result.model.parallel else measure.formula
