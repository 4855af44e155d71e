"""A document as plain text, for a screen reader, a log or a pager: a line is a sentence or a row.

The cells of a row are between tabs, and nothing is wrapped, cut or drawn.
"""

from __future__ import annotations

from collections.abc import Iterator

from depthtui.report.as_rich import cell_text, lines_of
from depthtui.report.blocks import Bar, Document, Table, TableCell
from depthtui.token_text import printable_line

_DASH, _NONE = "–", "none"
"""A cell without a value, which a screen reader would pass over, and its word."""

_DOT, _PAUSE = " · ", "; "
"""What parts two values, and for a reader that passes over it: `25 · .83` is no number."""


def plain_text(document: Document) -> str:
    """A document as a terminal shows it, without its title; bars stand beside their numbers."""
    return "".join(
        f"{words}\n".replace(_DOT, _PAUSE)
        for line in lines_of(document)
        for words in (_rows(line) if isinstance(line, Table) else [line.plain])
    )


def _rows(table: Table) -> Iterator[str]:
    columns, rows = table.in_view("brief")
    drawn = {n for row in rows for n, cell in enumerate(row) if isinstance(cell, Bar)}
    heads = [printable_line(column.title) for column in columns]
    for cells in (heads, *(map(_cell, row) for row in rows)):
        yield "\t".join(cell for n, cell in enumerate(cells) if n not in drawn).rstrip("\t")


def _cell(cell: TableCell) -> str:
    text, *remarks = cell_text(cell).plain.split("\n")
    words = _NONE if text == _DASH else text
    return f"{words} ({_PAUSE.join(remarks)})" if remarks else words
