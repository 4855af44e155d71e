"""Numbers by how many pieces have left, and the fewest pieces that keep a limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


def rounded_up_count(pieces: float) -> int:
    """A number of pieces that is enough, rounded up to a whole one."""
    return math.ceil(round(pieces, 6))


def crossing_above(curves: np.ndarray, threshold: float) -> np.ndarray:
    """Where curves `[curves, n + 1]` first pass a threshold, interpolated linearly between counts.

    n where a curve never does.
    """
    if curves.shape[1] < 2:
        return np.zeros(len(curves))
    above = curves[:, 1:] > threshold
    first = above.argmax(axis=1)
    rows = np.arange(len(curves))
    before, after = curves[rows, first], curves[rows, first + 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        at = first + (threshold - before) / (after - before)
    return np.where(above.any(axis=1), at, curves.shape[1] - 1)


@dataclass(frozen=True)
class LeftOutColumn:
    """A number without the first 0, 1, 2, … of n pieces of an order.

    Attributes:
        title: the head of the column.
        values: `[n + 1]`; NaN where unknown.
        form: the format of a value, such as `.2f`.
        falls: whether less is worse, as for shares; else more is worse, as for costs.
        curves: the curves that pieces are counted on, one for each order, as long as they are
            known; the values where there are none.
        of: the number of tokens or questions that `values` are shares of; 0 for other values.
        find_interval: returns the 95 % interval of the values, `[2, n + 1]`, or None.
        find_least: returns the fewest pieces that keep a limit, in place of a crossing; None where
            too little is known.
    """

    title: str
    values: np.ndarray
    form: str
    falls: bool = False
    curves: Sequence[np.ndarray] = ()
    of: int = 0
    find_interval: Callable[[], np.ndarray | None] = lambda: None
    find_least: Callable[[float], int | None] | None = None

    @cached_property
    def interval(self) -> np.ndarray | None:
        """The 95 % interval of the values, `[2, n + 1]`; None where unknown."""
        return self.find_interval()

    @property
    def n_pieces(self) -> int:
        """The number of pieces, n."""
        return len(self.values) - 1

    def crossing(self, limit: float) -> float:
        """The pieces that stay where the values first pass a limit, with decimals.

        The mean over the curves. A straight line lies between counts; all stay where the whole
        model passes it.
        """
        sign = -1 if self.falls else 1
        curves = [sign * curve for curve in self.curves or [self.values]]
        left_out = [
            0.0 if curve[0] > sign * limit else crossing_above(curve[None], sign * limit)[0]
            for curve in curves
        ]
        return self.n_pieces - float(np.mean(left_out))

    def least(self, limit: float) -> int | None:
        """The fewest pieces that keep a limit, a whole number; None where that is not known."""
        if self.find_least is not None:
            return self.find_least(limit)
        return rounded_up_count(self.crossing(limit))

    def is_known(self, left_out: int) -> bool:
        """Whether the value without so many pieces is known."""
        return bool(np.isfinite(self.values[left_out]))

    def text(self, left_out: int) -> str:
        """The value without so many pieces, such as `.94` or `9/10`; a dash where unknown."""
        value = self.values[left_out]
        if not self.is_known(left_out):
            return "–"
        if self.of:
            return f"{round(value * self.of)}/{self.of}"
        return format(value, self.form)
