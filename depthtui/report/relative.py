"""Curves of models of any number of layers on one axis: percent of the depth."""

from __future__ import annotations

import numpy as np

POINTS = 101
"""Points at which curves are read: every percent of the depth."""


def relative(values: np.ndarray) -> np.ndarray:
    """A curve of one value a layer, `[L]`, read at 0 … 100 percent of the depth.

    Layer l lies at (l + 1) / L, as in the ratio of an effective depth; NaN before layer 0.
    """
    return at_percents(values, np.arange(1, len(values) + 1) / len(values))


def at_percents(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Values at places from 0 to 1, read at 0 … 100 percent; NaN beyond the places."""
    return np.interp(np.linspace(0, 1, POINTS), places, values, left=np.nan, right=np.nan)
