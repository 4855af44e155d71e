"""The lens's margin: how far its first choice is ahead of the second."""

from __future__ import annotations

import numpy as np

from depthtui.data.lens import LogitLens
from depthtui.metrics.spec import LayerValues, Metric


def lens_margin(lens: LogitLens) -> np.ndarray:
    """The probability of the first choice minus that of the second, `[L+1, T]`.

    Row l is the residual entering layer l, row L the output. NaN where the lens lists
    only one token.
    """
    top = lens.top_probabilities
    if top.shape[-1] < 2:
        return np.full(top.shape[:2], np.nan, top.dtype)
    return np.asarray(top[..., 0] - top[..., 1])


METRIC = Metric(
    name="lens_margin",
    title="Entropy and margin",
    description="How sure the lens is at each depth.",
    formula="entropy of `p_l` in nats, and its largest probability minus the second",
    reading="Entropy near 0 and a margin near 1: one token is all but certain at that depth.",
    look_for="Depths that are sure of another token than the output's: later layers overrule them.",
    source="Margin as confidence: Schuster et al., arXiv 2207.07061",
    stage="derived",
    derived_from="logit_lens",
    of_lens=True,
    summary=lambda lens, pooled: lens.margin,
    per_layer=lambda lens: [LayerValues("margin", lens.margin)],
)
