"""Every metric and every measure, by name.

A new metric is a folder, its import and a line in `_BUILT_IN`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import cast

import numpy as np

from depthtui.data.lazy import LazyDict, LazyTuple
from depthtui.data.model import ModelInfo
from depthtui.data.run import Prompt, PromptTokens, RunResult
from depthtui.data.run_settings import DEFAULT_METRICS, RunSettings
from depthtui.errors import DepthError
from depthtui.metrics import (
    ablation,
    accuracy,
    adapter,
    context_depth,
    contributions,
    depth_score,
    direct_effects,
    direct_logits,
    early_exit,
    engine_distance,
    experts,
    fitted_lens,
    head_ablation,
    heads,
    integrated_gradients,
    kept,
    kept_heads,
    lens_margin,
    logit_lens,
    margin,
    neighbours,
    nonlinear,
    order,
    pairs,
    parts,
    patch,
    perplexity,
    prediction_depth,
    quantisation,
    repeat,
    residual_erasure,
    settling,
    similarity,
    skip_effects,
    speed,
    task_guess,
    token_depths,
)
from depthtui.metrics.plugin_metrics import with_plugins
from depthtui.metrics.pooling import PromptReading
from depthtui.metrics.ranking import Ranked
from depthtui.metrics.spec import Measure, Metric

_BUILT_IN: tuple[Metric, ...] = (
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
    accuracy.METRIC,
    fitted_lens.AFFINE,
    fitted_lens.JACOBIAN,
    nonlinear.METRIC,
    ablation.METRIC,
    head_ablation.METRIC,
    kept.METRIC,
    parts.METRIC,
    kept_heads.METRIC,
    perplexity.METRIC,
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

ALL = LazyTuple(lambda: with_plugins(_BUILT_IN))
"""All metrics, measured or derived, the quick ones first: the order of every list.

Those of plug-ins come last. They are loaded at the first look, when every module is there.
"""

METRICS = LazyTuple(lambda: (metric for metric in ALL if metric.stage != "derived"))
"""Metrics that a run can be asked for."""

DERIVED = LazyTuple(lambda: (metric for metric in ALL if metric.stage == "derived"))
"""Metrics that come with another metric."""

ON_DEMAND = LazyTuple(lambda: (metric for metric in METRICS if metric.on_demand))
"""Metrics that are computed on the recorded pass, only on demand."""

LENS_REDUCED = LazyTuple(lambda: (metric for metric in METRICS if metric.lens_reducer))
"""On-demand metrics that can be computed while the logit lens is read."""

OF_THE_PASS = tuple(metric.name for metric in _BUILT_IN if metric.stage in ("layers", "lens"))
"""Names of the forward pass's own metrics, which a run has unless it is asked for fewer."""

RANKINGS = LazyTuple(
    lambda: (
        metric
        for metric in (*reversed(_BUILT_IN), *ALL[len(_BUILT_IN) :])
        if issubclass(metric.result or object, Ranked)
    )
)
"""Metrics that rank the layers to leave out, the most reliable and most expensive first.

Those of plug-ins come last.
"""

METRIC_BY_NAME = LazyDict(lambda: {metric.name: metric for metric in METRICS})

_MOST_REASONS = 3
"""The most reasons that are named where they differ from prompt to prompt."""

_ALL_MEASURES = LazyTuple(
    lambda: (
        replace(measure, metric=measure.metric or metric.derived_from or metric.name)
        for metric in ALL
        for measure in metric.measures
    )
)

MEASURES = LazyTuple(lambda: (measure for measure in _ALL_MEASURES if measure.by_token))
"""The measures that a heatmap of layers x tokens can draw."""

ALL_MEASURES = LazyTuple(
    lambda: (*MEASURES, *(measure for measure in _ALL_MEASURES if not measure.by_token))
)
"""`MEASURES`, then the maps of layers x layers or heads."""

MEASURE_BY_NAME = LazyDict(lambda: {measure.name: measure for measure in ALL_MEASURES})


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
    """Names of the rankings to compute, the most reliable first.

    None that need an answer that a run lacks, nor an order of layers, whose search takes longer.
    """

    def has_no_use(metric: Metric) -> bool:
        if metric.needs_order is not None:
            return True
        return result is not None and metric.needs_answer and bool(metric.why_unavailable(result))

    return tuple(metric.name for metric in RANKINGS if not has_no_use(metric))


def rankings_of(result: RunResult) -> list[Ranked]:
    """The rankings of which a run knows any layer, the most reliable first."""
    rankings = (cast(Ranked | None, result.measured.get(metric.name)) for metric in RANKINGS)
    return [some for some in rankings if some is not None and np.isfinite(some.useful).any()]


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


def check_names(names: Iterable[str]) -> None:
    """Check that names are names of metrics.

    Raises:
        DepthError: a name is unknown; the message lists all metrics.
    """
    if unknown := unknown_names(names):
        raise DepthError(
            f"There is no metric named {', '.join(unknown)}.",
            f"Choose from {', '.join(METRIC_BY_NAME)}.",
        )


def unknown_names(names: Iterable[str]) -> list[str]:
    """The names that no metric has."""
    return sorted(set(names) - set(METRIC_BY_NAME))


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
