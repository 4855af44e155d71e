"""Settling depth: from where on a token's prediction stays close to the final one."""

from __future__ import annotations

import numpy as np

from depthtui.data.results import Settling

LATE = 0.85
"""A token settles late where it settles in the last 15 % of the layers."""


def settling_depth(settling: Settling, threshold: float = 0.5) -> np.ndarray:
    """The first depth from which on the divergence stays below `threshold` nats (≤ log 2).

    Returns:
        `[T]` depths 0 … L: l where the residual entering layer l already says what the
        output says, L where only the output does.
    """
    return first_of_last_run(settling.divergence < threshold)


def share_of_late(settling: Settling, threshold: float = 0.5, late: float = LATE) -> float:
    """The share of tokens that settle at a depth of at least `late` times L."""
    n_layers = len(settling.divergence) - 1
    return float(np.mean(settling_depth(settling, threshold) >= late * n_layers))


def first_of_last_run(holds: np.ndarray) -> np.ndarray:
    """The first row from which on a condition `[L+1, T]` holds to the end; L where never."""
    n_layers = len(holds) - 1
    broken = ~holds[:n_layers][::-1]
    since = np.where(broken.any(axis=0), broken.argmax(axis=0), n_layers)
    return np.asarray(n_layers - since)
