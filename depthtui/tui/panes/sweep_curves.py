"""The curves of many rows over relative depth: one of them bold, those compared in colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.style import Style
from textual.strip import Strip

from depthtui.data.lens_view import through_words
from depthtui.data.run_settings import SummarySettings
from depthtui.depth import rules
from depthtui.depth.rules.rule import Rule
from depthtui.token_text import fit_shown, printable_sentence
from depthtui.tui.draw.plot import Plot, PlotArea, reach
from depthtui.tui.draw.styles import Piece, fit_right, number, number_within, ruler
from depthtui.tui.panes.pane import Cursor, Pane
from depthtui.tui.panes.sweep_table import letter
from depthtui.tui.state.sweep_rows import Row

_MARGIN = 13
_GAP = 2
_LOW, _LEAST_ACROSS = 4, 18
"""Panels stand side by side where they would have fewer lines each, and get as many cells."""

_HERE = "◆"


@dataclass(frozen=True)
class _Line:
    """A row whose curves are drawn.

    Attributes:
        row: the row.
        mark: its place among those compared, or None.
        is_current: whether the cursor is on it.
    """

    row: Row
    mark: int | None
    is_current: bool

    @property
    def rank(self) -> int:
        """Which lines lie over which."""
        return 2 if self.is_current else 1 if self.mark is not None else 0


@dataclass(frozen=True)
class _Panel:
    """The curves that one rule reads.

    Attributes:
        rule: the rule.
        plot: where they are drawn.
        layers: braille text of each line, one string a line of text, the uppermost last.
        dashes: the threshold, likewise.
        marks: (line, column) -> character and style of an effective depth.
    """

    rule: Rule
    plot: Plot
    layers: list[tuple[list[str], Style]]
    dashes: list[str]
    marks: dict[tuple[int, int], Piece]


class SweepCurves(Pane):
    """The curve of every rule, KL as a share of its largest, above or beside each other.

    Across lies (layer + 1) / L, so that models of different depth share the axis. The row under
    the cursor is bold, its effective depths are marked; rows that are compared have colours and
    letters; the others lie faintly behind.
    """

    def __init__(
        self, *, name: str | None = None, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._lines: list[_Line] = []
        self._settings = SummarySettings()
        self._panels: list[_Panel] = []
        self._is_across = False
        self._legend: list[list[Piece]] = []
        self._drawn_behind: dict[str, tuple[object, object, list[str]]] = {}

    def show_rows(
        self,
        rows: Sequence[Row],
        marks: Sequence[Row],
        current: Row | None,
        settings: SummarySettings,
    ) -> None:
        """Draw these from now on.

        Args:
            rows: all that the table shows.
            marks: those that are compared, whether the table shows them or not.
            current: the one under the cursor.
            settings: the thresholds.
        """
        places = {row.key: place for place, row in enumerate(marks)}
        everyone = {row.key: row for row in [*rows, *marks] if row.summary is not None}
        self._lines = sorted(
            (
                _Line(row, places.get(key), current is not None and key == current.key)
                for key, row in everyone.items()
            ),
            key=lambda line: line.rank,
        )
        self._settings = settings
        self.redraw()

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles("Curves over relative depth")
        if not self._lines:
            return "The curves of every row, over relative depth.", ""
        if not self._rules:
            return "Neither contributions nor a logit lens were measured.", ""
        return None

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        pass

    @property
    def _rules(self) -> list[Rule]:
        return [
            rule
            for rule in rules.by_kind()
            if any(_read(line.row, rule) is not None for line in self._lines)
        ]

    def prepare(self) -> None:
        known = self._rules
        first = self._settings.where_left_out(", token 0 out")
        title = through_words("Curves over relative depth", self._settings.lens)
        self.set_titles(f"{title}{first}", "space compares a row")
        self._legend = self._legend_lines()[: max(1, self.area.height // 4)]
        self._is_across, areas = self._areas(len(known))
        self._panels = [self._panel(rule, area) for rule, area in zip(known, areas, strict=False)]

    def _areas(self, count: int) -> tuple[bool, list[PlotArea]]:
        """Whether the panels stand side by side, and where; as many as there is room for."""
        (width, height), top = self.area, len(self._legend)
        room = height - top - 1
        if room < _LOW * count and width >= _LEAST_ACROSS * count:
            beneath = PlotArea(0, top + 1, width, max(1, room - 1))
            return True, beneath.side_by_side(count, _GAP)
        beside = PlotArea(_MARGIN, top, max(1, width - _MARGIN), room)
        return False, beside.above_each_other(min(count, max(1, room)))

    def _panel(self, rule: Rule, area: PlotArea) -> _Panel:
        read = [(line, _read(line.row, rule)) for line in self._lines]
        known = [(line, values) for line, values in read if values is not None]
        curves = [values for _, values in known]
        plot = Plot(area, *_ends(rule, curves))
        layers = [(self._behind(rule, plot, curves), self.pane_styles.faint)]
        marks: dict[tuple[int, int], Piece] = {}
        for line, values in known:
            if line.rank:
                layers.append((plot.curve(_depths(values), values), self._style(line)))
                marks |= self._marks(rule, plot, line, values)
        return _Panel(rule, plot, layers, plot.dashes(rule.threshold.of(self._settings)), marks)

    def _marks(
        self, rule: Rule, plot: Plot, line: _Line, values: np.ndarray
    ) -> dict[tuple[int, int], Piece]:
        """The sign at a row's effective depth; the current row's has its layer beside it."""
        estimate, style = line.row.depth(rule.name), self._style(line)
        if estimate is None or estimate.ratio is None or estimate.layer is None:
            return {}
        place = plot.line_of(float(values[estimate.layer])), plot.area.column(estimate.ratio)
        if not line.is_current:
            return {place: (letter(line.mark or 0), style)}
        return {place: (_HERE, style)} | _label(plot.area, *place, str(estimate.count), style)

    def _behind(self, rule: Rule, plot: Plot, curves: Sequence[np.ndarray]) -> list[str]:
        """Every row's curve in one, since nobody tells them apart; kept while the rows stay."""
        shown = {id(line.row.summary): line.row.summary for line in self._lines}
        known = (plot, shown.keys())
        drawn = self._drawn_behind.get(rule.name)
        if drawn is None or drawn[0] != known:
            text = plot.curves((_depths(values), values) for values in curves)
            # The summaries are held, so that no other one gets the identity of one of them.
            drawn = self._drawn_behind[rule.name] = known, shown, text
        return drawn[2]

    def _style(self, line: _Line) -> Style:
        if line.mark is not None:
            return self.line_style(line.mark)
        return self.pane_styles.strong

    def _legend_lines(self) -> list[list[Piece]]:
        """The row under the cursor first, then those compared, then how many lie behind."""
        styles, width = self.pane_styles, self.area.width
        front = [line for line in self._lines if line.rank]
        front.sort(key=lambda line: (not line.is_current, line.mark or 0))
        n_behind = len(self._lines) - len(front)
        lines: list[list[Piece]] = []
        for line in front:
            sign = _HERE if line.is_current else ""
            sign += letter(line.mark) if line.mark is not None else ""
            text = fit_shown(f"━━ {sign} {printable_sentence(line.row.title)}", width).rstrip()
            lines.append([(text, self._style(line))])
        if n_behind:
            words = f"━━ {n_behind} more" if front else f"━━ {n_behind} rows"
            room = width - sum(len(text) for text, _ in lines[0]) - 3 if lines else width
            if lines and room >= len(words):
                lines[0].append((f"   {words}", styles.faint))
            elif not lines:
                lines.append([(words, styles.faint)])
        return lines

    # Drawing ----------------------------------------------------------------

    def draw_line(self, y: int) -> Strip:
        if y < len(self._legend):
            return self.line(*self._legend[y])
        if self._is_across:
            return self._draw_across(y)
        if y == self.area.height - 1:
            return self.line(("depth / L".ljust(_MARGIN), self.pane_styles.faint), *self._axis(0))
        for panel in self._panels:
            if y in panel.plot.area:
                line = y - panel.plot.area.top
                return self.line(*self._scale(panel, line), *self._plot(panel, line))
        return self.line()

    def _draw_across(self, y: int) -> Strip:
        """A line of every panel: its head, its plot, its axis."""
        pieces: list[Piece] = []
        for place, panel in enumerate(self._panels):
            if place:
                pieces.append((" " * _GAP, self.pane_styles.text))
            area = panel.plot.area
            if y < area.top:
                pieces += self._head(panel)
            elif y in area:
                pieces += self._plot(panel, y - area.top)
            else:
                pieces += self._axis(place)
        return self.line(*pieces)

    def _head(self, panel: _Panel) -> list[Piece]:
        """The name of a panel and the ends of its scale, in one line."""
        styles, name = self.pane_styles, panel.rule.title
        ends = _scale_ends(panel.plot, panel.plot.area.width - len(name) - 1)
        room = panel.plot.area.width - len(name) - len(ends)
        unit = f" {panel.rule.layer_unit}"
        unit = fit_shown(unit if len(unit) < room else "", room)
        return [(name, styles.strong), (unit, styles.faint), (ends, styles.muted)]

    def _scale(self, panel: _Panel, line: int) -> list[Piece]:
        """What stands on the left of a panel."""
        styles = self.pane_styles
        name = panel.rule.title if line == 0 else ""
        unit = panel.rule.layer_unit if line == 1 and panel.plot.area.lines > 2 else ""
        room = _MARGIN - 1 - len(name) - len(unit)
        rest = fit_right(panel.plot.end(line, room - bool(name)), room) + " "
        return [(name, styles.strong), (unit, styles.faint), (rest, styles.muted)]

    def _plot(self, panel: _Panel, line: int) -> list[Piece]:
        pieces: list[Piece] = []
        for column in range(panel.plot.area.width):
            piece: Piece = (panel.dashes[line][column], self.pane_styles.faint)
            for text, style in panel.layers:
                # Of several lines in one cell the uppermost is seen, so that it stays thin.
                if text[line][column] != " ":
                    piece = (text[line][column], style)
            pieces.append(panel.marks.get((line, column), piece))
        return pieces

    def _axis(self, place: int) -> list[Piece]:
        area, styles = self._panels[place].plot.area, self.pane_styles
        depths = np.arange(0, 1, 0.2 if area.width >= 40 else 0.5)
        marks = [(area.column(depth), f"{depth:g}") for depth in depths]
        pieces = ruler(marks, (area.width - 1, "1"), area.width, styles)
        # Nothing here is under a cursor.
        return [(text, styles.faint) for text, _ in pieces]


def _label(
    area: PlotArea, line: int, column: int, text: str, style: Style
) -> dict[tuple[int, int], Piece]:
    """The number of a layer beside its mark, on the side where there is room."""
    fits = column + 1 + len(text) <= area.width
    first = column + 1 if fits else column - len(text)
    return {(line, first + i): (char, style) for i, char in enumerate(text)}


def _read(row: Row, rule: Rule) -> np.ndarray | None:
    return None if row.summary is None else rule.by_layer(row.summary.curves)


def _depths(values: np.ndarray) -> np.ndarray:
    """Where a curve of one value a layer lies: layer l at (l + 1) / L, as in a depth's ratio."""
    return np.arange(1, len(values) + 1) / len(values)


def _ends(rule: Rule, curves: Sequence[np.ndarray]) -> tuple[float, float]:
    """The scale's ends: the rule's limits, else 0 and what the data reach."""
    return rule.layer_limits or reach(np.concatenate(curves))


def _scale_ends(plot: Plot, cells: int) -> str:
    """Both ends of a scale, of fewer digits where there is little room; empty where too little."""
    ends = f"{number(plot.low)} … {number(plot.high)}"
    if len(ends) > cells:
        each = (cells - 1) // 2
        ends = f"{number_within(plot.low, each)}…{number_within(plot.high, each)}"
    return ends if len(ends) <= cells else ""
