"""Layers x tokens of one measure, as colours or glyphs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from rich.cells import cell_len
from rich.color import Color as RichColor
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.reactive import reactive
from textual.strip import Strip

from depthtui import palette
from depthtui.engine.measures import Measure, formula_in
from depthtui.engine.results import Curves, DepthSummary, RunResult
from depthtui.tui.token_text import fit
from depthtui.tui.widgets.ink import Piece, Ramp, fit_right, half_blocks, number, ruler
from depthtui.tui.widgets.pane import Cursor, CursorMoved, Pane
from depthtui.tui.widgets.scale import CLIP_PERCENTILE, Scale, scale_of
from depthtui.tui.widgets.words import sentence

HeatmapMode: TypeAlias = Literal["tokens", "means"]

_WIDEST_TOKEN = 8
_WIDEST_BRANCH = 11
_TALLEST_LAYER = 6
_BRANCHES = ("attention", "mlp", "layer")
_BRANCH_TITLES = {"attention": "attention", "mlp": "MLP", "layer": "layer"}


@dataclass(frozen=True)
class _Grid:
    """What is drawn: a value and a level for every layer and column.

    Attributes:
        values: `[rows, columns]`.
        levels: `[rows, columns]`, -1 where unknown.
        ramp, scale: how a value gets its level and its look.
        labels: one a column.
        line_count: text lines of the grid itself.
        half_rows: half text lines that a layer takes.
        rows_shown: how many layers fit.
        margin: cells of the layer labels.
        column_width: cells of a column.
        columns_shown: how many columns fit.
    """

    values: np.ndarray
    levels: list[list[int]]
    ramp: Ramp
    scale: Scale
    labels: list[str]
    line_count: int
    half_rows: int
    rows_shown: int
    margin: int
    column_width: int
    columns_shown: int

    @property
    def rows(self) -> int:
        return len(self.values)

    @property
    def columns(self) -> int:
        return self.values.shape[1]

    @property
    def lines_used(self) -> int:
        return -(-self.rows_shown * self.half_rows // 2)


class Heatmap(Pane):
    """Layers up the side, tokens along the bottom, a measure's value as colour.

    When the model is deeper than the pane is tall, two layers share a line as
    upper and lower half blocks; when that is not enough, it scrolls. A second
    run given to `show` is subtracted, on a diverging ramp.

    Attributes:
        mode: `tokens`, or `means` for attention, MLP and layer averaged over tokens.
    """

    mode: reactive[HeatmapMode] = reactive("tokens", repaint=False)
    hint: reactive[str] = reactive("r runs the prompt", repaint=False)

    def __init__(
        self, *, name: str | None = None, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._first_row = 0
        self._first_column = 0
        self._grid: _Grid | None = None

    # Contents ---------------------------------------------------------------

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles(self._title())
        if self.result is None:
            return "Layers x tokens: what each layer does to each token.", self.hint
        if self._values() is not None:
            return None
        if self.other is not None and self._values_of(self.result, self.summary) is not None:
            return "These two runs cannot be subtracted.", "Compare runs of equal shape."
        return self._why_unavailable(self.result)

    def _why_unavailable(self, result: RunResult) -> tuple[str, str]:
        needs_lens = self.measure.reads_residual
        missing = result.model.lens_missing if needs_lens else result.model.split_missing
        if missing:
            return sentence(missing), "Another measure may have values."
        if self.mode == "means" and self.summary is None:
            return "There are no means over tokens for this run.", "Another view may have values."
        part = "logit lens" if needs_lens else "contributions"
        return f"This run has no {part}.", "Run it again with that metric, or take another measure."

    def _title(self) -> str:
        measure = self.measure
        formula = formula_in(measure, self.result) if self.result else measure.formula
        if self.mode == "means":
            kind = "cosine" if measure.diverging else "contribution"
            title = f"Mean {kind} by sublayer"
        else:
            title = f"{measure.title} · {formula}"
        return f"{title} · difference" if self.other is not None else title

    def _values(self) -> np.ndarray | None:
        if self.result is None:
            return None
        values = self._values_of(self.result, self.summary)
        if self.other is None or values is None:
            return values
        minus = self._values_of(self.other, self.other_summary)
        if minus is None or minus.shape != values.shape:
            return None
        return values - minus

    def _values_of(self, result: RunResult, summary: DepthSummary | None) -> np.ndarray | None:
        if self.mode == "tokens":
            return self.measure.values(result)
        return None if summary is None else means_of(summary.curves, self.measure)

    @property
    def _diverging(self) -> bool:
        return self.measure.diverging or self.other is not None

    def prepare(self) -> None:
        values = self._values()
        assert values is not None
        assert self.result is not None
        ramp = self.ramp_for(self._diverging)
        limits = None if self.other is not None or self.mode == "means" else self.measure.limits
        scale = scale_of(values, self._diverging, limits)
        width, height = self.area
        rows, columns = values.shape
        labels = (
            self.result.tokens.texts
            if self.mode == "tokens"
            else [_BRANCH_TITLES[each] for each in _BRANCHES]
        )
        line_count = max(1, height - (2 if height > 3 else 1 if height > 1 else 0))
        half_rows = min(_TALLEST_LAYER, 2 * line_count // rows)
        half_rows = max(2, half_rows // 2 * 2) if ramp.glyphs else max(1, half_rows)
        margin = len(str(rows - 1)) + 2
        room = max(1, width - margin)
        widest = _WIDEST_TOKEN if self.mode == "tokens" else _WIDEST_BRANCH
        column_width = max(1, min(widest, room // columns))
        self._grid = _Grid(
            values=values,
            levels=palette.levels(values, scale.low, scale.high, len(ramp)).tolist(),
            ramp=ramp,
            scale=scale,
            labels=labels,
            line_count=line_count,
            half_rows=half_rows,
            rows_shown=min(rows, 2 * line_count // half_rows) or 1,
            margin=margin,
            column_width=column_width,
            columns_shown=max(1, min(columns, room // column_width)),
        )
        self._scroll_to_cursor()

    @property
    def grid(self) -> _Grid:
        """What `prepare` worked out; only there while the pane is ready."""
        assert self._grid is not None
        return self._grid

    # The cursor -------------------------------------------------------------

    def _at(self, cursor: Cursor) -> tuple[int, int]:
        """The grid's row and column under a cursor."""
        grid = self.grid
        column = cursor.token if self.mode == "tokens" else 0
        return (
            min(max(cursor.layer, 0), grid.rows - 1),
            min(max(column, 0), grid.columns - 1),
        )

    def _scroll_to_cursor(self) -> bool:
        """Bring the cursor into sight; whether that moved anything."""
        grid = self.grid
        row, column = self._at(self.cursor)
        before = self._first_row, self._first_column
        self._first_row = _in_sight(row, self._first_row, grid.rows_shown, grid.rows)
        self._first_column = _in_sight(column, self._first_column, grid.columns_shown, grid.columns)
        return before != (self._first_row, self._first_column)

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        if self._scroll_to_cursor():
            self.refresh(self.area.region)
            return
        regions = [*self._regions_of(old), *self._regions_of(new)]
        self.refresh(*regions, *self._footer_regions())

    def _regions_of(self, cursor: Cursor) -> Iterator[Region]:
        """The cell of a cursor and the label of its row."""
        grid = self.grid
        row, column = self._at(cursor)
        lines = [y for y in range(self.area.height) if row in self._rows_on(y)]
        if lines:
            x = grid.margin + (column - self._first_column) * grid.column_width
            yield Region(0, lines[0], grid.margin, len(lines))
            yield Region(x, lines[0], grid.column_width, len(lines))

    def _footer_regions(self) -> Iterator[Region]:
        grid = self.grid
        width, height = self.area
        if height > grid.line_count:
            yield Region(0, grid.line_count, width, height - grid.line_count)

    # Drawing ----------------------------------------------------------------

    def draw_line(self, y: int) -> Strip:
        grid = self.grid
        if y < grid.line_count:
            return self._draw_layers(y, grid)
        if y == grid.line_count and self.area.height > grid.line_count + 1:
            return self._draw_columns(grid)
        return self._draw_legend(grid)

    def _row_at(self, half_line: int) -> int | None:
        """The layer on a half line, counted from the grid's top."""
        grid = self.grid
        place = half_line - 2 * (grid.line_count - grid.lines_used)
        if self.layer_order == "up":
            place = 2 * grid.lines_used - 1 - place
        row, inside = place // grid.half_rows, place >= 0
        return self._first_row + row if inside and row < grid.rows_shown else None

    def _rows_on(self, y: int) -> tuple[int | None, int | None]:
        """The layers on the upper and lower half of a line."""
        grid = self.grid
        if not 0 <= y < grid.line_count:
            return None, None
        return self._row_at(2 * y), self._row_at(2 * y + 1)

    def _label_of(self, y: int) -> int | None:
        """The layer whose number stands on a line."""
        grid = self.grid
        cursor_row, _ = self._at(self.cursor)
        on_line = [row for row in self._rows_on(y) if row is not None]
        if not on_line or grid.half_rows <= 2:
            return cursor_row if cursor_row in on_line else min(on_line, default=None)
        # A layer taller than a line has its number on the first line that is all its own.
        upper, lower = self._rows_on(y)
        above, _ = self._rows_on(y - 1)
        return upper if upper == lower and upper != above else None

    def _draw_layers(self, y: int, grid: _Grid) -> Strip:
        upper, lower = self._rows_on(y)
        return self.line(*self._draw_label(y, grid), *self._drawcell_len(upper, lower, grid))

    def _draw_label(self, y: int, grid: _Grid) -> Iterator[Piece]:
        inks = self.inks
        label = self._label_of(y)
        cursor_row, _ = self._at(self.cursor)
        digits = grid.margin - 2
        phase = self._phase_layer()
        tick = "◆" if phase is not None and phase in self._rows_on(y) else " "
        if tick == "◆" and label != phase and grid.half_rows > 2:
            tick = " "
        if label is None:
            yield " " * grid.margin, inks.faint
        elif label == cursor_row:
            yield f"▸{label:>{digits}}", inks.accent
            yield tick, inks.text
        else:
            yield f" {label:>{digits}}", inks.muted
            yield tick, inks.text

    def _phase_layer(self) -> int | None:
        """The layer of the cosine rule: where the phase transition is."""
        if self.summary is None or self.other is not None:
            return None
        return next((each.layer for each in self.summary.depths if each.rule == "cosine"), None)

    def _drawcell_len(self, upper: int | None, lower: int | None, grid: _Grid) -> Iterator[Piece]:
        if upper is None and lower is None:
            return
        cursor_row, cursor_column = self._at(self.cursor)
        first = self._first_column
        tops = None if upper is None else grid.levels[upper]
        bottoms = None if lower is None else grid.levels[lower]
        for column in range(first, first + grid.columns_shown):
            top = None if tops is None else tops[column]
            bottom = None if bottoms is None else bottoms[column]
            here = column == cursor_column and self.mode == "tokens"
            on_top, on_bottom = here and upper == cursor_row, here and lower == cursor_row
            if grid.ramp.glyphs:
                yield from self._draw_glyphs(top, on_top, grid)
            elif self.mode == "means" and upper == lower and upper is not None:
                yield from self._draw_number(upper, column, grid)
            elif on_top or on_bottom:
                yield from self._draw_cursor(top, bottom, on_top, on_bottom)
            else:
                yield self._blocks(top, bottom, grid.column_width)

    def _colour(self, level: int | None) -> RichColor:
        """A level's colour; the background where there is none or it is unknown."""
        return self.inks.background if level is None or level < 0 else self.grid.ramp.colours[level]

    def _blocks(self, top: int | None, bottom: int | None, width: int) -> Piece:
        if -1 in (top, bottom) and {top, bottom} <= {-1, None}:
            return self._unknown(width)
        return half_blocks(self._colour(top), self._colour(bottom), width)

    def _unknown(self, width: int) -> Piece:
        return palette.UNKNOWN_GLYPH.center(width), self.inks.faint

    def _draw_cursor(
        self, top: int | None, bottom: int | None, on_top: bool, on_bottom: bool
    ) -> Iterator[Piece]:
        """The cell under the cursor: two accent edges, or all accent where it is narrow."""
        width = self.grid.column_width
        accent = self.inks.accent.color or self.inks.background
        upper = accent if on_top else self._colour(top)
        lower = accent if on_bottom else self._colour(bottom)
        if width < 3:
            yield half_blocks(upper, lower, width)
            return
        yield half_blocks(upper, lower, 1)
        yield self._blocks(top, bottom, width - 2)
        yield half_blocks(upper, lower, 1)

    def _draw_glyphs(self, level: int | None, marked: bool, grid: _Grid) -> Iterator[Piece]:
        width = grid.column_width
        if level is None:
            yield " " * width, self.inks.text
            return
        if level < 0:
            text, style = self._unknown(width)
        else:
            text, style = grid.ramp.glyphs[level] * width, self.inks.text
        if not marked:
            yield text, style
        elif width < 3:
            yield text, self.inks.text + Style(reverse=True)
        else:
            yield "[", self.inks.accent
            yield text[1:-1], style
            yield "]", self.inks.accent

    def _draw_number(self, row: int, column: int, grid: _Grid) -> Iterator[Piece]:
        level, width = grid.levels[row][column], grid.column_width
        text = fit_right(number(float(grid.values[row, column])), width - 1) + " "
        yield text, grid.ramp.written_on(level) if level >= 0 else self.inks.faint

    # Below the grid ---------------------------------------------------------

    def _draw_columns(self, grid: _Grid) -> Strip:
        inks, width = self.inks, grid.column_width
        margin: Piece = (" " * grid.margin, inks.muted)
        _, cursor_column = self._at(self.cursor)
        first = self._first_column
        shown = range(first, first + grid.columns_shown)
        if self.mode == "means":
            names = [(fit_right(grid.labels[each], width - 1) + " ", inks.muted) for each in shown]
            return self.line(margin, *names)
        if width >= 4:
            words = [
                (
                    fit(grid.labels[each], width - 1) + " ",
                    inks.accent if each == cursor_column else inks.muted,
                )
                for each in shown
            ]
            return self.line(margin, *words)
        return self.line(margin, *self._draw_ruler(grid, cursor_column))

    def _draw_ruler(self, grid: _Grid, cursor_column: int) -> list[Piece]:
        """Token numbers every so often, and the cursor's token at its place."""
        room, width = self.area.width - grid.margin, grid.column_width
        first = self._first_column
        every = 10 if width < 2 else 5
        shown = range(first, first + grid.columns_shown)
        marks = [((each - first) * width, str(each)) for each in shown if each % every == 0]
        place = (cursor_column - first) * width
        word = fit(grid.labels[cursor_column], min(14, max(1, room // 3))).rstrip()
        fits = place + 1 + cell_len(word) <= room
        cursor = (place, f"▴{word}") if fits else (place - cell_len(word), f"{word}▴")
        return ruler(marks, cursor, room, self.inks)

    def _draw_legend(self, grid: _Grid) -> Strip:
        """The widest legend that fits: scale, what it clips, the value under the cursor."""
        width = self.area.width
        scale = grid.scale
        long_note, short_note = f"  {scale.note}" if scale.note else "", ""
        if scale.note:
            short_note = "  " + scale.note.replace(
                f"{CLIP_PERCENTILE}th percentile", f"p{CLIP_PERCENTILE}"
            )
        phase = self._phase_layer()
        mark = f"  ◆ cosine depth {phase}" if phase is not None else ""
        long_value, short_value = self._value_texts(grid)
        choices = [
            (12, long_note + mark, long_value),
            (12, long_note, long_value),
            (12, short_note, long_value),
            (8, short_note, long_value),
            (8, short_note, short_value),
            (5, short_note, short_value),
            (5, "", short_value),
            (0, "", short_value),
        ]
        for cells, note, value in choices:
            bar = self._draw_scale(grid, cells)
            used = sum(cell_len(text) for text, _ in bar) + len(note)
            if used + 2 + cell_len(value) <= width or not cells:
                break
        gap = " " * max(0, width - used - cell_len(value))
        return self.line(
            *bar, (note, self.inks.muted), (gap, self.inks.muted), (value, self.inks.text)
        )

    def _draw_scale(self, grid: _Grid, cells: int) -> list[Piece]:
        if not cells:
            return []
        if not np.isfinite(grid.values).any():
            return [("not run yet", self.inks.faint)]
        scale, ramp, muted = grid.scale, grid.ramp, self.inks.muted
        ends = number(scale.low), number(scale.high)
        if ramp.glyphs:
            middle: list[Piece] = [(ramp.glyphs, self.inks.text)]
        else:
            steps = np.rint(np.linspace(0, len(ramp) - 1, 2 * cells)).astype(int)
            colours = [ramp.colours[each] for each in steps]
            middle = [
                ("▌", Style(color=left, bgcolor=right))
                for left, right in zip(colours[::2], colours[1::2], strict=True)
            ]
        return [(f"{ends[0]} ", muted), *middle, (f" {ends[1]}", muted)]

    def _value_texts(self, grid: _Grid) -> tuple[str, str]:
        """The place and value under the cursor, in full and in short."""
        row, column = self._at(self.cursor)
        assert self.result is not None
        layer = "output" if row == self.result.model.n_layers else f"layer {row}"
        if self.mode == "means":
            values = [number(float(each)) for each in grid.values[row]]
            pairs = zip(grid.labels, values, strict=True)
            return f"{layer}: " + " ".join(map(" ".join, pairs)), " ".join(values)
        value = number(float(grid.values[row, column]))
        return f"{layer}, token {column}: {value}", value

    # The mouse --------------------------------------------------------------

    def on_click(self, event: events.Click) -> None:
        place = event.get_content_offset(self)
        if place is None or not self.is_ready:
            return
        grid = self.grid
        upper, lower = self._rows_on(place.y)
        row = lower if lower is not None else upper
        if row is None or place.x < grid.margin:
            return
        column = self._first_column + (place.x - grid.margin) // grid.column_width
        if column >= self._first_column + grid.columns_shown:
            return
        token = column if self.mode == "tokens" else self.cursor.token
        self.post_message(CursorMoved(row, token))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._scroll_layers(1 if self.layer_order == "up" else -1, event)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._scroll_layers(-1 if self.layer_order == "up" else 1, event)

    def on_mouse_scroll_left(self, event: events.MouseScrollLeft) -> None:
        self._scroll_tokens(-1, event)

    def on_mouse_scroll_right(self, event: events.MouseScrollRight) -> None:
        self._scroll_tokens(1, event)

    def _scroll_layers(self, step: int, event: events.Event) -> None:
        event.stop()
        if self.is_ready:
            layer = min(max(self.cursor.layer + step, 0), self.grid.rows - 1)
            self.post_message(CursorMoved(layer, self.cursor.token))

    def _scroll_tokens(self, step: int, event: events.Event) -> None:
        event.stop()
        if self.is_ready and self.result is not None:
            token = min(max(self.cursor.token + step, 0), len(self.result.tokens) - 1)
            self.post_message(CursorMoved(self.cursor.layer, token))

    def watch_mode(self) -> None:
        self.redraw()


def means_of(curves: Curves, measure: Measure) -> np.ndarray | None:
    """`[L, 3]`: attention, MLP and layer, as cosines for a cosine and norm ratios otherwise.

    Branches that are unavailable are NaN; None where there are none at all.
    """
    kind = "cosine" if measure.name.endswith("_cosine") else "norm_ratio"
    columns = [getattr(curves, f"{branch}_{kind}") for branch in _BRANCHES]
    layer = columns[-1]
    if layer is None:
        return None
    unknown = np.full_like(layer, np.nan)
    return np.stack([unknown if each is None else each for each in columns], axis=1)


def _in_sight(place: int, first: int, shown: int, count: int) -> int:
    """The first item to show so that `place` is among the `shown` ones, moving little."""
    first = min(max(first, place - shown + 1), place)
    return max(0, min(first, count - shown))
