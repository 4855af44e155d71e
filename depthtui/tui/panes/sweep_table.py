"""The rows of a sweep: effective depth by every rule, its interval and its ratio."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.strip import Strip

from depthtui.depth import rules
from depthtui.depth.verdict_words import range_words
from depthtui.metrics import kept
from depthtui.report.phrases import rule_title
from depthtui.sweep.report.phrases import interval_words, mean_depth_words
from depthtui.token_text import cut_in_the_middle, fit_shown, printable_sentence
from depthtui.tui.draw.grid import in_sight
from depthtui.tui.draw.styles import Piece, fit_right
from depthtui.tui.panes.pane import Cursor, CursorMoved, Pane
from depthtui.tui.panes.under_cursor import SweepCell, Target
from depthtui.tui.state.sweep_rows import RowKey, SweepRow

HEADS = 2
"""Lines above the rows."""

_MARK_CELLS = 3
_MOST_NAME = 34
_MOST_SPARE = 4
"""The most cells of a rule's columns beyond those they need."""
_NOTHING = "–"
_LEFT_OUT = ((), ("interval",), ("interval", "ratio"))
"""The rules' columns that make way for names."""


class ColumnKey(NamedTuple):
    """A column's key: `model`, a metric, or a rule's `layer`, `interval`, `ratio` or `paper`."""

    part: str
    rule: str = ""


@dataclass(frozen=True)
class SweepColumn:
    """A column of the sweep's table: its head, its texts and its order.

    Attributes:
        key: its key.
        head: its name; short.
        text: returns its text for a row.
        value: returns the value that rows are sorted by; None comes last.
        words: its meaning, in words.
    """

    key: ColumnKey
    head: str
    text: Callable[[SweepRow], str]
    value: Callable[[SweepRow], float | str | None]
    words: str

    @property
    def group(self) -> str:
        """The text over the head: the title of its rule, or empty."""
        return self.key.rule and rule_title(self.key.rule)

    @property
    def is_name(self) -> bool:
        """Whether it gets the remaining room."""
        return self.key.part in ("model", "task")


class SortedBy(NamedTuple):
    """A column, and whether the largest come first."""

    key: ColumnKey
    falls: bool


class SweepTable(Pane):
    """Rows and columns with one cursor: its layer is the row, its token the column.

    Attributes:
        marks: the place of each marked row among the marked ones.
        sorted_by: a column and whether the largest come first; None for the plan's order.
    """

    rows: Sequence[SweepRow] = ()
    marks: Mapping[RowKey, int] = {}
    sorted_by: SortedBy | None = None
    empty = ("", "")
    _first = 0

    def show_rows(
        self,
        rows: Sequence[SweepRow],
        marks: Mapping[RowKey, int],
        sorted_by: SortedBy | None,
        empty: tuple[str, str],
    ) -> None:
        """Draw these rows.

        Args:
            rows: the rows, in the order of the table.
            marks: the places of the compared rows.
            sorted_by: a column and whether the largest come first; None for the plan's order.
            empty: the message for no rows.
        """
        grown = len(rows) != len(self.rows)
        self.rows, self.marks, self.sorted_by, self.empty = rows, marks, sorted_by, empty
        self.redraw()
        if grown:
            self.refresh(layout=True)

    @property
    def columns(self) -> list[SweepColumn]:
        """The columns that fit."""
        return self._columns if self.is_ready else []

    def why_empty(self) -> tuple[str, str] | None:
        return None if self.rows else self.empty

    def prepare(self) -> None:
        columns = columns_of(self.rows, self.area.width)
        for left_out in _LEFT_OUT:
            self._columns = [column for column in columns if column.key.part not in left_out]
            self._widths = [self._needed(column) for column in self._columns]
            if self._has_room_for_names:
                break
        self._share_out()
        self._scroll()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """The number of lines, for `height: auto`."""
        return max(4, HEADS + len(self.rows))

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        self._scroll()
        self.refresh(self.area.region)

    # Geometry ---------------------------------------------------------------

    def _needed(self, column: SweepColumn) -> int:
        texts = [cell_len(column.text(row)) for row in self.rows]
        head = len(column.head) + bool(self._order_sign(column))
        return max(head, *texts) + 1

    @property
    def _has_room_for_names(self) -> bool:
        """Whether no name is cut, but for the longest."""
        needed = (
            min(width, _MOST_NAME) if column.is_name else width
            for column, width in zip(self._columns, self._widths, strict=True)
        )
        return _MARK_CELLS + sum(needed) <= self.area.width

    def _share_out(self) -> None:
        """Give names the room that numbers leave."""
        names = [place for place, column in enumerate(self._columns) if column.is_name]
        others = sum(width for place, width in enumerate(self._widths) if place not in names)
        room = self.area.width - _MARK_CELLS - others
        needed = [min(self._widths[place], _MOST_NAME) for place in names]
        while sum(needed) > room and max(needed, default=0) > 1:
            needed[needed.index(max(needed))] -= 1
        for place, width in zip(names, needed, strict=True):
            self._widths[place] = width
        # The remaining room separates the rules.
        firsts = [place for place, column in enumerate(self._columns) if column.key.part == "layer"]
        spare = room - sum(needed)
        for place in firsts:
            self._widths[place] += min(_MOST_SPARE, spare // len(firsts))

    def _scroll(self) -> None:
        height = max(1, self.area.height - HEADS)
        self._first = in_sight(self.cursor.layer, self._first, height, len(self.rows))

    def under_cursor(self) -> Target | None:
        return SweepCell(*self.cursor) if self.rows else None

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on the row and the column under the mouse."""
        offset = event.get_content_offset(self)
        if offset is None or not self.is_ready:
            return
        row = self.cursor.layer if offset.y < HEADS else self._first + offset.y - HEADS
        column_end, column = _MARK_CELLS, 0
        for column, width in enumerate(self._widths):  # noqa: B007
            column_end += width
            if offset.x < column_end:
                break
        self.post_message(CursorMoved(row, column))

    # Drawing ----------------------------------------------------------------

    def draw_line(self, y: int) -> Strip:
        if y == 0:
            return self._draw_groups()
        if y == 1:
            return self._draw_heads()
        place = self._first + y - HEADS
        return self._draw_row(place) if place < len(self.rows) else self.line()

    def _draw_groups(self) -> Strip:
        pieces: list[Piece] = [(" " * _MARK_CELLS, self.pane_styles.text)]
        place = 0
        while place < len(self._columns):
            group, width = self._columns[place].group, 0
            while place < len(self._columns) and self._columns[place].group == group:
                width += self._widths[place]
                place += 1
            # A group of columns has its name above, with a line to the space before the next.
            name = f" {group} ".ljust(width - 1, "─") if group else ""
            pieces.append((fit_shown(name, width), self.pane_styles.muted))
        return self.line(*pieces)

    def _draw_heads(self) -> Strip:
        styles = self.pane_styles
        pieces: list[Piece] = [(" " * _MARK_CELLS, styles.text)]
        for place, (column, width) in enumerate(zip(self._columns, self._widths, strict=True)):
            sign = self._order_sign(column)
            text = f"{column.head}{sign}"
            is_current = place == self.cursor.token
            style = styles.accent if is_current else styles.strong if sign else styles.muted
            if column.is_name:
                pieces.append((fit_shown(text, width), style))
            else:
                pieces.append((" " * max(0, width - cell_len(text)), styles.text))
                pieces.append((text[-width:], style + Style(underline=is_current or None)))
        return self.line(*pieces)

    def _order_sign(self, column: SweepColumn) -> str:
        """The direction in which the rows are sorted by a column; empty for no sorting by it."""
        if self.sorted_by is None or self.sorted_by.key != column.key:
            return ""
        return "▼" if self.sorted_by.falls else "▲"

    def _draw_row(self, place: int) -> Strip:
        styles, row = self.pane_styles, self.rows[place]
        is_current = place == self.cursor.layer
        mark = self.marks.get(row.key)
        sign = "▸" if is_current else " "
        pieces: list[Piece] = [
            (sign, styles.accent),
            ("  ", styles.text) if mark is None else (f"{letter(mark)} ", self.line_style(mark)),
        ]
        for column, width in zip(self._columns, self._widths, strict=True):
            text = column.text(row)
            style = self._style(column, row, is_current)
            if column.is_name:
                pieces += [
                    (shorten(printable_sentence(text), width - 1), style),
                    (" ", styles.text),
                ]
            else:
                pieces.append((fit_right(text, width), style))
        return self.line(*pieces)

    def _style(self, column: SweepColumn, row: SweepRow, is_current: bool) -> Style:
        styles = self.pane_styles
        part = column.key.part
        if part == "failed" and row.failures:
            return styles.warning
        if part == kept.NAME:
            return styles.strong
        if column.is_name or part == "mean":
            return styles.strong if is_current else styles.text
        if part == "done" and row.n_done < row.n_prompts:
            return styles.text
        return styles.muted


def columns_of(rows: Sequence[SweepRow], width: int) -> list[SweepColumn]:
    """The columns for these rows; below 100 cells their short forms, without the layers."""
    names = [rule.name for rule in rules.ALL if any(row.depth(rule.name) for row in rows)]
    has_interval = any(_of(row.depth(rule), "interval") for row in rows for rule in names)
    roomy = width >= 100
    model, task = attrgetter("model"), attrgetter("task")
    short_task = task if roomy else attrgetter("short_task")
    columns = [
        SweepColumn(ColumnKey("model"), "model", model, model, "model"),
        SweepColumn(ColumnKey("task"), "task", short_task, task, "task"),
    ]
    if any(row.headline for row in rows):
        columns += _kept_columns(roomy)
    if any(row.accuracy for row in rows):
        columns.append(_RIGHT)
    columns.append(_DONE)
    if any(row.failures for row in rows):
        columns.append(_FAILED if roomy else replace(_FAILED, head="✕"))
    if roomy:
        text, value = lambda row: str(row.n_layers or _NOTHING), attrgetter("n_layers")
        columns.append(SweepColumn(ColumnKey("layers"), "L", text, value, "number of layers"))
    for rule in names:
        columns += _rule_columns(rule, has_interval, roomy)
        if any(row.published(rule) for row in rows):
            columns.append(_paper_column(rule))
    return columns


def _of(thing: object, name: str) -> Any:
    """An attribute of a thing; None where there is no thing."""
    return None if thing is None else getattr(thing, name)


_RIGHT = SweepColumn(
    ColumnKey("right"),
    "right",
    lambda row: str(row.accuracy or _NOTHING),
    lambda row: _of(row.accuracy, "share"),
    "known answers that the model itself gives",
)
_DONE = SweepColumn(
    ColumnKey("done"),
    "n",
    lambda row: "/".join(dict.fromkeys(map(str, (row.n_done, row.n_prompts)))),
    attrgetter("n_done"),
    "prompts done",
)
_FAILED = SweepColumn(
    ColumnKey("failed"),
    "failed",
    lambda row: str(len(row.failures) or ""),
    lambda row: len(row.failures),
    "prompts and metrics that failed",
)


def _kept_columns(roomy: bool) -> list[SweepColumn]:
    """The headline's columns: the layers that keep nine tenths, and the mean depth."""

    def kept_words(row: SweepRow) -> str:
        headline = row.headline
        if headline is None or headline.count is None:
            return _NOTHING
        return f"{headline.count} {range_words(headline, '-') if roomy else ''}".rstrip()

    return [
        SweepColumn(
            ColumnKey(kept.NAME),
            "kept",
            kept_words,
            lambda row: _of(row.headline, "count"),
            "layers that keep nine tenths of what the model knows, and their range",
        ),
        SweepColumn(
            ColumnKey("mean"),
            "mean",
            lambda row: mean_depth_words(row.headline),
            lambda row: _of(row.headline, "mean_depth"),
            "mean depth: the layers that a nat of what the model knows takes on average",
        ),
    ]


def _rule_columns(rule: str, has_interval: bool, roomy: bool) -> list[SweepColumn]:
    title = rule_title(rule)

    def of(row: SweepRow, name: str) -> Any:
        return _of(row.depth(rule), name)

    def ratio_words(row: SweepRow) -> str:
        ratio = of(row, "ratio")
        words = "" if ratio is None else f"{ratio:.2f}"
        return words if roomy else words.removeprefix("0")

    columns = [
        SweepColumn(
            ColumnKey("layer", rule),
            "layers" if roomy else "e+1",
            lambda row: str(of(row, "count") or _NOTHING),
            lambda row: of(row, "count"),
            f"effective depth by {title}, in layers",
        ),
        SweepColumn(
            ColumnKey("interval", rule),
            "95 %",
            lambda row: interval_words(row.depth(rule), "–"),
            lambda row: next(iter(of(row, "interval") or ()), None),
            f"95 % interval of the depth by {title}",
        ),
        SweepColumn(
            ColumnKey("ratio", rule),
            "ratio" if roomy else "/L",
            ratio_words,
            lambda row: of(row, "ratio"),
            f"ratio of the depth by {title}, (layer + 1) / L",
        ),
    ]
    return columns if has_interval else columns[::2]


def _paper_column(rule: str) -> SweepColumn:
    def words(row: SweepRow) -> str:
        published = row.published(rule)
        if published is None:
            return ""
        return f"{published.count}" if published.same_dataset else f"≈{published.count}"

    return SweepColumn(
        ColumnKey("paper", rule),
        "paper",
        words,
        lambda row: _of(row.published(rule), "count"),
        f"the paper's depth by {rule_title(rule)}, in layers; ≈ on the data set most like it",
    )


def in_order(
    rows: Sequence[SweepRow], columns: Sequence[SweepColumn], sorted_by: SortedBy | None
) -> list[SweepRow]:
    """The rows sorted by a column, the largest first or last; rows without a value come last."""
    column = next((column for column in columns if sorted_by and column.key == sorted_by.key), None)
    if column is None or sorted_by is None:
        return list(rows)
    with_value = [row for row in rows if column.value(row) is not None]
    without_value = [row for row in rows if column.value(row) is None]
    with_value.sort(key=column.value, reverse=sorted_by.falls)  # type: ignore[arg-type]
    return [*with_value, *without_value]


def letter(place: int) -> str:
    """The letter of a marked row: a, b, c …"""
    return "abcdefghijklmnopqrstuvwxyz"[place % 26]


def shorten(title: str, width: int) -> str:
    """Printable text in exactly `width` cells, cut in its middle."""
    return fit_shown(cut_in_the_middle(title, width), width)
