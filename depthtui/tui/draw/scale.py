"""The ends of a ramp for a set of values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from depthtui.ramps import CLIP_PERCENTILE
from depthtui.tui.draw.styles import number

_WORTH_CLIPPING = 1.25
"""The least ratio of the largest value to the percentile at which the scale is clipped there."""

_ENOUGH = 20
"""The least number of values with outliers."""


@dataclass(frozen=True)
class Scale:
    """The ends of a ramp.

    Attributes:
        low, high: the values at the ends.
        is_clipped: whether larger values have the colour of the end.
    """

    low: float
    high: float
    is_clipped: bool = False

    @property
    def ends(self) -> tuple[str, str]:
        """The words at the ends; an end that takes larger values has their sign."""
        low, high = number(self.low), number(self.high)
        if not self.is_clipped:
            return low, high
        return f"≤ {low}" if self.low < 0 else low, f"≥ {high}"


def scale_of(
    values: np.ndarray,
    diverging: bool,
    limits: tuple[float, float] | None = None,
) -> Scale:
    """The scale for these values: fixed limits, or 0 to the largest value.

    Where the largest value is far beyond a high percentile, such as at an attention sink, the scale
    ends at the percentile. A diverging scale is symmetrical about zero, and its largest value is a
    magnitude.
    """
    if limits is not None:
        return Scale(*limits)
    finite = values[np.isfinite(values)]
    if diverging:
        finite = np.abs(finite)
    if not finite.size:
        return Scale(-1.0 if diverging else 0.0, 1.0)
    largest = float(finite.max())
    clipped = float(np.percentile(finite, CLIP_PERCENTILE, method="lower"))
    is_outlier = finite.size >= _ENOUGH and largest > _WORTH_CLIPPING * clipped > 0
    high = clipped if is_outlier else largest if largest > 0 else 1.0
    low = -high if diverging else 0.0
    return Scale(low, high, is_outlier)
