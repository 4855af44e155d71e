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


def _first(qualifies: np.ndarray) -> np.ndarray:
    """The first layer in 0 … L-2 that qualifies, of `[..., L]`."""
    eligible = qualifies[..., :-1]
    layers = np.where(eligible, np.arange(eligible.shape[-1]), np.inf).min(axis=-1, initial=np.inf)
    return np.where(np.isfinite(layers), layers, np.nan)
