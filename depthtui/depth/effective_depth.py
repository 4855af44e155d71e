"""Effective depth: from per-token values to curves, from curves to a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from depthtui.data.depth import Curves, DepthEstimate, DepthSummary, PromptCurves
from depthtui.data.lens import LogitLens
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.depth import rules
from depthtui.depth.intervals import depth_intervals
from depthtui.depth.weights import WEIGHTINGS, Weighting, effective_prompts, pool_weights
from depthtui.metrics import METRICS
from depthtui.metrics.lens_view import all_through

_OF_THE_SPLIT = ("attention_", "mlp_")
_NOT_FINITE = "the model's values are not finite"
_NOT_RUN = "not every layer has been run yet"
_NOT_READ = "the lens has not read every layer yet; all have been run"


def summarise(results: Sequence[RunResult], settings: SummarySettings) -> DepthSummary | None:
    """Pool runs of one model as the paper does: the mean over all tokens of all prompts.

    What is a function of a lens is read through that of the settings. Rows that were not run stay
    NaN; a rule that meets one, or a value that is not finite, gives no layer.
    Returns None where there is nothing to average, such as a single token with
    token 0 left out. Intervals need `FEWEST_PROMPTS` prompts.
    """
    parts = parts_of(results, settings)
    if not parts:
        return None
    return DepthSummary(
        settings,
        results[0].model.n_layers,
        sum(part.n_tokens for part in parts),
        pool(parts),
        estimate_depths(parts, settings, _not_done(results, settings)),
        len(parts),
        effective_prompts(parts),
    )


def _not_done(results: Sequence[RunResult], settings: SummarySettings) -> dict[str, str]:
    """Why rules know nothing yet of runs that go on, or were stopped, by rule."""
    open_runs = [view for view in all_through(results, settings.lens) if not view.complete]
    if any(run.layers_done < run.model.n_layers for run in open_runs):
        return {rule.name: _NOT_RUN for rule in rules.ALL}
    lenses = [lens for run in open_runs if (lens := run.get(LogitLens)) is not None]
    if any((lens.top_ids[..., 0] < 0).any() for lens in lenses):
        return {rule.name: _NOT_READ for rule in rules.ALL if rule.through_lens}
    return {}


def mean_curves(results: Sequence[RunResult], settings: SummarySettings) -> Curves:
    """The curves of runs of one model, pooled; all None where there is nothing to average."""
    parts = parts_of(results, settings)
    return pool(parts) if parts else Curves()


def parts_of(results: Sequence[RunResult], settings: SummarySettings) -> list[PromptCurves]:
    """The means of every run that has any, as the lens of the settings reads it."""
    results = all_through(results, settings.lens)
    # Where a curve's metric failed on some prompts, the others are pooled without them.
    whole = [result for result in results if not lacks_curves(result)]
    found = (prompt_curves(result, settings.include_first_token) for result in whole or results)
    return [part for part in found if part is not None]


def lacks_curves(result: RunResult) -> bool:
    """Whether a metric failed that is averaged into curves."""
    return any(metric.curves for metric in METRICS if metric.name in result.failed)


def estimate_depths(
    parts: Sequence[PromptCurves],
    settings: SummarySettings,
    unknown: Mapping[str, str] = MappingProxyType({}),
) -> tuple[DepthEstimate, ...]:
    """What each rule says of pooled prompts, as the paper pools them and with each prompt once.

    Each has its bootstrap interval (see `intervals`) where it has a layer and there are
    prompts enough.

    Args:
        parts: one or more prompts of one model.
        settings: the thresholds.
        unknown: by rule, why its curve has values that are not finite, where that is known.
    """
    by_tokens, by_prompts = (
        _estimates(parts, settings, unknown, weighting) for weighting in WEIGHTINGS
    )
    return tuple(
        replace(estimate, prompt_weighted=once)
        for estimate, once in zip(by_tokens, by_prompts, strict=True)
    )


def _estimates(
    parts: Sequence[PromptCurves],
    settings: SummarySettings,
    unknown: Mapping[str, str],
    weighting: Weighting,
) -> list[DepthEstimate]:
    intervals = depth_intervals(parts, settings, weighting=weighting)
    return [
        estimate if estimate.layer is None else replace(estimate, interval=intervals[estimate.rule])
        for estimate in depths(pool(parts, weighting), settings, unknown)
    ]


def prompt_curves(result: RunResult, include_first_token: bool) -> PromptCurves | None:
    """The means over one run's tokens, or None where no token is left to average."""
    first = 0 if include_first_token else 1
    n_tokens = len(result.tokens) - first
    if n_tokens < 1:
        return None
    split = not result.model.split_missing
    means = {
        name: _mean(getattr(result.measured[metric.name], name), first)
        for metric in METRICS
        if metric.name in result.measured
        for name in metric.curves
        if split or not name.startswith(_OF_THE_SPLIT)
    }
    for rule in rules.ALL:
        if parts := [means[name] for name in rule.mean_of if name in means]:
            means[rule.curve] = np.mean(parts, axis=0)
    return PromptCurves(n_tokens, Curves.of(means))


def pool(parts: Sequence[PromptCurves], weighting: Weighting = "tokens") -> Curves:
    """The mean over all prompts; None for a curve that a prompt lacks.

    Args:
        parts: one or more prompts of one model.
        weighting: what counts once.
    """
    if len(parts) == 1:
        return parts[0].curves
    (weights,) = pool_weights(parts, weighting, np.ones((1, len(parts))))
    known = [part.curves.by_name() for part in parts]
    return Curves.of(
        {
            name: np.average([curves[name] for curves in known], axis=0, weights=weights)
            for name in known[0]
            if all(name in curves for curves in known)
        }
    )


def depths(
    curves: Curves,
    settings: SummarySettings,
    unknown: Mapping[str, str] = MappingProxyType({}),
) -> tuple[DepthEstimate, ...]:
    """What each rule says about pooled curves; a rule whose curve is None is absent.

    Args:
        curves: what `pool` gives.
        settings: the thresholds.
        unknown: by rule, why its curve has values that are not finite, where that is known.
    """
    found = []
    for rule in rules.ALL:
        values = curves.get(rule.curve)
        if values is not None:
            curve = rule.over_gaps(values, settings)
            finite = np.isfinite(curve).all()
            reason = unknown.get(rule.name, _NOT_FINITE)
            found.append(rule.estimate(curve, settings) if finite else rule.none(settings, reason))
    return tuple(found)


def _mean(values: np.ndarray, first: int) -> np.ndarray:
    return np.asarray(values[:, first:].mean(axis=1, dtype=np.float64))
