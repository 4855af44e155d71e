"""DepthScore: the centre of mass of useful depth (arXiv 2505.13898). No threshold."""

from __future__ import annotations

import numpy as np

from depthtui.data.results import SkipEffects


def depth_score(effects: np.ndarray) -> float:
    """sum_l l e_l / sum_l e_l, in layers counted from 0; NaN where no layer has an effect.

    Args:
        effects: `[L]`, the effect e_l >= 0 of leaving out layer l, such as
            `SkipEffects.output` or `downstream_effect`.
    """
    total = float(np.sum(effects, dtype=np.float64))
    if not np.isfinite(total) or total <= 0:
        return float("nan")
    return float(np.arange(len(effects)) @ effects.astype(np.float64)) / total


def downstream_effect(skip: SkipEffects) -> np.ndarray:
    """The mean over the later layers of the mean relative change, `[L]` by layer left out.

    The last layer has no later ones: 0.
    """
    later = np.triu(skip.mean_layers, 1).sum(axis=1, dtype=np.float64)
    n_layers = len(later)
    return np.asarray(later / np.maximum(1, n_layers - 1 - np.arange(n_layers)))
