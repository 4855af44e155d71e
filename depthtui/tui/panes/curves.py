"""KL, overlap and cosine over depth, one above the other, with the effective depths marked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from textual import events
from textual.geometry import Region
from textual.reactive import reactive
from textual.strip import Strip

from depthtui.data.depth import DepthSummary
from depthtui.token_text import fit_shown
from depthtui.tui.draw.braille import Canvas
from depthtui.tui.draw.ink import Piece, fit_right, number, ruler
from depthtui.tui.draw.text import sentence
from depthtui.tui.panes.pane import Cursor, CursorMoved, Pane, nothing_pooled

_MARGIN = 16
_NARROW_MARGIN = 13
_VALUE_LINE = 2
_MARK, _OTHER_MARK = "◆", "◇"
_LINE, _OTHER_LINE = "──", "┈┈"
_ROOMY = 8
"""Lines of all panels that there must be before there are gaps between them."""


@dataclass(frozen=True)
class _Panel:
    """One curve with a scale of its own.

    Attributes:
        rule: the effective-depth rule that reads it.
        name, unit: for its label.
        low, high: the ends of its scale.
        curve: braille text, one string a line.
        threshold: dashes, likewise.
        other: the compared run's curve, likewise.
        mark, other_mark: (line, column) -> character of the effective depth and its layer.
        values: the curve itself.
        other_values: the compared run's, or None.
    """

    rule: str
    name: str
    unit: str
    low: float
    high: float
    curve: list[str]
    threshold: list[str]
    other: list[str]
    mark: dict[tuple[int, int], str]
    other_mark: dict[tuple[int, int], str]
    values: np.ndarray
    other_values: np.ndarray | None


class DepthCurves(Pane):
    """Means over tokens against the layer, in braille.

    Each curve has its own scale, printed beside it; its threshold is dashed,
    the effective depth that it gives is marked with its layer, and the layer
    cursor is a vertical line through all of them. The curves of a second run
    are drawn dotted and fainter behind, over the same relative depth.

    Attributes:
        names: what the two runs are called in the legend; untrusted. None for no legend.
    """

    hint: reactive[str] = reactive("r runs the prompt", repaint=False)
    names: tuple[str, str] | None = None

    def __init__(
        self, *, name: str | None = None, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._panels: list[_Panel] = []
        self._tops: list[int] = []

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles("Depth curves · mean over tokens")
        if self.summary is None:
            return nothing_pooled(self.result, "KL, overlap and cosine over depth.", self.hint)
        if not curves_of(self.summary):
            return "This run has neither contributions nor a logit lens.", ""
        return None

    def prepare(self) -> None:
        assert self.summary is not None
        curves = curves_of(self.summary)
        height = self.area.height
        self._has_axis = height > 2 * len(curves)
        self._has_legend = self.names is not None and height > 2 * len(curves) + 1
        room = height - self._has_axis - self._has_legend
        curves = curves[: max(1, room)]
        gaps = len(curves) - 1
        gap = int(room - gaps >= _ROOMY)
        each, spare = divmod(room - gap * gaps, len(curves))
        heights = [max(1, each + (i < spare)) for i in range(len(curves))]
        self._tops = [self._has_legend + sum(heights[:i]) + gap * i for i in range(len(heights))]
        others = {rule: values for rule, *_, values in curves_of(self.other_summary)}
        self._panels = [
            self._panel(rule, name, unit, values, others.get(rule), lines)
            for (rule, name, unit, values), lines in zip(curves, heights, strict=True)
        ]

    def _panel(
        self,
        rule: str,
        name: str,
        unit: str,
        values: np.ndarray,
        other: np.ndarray | None,
        lines: int,
    ) -> _Panel:
        assert self.summary is not None
        low, high = _ends(rule, values if other is None else np.concatenate([values, other]))

        def place(y: np.ndarray) -> np.ndarray:
            return (y - low) / (high - low)

        width = self._plot_width
        curve, dashes, behind = (Canvas(width, lines) for _ in range(3))
        curve.plot(np.arange(len(values)) / self.summary.n_layers, place(values))
        if other is not None and self.other_summary is not None:
            depths = np.arange(len(other)) / self.other_summary.n_layers
            behind.plot(depths, place(other), dotted=True)
        threshold = self._threshold(rule, values)
        if not np.isnan(threshold):
            dashes.dash(float(place(np.array(threshold))))

        def mark_of(
            letter: str,
            summary: DepthSummary | None,
            heights: np.ndarray | None,
            taken: list[str],
            sign: str,
        ) -> dict[tuple[int, int], str]:
            if summary is None or heights is None:
                return {}
            layer = next((each.layer for each in summary.depths if each.rule == rule), None)
            if layer is None:
                return {}
            height = min(max(float(heights[layer]), 0.0), 1.0)
            line = round((1 - height) * (4 * lines - 1)) // 4
            column = self._column_at(layer / summary.n_layers)
            label = f"{letter}{layer}" if self._has_legend else str(layer)
            return _mark(taken, line, column, label, sign)

        drawn, faint = curve.lines(), behind.lines()
        mark = mark_of("A", self.summary, place(values), drawn, _MARK)
        other_mark = mark_of(
            "B",
            self.other_summary,
            None if other is None else place(other),
            _overlaid(drawn, faint, mark),
            _OTHER_MARK,
        )
        return _Panel(
            rule,
            name,
            unit,
            low,
            high,
            drawn,
            dashes.lines(),
            faint,
            mark,
            other_mark,
            values,
            other,
        )

    def _threshold(self, rule: str, values: np.ndarray) -> float:
        """The value that the rule compares with; NaN where it is not known yet."""
        assert self.summary is not None
        if rule == "kl":
            return float(self.summary.settings.kl_threshold * values[:-1].max())
        return self.summary.settings.overlap_threshold if rule == "overlap" else 0.0

    # Geometry ---------------------------------------------------------------

    @property
    def _margin(self) -> int:
        return _MARGIN if self.area.width >= 45 else _NARROW_MARGIN

    @property
    def _plot_width(self) -> int:
        return max(1, self.area.width - self._margin)

    def _column_of(self, layer: int) -> int:
        """The plot's cell in which a layer is drawn."""
        assert self.summary is not None
        layer = min(max(layer, 0), self.summary.n_layers)
        return self._column_at(layer / self.summary.n_layers)

    def _column_at(self, depth: float) -> int:
        """The plot's cell of a relative depth."""
        return round(depth * (2 * self._plot_width - 1)) // 2

    @property
    def _is_relative(self) -> bool:
        """Whether two models of different depth share the axis."""
        other = self.other_summary
        return bool(self.summary and other and self.summary.n_layers != other.n_layers)

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        width, height = self.area
        for cursor in (old, new):
            self.refresh(Region(self._margin + self._column_of(cursor.layer), 0, 1, height))
        if self._has_axis:
            self.refresh(Region(0, height - 1, width, 1))
        if self._margin == _MARGIN:
            values = (top + _VALUE_LINE for top in self._tops)
            self.refresh(*(Region(0, y, self._margin, 2) for y in values))

    # Drawing ----------------------------------------------------------------

    def draw_line(self, y: int) -> Strip:
        if self._has_axis and y == self.area.height - 1:
            return self._draw_axis()
        if self._has_legend and y == 0:
            return self._draw_legend()
        index = sum(top <= y for top in self._tops) - 1
        panel = self._panels[index]
        line = y - self._tops[index]
        if line >= len(panel.curve):
            return self.line()
        return self.line(*self._draw_scale(panel, line), *self._draw_plot(panel, line))

    def _draw_legend(self) -> Strip:
        assert self.names is not None
        inks, room = self.inks, self.area.width // 2 - 6
        name, other = (fit_shown(sentence(each), room).rstrip() for each in self.names)
        return self.line(
            (f"{_LINE}{_MARK} {name}", inks.text),
            (f"   {_OTHER_LINE}{_OTHER_MARK} {other}", inks.muted),
        )

    def _draw_scale(self, panel: _Panel, line: int) -> list[Piece]:
        inks, last = self.inks, len(panel.curve) - 1
        end = {0: number(panel.high), last: number(panel.low)}.get(line, "")
        if np.isnan(panel.values).all():
            end = ""
        if self._margin == _NARROW_MARGIN:
            name = panel.name if line == 0 else ""
            return [(name, inks.strong), (fit_right(end, 12 - len(name)) + " ", inks.muted)]
        left: Piece = ("", inks.text)
        if line == 0:
            left = (panel.name, inks.strong)
        elif line == 1:
            left = (panel.unit, inks.faint)
        elif line == _VALUE_LINE:
            left = (self._value_at_cursor(panel.values, self.summary), inks.accent)
        elif line == _VALUE_LINE + 1 and panel.other_values is not None:
            left = (self._value_at_cursor(panel.other_values, self.other_summary), inks.muted)
        return [
            (fit_shown(left[0], _MARGIN - 7), left[1]),
            (fit_right(end, 6) + " ", inks.muted),
        ]

    def _value_at_cursor(self, values: np.ndarray, summary: DepthSummary | None) -> str:
        """The value of a run's curve at the cursor's relative depth."""
        if self.summary is None or summary is None:
            return ""
        layer = round(max(self.cursor.layer, 0) * summary.n_layers / self.summary.n_layers)
        return number(float(values[min(layer, len(values) - 1)]))

    def _draw_plot(self, panel: _Panel, line: int) -> list[Piece]:
        inks = self.inks
        cursor = self._column_of(self.cursor.layer)
        pieces: list[Piece] = []
        rows = zip(panel.curve[line], panel.threshold[line], panel.other[line], strict=True)
        for column, (curve, dash, other) in enumerate(rows):
            if curve != " ":
                # Dots of both runs in one cell: the first run's colour wins.
                piece = (chr(ord(curve) | (ord(other) if other != " " else 0)), inks.text)
            elif other != " ":
                piece = (other, inks.muted)
            elif dash != " ":
                piece = (dash, inks.faint)
            else:
                piece = (" ", inks.text)
            if column == cursor:
                piece = ("│" if piece[0] == " " or piece[0] == dash else piece[0], inks.accent)
            pieces.append(piece)
        for marks, ink in ((panel.other_mark, inks.muted), (panel.mark, inks.strong)):
            for (at_line, column), char in marks.items():
                if at_line == line:
                    pieces[column] = (char, ink)
        return pieces

    def _draw_axis(self) -> Strip:
        assert self.summary is not None
        inks, width, layers = self.inks, self._plot_width, self.summary.n_layers
        if self._is_relative:
            return self._draw_relative_axis()
        step = next(
            (each for each in (1, 2, 5, 10, 20, 50, 100) if layers / each * 5 <= width), 200
        )
        here = min(max(self.cursor.layer, 0), layers)
        marks = [(self._column_of(each), str(each)) for each in range(0, layers + 1, step)]
        pieces = ruler(marks, (self._column_of(here), str(here)), width, inks)
        return self.line((fit_shown("layer", self._margin), inks.faint), *pieces)

    def _draw_relative_axis(self) -> Strip:
        assert self.summary is not None
        depth = min(max(self.cursor.layer, 0) / self.summary.n_layers, 1.0)
        marks = [(self._column_at(each / 5), f"{each / 5:.1f}") for each in range(6)]
        cursor = (self._column_at(depth), f"{depth:.2f}")
        pieces = ruler(marks, cursor, self._plot_width, self.inks)
        return self.line((fit_shown("depth / L", self._margin), self.inks.faint), *pieces)

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on the layer under the mouse."""
        offset = event.get_content_offset(self)
        if offset is None or not self.is_ready or offset.x < self._margin:
            return
        assert self.summary is not None
        share = (offset.x - self._margin) / max(1, self._plot_width - 1)
        layer = min(round(share * self.summary.n_layers), self.summary.n_layers)
        self.post_message(CursorMoved(layer, self.cursor.token))


def curves_of(summary: DepthSummary | None) -> list[tuple[str, str, str, np.ndarray]]:
    """(rule, name, unit, values) of the curves that a summary has."""
    if summary is None:
        return []
    curves = summary.curves
    listed = (
        ("kl", "KL", "nats", curves.kl),
        ("overlap", "overlap", "of top 5", curves.overlap),
        ("cosine", "cosine", "a, m, c", curves.mean_cosine),
    )
    return [(rule, name, unit, each) for rule, name, unit, each in listed if each is not None]


def _overlaid(curve: list[str], other: list[str], mark: dict[tuple[int, int], str]) -> list[str]:
    """Both curves and a mark, as one text a line."""
    pairs = (zip(*each, strict=True) for each in zip(curve, other, strict=True))
    lines = [[a if a != " " else b for a, b in pair] for pair in pairs]
    for (line, column), char in mark.items():
        lines[line][column] = char
    return ["".join(each) for each in lines]


def _mark(
    drawn: list[str], line: int, column: int, label: str, sign: str
) -> dict[tuple[int, int], str]:
    """The sign at an effective depth, and its label where the curve leaves room nearby."""
    width, size = len(drawn[0]), len(label)
    right, left, centre = column + 1, column - size, column - size // 2
    places = [
        (line, right),
        (line, left),
        *((line + step, x) for step in (-1, 1) for x in (centre, right, left)),
    ]

    def is_free(y: int, x: int) -> bool:
        inside = 0 <= y < len(drawn) and x >= 0 and x + size <= width
        return inside and not drawn[y][x : x + size].strip()

    beside = right if right + size <= width else max(0, left)
    y, x = next((each for each in places if is_free(*each)), (line, beside))
    mark = {(y, x + i): char for i, char in enumerate(label) if x + i < width}
    return mark | {(line, column): sign}


def _ends(rule: str, values: np.ndarray) -> tuple[float, float]:
    """The scale's ends: 0 to 1 for the overlap, else 0 and what the data reach."""
    if rule == "overlap":
        return 0.0, 1.0
    known = values[~np.isnan(values)]
    low = min(0.0, float(known.min(initial=0.0)))
    high = max(0.0, float(known.max(initial=0.0)))
    return (low, high) if high > low else (low, low + 1.0)
