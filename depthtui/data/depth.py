"""Curves over depth, and the effective depths that rules find on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

HALF_A_LAYER = 0.5
"""How closely a depth can be told where all resamples agree: a count is a whole number."""


@dataclass(frozen=True)
class DepthEstimate:
    """One effective depth (paper, section on effective depth).

    Attributes:
        rule: name of the rule, such as `kl`.
        layer: 0-based layer index e, or None where no layer qualifies.
        ratio: (e + 1) / L, or None.
        threshold: the threshold used, or None for a rule without one.
        reason: why there is no layer; empty where there is one.
        warning: why to doubt the layer, such as a non-monotone crossing; may be empty.
        interval: bootstrap interval of the layer, or None.
        crossing: where the line through the curve's values meets the threshold (zero for the
            cosine), a layer with decimals: between layers e - 1 and e, for the cosine between e
            and e + 1. It moves smoothly where the layer jumps. None without a layer.
        area: of the KL rule: the mean over layers of KL / largest KL. Smooth, and of no threshold:
            the share of the depth that it would take a KL which falls at once. None for others.
            Of few prompts the largest KL is too large, and the area a little too small: it has
            no interval, since resamples are off by as much again.
        prompt_weighted: what the rule says of the mean in which each prompt counts once instead
            of each token; None where the mean is that one, or unknown.
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
        """How many layers that is: e + 1, or None."""
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
"""Means over tokens by name, one value a layer: `[L]`, or `[L+1]` of what a lens reads.

A curve that was not computed is absent. `mean_cosine` is the mean of the three cosines, or the
layer's alone where the split is unavailable.
"""


@dataclass(frozen=True)
class PromptCurves:
    """One prompt's share of a pooled mean.

    Attributes:
        n_tokens: how many tokens were averaged, at least 1.
        curves: the means over these tokens.
        task: what the prompt is of; in a mean over prompts of several tasks, each task has the
            same weight. None where that does not matter.
    """

    n_tokens: int
    curves: Curves
    task: str | None = None
