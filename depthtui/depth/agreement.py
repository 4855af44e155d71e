"""Where two runs of one prompt say the same next token."""

from __future__ import annotations

import numpy as np

from depthtui.data.results import RunResult


def agreement(a: RunResult, b: RunResult) -> tuple[int, int] | None:
    """Tokens after which both find the same token the most probable, and all tokens.

    None where one of them has no output, or not yet.
    """
    if a.logit_lens is None or b.logit_lens is None:
        return None
    first, second = (each.logit_lens.top_ids[-1, :, 0] for each in (a, b) if each.logit_lens)
    if (first < 0).any() or (second < 0).any():
        return None
    return int(np.sum(first == second)), len(first)
