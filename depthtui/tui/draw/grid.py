"""The cells of a heatmap: layers up the side, columns to the right, scrolled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class Side:
    """Items along one side of a room: they fill it, their sizes a unit apart at most.

    Where there are more items than units, each gets one unit, and some are hidden.

    Attributes:
        count: the number of items, at least 1.
        units: cells or half lines of the room, at least 1.
        first: the first visible item.
    """

    count: int
    units: int
    first: int = 0

    @property
    def n_visible(self) -> int:
        """The number of visible items."""
        return min(self.count, self.units)

    @property
    def visible(self) -> range:
        """The visible items."""
        return range(self.first, self.first + self.n_visible)

    def scroll_to(self, item: int) -> None:
        """Bring an item into view."""
        self.first = in_sight(item, self.first, self.n_visible, self.count)

    def units_of(self, item: int) -> range:
        """The units of a visible item."""
        place = item - self.first
        return range(
            place * self.units // self.n_visible, (place + 1) * self.units // self.n_visible
        )

    def item_at(self, unit: int) -> int | None:
        """The item at a unit; None outside the room."""
        if not 0 <= unit < self.units:
            return None
        return self.first + ((unit + 1) * self.n_visible - 1) // self.units


@dataclass
class Grid:
    """The geometry of layers x columns in a room of text lines.

    Layers are equally tall, an even or odd number of half lines, so that two can share a line.
    Lines that are left over stay blank above them.

    Attributes:
        rows: the layers, along half lines or whole ones.
        columns: the columns, along cells.
        lines: text lines of the room.
        blank: units of the rows that stay blank above them.
        whole_lines: whether no two layers share a line.
        margin: cells for the layers' numbers or names.
        upwards: whether row 0 is at the bottom.
    """

    rows: Side
    columns: Side
    lines: int
    blank: int
    whole_lines: bool
    margin: int
    upwards: bool

    @classmethod
    def fit(
        cls,
        rows: int,
        columns: int,
        width: int,
        lines: int,
        upwards: bool,
        whole_lines: bool,
        longest_name: int = 0,
    ) -> Grid:
        """The largest cells that fit into `width` x `lines`, beside names of this many cells."""
        margin = max(longest_name, len(str(rows - 1))) + 2
        room = lines if whole_lines else 2 * lines
        blank = _blank(rows, room)
        return cls(
            rows=Side(rows, room - blank),
            columns=Side(columns, max(1, width - margin)),
            lines=lines,
            blank=blank,
            whole_lines=whole_lines,
            margin=margin,
            upwards=upwards,
        )

    def scroll_to(self, row: int, column: int) -> bool:
        """Bring a cell into view; returns whether the grid moved."""
        former_first = self.rows.first, self.columns.first
        self.rows.scroll_to(row)
        self.columns.scroll_to(column)
        return former_first != (self.rows.first, self.columns.first)

    # Rows -------------------------------------------------------------------

    def rows_on(self, y: int) -> tuple[int | None, int | None]:
        """The rows on the upper and the lower half of a line."""
        if self.whole_lines:
            row = self._row_at(y)
            return row, row
        return self._row_at(2 * y), self._row_at(2 * y + 1)

    def _row_at(self, unit: int) -> int | None:
        """The row at a unit from the top."""
        unit -= self.blank
        return self.rows.item_at(self.rows.units - 1 - unit if self.upwards else unit)

    def number_line(self, row: int) -> int | None:
        """The line in the middle of a row, with the row's number; None if the row is hidden."""
        if row not in self.rows.visible:
            return None
        units = self.rows.units_of(row)
        middle = (units[0] + units[-1]) // 2
        if self.upwards:
            middle = self.rows.units - 1 - middle
        middle += self.blank
        return middle if self.whole_lines else middle // 2

    def numbered_row(self, y: int) -> int | None:
        """The row whose number is on a line: of two, the first."""
        rows = (row for row in self.rows_on(y) if row is not None and self.number_line(row) == y)
        return min(rows, default=None)

    # Columns ----------------------------------------------------------------

    @property
    def column_width(self) -> int:
        """Cells of the narrowest column."""
        return self.columns.units // self.columns.n_visible

    def width_of(self, column: int) -> int:
        """Cells of a column."""
        return len(self.columns.units_of(column))

    def x_of(self, column: int) -> int:
        """The first cell of a column."""
        return self.margin + self.columns.units_of(column).start

    # Cells ------------------------------------------------------------------

    def cell_at(self, x: int, y: int) -> tuple[int, int] | None:
        """The row and column at a place; the lower of two rows that share a line."""
        _, row = self.rows_on(y)
        column = self.columns.item_at(x - self.margin)
        return None if row is None or column is None else (row, column)

    def lines_of(self, row: int) -> Sequence[int]:
        """The lines of a row; none if the row is hidden."""
        if row not in self.rows.visible:
            return ()
        units = self.rows.units_of(row)
        first, last = units[0], units[-1]
        if self.upwards:
            first, last = self.rows.units - 1 - last, self.rows.units - 1 - first
        halves = 1 if self.whole_lines else 2
        return range((self.blank + first) // halves, (self.blank + last) // halves + 1)


def lines_filled(rows: int, lines: int, whole_lines: bool) -> int:
    """The lines that rows of one height fill, of as many as there are."""
    halves = 1 if whole_lines else 2
    return -(-(halves * lines - _blank(rows, halves * lines)) // halves)


def _blank(rows: int, units: int) -> int:
    """The units that rows of one height leave blank."""
    return units % rows if rows < units else 0


def in_sight(place: int, first: int, n_visible: int, count: int) -> int:
    """The first of `n_visible` visible items among `count`, moved little to show `place`."""
    first = min(max(first, place - n_visible + 1), place)
    return max(0, min(first, count - n_visible))
