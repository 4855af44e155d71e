"""Curves over depth, and the effective depths that rules find on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

HALF_A_LAYER = 0.5
"""Resolution of a depth where all resamples agree: a count is a whole number."""


@dataclass(frozen=True)
class DepthEstimate:
    """One effective depth (paper, section on effective depth).

    Attributes:
        rule: name of the rule, such as `kl`.
        layer: 0-based layer index e, or None where no layer qualifies.
        ratio: (e + 1) / L, or None.
        threshold: the threshold used, or None for a rule without one.
        reason: why there is no layer; empty where there is one.
        warning: reason to doubt the layer, such as a non-monotone crossing; may be empty.
        interval: bootstrap interval of the layer, or None.
        crossing: the layer, with decimals, at which the line through the curve's values meets the
            threshold (zero for the cosine): between layers e - 1 and e, for the cosine between e
            and e + 1. Moves smoothly where the layer jumps. None without a layer.
        area: for the KL rule, the mean over layers of KL / largest KL; None for other rules.
            Smooth and without a threshold: the share of the depth at which a KL that falls at
            once would have this mean. With few prompts the largest KL is too large, and the area
            a little too small: it has no interval, since resamples are off by as much again.
        prompt_weighted: the rule's estimate on the mean in which each prompt counts once instead
            of each token; None where this estimate is on that mean already, or it is unknown.
    """

    rule: str
    layer: int | None
    ratio: float | None
    threshold: float | None
    reason: str = ""
    warning: str = ""
    interval: tuple[float, float] | None = None
    crossing: float | None = None
    area: float | None = None
    prompt_weighted: DepthEstimate | None = None

    @property
    def count(self) -> int | None:
        """Number of layers, e + 1, or None."""
        return None if self.layer is None else self.layer + 1

    @property
    def count_interval(self) -> tuple[float, float] | None:
        """The interval as counts; where all resamples agree, half a layer to either side."""
        if self.interval is None:
            return None
        low, high = self.interval
        beyond = HALF_A_LAYER if low == high else 0
        return low + 1 - beyond, high + 1 + beyond


Curves: TypeAlias = Mapping[str, np.ndarray]
"""Means over tokens by name, one value per layer: `[L]`, or `[L+1]` for readings of a lens.

A curve that was not computed is absent. `mean_cosine` is the mean of the three cosines, or the
layer's alone where the split is unavailable.
"""


@dataclass(frozen=True)
class PromptCurves:
    """One prompt's share of a pooled mean.

    Attributes:
        n_tokens: number of averaged tokens, at least 1.
        curves: the means over these tokens.
        task: task of the prompt; in a mean over prompts of several tasks, each task has the
            same weight. None where the task does not matter.
    """

    n_tokens: int
    curves: Curves
    task: str | None = None
