"""Effective depth: from per-token values to curves, from curves to a layer.

Rules and thresholds: paper, section "Effective depth"; the thresholds are
those of its results notebook. Every layer index is 0-based.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from depthtui.engine.results import (
    Curves,
    DepthEstimate,
    DepthSummary,
    RunResult,
    SummarySettings,
)


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
    first = 0 if settings.include_first_token else 1
    n_tokens = sum(max(0, len(each.tokens) - first) for each in results)
    if n_tokens == 0:
        return None
    curves = _curves(results, first)
    n_layers = results[0].model.n_layers
    complete = all(each.complete for each in results)
    unknown = (
        "the model's values are not finite" if complete else "not every layer has been run yet"
    )
    return DepthSummary(settings, n_layers, n_tokens, curves, _depths(curves, settings, unknown))


def _curves(results: Sequence[RunResult], first: int) -> Curves:
    def mean(part: str, name: str) -> np.ndarray | None:
        parts = [getattr(each, part) for each in results]
        if any(each is None for each in parts):
            return None
        tokens = np.concatenate([getattr(each, name)[:, first:] for each in parts], axis=1)
        return np.asarray(tokens.mean(axis=1, dtype=np.float64))

    split = not any(each.model.split_missing for each in results)
    branches = ("attention", "mlp", "layer") if split else ("layer",)
    means = {
        f"{branch}_{kind}": mean("contributions", f"{branch}_{kind}")
        for branch in branches
        for kind in ("norm_ratio", "cosine")
    }
    cosines = [means[f"{branch}_cosine"] for branch in branches]
    known = [each for each in cosines if each is not None]
    return Curves(
        **means,
        mean_cosine=np.mean(known, axis=0) if known else None,
        kl=mean("logit_lens", "kl"),
        overlap=mean("logit_lens", "overlap"),
        entropy=mean("logit_lens", "entropy"),
    )


_Rule = tuple[str, np.ndarray | None, float | None, Callable[[np.ndarray], DepthEstimate]]
"""A name, its curve, its threshold, and what turns the curve into a layer."""


def _depths(curves: Curves, settings: SummarySettings, unknown: str) -> tuple[DepthEstimate, ...]:
    kl_threshold, overlap_threshold = settings.kl_threshold, settings.overlap_threshold
    rules: tuple[_Rule, ...] = (
        ("cosine", curves.mean_cosine, None, cosine_depth),
        ("kl", curves.kl, kl_threshold, lambda kl: kl_depth(kl, kl_threshold)),
        (
            "overlap",
            curves.overlap,
            overlap_threshold,
            lambda overlap: overlap_depth(overlap, overlap_threshold),
        ),
    )
    return tuple(
        estimate(curve) if np.isfinite(curve).all() else _none(rule, threshold, unknown)
        for rule, curve, threshold, estimate in rules
        if curve is not None
    )


def _at(
    rule: str, layer: int, n_layers: int, threshold: float | None, warning: str = ""
) -> DepthEstimate:
    return DepthEstimate(rule, layer, (layer + 1) / n_layers, threshold, warning=warning)


def _none(rule: str, threshold: float | None, reason: str) -> DepthEstimate:
    return DepthEstimate(rule, None, None, threshold, reason=reason)
