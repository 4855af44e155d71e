"""Effective depth: from per-token values to curves, from curves to a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from types import MappingProxyType

import numpy as np

from depthtui.data.depth import Curves, DepthEstimate, DepthSummary, PromptCurves
from depthtui.data.lens import LogitLens
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.intervals import depth_intervals
from depthtui.depth.rules import cosine_layers, kl_area, over_gaps
from depthtui.depth.weights import WEIGHTINGS, Weighting, effective_prompts, pool_weights
from depthtui.metrics import METRICS
from depthtui.metrics.lens_rules import kl_layers, overlap_layers
from depthtui.metrics.lens_view import all_through

_COSINES = ("attention_cosine", "mlp_cosine", "layer_cosine")
_OF_THE_SPLIT = ("attention_", "mlp_")
_NOT_FINITE = "the model's values are not finite"
_NOT_RUN = "not every layer has been run yet"
_NOT_READ = "the lens has not read every layer yet; all have been run"


def cosine_depth(mean_cosine: np.ndarray) -> DepthEstimate:
    """The last layer with a negative mean cosine whose successor is not negative.

    Args:
        mean_cosine: `[L]`, mean of the attention, MLP and layer cosines.
    """
    layer = cosine_layers(mean_cosine)
    if np.isnan(layer):
        return _none("cosine", None, "the mean cosine never turns from negative to positive")
    where = _meets(mean_cosine, int(layer) + 1, 0.0)
    return _at("cosine", int(layer), len(mean_cosine), None, where)


def kl_depth(kl: np.ndarray, threshold: float = 0.5) -> DepthEstimate:
    """The first layer in 0 … L-2 whose KL is below `threshold` times the largest.

    Args:
        kl: `[L + 1]` in nats; the last entry, the model's own output, is not used.
        threshold: share of the maximum over layers 0 … L-1.
    """
    layer, area = kl_layers(kl, threshold), float(kl_area(kl))
    known_area = area if np.isfinite(area) else None
    if np.isnan(layer):
        reason = f"KL never falls below {threshold:g} of its maximum"
        return replace(_none("kl", threshold, reason), area=known_area)
    first, layers = int(layer), kl[:-1]
    level = threshold * float(layers.max())
    lasts = (layers[first:] < level).all()
    again = "" if lasts else f"KL rises above the threshold again after layer {first}"
    found = _at("kl", first, len(layers), threshold, _meets(layers, first, level), again)
    return replace(found, area=known_area)


def overlap_depth(overlap: np.ndarray, threshold: float = 0.3) -> DepthEstimate:
    """The first layer in 0 … L-2 whose top-five overlap exceeds `threshold`.

    Args:
        overlap: `[L + 1]`; the last entry, the model's own output, is not used.
        threshold: the overlap that counts as enough.
    """
    layer = overlap_layers(overlap, threshold)
    if np.isnan(layer):
        return _none("overlap", threshold, f"the overlap never exceeds {threshold:g}")
    first, layers = int(layer), overlap[:-1]
    lasts = (layers[first:] > threshold).all()
    again = "" if lasts else f"the overlap falls back again after layer {first}"
    where = _meets(layers, first, threshold)
    return _at("overlap", first, len(layers), threshold, where, again)


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
        return dict.fromkeys(("cosine", "kl", "overlap"), _NOT_RUN)
    lenses = [lens for run in open_runs if (lens := run.get(LogitLens)) is not None]
    if any((lens.top_ids[..., 0] < 0).any() for lens in lenses):
        return dict.fromkeys(("kl", "overlap"), _NOT_READ)
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
    cosines = [means[name] for name in _COSINES if name in means]
    if cosines:
        means["mean_cosine"] = np.mean(cosines, axis=0)
    return PromptCurves(n_tokens, Curves(**means))


def pool(parts: Sequence[PromptCurves], weighting: Weighting = "tokens") -> Curves:
    """The mean over all prompts; None for a curve that a prompt lacks.

    Args:
        parts: one or more prompts of one model.
        weighting: what counts once.
    """
    if len(parts) == 1:
        return parts[0].curves
    (weights,) = pool_weights(parts, weighting, np.ones((1, len(parts))))
    means: dict[str, np.ndarray] = {}
    for name in (field.name for field in fields(Curves)):
        rows = [getattr(part.curves, name) for part in parts]
        if all(row is not None for row in rows):
            means[name] = np.average(rows, axis=0, weights=weights)
    return Curves(**means)


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
    return tuple(
        estimate(curve)
        if np.isfinite(curve).all()
        else _none(rule, threshold, unknown.get(rule, _NOT_FINITE))
        for rule, values, threshold, estimate in _rules(curves, settings)
        if values is not None
        for curve in (over_gaps(rule, values, settings),)
    )


def _mean(values: np.ndarray, first: int) -> np.ndarray:
    return np.asarray(values[:, first:].mean(axis=1, dtype=np.float64))


_Rule = tuple[str, np.ndarray | None, float | None, Callable[[np.ndarray], DepthEstimate]]
"""A name, its curve, its threshold, and what turns the curve into a layer."""


def _rules(curves: Curves, settings: SummarySettings) -> tuple[_Rule, ...]:
    kl_threshold, overlap_threshold = settings.kl_threshold, settings.overlap_threshold
    return (
        ("cosine", curves.mean_cosine, None, cosine_depth),
        ("kl", curves.kl, kl_threshold, lambda kl: kl_depth(kl, kl_threshold)),
        (
            "overlap",
            curves.overlap,
            overlap_threshold,
            lambda overlap: overlap_depth(overlap, overlap_threshold),
        ),
    )


def _meets(values: np.ndarray, layer: int, level: float) -> float:
    """Where the line from the layer before to this one meets a level, in layers; 0 at layer 0."""
    if layer == 0:
        return 0.0
    before, here = float(values[layer - 1]), float(values[layer])
    return layer - 1 + (before - level) / (before - here)


def _at(
    rule: str,
    layer: int,
    n_layers: int,
    threshold: float | None,
    crossing: float,
    warning: str = "",
) -> DepthEstimate:
    ratio = (layer + 1) / n_layers
    return DepthEstimate(rule, layer, ratio, threshold, warning=warning, crossing=crossing)


def _none(rule: str, threshold: float | None, reason: str) -> DepthEstimate:
    return DepthEstimate(rule, None, None, threshold, reason=reason)
