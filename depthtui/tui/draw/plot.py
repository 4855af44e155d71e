"""The areas and scales of a pane's plots, and their curves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import TypeAlias

import numpy as np
from rich.style import Style

from depthtui.tui.draw.braille import Canvas
from depthtui.tui.draw.styles import PaneStyles, Piece, fit_right, number_within

Place: TypeAlias = tuple[int, int]
"""A line and a column of a plot."""

Labelled: TypeAlias = dict[Place, str]

ROOMY = 8
"""The least lines of all plots for gaps between them."""


@dataclass(frozen=True)
class PlotArea:
    """A plot's place, in cells and lines of its pane.

    Attributes:
        left, top, width, lines: its place and size.
        spared: dots left free at the top and the bottom, so that curves in adjacent areas do not
            touch.
    """

    left: int
    top: int
    width: int
    lines: int
    spared: int = 0

    def __contains__(self, y: int) -> bool:
        """Whether a line of the pane is in the area."""
        return self.top <= y < self.top + self.lines

    def column(self, depth: float) -> int:
        """The cell of a relative depth, 0 at the left edge and 1 at the right."""
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
        """Areas that share the width, with a gap of this many cells."""
        width = (self.width - gap * (count - 1)) // count
        return [
            PlotArea(self.left + (width + gap) * place, self.top, width, self.lines)
            for place in range(count)
        ]


@dataclass(frozen=True)
class Plot:
    """An area with a scale.

    Attributes:
        area: its area.
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
        """Several curves in one plot."""
        canvas = self._canvas()
        for depths, values in curves:
            canvas.plot(depths, self._height(values), dotted)
        return canvas.lines()

    def dashes(self, value: float) -> list[str]:
        """A dashed line at a value, one string a line; none at NaN."""
        canvas = self._canvas()
        if not np.isnan(value):
            canvas.dash(float(self._height(value)))
        return canvas.lines()

    def end(self, line: int, cells: int) -> str:
        """The scale's end beside a line, in this many cells, or empty."""
        ends = {0: self.high, self.area.lines - 1: self.low}
        return number_within(ends[line], cells) if line in ends else ""

    @property
    def _highest_dot(self) -> int:
        """The number of the dot at the area's top; the dot at the bottom has 0."""
        return 4 * self.area.lines - 1

    def _height(self, values: np.ndarray | float) -> np.ndarray:
        """The heights of values, from 0 at the area's bottom to 1 at its top."""
        share = np.clip((np.asarray(values) - self.low) / (self.high - self.low), 0.0, 1.0)
        spared = self.area.spared / self._highest_dot
        return spared + share * (1 - 2 * spared)

    def _canvas(self) -> Canvas:
        return Canvas(self.area.width, self.area.lines)


@dataclass(frozen=True)
class Curve:
    """A line of a panel.

    Attributes:
        at: `[n]`, the places of its values, 0 at the left edge of the plot and 1 at the right.
        values: `[n]`, NaN where unknown.
        style: its style.
        dotted: whether every other dot is left out.
        mark: the place of the marked value, or None.
        sign, label: sign and label of the mark, side by side where there is room.
    """

    at: np.ndarray
    values: np.ndarray
    style: Style
    dotted: bool = False
    mark: int | None = None
    sign: str = ""
    label: str = ""

    def value_at(self, share: float) -> float:
        """The curve's value at the cursor."""
        return float(self.values[int(np.abs(self.at - share).argmin())])


@dataclass(frozen=True)
class CurvePanel:
    """Curves on one scale; a cell shows only its uppermost curve, so that curves stay thin.

    Attributes:
        name, unit: name and unit of the values.
        plot: the area and the scale.
        curves: its curves, the uppermost first.
        threshold: a dashed line; NaN for none.
        behind: braille text beneath all curves, a string a line; empty for none.
        behind_style: returns the style of each line of `behind`.
    """

    name: str
    unit: str
    plot: Plot
    curves: Sequence[Curve]
    threshold: float = np.nan
    behind: Sequence[str] = ()
    behind_style: Callable[[PaneStyles, int], Style] = lambda styles, line: styles.faint

    @cached_property
    def is_known(self) -> bool:
        """Whether there is anything to draw."""
        return bool(self.behind) or any(np.isfinite(curve.values).any() for curve in self.curves)

    @cached_property
    def dashes(self) -> list[str]:
        """The threshold, one string a line."""
        return self.plot.dashes(self.threshold)

    @cached_property
    def _texts(self) -> list[list[str]]:
        return [self.plot.curve(curve.at, curve.values, curve.dotted) for curve in self.curves]

    @cached_property
    def marks(self) -> dict[Place, Piece]:
        """The marks' signs and labels, which do not touch each other."""
        marked = [(curve, place) for curve in self.curves if (place := self._place(curve))]
        bold = Style(bold=True)
        pieces = {place: (curve.sign, curve.style + bold) for curve, place in reversed(marked)}
        for curve, place in marked:
            label = _label(self._overlaid, pieces.keys() - {place}, place, curve.label)
            pieces |= {at: (char, curve.style + bold) for at, char in label.items()}
        return pieces

    def _place(self, curve: Curve) -> Place | None:
        if curve.mark is None:
            return None
        line = self.plot.line_of(float(curve.values[curve.mark]))
        return line, self.plot.area.column(float(curve.at[curve.mark]))

    @cached_property
    def _overlaid(self) -> list[str]:
        """All curves as one text a line."""
        lines = [" " * self.plot.area.width] * self.plot.area.lines
        for text in self._texts:
            pairs = (zip(*line_pair, strict=True) for line_pair in zip(lines, text, strict=True))
            lines = ["".join(a if a != " " else b for a, b in pair) for pair in pairs]
        return lines

    @cached_property
    def _drawn_lines(self) -> dict[int, list[Piece]]:
        return {}

    def _pieces(self, line: int, styles: PaneStyles) -> list[Piece]:
        """A line without the cursor, cells of one style together; drawn once."""
        if line not in self._drawn_lines:
            cells = [
                self.marks.get((line, column)) or self._cell(line, column, styles)
                for column in range(self.plot.area.width)
            ]
            alike = groupby(cells, key=itemgetter(1))
            self._drawn_lines[line] = [
                ("".join(text for text, _ in run), style) for style, run in alike
            ]
        return self._drawn_lines[line]

    def line(
        self,
        line: int,
        styles: PaneStyles,
        share: float | None = None,
        style: Style | None = None,
    ) -> list[Piece]:
        """A line with the cursor, which is a vertical line through free cells."""
        pieces = self._pieces(line, styles)
        column = None if share is None else self.plot.area.column(share)
        if column is None or (line, column) in self.marks:
            return pieces
        dash, first = self.dashes[line][column], 0
        for place, (text, beneath) in enumerate(pieces):
            if column < first + len(text):
                at = column - first
                cursor = "│" if text[at] in (" ", dash) else text[at]
                split = [(text[:at], beneath), (cursor, style or styles.accent)]
                return [*pieces[:place], *split, (text[at + 1 :], beneath), *pieces[place + 1 :]]
            first += len(text)
        return pieces

    def beside(
        self, line: int, margin: int, styles: PaneStyles, value: Piece | None = None
    ) -> list[Piece]:
        """The text left of a line: the name, the unit, a value, an end of the scale."""
        words, style = value or ("", styles.text)
        if line == 0:
            words, style = self.name, styles.strong
        elif line == 1 and self.plot.area.lines > 2:
            words, style = self.unit, styles.faint
        room = margin - 1 - len(words)
        end = self.plot.end(line, room - bool(words)) if self.is_known else ""
        return [(words, style), (fit_right(end, room) + " ", styles.muted)]

    def rows(
        self, margin: int, styles: PaneStyles, share: float | None = None
    ) -> list[list[Piece]]:
        """Every line of the panel, with the text beside it."""
        lines = range(self.plot.area.lines)
        return [
            [*self.beside(line, margin, styles), *self.line(line, styles, share)] for line in lines
        ]

    def _cell(self, line: int, column: int, styles: PaneStyles) -> Piece:
        for text, curve in zip(self._texts, self.curves, strict=True):
            if text[line][column] != " ":
                return text[line][column], curve.style
        if self.behind and self.behind[line][column] != " ":
            return self.behind[line][column], self.behind_style(styles, line)
        return self.dashes[line][column], styles.faint


def _label(texts: Sequence[str], marked: Collection[Place], sign: Place, label: str) -> Labelled:
    """A mark's label where the curves leave room nearby, or else on top of them.

    Empty where every place would touch other marks: a cut number is another number.
    """
    line, column = sign
    width, size = len(texts[0]), len(label)
    right, left, centre = column + 1, column - size, column - size // 2
    places = [
        (line, right),
        (line, left),
        *((line + step, x) for step in (-1, 1) for x in (centre, right, left)),
    ]

    def is_legible(y: int, x: int) -> bool:
        inside = 0 <= y < len(texts) and x >= 0 and x + size <= width
        return inside and not any((y, x + i) in marked for i in range(-1, size + 1))

    legible = [place for place in places if is_legible(*place)]
    free = [(y, x) for y, x in legible if not texts[y][x : x + size].strip()]
    for y, x in [*free, *legible][:1]:
        return {(y, x + i): char for i, char in enumerate(label)}
    return {}


def reach(values: np.ndarray) -> tuple[float, float]:
    """The range of 0 and the values."""
    finite = values[np.isfinite(values)]
    low, high = min(0.0, float(finite.min(initial=0.0))), max(0.0, float(finite.max(initial=0.0)))
    return (low, high) if high > low else (low, low + 1.0)
