"""Effective depth: from per-token values to curves, from curves to a layer.

Rules and thresholds: paper, section "Effective depth"; the thresholds are
those of its results notebook. Every layer index is 0-based.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import numpy as np

from depthtui.engine.results import (
    Curves,
    DepthEstimate,
    DepthSummary,
    PromptCurves,
    RunResult,
    SummarySettings,
)

_BRANCHES = ("attention", "mlp", "layer")
_NOT_FINITE = "the model's values are not finite"


def cosine_depth(mean_cosine: np.ndarray) -> DepthEstimate:
    """The last layer with a negative mean cosine whose successor is not negative.

    Args:
        mean_cosine: `[L]`, mean of the attention, MLP and layer cosines.
    """
    crossings = np.flatnonzero((mean_cosine[:-1] < 0) & (mean_cosine[1:] >= 0))
    if not len(crossings):
        return _none("cosine", None, "the mean cosine never turns from negative to positive")
    return _at("cosine", int(crossings[-1]), len(mean_cosine), None)


def kl_depth(kl: np.ndarray, threshold: float = 0.5) -> DepthEstimate:
    """The first layer in 0 … L-2 whose KL is below `threshold` times the largest.

    Args:
        kl: `[L + 1]` in nats; the last entry, the model's own output, is not used.
        threshold: share of the maximum over layers 0 … L-1.
    """
    layers = kl[:-1]
    below = layers < threshold * layers.max()
    if not below[:-1].any():
        return _none("kl", threshold, f"KL never falls below {threshold:g} of its maximum")
    first = int(np.argmax(below))
    again = "" if below[first:].all() else f"KL rises above the threshold again after layer {first}"
    return _at("kl", first, len(layers), threshold, again)


def overlap_depth(overlap: np.ndarray, threshold: float = 0.3) -> DepthEstimate:
    """The first layer in 0 … L-2 whose top-five overlap exceeds `threshold`.

    Args:
        overlap: `[L + 1]`; the last entry, the model's own output, is not used.
        threshold: the overlap that counts as enough.
    """
    layers = overlap[:-1]
    above = layers > threshold
    if not above[:-1].any():
        return _none("overlap", threshold, f"the overlap never exceeds {threshold:g}")
    first = int(np.argmax(above))
    again = "" if above[first:].all() else f"the overlap falls back again after layer {first}"
    return _at("overlap", first, len(layers), threshold, again)


def summarise(results: Sequence[RunResult], settings: SummarySettings) -> DepthSummary | None:
    """Pool runs of one model as the paper does: the mean over all tokens of all prompts.

    Rows that were not run stay NaN; a rule that meets one, or a value that is
    not finite, gives no layer.
    Returns None where there is nothing to average, such as a single token with
    token 0 left out.
    """
    each_prompt = [prompt_curves(each, settings.include_first_token) for each in results]
    parts = [each for each in each_prompt if each is not None]
    if not parts:
        return None
    complete = all(each.complete for each in results)
    curves = pool(parts)
    return DepthSummary(
        settings,
        results[0].model.n_layers,
        sum(each.n_tokens for each in parts),
        curves,
        depths(curves, settings, _NOT_FINITE if complete else "not every layer has been run yet"),
    )


def prompt_curves(result: RunResult, include_first_token: bool) -> PromptCurves | None:
    """The means over one run's tokens, or None where no token is left to average."""
    first = 0 if include_first_token else 1
    n_tokens = len(result.tokens) - first
    if n_tokens < 1:
        return None
    branches = ("layer",) if result.model.split_missing else _BRANCHES
    means: dict[str, np.ndarray] = {}
    if result.contributions is not None:
        names = [f"{branch}_{kind}" for branch in branches for kind in ("norm_ratio", "cosine")]
        means |= {name: _mean(getattr(result.contributions, name), first) for name in names}
    if result.logit_lens is not None:
        names = ["kl", "overlap", "entropy"]
        means |= {name: _mean(getattr(result.logit_lens, name), first) for name in names}
    return PromptCurves(n_tokens, _with_mean_cosine(Curves(**means)))


def pool(parts: Sequence[PromptCurves]) -> Curves:
    """The mean over all tokens of all prompts; None for a curve that a prompt lacks.

    Args:
        parts: one or more prompts of one model.
    """
    if len(parts) == 1:
        return parts[0].curves
    weights = [each.n_tokens for each in parts]
    means: dict[str, np.ndarray] = {}
    for name in (each.name for each in fields(Curves)):
        rows = [getattr(each.curves, name) for each in parts]
        if all(row is not None for row in rows):
            means[name] = np.average(rows, axis=0, weights=weights)
    return _with_mean_cosine(Curves(**means))


def depths(
    curves: Curves, settings: SummarySettings, unknown: str = _NOT_FINITE
) -> tuple[DepthEstimate, ...]:
    """What each rule says about pooled curves; a rule whose curve is None is absent.

    Args:
        curves: what `pool` gives.
        settings: the thresholds.
        unknown: the reason to give where a curve has values that are not finite.
    """
    return tuple(
        estimate(curve) if np.isfinite(curve).all() else _none(rule, threshold, unknown)
        for rule, curve, threshold, estimate in _rules(curves, settings)
        if curve is not None
    )


def _mean(values: np.ndarray, first: int) -> np.ndarray:
    return np.asarray(values[:, first:].mean(axis=1, dtype=np.float64))


def _with_mean_cosine(curves: Curves) -> Curves:
    cosines = [getattr(curves, f"{branch}_cosine") for branch in _BRANCHES]
    known = [each for each in cosines if each is not None]
    return replace(curves, mean_cosine=np.mean(known, axis=0) if known else None)


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


def _at(
    rule: str, layer: int, n_layers: int, threshold: float | None, warning: str = ""
) -> DepthEstimate:
    return DepthEstimate(rule, layer, (layer + 1) / n_layers, threshold, warning=warning)


def _none(rule: str, threshold: float | None, reason: str) -> DepthEstimate:
    return DepthEstimate(rule, None, None, threshold, reason=reason)
