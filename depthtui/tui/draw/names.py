"""Names in a row, of which some are left out where not all fit."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

_MARKS = "‹ ", " ›"
"""The marks of names that are left out before and after the others."""

OTHER_NAME = "$foreground 50%"
"""The style of names that are not chosen."""


def in_a_row(names: Sequence[Content], cells: Sequence[int], place: int, room: int) -> Content:
    """As many names as fit around one of them, with a mark at an end where some are left out.

    Args:
        names: the names.
        cells: the cells that each takes.
        place: the place of the name that is always there.
        room: the cells for all.
    """
    first, last = 0, len(names)

    def width() -> int:
        marks = 2 * (first > 0) + 2 * (last < len(names))
        return sum(cells[first:last]) + last - first - 1 + marks

    while width() > room and last - first > 1:
        if place - first > last - 1 - place:
            first += 1
        else:
            last -= 1
    row = Content(" ").join(names[first:last])
    if first > 0:
        row = Content.styled(_MARKS[0], OTHER_NAME) + row
    return row + Content.styled(_MARKS[1], OTHER_NAME) if last < len(names) else row
