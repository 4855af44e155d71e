"""KL, overlap and cosine over depth, one above the other, with the effective depths marked."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
from rich.cells import cell_len
from rich.style import Style
from textual import events
from textual.strip import Strip

from depthtui.data.explanation import Explanation
from depthtui.data.lens_view import through_words
from depthtui.depth import rules
from depthtui.depth.reading import Reading
from depthtui.depth.rules.rule import Rule
from depthtui.report.explanations import of_rules
from depthtui.token_text import fit_shown, printable_sentence
from depthtui.tui.draw.plot import Plot, PlotArea, reach
from depthtui.tui.draw.styles import Piece, fit_right, number, ruler
from depthtui.tui.panes.pane import Cursor, CursorMoved, Pane, nothing_pooled

_MARGIN = 16
_NARROW_MARGIN = 13
_VALUE_LINE = 2
_MARK, _OTHER_MARK = "◆", "◇"
_LINE, _OTHER_LINE = "──", "┈┈"
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200)
"""What the axis may count layers in."""

Marks: TypeAlias = dict[tuple[int, int], str]
"""(line, column) -> character of an effective depth and its layer."""


@dataclass(frozen=True)
class RuleCurve:
    """The curve that one effective-depth rule reads, of one run.

    Attributes:
        rule: the rule.
        values: `[layers]`, NaN where unknown.
        n_layers: L of the run's model.
        effective: the layer that the rule finds, or None.
        threshold: the value that the rule compares with; NaN where it is not known yet.
    """

    rule: Rule
    values: np.ndarray
    n_layers: int
    effective: int | None
    threshold: float

    @cached_property
    def is_known(self) -> bool:
        """Whether any of it is known yet."""
        return not np.isnan(self.values).all()

    def text(self, plot: Plot, dotted: bool = False) -> list[str]:
        """In braille, one string a line."""
        return plot.curve(np.arange(len(self.values)) / self.n_layers, self.values, dotted)


@dataclass(frozen=True)
class _Panel:
    """One rule's curves with a scale of their own.

    Attributes:
        curve, other: the run's, and the compared run's or None.
        plot: where they are drawn.
        text, other_text: braille, one string a line.
        dashes: the threshold, likewise.
        marks, other_marks: the effective depths.
        drawn: lines without the cursor, as far as they were drawn.
    """

    curve: RuleCurve
    other: RuleCurve | None
    plot: Plot
    text: list[str]
    other_text: list[str]
    dashes: list[str]
    marks: Marks
    other_marks: Marks
    drawn: dict[int, list[Piece]] = field(default_factory=dict)


def _with_room(curves: list[RuleCurve], lines: int) -> list[RuleCurve]:
    """The curves to draw: the paper's alone where there are fewer than three lines for each."""
    of_paper = [curve for curve in curves if curve.rule.of_paper]
    return curves if lines >= 3 * len(curves) else of_paper or curves


class DepthCurves(Pane):
    """Means over tokens against the layer, in braille.

    Each curve has its own scale, printed beside it; its threshold is dashed,
    the effective depth that it gives is marked with its layer, and the layer
    cursor is a vertical line through all of them. The curves of a second run
    are drawn dotted behind, in another colour, over the same relative depth.
    """

    hint = "r runs the prompt"

    def __init__(
        self, *, name: str | None = None, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._panels: list[_Panel] = []
        self._plots = PlotArea(0, 0, 1, 1)

    def explains(self) -> tuple[Explanation, ...]:
        return of_rules()

    def why_empty(self) -> tuple[str, str] | None:
        title = through_words("Depth curves", self.view.lens)
        self.set_titles(f"{title} · mean over tokens")
        if self.reading is None:
            return nothing_pooled(self.result, f"{_rules_words()} over depth.", self.hint)
        if not curves_of(self.reading):
            if self.lens_to_compute():
                return self.no_lens()
            return "This run has neither contributions nor a logit lens.", ""
        return None

    def computes(self) -> tuple[str, ...]:
        return self.lens_to_compute()

    def prepare(self) -> None:
        width, height = self.area
        curves = _with_room(curves_of(self.reading), height)
        self._has_axis = height > 2 * len(curves)
        self._has_legend = self.view.names is not None and height > 2 * len(curves) + 1
        margin = _MARGIN if width >= 45 else _NARROW_MARGIN
        room = height - self._has_axis - self._has_legend
        self._plots = PlotArea(margin, int(self._has_legend), max(1, width - margin), room)
        curves = curves[: max(1, room)]
        others = {curve.rule.name: curve for curve in curves_of(self.other_reading)}
        areas = self._plots.above_each_other(len(curves))
        self._panels = [
            self._panel(curve, others.get(curve.rule.name), area)
            for curve, area in zip(curves, areas, strict=True)
        ]

    def _panel(self, curve: RuleCurve, other: RuleCurve | None, area: PlotArea) -> _Panel:
        plot = Plot(area, *scale_ends(curve, other))
        text = curve.text(plot)
        other_text = [" " * area.width] * area.lines
        if other is None:
            marks, other_marks = self._marks(plot, curve, text, {}, "A"), Marks()
        else:
            other_text = other.text(plot, dotted=True)
            marks = self._marks(plot, curve, text, _sign(plot, other, _OTHER_MARK), "A")
            other_marks = self._marks(plot, other, _overlaid(text, other_text), marks, "B")
        dashes = plot.dashes(curve.threshold)
        return _Panel(curve, other, plot, text, other_text, dashes, marks, other_marks)

    def _marks(
        self, plot: Plot, curve: RuleCurve, drawn: list[str], taken: Marks, letter: str
    ) -> Marks:
        """The sign of run A or B at a curve's effective depth, and the layer beside it.

        `taken` are marks of the other run, which the layer leaves legible.
        """
        marks = _sign(plot, curve, _MARK if letter == "A" else _OTHER_MARK)
        label = f"{letter}{curve.effective}" if self._has_legend else str(curve.effective)
        for line, column in [*marks]:
            marks |= _label(drawn, taken, line, column, label)
        return marks

    # Geometry ---------------------------------------------------------------

    @property
    def _is_narrow(self) -> bool:
        """Whether there is no room for units and the values at the cursor."""
        return self._plots.left == _NARROW_MARGIN

    def _column_of(self, layer: int) -> int:
        """The plot's cell in which a layer is drawn."""
        assert self.reading is not None
        layer = min(max(layer, 0), self.reading.n_layers)
        return self._plots.column(layer / self.reading.n_layers)

    @property
    def _is_relative(self) -> bool:
        """Whether two models of different depth share the axis."""
        other = self.other_reading
        return bool(self.reading and other and self.reading.n_layers != other.n_layers)

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        if old.layer != new.layer:
            self.refresh(self.whole_lines(0, self.area.height))

    # Drawing ----------------------------------------------------------------

    def draw_line(self, y: int) -> Strip:
        if self._has_axis and y == self.area.height - 1:
            return self._draw_axis()
        if self._has_legend and y == 0:
            return self._draw_legend()
        for panel in self._panels:
            if y in panel.plot.area:
                line = y - panel.plot.area.top
                return self.line(*self._draw_scale(panel, line), *self._draw_plot(panel, line))
        return self.line()

    def _draw_legend(self) -> Strip:
        assert self.view.names is not None
        name, other = (printable_sentence(name) for name in self.view.names)
        room = max(0, self.area.width - 11)
        # What the shorter name leaves is the longer one's.
        half = room // 2
        first = max(half, room - cell_len(other))
        name = fit_shown(name, min(first, cell_len(name)))
        other = fit_shown(other, min(max(half, room - cell_len(name)), cell_len(other)))
        return self.line(
            (f"{_LINE}{_MARK} {name}", self._style),
            (f"   {_OTHER_LINE}{_OTHER_MARK} {other}", self._other_style),
        )

    @property
    def _style(self) -> Style:
        """How the run's curves are drawn."""
        is_alone = self.other_reading is None
        return self.pane_styles.text if is_alone else self.line_style(0)

    @property
    def _other_style(self) -> Style:
        """How those of the compared run are drawn."""
        return self.line_style(1)

    def _draw_scale(self, panel: _Panel, line: int) -> list[Piece]:
        """What stands on the left of a plot: its name, the cursor's values, the scale's ends."""
        styles = self.pane_styles
        if self._is_narrow:
            name = panel.curve.rule.title if line == 0 else ""
            left, room = (name, styles.strong), _NARROW_MARGIN - 1 - len(name)
        else:
            text, style = self._beside(panel, line)
            left, room = (fit_shown(text, _MARGIN - 7), style), 6
        end = panel.plot.end(line, room) if panel.curve.is_known else ""
        return [left, (fit_right(end, room) + " ", styles.muted)]

    def _beside(self, panel: _Panel, line: int) -> Piece:
        """The words left of a line of a plot."""
        styles, curve, other = self.pane_styles, panel.curve, panel.other
        if line == 0:
            return curve.rule.title, styles.strong
        if line == 1:
            return curve.rule.unit, styles.faint
        if line == _VALUE_LINE:
            style = styles.accent if other is None else self._style
            return self._value_at_cursor(curve), style
        if line == _VALUE_LINE + 1 and other is not None:
            return self._value_at_cursor(other), self._other_style
        return "", styles.text

    def _value_at_cursor(self, curve: RuleCurve) -> str:
        """The value of a run's curve at the cursor's relative depth."""
        assert self.reading is not None
        layer = round(max(self.cursor.layer, 0) * curve.n_layers / self.reading.n_layers)
        return number(float(curve.values[min(layer, len(curve.values) - 1)]))

    def _draw_plot(self, panel: _Panel, line: int) -> list[Piece]:
        if line not in panel.drawn:
            panel.drawn[line] = self._curves_on(panel, line)
        pieces = panel.drawn[line].copy()
        cursor = self._column_of(self.cursor.layer)
        if (line, cursor) not in panel.marks and (line, cursor) not in panel.other_marks:
            char = pieces[cursor][0]
            is_free = char in (" ", panel.dashes[line][cursor])
            pieces[cursor] = ("│" if is_free else char, self.pane_styles.accent)
        return pieces

    def _curves_on(self, panel: _Panel, line: int) -> list[Piece]:
        """A line of a plot without the cursor."""
        cells = zip(panel.text[line], panel.dashes[line], panel.other_text[line], strict=True)
        pieces = [self._cell(*dots) for dots in cells]
        mark_style = self.pane_styles.strong if panel.other is None else self._style
        for marks, style in ((panel.other_marks, self._other_style), (panel.marks, mark_style)):
            for (at_line, column), char in marks.items():
                if at_line == line:
                    pieces[column] = (char, style)
        return pieces

    def _cell(self, curve: str, dash: str, other: str) -> Piece:
        """One cell of a plot; of dots of both runs the first run's colour wins."""
        if curve != " ":
            return chr(ord(curve) | (ord(other) if other != " " else 0)), self._style
        if other != " ":
            return other, self._other_style
        return dash, self.pane_styles.faint if dash != " " else self.pane_styles.text

    def _draw_axis(self) -> Strip:
        assert self.reading is not None
        if self._is_relative:
            return self._draw_relative_axis()
        styles, width, layers = self.pane_styles, self._plots.width, self.reading.n_layers
        step = next((step for step in _STEPS if layers / step * 5 <= width), _STEPS[-1])
        here = min(max(self.cursor.layer, 0), layers)
        marks = [(self._column_of(layer), str(layer)) for layer in range(0, layers + 1, step)]
        pieces = ruler(marks, (self._column_of(here), str(here)), width, styles)
        return self.line((fit_shown("layer", self._plots.left), styles.faint), *pieces)

    def _draw_relative_axis(self) -> Strip:
        assert self.reading is not None
        plots, styles = self._plots, self.pane_styles
        depth = min(max(self.cursor.layer, 0) / self.reading.n_layers, 1.0)
        marks = [(plots.column(fifths / 5), f"{fifths / 5:.1f}") for fifths in range(6)]
        pieces = ruler(marks, (plots.column(depth), f"{depth:.2f}"), plots.width, styles)
        return self.line((fit_shown("depth / L", plots.left), styles.faint), *pieces)

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on the layer under the mouse."""
        offset = event.get_content_offset(self)
        if offset is None or not self.is_ready or offset.x < self._plots.left:
            return
        assert self.reading is not None
        share = (offset.x - self._plots.left) / max(1, self._plots.width - 1)
        layer = min(round(share * self.reading.n_layers), self.reading.n_layers)
        self.post_message(CursorMoved(layer, self.cursor.token))


def curves_of(summary: Reading | None) -> list[RuleCurve]:
    """The curves that a summary has."""
    if summary is None:
        return []
    settings = summary.settings
    layers = {estimate.rule: estimate.layer for estimate in summary.depths}
    return [
        RuleCurve(
            rule, values, summary.n_layers, layers.get(rule.name), rule.level(values, settings)
        )
        for rule in rules.by_kind()
        if (values := summary.curves.get(rule.curve)) is not None
    ]


def _rules_words() -> str:
    *titles, last = (rule.title for rule in rules.by_kind())
    return f"{', '.join(titles)} and {last}"


def _overlaid(curve: list[str], other: list[str]) -> list[str]:
    """Both curves as one text a line."""
    pairs = (zip(*texts, strict=True) for texts in zip(curve, other, strict=True))
    return ["".join(a if a != " " else b for a, b in pair) for pair in pairs]


def _sign(plot: Plot, curve: RuleCurve, sign: str) -> Marks:
    """A sign at a curve's effective depth; nothing where it has none."""
    layer = curve.effective
    if layer is None:
        return {}
    line = plot.line_of(float(curve.values[layer]))
    return {(line, plot.area.column(layer / curve.n_layers)): sign}


def _label(drawn: list[str], taken: Marks, line: int, column: int, label: str) -> Marks:
    """The label of an effective depth where the curve leaves room nearby, or else over it.

    Nothing where it would cover other marks everywhere: a part of a number is another number.
    """
    width, size = len(drawn[0]), len(label)
    right, left, centre = column + 1, column - size, column - size // 2
    places = [
        (line, right),
        (line, left),
        *((line + step, x) for step in (-1, 1) for x in (centre, right, left)),
    ]

    def is_legible(y: int, x: int) -> bool:
        inside = 0 <= y < len(drawn) and x >= 0 and x + size <= width
        return inside and not any((y, x + i) in taken for i in range(-1, size + 1))

    legible = [place for place in places if is_legible(*place)]
    free = [(y, x) for y, x in legible if not drawn[y][x : x + size].strip()]
    for y, x in [*free, *legible][:1]:
        return {(y, x + i): char for i, char in enumerate(label)}
    return {}


def scale_ends(curve: RuleCurve, other: RuleCurve | None = None) -> tuple[float, float]:
    """The scale's ends: the rule's limits, else 0 and what the data reach."""
    if curve.rule.limits is not None:
        return curve.rule.limits
    values = curve.values if other is None else np.concatenate([curve.values, other.values])
    return reach(values)
