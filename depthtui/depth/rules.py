"""The rules that turn curves over depth into layers, many curves at once.

Rules and thresholds: paper, section "Effective depth"; the thresholds are
those of its results notebook. Every layer index is 0-based. Values are floats,
because NaN says that no layer qualifies.
"""

from __future__ import annotations

import numpy as np

from depthtui.data.depth import Curves
from depthtui.data.run_settings import SummarySettings
from depthtui.metrics.lens_rules import kl_layers, overlap_layers

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
    largest = float(np.max(layers)) if rule == "kl" else 0.0
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
    match rule:
        case "cosine":
            layers = cosine_layers(curves)
        case "kl":
            layers = kl_layers(curves, settings.kl_threshold)
        case _:
            layers = overlap_layers(curves, settings.overlap_threshold)
    return np.where(np.isfinite(curves).all(axis=-1), layers, np.nan)


def cosine_layers(mean_cosine: np.ndarray) -> np.ndarray:
    """The last layer with a negative value whose successor is not negative, of `[..., L]`."""
    turns = (mean_cosine[..., :-1] < 0) & (mean_cosine[..., 1:] >= 0)
    layers = np.where(turns, np.arange(turns.shape[-1]), -np.inf).max(axis=-1, initial=-np.inf)
    return np.where(np.isfinite(layers), layers, np.nan)
