"""The lens's margin: how far its first choice is ahead of the second."""

from __future__ import annotations

import numpy as np

from depthtui.data.results import LogitLens


def lens_margin(lens: LogitLens) -> np.ndarray:
    """Probability of the first choice less that of the second, `[L+1, T]`.

    Row l is the residual entering layer l, row L the output. NaN where the lens lists
    only one token.
    """
    top = lens.top_probabilities
    if top.shape[-1] < 2:
        return np.full(top.shape[:2], np.nan, top.dtype)
    return np.asarray(top[..., 0] - top[..., 1])
