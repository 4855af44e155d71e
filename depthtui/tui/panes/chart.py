"""Curves in panels that share an axis: the base of every chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

from rich.style import Style
from textual import events
from textual.strip import Strip

from depthtui.token_text import fit_shown
from depthtui.tui.draw.plot import CurvePanel, PlotArea
from depthtui.tui.draw.styles import Piece, number, number_within, ruler
from depthtui.tui.panes.pane import Cursor, Pane

_GAP = 2
"""Cells between panels side by side."""

_FIRST_VALUE = 2
"""The line of a panel at which the values at the cursor begin."""


class ChartAxis(NamedTuple):
    """The axis beneath the panels.

    Attributes:
        title: the unit that it counts.
        marks: numbers, each at its share of the width.
        at_cursor: the number under the cursor; the one at the right end where there is no cursor.
    """

    title: str
    marks: Sequence[tuple[float, str]]
    at_cursor: str


class Chart(Pane):
    """Panels above or beside each other, each with a scale of its own, over one axis.

    A subclass sets these in `prepare`.

    Attributes:
        panels: the panels, line by line.
        legend: lines above the panels.
        has_axis: whether there is room for an axis.
        is_across: whether the panels are side by side, each under its name.
    """

    MARGIN: ClassVar[int] = 13
    """Cells left of the panels, for names and scales."""

    ALONG: ClassVar[Literal["layer", "token", ""]] = ""
    """The cursor's coordinate along the axis; empty where the cursor is not on it."""

    panels: Sequence[CurvePanel] = ()
    legend: Sequence[Sequence[Piece]] = ()
    has_axis = True
    is_across = False

    # For subclasses ---------------------------------------------------------

    @property
    def share(self) -> float | None:
        """The cursor's place, 0 at the left end of the axis, 1 at its right; None for no cursor."""
        return None

    def axis(self, area: PlotArea) -> ChartAxis:
        """The axis beneath a panel."""
        raise NotImplementedError

    def point_at(self, share: float, panel: CurvePanel | None) -> None:
        """Act on a click at a share of the axis, on a panel or between them."""

    def value_style(self, place: int) -> Style:
        """The style of the cursor's value on the curve at this place, counted from 0."""
        return self.pane_styles.accent

    # Geometry ---------------------------------------------------------------

    @property
    def room(self) -> PlotArea:
        """The area of panels above each other."""
        top, width = len(self.legend), max(1, self.area.width - self.MARGIN)
        lines = self.area.height - top - self.has_axis
        return PlotArea(self.MARGIN, top, width, max(1, lines))

    def side_by_side(self, count: int) -> list[PlotArea]:
        """The areas of panels side by side, between their names and their axes."""
        top = len(self.legend) + 1
        return PlotArea(0, top, self.area.width, max(1, self.area.height - top - 1)).side_by_side(
            count, _GAP
        )

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        if self.ALONG and getattr(old, self.ALONG) != getattr(new, self.ALONG):
            self.refresh(self.whole_lines(0, self.area.height))

    def on_click(self, event: events.Click) -> None:
        """Put the cursor under the mouse."""
        offset = event.get_content_offset(self)
        if offset is None or not self.is_ready or offset.x < self.MARGIN or self.is_across:
            return
        panel = next((panel for panel in self.panels if offset.y in panel.plot.area), None)
        self.point_at((offset.x - self.MARGIN) / max(1, self.room.width - 1), panel)

    # Drawing ----------------------------------------------------------------

    def draw_line(self, y: int) -> Strip:
        if y < len(self.legend):
            return self.line(*self.legend[y])
        if self.is_across:
            return self._draw_across(y)
        if self.has_axis and y == self.area.height - 1:
            title = fit_shown(self.axis(self.room).title, self.MARGIN)
            return self.line((title, self.pane_styles.faint), *self.draw_axis(self.room))
        for panel in self.panels:
            if y in panel.plot.area:
                line = y - panel.plot.area.top
                return self.line(*self.draw_beside(panel, line), *self.draw_panel(panel, line))
        return self.line()

    def _draw_across(self, y: int) -> Strip:
        """A line of every panel: its head, its plot, its axis."""
        pieces: list[Piece] = []
        for place, panel in enumerate(self.panels):
            if place:
                pieces.append((" " * _GAP, self.pane_styles.text))
            area = panel.plot.area
            if y < area.top:
                pieces += self._draw_head(panel)
            elif y in area:
                pieces += self.draw_panel(panel, y - area.top)
            else:
                pieces += self.draw_axis(area)
        return self.line(*pieces)

    def _draw_head(self, panel: CurvePanel) -> list[Piece]:
        """The name of a panel and the ends of its scale, in one line."""
        styles, width = self.pane_styles, panel.plot.area.width
        ends = _scale_ends(panel, width - len(panel.name) - 1)
        room = width - len(panel.name) - len(ends)
        unit = f" {panel.unit}"
        unit = fit_shown(unit if len(unit) < room else "", room)
        return [(panel.name, styles.strong), (unit, styles.faint), (ends, styles.muted)]

    def draw_beside(self, panel: CurvePanel, line: int) -> list[Piece]:
        """The text left of a panel: name, unit, the cursor's values, the scale's ends."""
        return panel.beside(line, self.MARGIN, self.pane_styles, self._value_on(panel, line))

    def _value_on(self, panel: CurvePanel, line: int) -> Piece:
        """The value at the cursor beside a line of a panel, or nothing."""
        place, share = line - _FIRST_VALUE, self.share
        if share is None or not 0 <= place < len(panel.curves):
            return "", self.pane_styles.text
        # On the last line, the end of the scale is beside it.
        cells = 6 if line == panel.plot.area.lines - 1 else self.MARGIN - 1
        return number_within(panel.curves[place].value_at(share), cells), self.value_style(place)

    def draw_panel(self, panel: CurvePanel, line: int) -> list[Piece]:
        """A line of a panel, with the cursor."""
        return panel.line(line, self.pane_styles, self.share)

    def draw_axis(self, area: PlotArea) -> list[Piece]:
        """The marks of the axis beneath an area, and the cursor."""
        _, marks, at_cursor = self.axis(area)
        places = [(area.column(share), text) for share, text in marks]
        column = area.column(1 if self.share is None else self.share)
        pieces = ruler(places, (column, at_cursor), area.width, self.pane_styles)
        if self.share is None:
            return [(text, self.pane_styles.faint) for text, _ in pieces]
        return pieces


def relative_axis(steps: int, share: float | None = None) -> ChartAxis:
    """An axis of relative depth with this many steps."""
    marks = [(step / steps, f"{step / steps:.1f}") for step in range(steps + (share is not None))]
    return ChartAxis("depth / L", marks, "1" if share is None else f"{share:.2f}")


def _scale_ends(panel: CurvePanel, cells: int) -> str:
    """Both ends of a scale, with fewer digits where room is short; empty where it is too short."""
    low, high = panel.plot.low, panel.plot.high
    ends = f"{number(low)} … {number(high)}"
    if len(ends) > cells:
        each = (cells - 1) // 2
        ends = f"{number_within(low, each)}…{number_within(high, each)}"
    return ends if len(ends) <= cells else ""
