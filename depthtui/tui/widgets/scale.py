"""Where a ramp begins and ends for a set of values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from depthtui.tui.widgets.ink import number

CLIP_PERCENTILE = 99
"""Scales stop here where the largest value lies far beyond, such as at an attention sink."""

_WORTH_CLIPPING = 1.25
"""How far beyond that percentile the largest value must be."""


@dataclass(frozen=True)
class Scale:
    """The ends of a ramp.

    Attributes:
        low, high: the values there.
        largest: the largest value where it was clipped, or None.
    """

    low: float
    high: float
    largest: float | None = None

    @property
    def note(self) -> str:
        """What was clipped, in words, or empty."""
        if self.largest is None:
            return ""
        return f"{CLIP_PERCENTILE}th percentile, max {number(self.largest)}"


def scale_of(
    values: np.ndarray, diverging: bool, limits: tuple[float, float] | None = None
) -> Scale:
    """The scale for these values: fixed limits, or 0 to a high percentile.

    A diverging scale is symmetrical about zero and its largest value is a magnitude.
    """
    if limits is not None:
        return Scale(*limits)
    known = values[np.isfinite(values)]
    if diverging:
        known = np.abs(known)
    if not known.size:
        return Scale(-1.0 if diverging else 0.0, 1.0)
    largest = float(known.max())
    clipped = float(np.percentile(known, CLIP_PERCENTILE, method="lower"))
    is_outlier = largest > _WORTH_CLIPPING * clipped > 0
    high = clipped if is_outlier else largest if largest > 0 else 1.0
    return Scale(-high if diverging else 0.0, high, largest if is_outlier else None)
