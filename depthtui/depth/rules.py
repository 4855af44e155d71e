"""The rules that turn curves over depth into layers, many curves at once.

Rules and thresholds: paper, section "Effective depth"; the thresholds are
those of its results notebook. Every layer index is 0-based. Values are floats,
because NaN says that no layer qualifies.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from depthtui.data.depth import Curves
from depthtui.data.run_settings import LENSES, SummarySettings
from depthtui.metrics.lens_rules import kl_layers, over_missing_maps, overlap_layers

RULE_CURVES = {"cosine": "mean_cosine", "kl": "kl", "overlap": "overlap"}
"""The rules, and the field of `Curves` that each one reads."""


def layer_curve(curves: Curves, rule: str) -> np.ndarray | None:
    """What a rule reads at each layer, `[L]`, the KL as a share of its largest.

    None where the curve was not computed.
    """
    values: np.ndarray | None = getattr(curves, RULE_CURVES[rule])
    if values is None or rule == "cosine":
        return values
    layers = values[:-1]
    largest = float(np.fmax.reduce(layers)) if rule == "kl" else 0.0
    return layers / largest if largest > 0 else layers


def layers_by(rule: str, curves: np.ndarray, settings: SummarySettings) -> np.ndarray:
    """A rule's layer on each of some curves.

    Args:
        rule: `cosine`, `kl` or `overlap`.
        curves: `[..., L]` for the cosine rule, `[..., L + 1]` for the others.
        settings: the thresholds.

    Returns:
        `[...]`, NaN where no layer qualifies or a curve is not finite.
    """
    curves = over_gaps(rule, curves, settings)
    match rule:
        case "cosine":
            layers = cosine_layers(curves)
        case "kl":
            layers = kl_layers(curves, settings.kl_threshold)
        case _:
            layers = overlap_layers(curves, settings.overlap_threshold)
    return np.where(np.isfinite(curves).all(axis=-1), layers, np.nan)


def over_gaps(rule: str, curves: np.ndarray, settings: SummarySettings) -> np.ndarray:
    """The curves of a fitted lens with values at the depths that it has no map of.

    The logit lens reads every depth: what is unknown there was not read yet.

    Args:
        rule: `cosine`, `kl` or `overlap`.
        curves: `[..., L]` for the cosine rule, `[..., L + 1]` for the others.
        settings: the lens.
    """
    if settings.lens == LENSES[0] or rule == "cosine":
        return curves
    return over_missing_maps(rule, curves)


def bridged(curves: Curves, settings: SummarySettings) -> Curves:
    """What a lens read, with values where it has no map; see `over_gaps`."""
    known = {rule: getattr(curves, rule) for rule in ("kl", "overlap")}
    return replace(
        curves,
        **{
            rule: over_gaps(rule, values, settings)
            for rule, values in known.items()
            if values is not None
        },
    )


def ranked_layers(rule: str, curves: np.ndarray, settings: SummarySettings) -> np.ndarray:
    """`layers_by`, where a curve without a layer lies beyond those that the rule can find.

    A curve that never crosses is censored: it would do so at L - 1, the last layer, or later.
    A mean cosine that is never negative has turned before layer 0, at -1. So they can be
    ranked, and dropping them would make depths look shallower than they are.

    Returns:
        `[...]`, NaN where a curve is not finite.
    """
    layers = layers_by(rule, curves, settings)
    beyond = curves.shape[-1] - (1 if rule == "cosine" else 2)
    if rule == "cosine":
        limits = np.where(curves[..., -1] < 0, beyond, -1)
    else:
        limits = np.full(layers.shape, beyond)
    known = np.isfinite(over_gaps(rule, curves, settings)).all(axis=-1)
    return np.where(known & np.isnan(layers), limits, layers)


def kl_area(kl: np.ndarray) -> np.ndarray:
    """Mean over layers of KL / largest KL, of `[..., L + 1]`; NaN where no KL is above 0."""
    layers = kl[..., :-1]
    largest = layers.max(axis=-1)
    positive = largest > 0
    return np.where(positive, layers.mean(axis=-1) / np.where(positive, largest, 1), np.nan)


def cosine_layers(mean_cosine: np.ndarray) -> np.ndarray:
    """The last layer with a negative value whose successor is not negative, of `[..., L]`."""
    turns = (mean_cosine[..., :-1] < 0) & (mean_cosine[..., 1:] >= 0)
    layers = np.where(turns, np.arange(turns.shape[-1]), -np.inf).max(axis=-1, initial=-np.inf)
    return np.where(np.isfinite(layers), layers, np.nan)
