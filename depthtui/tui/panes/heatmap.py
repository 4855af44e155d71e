"""Layers x tokens of a measure, as colours or glyphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from rich.cells import cell_len
from rich.color import Color as RichColor
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.strip import Strip

from depthtui import ramps
from depthtui.data.depth import DepthEstimate
from depthtui.data.model import label_cells, layer_label, marks_words
from depthtui.data.run import RunResult
from depthtui.depth.reading import Reading
from depthtui.metrics.chosen_lens import metric_of_lens
from depthtui.metrics.needs import lens
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.report.blocks import Figure
from depthtui.report.phrases import rule_title
from depthtui.report.run_document import measure_figure
from depthtui.token_text import fit, printable, printable_chars, printable_sentence
from depthtui.tui.draw.grid import Grid, Side, lines_filled
from depthtui.tui.draw.scale import Scale, scale_of
from depthtui.tui.draw.styles import Piece, Ramp, fit_right, half_blocks, number, ruler
from depthtui.tui.draw.text import not_computed
from depthtui.tui.panes.heatmap_views import VIEWS, At, TokensView
from depthtui.tui.panes.layer_rows import OUTPUT
from depthtui.tui.panes.pane import Cursor, CursorMoved, Pane
from depthtui.tui.panes.under_cursor import HeatmapCell, Layer, Target
from depthtui.tui.panes.view import View
from depthtui.tui.state.next_measures import key_that_helps

_NARROWEST_NAMED = 4
_LONGEST_NAME = 14
_ROOM_FOR_ALL = 6
"""The least lines of a pane in which one line shows all tokens."""

_BELOW = 2
"""Lines of the axis and the legend."""

_OVERVIEW = "overview "
_MARK, _CURSOR = "◆", "▸"
_SIDE_CELLS = 4
_SIDE_TITLE = " out"
_UNKNOWN, _HATCHED = -1, -2
_VISIBLE_NOISE = 0.001
"""The least share of the scale at which noise is visible."""


class HeatmapPane(Pane):
    """Layers up the side, tokens along the bottom, a measure's value as colour.

    When the model is deeper than the pane is tall, two layers share a line as upper and lower half
    blocks; if that is not enough, the pane scrolls. The number on such a line is that of the
    cursor's layer, else of the marked one, else of the lower one. Where a prompt is longer than the
    pane is wide, a line beneath shows the whole prompt at the cursor's layer, each cell the mean of
    its tokens, with the visible part marked.
    """

    hint = "r runs the prompt"
    footer = ("measure", "open", "run_stepping", "what_if", "explain")

    _values: np.ndarray
    _is_known: bool
    _levels: list[list[int]]
    _labels: Sequence[str]
    _ramp: Ramp
    _scale: Scale
    _rows = 0
    _grid: Grid | None = None
    _bins: Side | None = None
    _side: np.ndarray | None = None
    _side_levels: list[int]
    _noise: float = -1.0

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """The lines that a run's depths fill, in two thirds of the container at most."""
        most = max(1, 2 * container.height // 3 - self.gutter.height)
        if self.result is None:
            return most
        model, tokens = self.result.model, len(self.result.tokens)
        below = _BELOW + (tokens > width - label_cells(model) - 2)
        whole_lines = bool(self.ramp_for(self._diverging).glyphs)
        rows = self._rows or model.n_layers
        return min(most, below + lines_filled(rows, most - below, whole_lines))

    def show(self, view: View) -> None:
        """Draw this view from now on, in as many lines as its rows fill."""
        is_new = view != self.view
        super().show(view)
        if not is_new:
            return
        rows = max(map(self._rows_of, (view.result, view.other_result)))
        if rows not in (0, self._rows):
            self._rows = rows
            if self.display and self.styles.is_auto_height:
                self.refresh(layout=True)

    def _rows_of(self, result: RunResult | None) -> int:
        """The rows of a run; 0 where it has no values."""
        values = self._measured(result, self.reading, self._token) if result else None
        return 0 if values is None else len(values)

    @property
    def kind(self) -> TokensView:
        """The kind of columns."""
        return VIEWS[self.view.mode]

    def computes(self) -> tuple[str, ...]:
        return self.computed_for(self.measure.metric)

    def figures(self) -> Sequence[Figure]:
        result = self.result
        values = self._measured(result, self.reading, self._token) if result else None
        if result is None or values is None or not self.kind.by_token:
            return ()
        return [measure_figure(self.measure, values, result, self.view.lens)]

    # Values -----------------------------------------------------------------

    def why_empty(self) -> tuple[str, str] | None:
        if self.result is None:
            empty = "Layers x tokens: what each layer does to each token.", self.hint
        elif self.view.is_written:
            empty = "The layers come once the text is written.", "esc ends it."
        elif self._measured(self.result, self.reading, self._token) is None:
            empty = self._why_unavailable(self.result)
        else:
            return None
        self.set_titles(self._title(), self.kind.note(self.result) if self.result else "")
        return empty

    def _why_unavailable(self, result: RunResult) -> tuple[str, str]:
        metric = METRIC_BY_NAME[self.measure.metric]
        if metric_of_lens(metric.name, self.view.lens) != metric.name:
            return self.no_lens()
        if metric.name in result.unavailable or (self.view.mode != "means" and metric.on_demand):
            return self._why_not_computed(result)
        needs_lens = lens in metric.needs
        reason = result.model.lens_missing if needs_lens else result.model.split_missing
        if reason:
            return printable_sentence(reason), "v chooses another measure."
        if self.view.is_live and metric.name in result.settings.metrics:
            return f"{metric.title} comes behind the layers.", ""
        if self.view.mode == "means" and self.reading is None:
            return "No token is left to average.", "Count token 0 (u), or run a longer prompt."
        return (
            f"This run has no {metric.title.lower()}.",
            "Run the prompt again with this metric, or choose another measure (v).",
        )

    def _why_not_computed(self, result: RunResult) -> tuple[str, str]:
        metric = METRIC_BY_NAME[self.measure.metric]
        reason = result.unavailable.get(metric.name) or metric.why_unavailable(result)
        if not (reason or self.view.can_compute):
            return f"{metric.title}: {metric.description}", ""
        words, hint = not_computed(result, metric, self.view.pace, self.compute_key)
        if reason:
            hint = key_that_helps(metric, reason)
        elif metric.name not in result.settings.metrics:
            if "skip_part" in metric.depends_on and not self.measure.by_token:
                hint += " L chooses the skipped part, the layers and the tokens."
            elif "layers" in metric.depends_on:
                hint += " L chooses some of the layers or tokens."
        return words, hint

    def _title(self) -> str:
        return self.kind.title(self.shown_measure, self.result)

    def _measured(
        self, result: RunResult, reading: Reading | None, token: int
    ) -> np.ndarray | None:
        return self.kind.values(self.shown_measure, result, reading, token)

    def _drawn_values(self) -> np.ndarray:
        """`[rows, columns]`, the values to draw, NaN where unknown."""
        values = self._measured(self.drawn_result, self.reading, self._token)
        assert values is not None
        return values

    def _hatched_cells(self) -> np.ndarray | None:
        """`[rows, columns]`, the cells whose value says little; None for none."""
        return self.measure.hatched(self.drawn_result)

    @property
    def _run_of_rows(self) -> RunResult:
        """The run whose layers are the rows."""
        return self.drawn_result

    def _column_labels(self, result: RunResult) -> Sequence[str]:
        return self.kind.labels(result, self._values.shape[1])

    def _column_name(self, column: int) -> str:
        """The name of a column in the legend."""
        return self.kind.column_name(column)

    @property
    def _diverging(self) -> bool:
        return self.measure.diverging

    def _scale_for(self, values: np.ndarray) -> Scale:
        return scale_of(values, self._diverging, self.kind.limits(self.shown_measure))

    def _side_values(self, result: RunResult) -> np.ndarray | None:
        return self.kind.side(result)

    def prepare(self) -> None:
        self._values = values = self._drawn_values()
        self._is_known = bool(np.isfinite(values).any())
        self._labels = self._column_labels(self.drawn_result)
        self._ramp = self.ramp_for(self._diverging)
        self._scale = self._scale_for(values)
        levels = ramps.levels(values, self._scale.low, self._scale.high, len(self._ramp))
        self._noise = self._noise_in(self.drawn_result)
        levels[np.abs(values) <= self._noise] = _UNKNOWN
        hatched = self._hatched_cells()
        if hatched is not None:
            levels[hatched] = _HATCHED
        self._levels = levels.tolist()
        self._side = self._side_values(self.drawn_result)
        if self._side is not None:
            high = scale_of(self._side, False).high
            self._side_levels = ramps.levels(self._side, 0, high, len(self._ramp)).tolist()
        self._lay_out()
        self._set_titles()

    def _set_titles(self) -> None:
        """Title the frame by the measure, with the layers in sight and the notes on the run."""
        types = marks_words(self._run_of_rows.model)
        notes = (self._hidden_note(), self._token_note(), self.kind.note(self.drawn_result))
        words = " · ".join(filter(None, (*notes, self._mark_note(), types)))
        self.set_titles(self._title(), printable_chars(words))

    def _noise_in(self, result: RunResult) -> float:
        """The value up to which the measure is noise; -1 where noise is invisible on the scale."""
        floor = 0.0 if self.view.mode == "means" else self.measure.floor(result)
        return floor if floor > _VISIBLE_NOISE * self._scale.high else -1.0

    def _lay_out(self) -> None:
        former = self._grid
        height = self.area.height
        lines, tokens = max(1, height - 2 if height > 3 else height - 1), self._values.shape[1]
        grid, self._bins = self._grid_of(lines), None
        if self.kind.by_token and grid.columns.n_visible < tokens and height >= _ROOM_FOR_ALL:
            grid = self._grid_of(lines - 1)
            self._bins = Side(max(1, self.area.width - self._bins_at(grid)), tokens)
        if former is not None:
            grid.rows.first, grid.columns.first = former.rows.first, former.columns.first
        grid.scroll_to(*self._at(self.cursor))
        self._grid = grid

    def _bins_at(self, grid: Grid) -> int:
        """The first cell of the overview."""
        return max(grid.margin, len(_OVERVIEW))

    def _grid_of(self, lines: int) -> Grid:
        """The grid for this many lines."""
        rows, columns = self._values.shape
        # Numbers need whole lines for their layers.
        numbered = self.kind.writes_numbers and rows <= lines
        model = self._run_of_rows.model
        return Grid.fit(
            rows,
            columns,
            self.area.width - (0 if self._side is None else _SIDE_CELLS),
            lines,
            upwards=self.view.layer_order == "up",
            whole_lines=bool(self._ramp.glyphs) or numbered,
            longest_name=max(label_cells(model), len(OUTPUT) if rows > model.n_layers else 0),
        )

    @property
    def grid(self) -> Grid:
        """The geometry of the cells; available only once something was drawn."""
        assert self._grid is not None
        return self._grid

    # The cursor -------------------------------------------------------------

    def _at(self, cursor: Cursor) -> tuple[int, int]:
        """The row and column of a cursor."""
        rows, columns = self._values.shape
        column = self.kind.column_of(cursor, self._values)
        return min(max(cursor.layer, 0), rows - 1), min(max(column, 0), columns - 1)

    def under_cursor(self) -> Target | None:
        if self.result is None:
            return None
        if not self.is_ready:
            # A layer that has run can be opened, even if it lacks this measure.
            return HeatmapCell(*self.cursor) if self.result.layers_done else None
        row, column = self._at(self.cursor)
        if not self.kind.by_token:
            return Layer(row)
        token = self._token_of(column)
        return HeatmapCell(row, token) if token >= 0 else None

    def _token_of(self, column: int) -> int:
        """The token in a column; negative where there is none."""
        return column

    @property
    def _token(self) -> int:
        """The token under the cursor; negative where there is none."""
        return self._token_of(self.cursor.token)

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        if self.kind.at_token and old.token != new.token:
            self.redraw_content()
            return
        grid = self.grid
        if grid.scroll_to(*self._at(new)):
            self.refresh(self.area.region)
            self._set_titles()
            return
        rows = {self._at(cursor)[0] for cursor in (old, new)}
        lines = {line for row in rows for line in grid.lines_of(row)}
        footer = self.whole_lines(grid.lines, max(0, self.area.height - grid.lines))
        self.refresh(*map(self.whole_lines, lines), footer)

    # The layers -------------------------------------------------------------

    def draw_line(self, y: int) -> Strip:
        lines, height = self.grid.lines, self.area.height
        if y < lines:
            return self.line(*self._draw_number_of(y), *self._draw_cells(y), *self._draw_side(y))
        if self._bins is not None and y == lines:
            return self.line(*self._draw_all(self._bins))
        if y < height - 1:
            return self.line(
                (" " * self.grid.margin, self.pane_styles.muted), *self._draw_columns()
            )
        return self._draw_legend()

    def _draw_number_of(self, y: int) -> Iterator[Piece]:
        """A layer's number, and the sign of the effective depth by the measure's rule."""
        styles, grid = self.pane_styles, self.grid
        cursor_row, _ = self._at(self.cursor)
        marked = self._marked()
        marked_row = None if marked is None else marked.layer
        on_line = [row for row in (cursor_row, marked_row) if self._is_numbered_on(row, y)]
        row = on_line[0] if on_line else grid.numbered_row(y)
        if row is None:
            yield " " * grid.margin, styles.text
            return
        yield _CURSOR if cursor_row in on_line else " ", styles.accent
        model = self._run_of_rows.model
        name = OUTPUT if row == model.n_layers else layer_label(model, row)
        number_style = styles.accent if row == cursor_row else styles.muted
        yield f"{name:>{grid.margin - 2}}", number_style
        # Beside the number of another layer it would mark that one.
        yield _MARK if row == marked_row else " ", styles.text

    def _is_numbered_on(self, row: int | None, y: int) -> bool:
        """Whether a row's number is, or would be, on a line."""
        return row is not None and self.grid.number_line(row) == y

    def _mark_note(self) -> str:
        """The legend of an effective depth's sign; empty where there is none."""
        marked = self._marked()
        if marked is None or marked.layer is None:
            return ""
        return f"{_MARK} {rule_title(marked.rule)} depth {marked.layer + 1}"

    def _hidden_note(self) -> str:
        """The layers in sight; empty where all are."""
        rows = self.grid.rows
        if rows.n_visible == rows.count:
            return ""
        return f"layers {rows.visible[0]}-{rows.visible[-1]} of 0-{rows.count - 1}"

    def _token_note(self) -> str:
        """The cursor's token where it has all columns; else empty."""
        token = min(self._token, len(self.drawn_result.tokens) - 1)
        if not self.kind.at_token or token < 0:
            return ""
        return f"token {token} {printable(self.drawn_result.tokens.texts[token])}"

    def _marked(self) -> DepthEstimate | None:
        """The marked effective depth, by the rule that reads the measure."""
        if self.reading is None or not self.measure.rule:
            return None
        return next(
            (
                estimate
                for estimate in self.reading.depths
                if estimate.rule == self.measure.rule and estimate.layer is not None
            ),
            None,
        )

    def _draw_cells(self, y: int) -> Iterator[Piece]:
        upper, lower = self.grid.rows_on(y)
        if upper is None and lower is None:
            return
        cursor_row, cursor_column = self._at(self.cursor)
        numbered = self.kind.writes_numbers
        no_levels: list[int | None] = [None] * self.grid.columns.count
        tops = no_levels if upper is None else self._levels[upper]
        bottoms = no_levels if lower is None else self._levels[lower]
        for column in self.grid.columns.visible:
            top, bottom, width = tops[column], bottoms[column], self.grid.width_of(column)
            is_cursor = column == cursor_column and not numbered
            on_top, on_bottom = is_cursor and upper == cursor_row, is_cursor and lower == cursor_row
            if numbered and upper is not None and upper == lower:
                yield self._draw_value(upper, column, y)
            elif self._ramp.glyphs:
                yield from self._draw_glyphs(-1 if top is None else top, on_top, width)
            elif on_top or on_bottom:
                yield self._draw_cursor(top, bottom, on_top, on_bottom, y, width)
            else:
                yield self._draw_blocks(top, bottom, width)

    def _draw_side(self, y: int) -> Iterator[Piece]:
        """The separate column, after a gap."""
        upper, lower = self.grid.rows_on(y)
        if self._side is None or (upper is None and lower is None):
            return
        top, bottom = (None if row is None else self._side_levels[row] for row in (upper, lower))
        yield " ", self.pane_styles.text
        width = _SIDE_CELLS - 1
        if self._ramp.glyphs:
            yield (
                (self._ramp.glyphs[top] if top is not None and top >= 0 else " ") * width,
                (self.pane_styles.text),
            )
        else:
            yield self._draw_blocks(top, bottom, width)

    def _colour(self, level: int | None) -> RichColor:
        """A level's colour; grey where it is hatched, the background where it is unknown."""
        styles = self.pane_styles
        if level is None or level < 0:
            return (styles.faint.color if level == _HATCHED else None) or styles.background
        return self._ramp.colours[level]

    def _draw_blocks(self, top: int | None, bottom: int | None, width: int) -> Piece:
        for level in (_UNKNOWN, _HATCHED):
            if level in (top, bottom) and {top, bottom} <= {level, None}:
                return self._draw_unknown(width, level)
        return half_blocks(self._colour(top), self._colour(bottom), width)

    def _draw_unknown(self, width: int, level: int = _UNKNOWN) -> Piece:
        text = ramps.HATCHED_GLYPH * width if level == _HATCHED else self.kind.unknown.center(width)
        return text, self.pane_styles.faint

    def _draw_cursor(
        self, top: int | None, bottom: int | None, on_top: bool, on_bottom: bool, y: int, width: int
    ) -> Piece:
        """The cell under the cursor: a block in the accent, with its value where that fits."""
        accent = self.pane_styles.accent.color or self.pane_styles.background
        if not (on_top and on_bottom):
            upper = accent if on_top else self._colour(top)
            return half_blocks(upper, accent if on_bottom else self._colour(bottom), width)
        row, column = self._at(self.cursor)
        value = float(self._values[row, column])
        text = self.kind.unknown if np.isnan(value) else number(value)
        fits = len(text) <= width - 2 and self.grid.number_line(row) == y
        return (text if fits else "").center(width), self.pane_styles.cursor

    def _draw_glyphs(self, level: int, marked: bool, width: int) -> Iterator[Piece]:
        text, style = self._draw_unknown(width, level)
        if level >= 0:
            text, style = self._ramp.glyphs[level] * width, self.pane_styles.text
        if not marked:
            yield text, style
        elif width < 3:
            yield text, self.pane_styles.text + Style(reverse=True)
        else:
            yield "[", self.pane_styles.accent
            yield text[1:-1], style
            yield "]", self.pane_styles.accent

    def _draw_value(self, row: int, column: int, y: int) -> Piece:
        """A mean: its number on its colour, or after its glyph; once in a tall layer."""
        level, width = self._levels[row][column], self.grid.width_of(column)
        glyph = self._ramp.glyphs[level] if self._ramp.glyphs and level >= 0 else " "
        is_numbered = self.grid.number_line(row) == y
        value = number(float(self._values[row, column])) if is_numbered else ""
        text = glyph + fit_right(value, width - 2) + " "
        return text[:width], self.pane_styles.text + self._ramp.written_on(level)

    # Below the layers -------------------------------------------------------

    def _draw_all(self, bins: Side) -> Iterator[Piece]:
        """All tokens at the cursor's layer, each cell the mean of its tokens."""
        yield f"{_OVERVIEW:>{self._bins_at(self.grid)}}", self.pane_styles.muted
        row, _ = self._at(self.cursor)
        means = means_in(self._values[row], bins)
        levels = ramps.levels(means, self._scale.low, self._scale.high, len(self._ramp))
        levels[np.abs(means) <= self._noise] = _UNKNOWN
        visible = self.grid.columns.visible
        for place, level in enumerate(levels.tolist()):
            tokens = bins.units_of(place)
            in_sight = tokens.start < visible.stop and visible.start < tokens.stop
            yield self._draw_bin(level, in_sight)

    def _draw_bin(self, level: int, in_sight: bool) -> Piece:
        """One cell of the overview; the visible part has an accent line, or is reversed."""
        styles = self.pane_styles
        if self._ramp.glyphs:
            glyph = self._ramp.glyphs[level] if level >= 0 else self.kind.unknown
            return glyph, styles.text + Style(reverse=in_sight)
        accent = styles.accent.color or styles.background
        return half_blocks(self._colour(level), accent if in_sight else styles.background, 1)

    def _draw_columns(self) -> list[Piece]:
        """The tokens, or a ruler where columns are too narrow for them."""
        grid, styles = self.grid, self.pane_styles
        _, cursor_column = self._at(self.cursor)
        numbered = self.kind.writes_numbers
        if not numbered and (grid.column_width < _NARROWEST_NAMED or not self.kind.names_columns):
            return self._draw_ruler(cursor_column)
        fitted = fit_right if numbered else fit
        return [
            (
                fitted(self._labels[column], grid.width_of(column) - 1) + " ",
                styles.accent if column == cursor_column and not numbered else styles.muted,
            )
            for column in grid.columns.visible
        ]

    def _draw_ruler(self, cursor_column: int) -> list[Piece]:
        grid = self.grid
        side = "" if self._side is None else _SIDE_TITLE
        room = self.area.width - grid.margin - len(side)
        every = 10 if grid.column_width < 2 else 5
        marks = [
            (grid.x_of(column) - grid.margin, str(column))
            for column in grid.columns.visible
            if column % every == 0
        ]
        place = grid.x_of(cursor_column) - grid.margin
        word = fit(self._labels[cursor_column], min(_LONGEST_NAME, max(1, room // 3))).rstrip()
        fits = place + 1 + cell_len(word) <= room
        cursor = (place, f"▴{word}") if fits else (place - cell_len(word), f"{word}▴")
        return [*ruler(marks, cursor, room, self.pane_styles), (side, self.pane_styles.faint)]

    def _draw_legend(self) -> Strip:
        """The widest legend that fits: the scale, its noise, the value under the cursor."""
        width, noise = self.area.width, ""
        if self._noise > 0:
            noise = f"  {self.kind.unknown} noise ≤ {number(self._noise)}"
        long_value, short_value = self._value_texts()
        for cells, note, value in (
            (12, noise, long_value),
            (8, noise, long_value),
            (8, noise, short_value),
            (5, noise, short_value),
            (5, "", short_value),
            (0, "", short_value),
        ):
            scale = self._draw_scale(cells)
            used = sum(cell_len(text) for text, _ in scale) + len(note)
            if used + 2 + cell_len(value) <= width:
                break
        gap = " " * max(0, width - used - cell_len(value))
        return self.line(
            *scale, (note + gap, self.pane_styles.muted), (value, self.pane_styles.text)
        )

    def _draw_scale(self, cells: int) -> list[Piece]:
        if not cells:
            return []
        ramp, muted = self._ramp, self.pane_styles.muted
        if not self._is_known:
            return [("not run yet", self.pane_styles.faint)]
        middle: list[Piece] = [(ramp.glyphs, self.pane_styles.text)]
        if not ramp.glyphs:
            middle = _colours_of(ramp, cells)
        low, high = self._scale.ends
        return [(f"{low} ", muted), *middle, (f" {high}", muted)]

    def _value_texts(self) -> tuple[str, str]:
        """The place and value under the cursor, in full and in short."""
        row, column = self._at(self.cursor)
        name = self._column_name(column)
        at = At(self.measure, self._run_of_rows, self._values, row, column, name)
        return self.kind.value_texts(at)

    # The mouse --------------------------------------------------------------

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on the cell under the mouse, or on a token of the overview."""
        offset = event.get_content_offset(self)
        if offset is None or not self.is_ready:
            return
        if self._bins is not None and offset.y == self.grid.lines:
            place = offset.x - self._bins_at(self.grid)
            if place in self._bins.visible:
                self.post_message(CursorMoved(self.cursor.layer, self._bins.units_of(place).start))
        elif (cell := self.grid.cell_at(*offset)) is not None:
            row, column = cell
            token = column if self.kind.by_token else self.cursor.token
            self.post_message(CursorMoved(row, token))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._step(event, layers=1 if self.view.layer_order == "up" else -1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._step(event, layers=-1 if self.view.layer_order == "up" else 1)

    def on_mouse_scroll_left(self, event: events.MouseScrollLeft) -> None:
        self._step(event, tokens=-1)

    def on_mouse_scroll_right(self, event: events.MouseScrollRight) -> None:
        self._step(event, tokens=1)

    def _step(self, event: events.Event, layers: int = 0, tokens: int = 0) -> None:
        event.stop()
        if not self.is_ready:
            return
        row, column = self._at(self.cursor)
        rows, columns = self._values.shape
        token = min(max(column + tokens, 0), columns - 1)
        self.post_message(
            CursorMoved(
                min(max(row + layers, 0), rows - 1),
                token if self.kind.by_token else self.cursor.token,
            )
        )


@lru_cache(maxsize=64)
def _colours_of(ramp: Ramp, cells: int) -> list[Piece]:
    """A ramp in this many cells, two colours each."""
    return [("▌", Style(color=left, bgcolor=right)) for left, right in ramp.halves(cells)]


def means_in(values: np.ndarray, bins: Side) -> np.ndarray:
    """`[bins]`, means of the `[T]` values in each bin; NaN where none is known."""
    starts = [bins.units_of(place).start for place in bins.visible]
    has_value = np.isfinite(values)
    counts = np.add.reduceat(has_value.astype(np.float64), starts)
    sums = np.add.reduceat(np.where(has_value, values, 0.0).astype(np.float64), starts)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
