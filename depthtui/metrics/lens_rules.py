"""The rules that read a depth off a lens (paper, section "Effective depth"), many curves at once.

Every layer index is 0-based. Values are floats, because NaN says that no layer qualifies.
"""

from __future__ import annotations

import numpy as np


def kl_layers(kl: np.ndarray, threshold: float) -> np.ndarray:
    """The first layer in 0 … L-2 below `threshold` times the largest, of `[..., L + 1]`."""
    layers = kl[..., :-1]
    return _first(layers < threshold * layers.max(axis=-1, keepdims=True))


def overlap_layers(overlap: np.ndarray, threshold: float) -> np.ndarray:
    """The first layer in 0 … L-2 above `threshold`, of `[..., L + 1]`."""
    return _first(overlap[..., :-1] > threshold)


def over_missing_maps(rule: str, curves: np.ndarray) -> np.ndarray:
    """The curves with values at the depths that a lens has no map of, where no rule crosses.

    They are those of the depth before; before the first map, those of a lens that reads nothing.
    A last value that is unknown was not read yet: such a curve stays as it is.

    Args:
        rule: `kl` or `overlap`.
        curves: `[..., L + 1]`.
    """
    known = np.isfinite(curves)
    if known.all():
        return curves
    layers = np.where(known, curves, -np.inf)[..., :-1]
    largest = layers.max(axis=-1, keepdims=True)
    nothing = largest if rule == "kl" else np.zeros_like(largest)
    last = np.maximum.accumulate(np.where(known, np.arange(curves.shape[-1]), -1), axis=-1)
    held = np.take_along_axis(curves, np.maximum(last, 0), axis=-1)
    filled = np.where(last >= 0, held, nothing)
    return np.where(known[..., -1:], filled, curves)


def _first(qualifies: np.ndarray) -> np.ndarray:
    """The first layer in 0 … L-2 that qualifies, of `[..., L]`."""
    eligible = qualifies[..., :-1]
    layers = np.where(eligible, np.arange(eligible.shape[-1]), np.inf).min(axis=-1, initial=np.inf)
    return np.where(np.isfinite(layers), layers, np.nan)
