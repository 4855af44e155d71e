"""Prediction depth: where each token is decided."""

from __future__ import annotations

import numpy as np

from depthtui.data.results import LogitLens
from depthtui.metrics.settling_depth import first_of_last_run


def prediction_depth(lens: LogitLens) -> np.ndarray:
    """The first depth from which on the lens's first choice stays the model's own.

    Returns:
        `[T]` depths 0 … L: l where the residual entering layer l already says it, L where
        only the output does; NaN where not every depth has been read.
    """
    top = lens.top_ids[:, :, 0]
    known = (top >= 0).all(axis=0)
    return np.where(known, first_of_last_run(top == top[-1]), np.nan)
