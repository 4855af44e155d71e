"""Where two runs of one prompt predict the same next token."""

from __future__ import annotations

import numpy as np

from depthtui.data.lens import LogitLens
from depthtui.data.run import RunResult


def agreement(a: RunResult, b: RunResult, start: int = 0) -> tuple[int, int] | None:
    """The number of tokens from `start` on after which both have the same first choice, and of all.

    None where one of them has no output, or not yet.
    """
    lenses = [lens for run in (a, b) if (lens := run.get(LogitLens)) is not None]
    if len(lenses) < 2:
        return None
    first, second = (lens.top_ids[-1, start:, 0] for lens in lenses)
    if (first < 0).any() or (second < 0).any():
        return None
    return int(np.sum(first == second)), len(first)
