"""The curves of many rows over relative depth: the current one bold, compared ones in colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from rich.style import Style

from depthtui.data.lens_view import through_words
from depthtui.data.run_settings import SummarySettings
from depthtui.depth import rules
from depthtui.depth.rule import Rule
from depthtui.token_text import fit_shown, printable_sentence
from depthtui.tui.draw.plot import Curve, CurvePanel, Plot, PlotArea, reach
from depthtui.tui.draw.styles import Piece
from depthtui.tui.panes.chart import Chart, ChartAxis, relative_axis
from depthtui.tui.panes.sweep_table import letter
from depthtui.tui.state.sweep_rows import SweepRow

_LOW, _LEAST_ACROSS = 4, 18
"""Panels are side by side if each would have fewer lines, and would get this many cells."""

_CURRENT_SIGN = "◆"


@dataclass(frozen=True)
class _Line:
    """A row with curves to draw.

    Attributes:
        row: the row.
        mark: its place among the compared rows, or None.
        is_current: whether the cursor is on it.
    """

    row: SweepRow
    mark: int | None
    is_current: bool

    @property
    def rank(self) -> int:
        """Higher ranks are drawn over lower ones."""
        return 2 if self.is_current else 1 if self.mark is not None else 0


class SweepCurves(Chart):
    """The curve of every rule, KL as a share of its largest, above or beside each other.

    The x axis is (layer + 1) / L, so that models of different depth share it. The row under the
    cursor is bold, its effective depths are marked; compared rows have colours and letters; the
    others are faint and behind.
    """

    def __init__(
        self, *, name: str | None = None, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._lines: list[_Line] = []
        self._settings = SummarySettings()
        self._drawn_behind: dict[str, tuple[object, object, list[str]]] = {}

    def show_rows(
        self,
        rows: Sequence[SweepRow],
        marks: Sequence[SweepRow],
        current: SweepRow | None,
        settings: SummarySettings,
    ) -> None:
        """Draw these rows.

        Args:
            rows: all rows of the table.
            marks: the compared rows, whether or not the table shows them.
            current: the row under the cursor.
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

    @property
    def _rules(self) -> list[Rule]:
        return [
            rule
            for rule in rules.by_kind()
            if any(_read(line.row, rule) is not None for line in self._lines)
        ]

    def prepare(self) -> None:
        shown_rules = self._rules
        first = self._settings.where_left_out(", token 0 out")
        title = through_words("Curves over relative depth", self._settings.lens)
        self.set_titles(f"{title}{first}", "space compares a row")
        self.legend = self._legend_lines()[: max(1, self.area.height // 4)]
        room = self.room.lines
        self.is_across = room < _LOW * len(shown_rules) and self.area.width >= _LEAST_ACROSS * len(
            shown_rules
        )
        areas = (
            self.side_by_side(len(shown_rules))
            if self.is_across
            else self.room.above_each_other(min(len(shown_rules), room))
        )
        self.panels = [
            self._panel(rule, area) for rule, area in zip(shown_rules, areas, strict=False)
        ]

    def _panel(self, rule: Rule, area: PlotArea) -> CurvePanel:
        """A rule's curves: those in front, the current row's uppermost, over all others."""
        readings = [(line, _read(line.row, rule)) for line in self._lines]
        curves = [(line, values) for line, values in readings if values is not None]
        values = [values for _, values in curves]
        plot = Plot(area, *_ends(rule, values))
        front = [self._curve(rule, line, values) for line, values in reversed(curves) if line.rank]
        threshold = rule.threshold.of(self._settings)
        behind = self._behind(rule, plot, values)
        return CurvePanel(rule.title, rule.layer_unit, plot, front, threshold, behind)

    def _curve(self, rule: Rule, line: _Line, values: np.ndarray) -> Curve:
        """A row's curve with its effective depth marked: the current row's with its layer."""
        estimate = line.row.depth(rule.name)
        curve = Curve(_depths(values), values, self._style(line))
        if estimate is None or estimate.ratio is None or estimate.layer is None:
            return curve
        sign, label = letter(line.mark or 0), ""
        if line.is_current:
            sign, label = _CURRENT_SIGN, str(estimate.count)
        return replace(curve, mark=estimate.layer, sign=sign, label=label)

    def _behind(self, rule: Rule, plot: Plot, curves: Sequence[np.ndarray]) -> list[str]:
        """Every row's curve in one text, since they look alike; kept while the rows stay."""
        summaries = {id(line.row.summary): line.row.summary for line in self._lines}
        key = (plot, summaries.keys())
        cached = self._drawn_behind.get(rule.name)
        if cached is None or cached[0] != key:
            text = plot.curves((_depths(values), values) for values in curves)
            # Keeping the summaries ensures that no other object gets the identity of one.
            cached = self._drawn_behind[rule.name] = key, summaries, text
        return cached[2]

    def _style(self, line: _Line) -> Style:
        if line.mark is not None:
            return self.line_style(line.mark)
        return self.pane_styles.strong

    def _legend_lines(self) -> list[list[Piece]]:
        """The row under the cursor first, then compared rows, then the number of others."""
        styles, width = self.pane_styles, self.area.width
        front = [line for line in self._lines if line.rank]
        front.sort(key=lambda line: (not line.is_current, line.mark or 0))
        n_behind = len(self._lines) - len(front)
        lines: list[list[Piece]] = []
        for line in front:
            sign = _CURRENT_SIGN if line.is_current else ""
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

    def axis(self, area: PlotArea) -> ChartAxis:
        return relative_axis(5 if area.width >= 40 else 2)


def _read(row: SweepRow, rule: Rule) -> np.ndarray | None:
    return None if row.summary is None else rule.by_layer(row.summary.curves)


def _depths(values: np.ndarray) -> np.ndarray:
    """The place of each layer's value: layer l at (l + 1) / L, as in a depth's ratio."""
    return np.arange(1, len(values) + 1) / len(values)


def _ends(rule: Rule, curves: Sequence[np.ndarray]) -> tuple[float, float]:
    """The scale's ends: the rule's limits, else the range of 0 and the data."""
    return rule.layer_limits or reach(np.concatenate(curves))
