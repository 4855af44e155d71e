"""Where the cells of a heatmap stand: layers up the side, columns to the right, scrolled."""

from __future__ import annotations

from dataclasses import dataclass

from textual.geometry import Region

_TALLEST = 6
"""Half lines of the tallest layer."""


@dataclass
class Grid:
    """The geometry of `rows` x `columns` cells in a room of text lines.

    A layer is an even or odd number of half lines tall, so that two layers can
    share a line; it stands on the room's lower edge.

    Attributes:
        rows, columns: how many there are.
        lines: text lines of the room.
        half_rows: half lines that a layer takes.
        rows_shown, columns_shown: how many fit.
        margin: cells of the layers' numbers.
        column_width: cells of a column.
        upwards: whether row 0 is at the bottom.
        first_row, first_column: where it is scrolled to.
    """

    rows: int
    columns: int
    lines: int
    half_rows: int
    rows_shown: int
    columns_shown: int
    margin: int
    column_width: int
    upwards: bool
    first_row: int = 0
    first_column: int = 0

    @classmethod
    def fit(
        cls,
        rows: int,
        columns: int,
        width: int,
        lines: int,
        widest: int,
        upwards: bool,
        whole_lines: bool,
    ) -> Grid:
        """The largest cells that fit into `width` x `lines`.

        Args:
            widest: cells of a column at most.
            whole_lines: layers must not share a line.
        """
        half_rows = max(1, min(_TALLEST, 2 * lines // rows))
        if whole_lines:
            half_rows = max(2, half_rows // 2 * 2)
        margin = len(str(rows - 1)) + 2
        room = max(1, width - margin)
        column_width = max(1, min(widest, room // columns))
        return cls(
            rows=rows,
            columns=columns,
            lines=lines,
            half_rows=half_rows,
            rows_shown=max(1, min(rows, 2 * lines // half_rows)),
            columns_shown=max(1, min(columns, room // column_width)),
            margin=margin,
            column_width=column_width,
            upwards=upwards,
        )

    def scroll_to(self, row: int, column: int) -> bool:
        """Bring a cell into sight; whether that moved anything."""
        before = self.first_row, self.first_column
        self.first_row = in_sight(row, self.first_row, self.rows_shown, self.rows)
        self.first_column = in_sight(column, self.first_column, self.columns_shown, self.columns)
        return before != (self.first_row, self.first_column)

    @property
    def shown_columns(self) -> range:
        return range(self.first_column, self.first_column + self.columns_shown)

    def rows_on(self, y: int) -> tuple[int | None, int | None]:
        """The rows on the upper and the lower half of a line."""
        if not 0 <= y < self.lines:
            return None, None
        return self._row_at(2 * y), self._row_at(2 * y + 1)

    def _row_at(self, half_line: int) -> int | None:
        used = -(-self.rows_shown * self.half_rows // 2)
        place = half_line - 2 * (self.lines - used)
        if self.upwards:
            place = 2 * used - 1 - place
        row = place // self.half_rows
        return self.first_row + row if 0 <= row < self.rows_shown else None

    def numbered_row(self, y: int, preferred: int) -> int | None:
        """The row whose number stands on a line: of two, the preferred or else the lower one."""
        upper, lower = self.rows_on(y)
        if self.half_rows <= 2:
            on_line = [row for row in (upper, lower) if row is not None]
            return preferred if preferred in on_line else min(on_line, default=None)
        # A taller layer has its number on the first line that is all its own.
        above, _ = self.rows_on(y - 1)
        return upper if upper == lower and upper != above else None

    def x_of(self, column: int) -> int:
        """The first cell of a column."""
        return self.margin + (column - self.first_column) * self.column_width

    def cell_at(self, x: int, y: int) -> tuple[int, int] | None:
        """The row and column at a place; the lower of two rows that share a line."""
        upper, lower = self.rows_on(y)
        row = upper if lower is None else lower
        column = self.first_column + (x - self.margin) // self.column_width
        return (row, column) if row is not None and column in self.shown_columns else None

    def regions_of(self, row: int, column: int) -> list[Region]:
        """The number of a row and one of its cells; empty where it is out of sight."""
        lines = [y for y in range(self.lines) if row in self.rows_on(y)]
        if not lines:
            return []
        first, count = lines[0], len(lines)
        return [
            Region(0, first, self.margin, count),
            Region(self.x_of(column), first, self.column_width, count),
        ]


def in_sight(place: int, first: int, shown: int, count: int) -> int:
    """The first of `shown` items among `count`, so that `place` is one of them, moving little."""
    first = min(max(first, place - shown + 1), place)
    return max(0, min(first, count - shown))
