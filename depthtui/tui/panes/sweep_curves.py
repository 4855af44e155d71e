"""The curves of many rows over relative depth: one of them bold, those compared in colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.style import Style
from textual.strip import Strip

from depthtui.data.run_settings import SummarySettings
from depthtui.depth.rules import layer_curve
from depthtui.report.phrases import rule_title
from depthtui.token_text import fit_shown
from depthtui.tui.draw.braille import Canvas
from depthtui.tui.draw.ink import Piece, fit_right, line_style, number, ruler
from depthtui.tui.draw.text import sentence
from depthtui.tui.panes.pane import Cursor, Pane
from depthtui.tui.panes.sweep_table import letter
from depthtui.tui.state.sweep_rows import Row

_MARGIN = 13
_GAP = 2
_LOW, _LEAST_ACROSS = 4, 18
"""Panels stand side by side where they would have fewer lines each, and get as many cells."""

_ROOMY = 8
"""Lines of all panels that there must be before there are gaps between them."""

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
class _Box:
    """Where a plot is, in cells and lines of the pane."""

    left: int
    top: int
    width: int
    lines: int


@dataclass(frozen=True)
class _Panel:
    """The curves that one rule reads.

    Attributes:
        rule: the rule.
        box: where they are drawn.
        low, high: the ends of its scale.
        layers: braille text of each line, one string a line of text, the uppermost last.
        dashes: the threshold, likewise.
        marks: (line, column) -> character and style of an effective depth.
    """

    rule: str
    box: _Box
    low: float
    high: float
    layers: list[tuple[list[str], Style]]
    dashes: list[str]
    marks: dict[tuple[int, int], Piece]


class SweepCurves(Pane):
    """KL as a share of its largest, overlap and cosine, above or beside each other.

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
            key=lambda each: each.rank,
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
    def _rules(self) -> list[str]:
        return [
            rule
            for rule in _UNITS
            if any(_read(each.row, rule) is not None for each in self._lines)
        ]

    def prepare(self) -> None:
        rules, (width, height) = self._rules, self.area
        first = "" if self._settings.include_first_token else ", token 0 out"
        self.set_titles(f"Curves over relative depth{first}", "space compares a row")
        self._legend = self._legend_lines()[: max(1, height // 4)]
        top, room = len(self._legend), height - len(self._legend) - 1
        if room < _LOW * len(rules) and width >= _LEAST_ACROSS * len(rules):
            cells = (width - _GAP * (len(rules) - 1)) // len(rules)
            self._panels = [
                self._panel(rule, _Box((cells + _GAP) * place, top + 1, cells, max(1, room - 1)))
                for place, rule in enumerate(rules)
            ]
            return
        rules = rules[: max(1, room)]
        gap = int(room - len(rules) + 1 >= _ROOMY)
        each, spare = divmod(max(len(rules), room - gap * (len(rules) - 1)), len(rules))
        self._panels = []
        for place, rule in enumerate(rules):
            lines = each + (place < spare)
            box = _Box(_MARGIN, top, max(1, width - _MARGIN), lines)
            self._panels.append(self._panel(rule, box))
            top += lines + gap

    def _panel(self, rule: str, box: _Box) -> _Panel:
        read = {
            id(each): curve for each in self._lines if (curve := _read(each.row, rule)) is not None
        }
        low, high = (0.0, 1.0) if rule != "cosine" else _ends(list(read.values()))
        drawn: list[tuple[list[str], Style]] = []
        marks: dict[tuple[int, int], Piece] = {}
        for each in self._lines:
            if id(each) not in read or each.rank == 0:
                continue
            canvas, style = Canvas(box.width, box.lines), self._style(each)
            _plot_curve(canvas, read[id(each)], low, high)
            drawn.append((canvas.lines(), style))
            estimate = each.row.depth(rule)
            if estimate is not None and estimate.ratio is not None and estimate.layer is not None:
                height = (read[id(each)][estimate.layer] - low) / (high - low)
                height = min(max(float(height), 0.0), 1.0)
                line = round((1 - height) * (4 * box.lines - 1)) // 4
                column = round(estimate.ratio * (2 * box.width - 1)) // 2
                sign = _HERE if each.is_current else letter(each.mark or 0)
                marks[line, column] = (sign, style)
                if each.is_current:
                    marks |= _label(box, line, column, str(estimate.layer), style)
        dashes = Canvas(box.width, box.lines)
        dashes.dash((self._threshold(rule) - low) / (high - low))
        behind = self._behind(rule, box, list(read.values()), (low, high))
        layers = [(behind, self.inks.faint), *drawn]
        return _Panel(rule, box, low, high, layers, dashes.lines(), marks)

    def _behind(
        self, rule: str, box: _Box, curves: Sequence[np.ndarray], ends: tuple[float, float]
    ) -> list[str]:
        """Every row's curve in one, since nobody tells them apart; kept while the rows stay."""
        shown = {id(each.row.summary): each.row.summary for each in self._lines}
        known = (box, ends, shown.keys())
        if rule not in self._drawn_behind or self._drawn_behind[rule][0] != known:
            canvas = Canvas(box.width, box.lines)
            for each in curves:
                _plot_curve(canvas, each, *ends)
            # The summaries are held, so that no other one gets the identity of one of them.
            self._drawn_behind[rule] = known, shown, canvas.lines()
        return self._drawn_behind[rule][2]

    def _style(self, line: _Line) -> Style:
        if line.mark is not None:
            return line_style(self.inks, line.mark)
        return self.inks.strong

    def _threshold(self, rule: str) -> float:
        settings = self._settings
        return {"kl": settings.kl_threshold, "overlap": settings.overlap_threshold}.get(rule, 0.0)

    def _legend_lines(self) -> list[list[Piece]]:
        """The row under the cursor first, then those compared, then how many lie behind."""
        inks, width = self.inks, self.area.width
        front = [each for each in self._lines if each.rank]
        front.sort(key=lambda each: (not each.is_current, each.mark or 0))
        lines: list[list[Piece]] = []
        n_behind = len(self._lines) - len(front)
        for each in front:
            sign = _HERE if each.is_current else letter(each.mark or 0)
            if each.is_current and each.mark is not None:
                sign = f"{_HERE}{letter(each.mark)}"
            name = sentence(each.row.title)
            text = fit_shown(f"━━ {sign} {name}", width).rstrip()
            lines.append([(text, self._style(each))])
        if n_behind:
            words = f"━━ {n_behind} more" if front else f"━━ {n_behind} rows"
            room = width - sum(len(text) for text, _ in lines[0]) - 3 if lines else width
            if lines and room >= len(words):
                lines[0].append((f"   {words}", inks.faint))
            elif not lines:
                lines.append([(words, inks.faint)])
        return lines

    # Drawing ----------------------------------------------------------------

    @property
    def _is_across(self) -> bool:
        """Whether the panels stand side by side."""
        return self._panels[0].box.left == 0

    def draw_line(self, y: int) -> Strip:
        if y < len(self._legend):
            return self.line(*self._legend[y])
        if self._is_across:
            return self._draw_across(y)
        if y == self.area.height - 1:
            return self.line(("depth / L".ljust(_MARGIN), self.inks.faint), *self._axis(0))
        for panel in self._panels:
            if panel.box.top <= y < panel.box.top + panel.box.lines:
                line = y - panel.box.top
                return self.line(*self._scale(panel, line), *self._plot(panel, line))
        return self.line()

    def _draw_across(self, y: int) -> Strip:
        """A line of every panel: its head, its plot, its axis."""
        pieces: list[Piece] = []
        for place, panel in enumerate(self._panels):
            if place:
                pieces.append((" " * _GAP, self.inks.text))
            if y < panel.box.top:
                pieces += self._head(panel)
            elif y < panel.box.top + panel.box.lines:
                pieces += self._plot(panel, y - panel.box.top)
            else:
                pieces += self._axis(place)
        return self.line(*pieces)

    def _head(self, panel: _Panel) -> list[Piece]:
        """The name of a panel and the ends of its scale, in one line."""
        inks, name = self.inks, rule_title(panel.rule)
        ends = f"{number(panel.low)} … {number(panel.high)}"
        room = panel.box.width - len(name) - len(ends)
        unit = f" {_UNITS[panel.rule]}"
        unit = fit_shown(unit if len(unit) < room else "", room)
        return [(name, inks.strong), (unit, inks.faint), (ends, inks.muted)]

    def _scale(self, panel: _Panel, line: int) -> list[Piece]:
        """What stands on the left of a panel."""
        inks, last = self.inks, panel.box.lines - 1
        end = {0: number(panel.high), last: number(panel.low)}.get(line, "")
        name = rule_title(panel.rule) if line == 0 else ""
        unit = _UNITS[panel.rule] if line == 1 and last > 1 else ""
        rest = fit_right(end, _MARGIN - 1 - len(name) - len(unit)) + " "
        return [(name, inks.strong), (unit, inks.faint), (rest, inks.muted)]

    def _plot(self, panel: _Panel, line: int) -> list[Piece]:
        pieces: list[Piece] = []
        for column in range(panel.box.width):
            piece: Piece = (panel.dashes[line][column], self.inks.faint)
            for text, style in panel.layers:
                # Of several lines in one cell the uppermost is seen, so that it stays thin.
                if text[line][column] != " ":
                    piece = (text[line][column], style)
            pieces.append(panel.marks.get((line, column), piece))
        return pieces

    def _axis(self, place: int) -> list[Piece]:
        width, inks = self._panels[place].box.width, self.inks
        step = 0.2 if width >= 40 else 0.5
        depths = np.arange(0, 1, step)
        marks = [(round(each * (2 * width - 1)) // 2, f"{each:g}") for each in depths]
        pieces = ruler(marks, (width - 1, "1"), width, inks)
        # Nothing here is under a cursor.
        return [(text, inks.faint) for text, _ in pieces]


def _label(
    box: _Box, line: int, column: int, text: str, style: Style
) -> dict[tuple[int, int], Piece]:
    """The number of a layer beside its mark, on the side where there is room."""
    fits = column + 1 + len(text) <= box.width
    first = column + 1 if fits else column - len(text)
    return {(line, first + i): (char, style) for i, char in enumerate(text)}


def _plot_curve(canvas: Canvas, values: np.ndarray, low: float, high: float) -> None:
    """Draw a curve of one value a layer: layer l lies at (l + 1) / L, as in a depth's ratio."""
    depths = np.arange(1, len(values) + 1) / len(values)
    canvas.plot(depths, (values - low) / (high - low))


_UNITS = {"kl": "of max", "overlap": "of top 5", "cosine": "a, m, c"}
"""The rules in the order of their panels, and what their curves are in."""


def _read(row: Row, rule: str) -> np.ndarray | None:
    return None if row.summary is None else layer_curve(row.summary.curves, rule)


def _ends(curves: Sequence[np.ndarray]) -> tuple[float, float]:
    """0 and what the data reach."""
    known = np.concatenate([each[np.isfinite(each)] for each in curves])
    low, high = min(0.0, float(known.min(initial=0.0))), max(0.0, float(known.max(initial=0.0)))
    return (low, high) if high > low else (low, low + 1.0)
