"""Where curves are drawn: the areas of a pane's plots, and the scale of one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from depthtui.tui.draw.braille import Canvas
from depthtui.tui.draw.styles import number_within

ROOMY = 8
"""Lines of all plots that there must be before there are gaps between them."""


@dataclass(frozen=True)
class PlotArea:
    """Where a plot is, in cells and lines of its pane.

    Attributes:
        left, top, width, lines: where.
        spared: dots at its top and at its bottom that stay free, so that curves in areas
            without a gap between them do not touch.
    """

    left: int
    top: int
    width: int
    lines: int
    spared: int = 0

    def __contains__(self, y: int) -> bool:
        """Whether a line of the pane crosses it."""
        return self.top <= y < self.top + self.lines

    def column(self, depth: float) -> int:
        """The cell of a relative depth, which is 0 at the left edge and 1 at the right."""
        return round(depth * (2 * self.width - 1)) // 2

    def above_each_other(self, count: int) -> list[PlotArea]:
        """Areas that share the lines, at least one each, from the top."""
        gap = int(self.lines - (count - 1) >= ROOMY)
        lines, spare = divmod(max(count, self.lines - gap * (count - 1)), count)
        areas, top, spared = [], self.top, int(count > 1 and not gap)
        for place in range(count):
            area = PlotArea(self.left, top, self.width, lines + (place < spare), spared)
            areas.append(area)
            top += area.lines + gap
        return areas

    def side_by_side(self, count: int, gap: int) -> list[PlotArea]:
        """Areas that share the width, with a gap of so many cells."""
        width = (self.width - gap * (count - 1)) // count
        return [
            PlotArea(self.left + (width + gap) * place, self.top, width, self.lines)
            for place in range(count)
        ]


@dataclass(frozen=True)
class Plot:
    """An area with a scale.

    Attributes:
        area: where it is.
        low, high: the values at its bottom and its top.
    """

    area: PlotArea
    low: float
    high: float

    def line_of(self, value: float) -> int:
        """The line of a value, from the top; the nearest one where it is off the scale."""
        return round((1 - float(self._height(value))) * self._highest_dot) // 4

    def curve(self, depths: np.ndarray, values: np.ndarray, dotted: bool = False) -> list[str]:
        """Values over relative depths in braille, one string a line; NaN is a gap."""
        return self.curves([(depths, values)], dotted)

    def curves(
        self, curves: Iterable[tuple[np.ndarray, np.ndarray]], dotted: bool = False
    ) -> list[str]:
        """Several curves in one."""
        canvas = self._canvas()
        for depths, values in curves:
            canvas.plot(depths, self._height(values), dotted)
        return canvas.lines()

    def dashes(self, value: float) -> list[str]:
        """A dashed line at a value, likewise; none at NaN."""
        canvas = self._canvas()
        if not np.isnan(value):
            canvas.dash(float(self._height(value)))
        return canvas.lines()

    def end(self, line: int, cells: int) -> str:
        """The end of the scale that stands beside a line, in so many cells, or empty."""
        ends = {0: self.high, self.area.lines - 1: self.low}
        return number_within(ends[line], cells) if line in ends else ""

    @property
    def _highest_dot(self) -> int:
        """The number of the dot at the area's top, that at its bottom being 0."""
        return 4 * self.area.lines - 1

    def _height(self, values: np.ndarray | float) -> np.ndarray:
        """Where values are between the area's bottom, 0, and its top, 1."""
        share = np.clip((np.asarray(values) - self.low) / (self.high - self.low), 0.0, 1.0)
        spared = self.area.spared / self._highest_dot
        return spared + share * (1 - 2 * spared)

    def _canvas(self) -> Canvas:
        return Canvas(self.area.width, self.area.lines)


def reach(values: np.ndarray) -> tuple[float, float]:
    """The ends of a scale: 0 and what the values reach."""
    known = values[np.isfinite(values)]
    low, high = min(0.0, float(known.min(initial=0.0))), max(0.0, float(known.max(initial=0.0)))
    return (low, high) if high > low else (low, low + 1.0)
