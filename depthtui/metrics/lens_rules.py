"""The first layer at which a curve of a lens crosses a threshold, of many curves at once.

Every layer index is 0-based. Values are floats, because NaN says that no layer qualifies.
"""

from __future__ import annotations

import numpy as np


def crossing_layers(
    curves: np.ndarray, threshold: float, *, falls: bool, of_largest: bool
) -> np.ndarray:
    """The first layer in 0 … L-2 beyond a threshold, of `[..., L + 1]`.

    Args:
        curves: the last entry, the model's own output, is not used.
        threshold: the value, or the share of the largest value over layers 0 … L-1.
        falls: whether values below the threshold qualify, not those above.
        of_largest: whether the threshold is a share.
    """
    layers = curves[..., :-1]
    level = threshold * layers.max(axis=-1, keepdims=True) if of_largest else threshold
    qualifies = (layers < level if falls else layers > level)[..., :-1]
    first = np.where(qualifies, np.arange(qualifies.shape[-1]), np.inf).min(axis=-1, initial=np.inf)
    return np.where(np.isfinite(first), first, np.nan)


def over_missing_maps(curves: np.ndarray, falls: bool) -> np.ndarray:
    """The curves with values at the depths that a lens has no map of, where no rule crosses.

    They are those of the depth before; before the first map, those of a lens that reads nothing.
    A last value that is unknown was not read yet: such a curve stays as it is.

    Args:
        curves: `[..., L + 1]`.
        falls: whether curves fall to the output; a lens that reads nothing then has the largest
            value, else 0.
    """
    known = np.isfinite(curves)
    if known.all():
        return curves
    layers = np.where(known, curves, -np.inf)[..., :-1]
    largest = layers.max(axis=-1, keepdims=True)
    nothing = largest if falls else np.zeros_like(largest)
    last = np.maximum.accumulate(np.where(known, np.arange(curves.shape[-1]), -1), axis=-1)
    held = np.take_along_axis(curves, np.maximum(last, 0), axis=-1)
    filled = np.where(last >= 0, held, nothing)
    return np.where(known[..., -1:], filled, curves)
