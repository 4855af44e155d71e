"""A report's blocks as lines of a pane: wrapped sentences, and the table columns that fit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.cells import cell_len
from rich.style import Style
from textual.geometry import Size

from depthtui.report.blocks import (
    Bar,
    Block,
    Column,
    Heading,
    Note,
    Paragraph,
    Spans,
    Table,
    TableCell,
    TightBlocks,
    blocks_in,
)
from depthtui.token_text import fit_shown, printable_line, printable_sentence
from depthtui.tui.draw.styles import PaneStyles, Piece, bar
from depthtui.tui.draw.text import wrap

_GAPS = (2, 1)
"""Cells between columns: the fewer where not all columns fit otherwise."""

_SHORTEST_BAR, _LONGEST_BAR = 6, 40

Lines = list[list[Piece]]


def as_much_as_fits(
    versions: Iterable[Iterable[Block]], size: Size, styles: PaneStyles, gaps: bool = True
) -> Lines:
    """The richest version that fits; else the lines of the last one that fit."""
    lines: Lines = []
    for blocks in versions:
        lines = lines_of(blocks, size.width, styles, gaps)
        if len(lines) <= size.height:
            return lines
    return cut_lines(lines, size.height, styles)


def cut_lines(lines: Lines, height: int, styles: PaneStyles) -> Lines:
    """The lines that fit, and how to see the others."""
    more = len(lines) - height
    words = f"… {more + 1} more lines, z shows all"
    return lines if more <= 0 else [*lines[: height - 1], [(words, styles.accent)]]


def with_head(lines: Iterable[str], head: int, style: Style, rest: Style) -> Lines:
    """Wrapped lines, the first `head` characters of their text in a style of their own."""
    drawn: Lines = []
    for line in lines:
        drawn.append([(line[:head], style), (line[head:], rest)])
        head = max(0, head - len(line) - 1)
    return drawn


def lines_of(blocks: Iterable[Block], width: int, styles: PaneStyles, gaps: bool = True) -> Lines:
    """The blocks in this many cells, with blank lines between them if `gaps` is true."""
    lines: Lines = []
    for block in blocks_in(blocks, "pane"):
        block_lines = list(_lines(block, width, styles))
        if gaps and lines and block_lines:
            lines += [[]]
        lines += block_lines
    return lines


def _lines(block: Block, width: int, styles: PaneStyles) -> Iterator[list[Piece]]:
    match block:
        case Heading(text) | Paragraph(text) | Note(text):
            looks = {Heading: styles.strong, Note: styles.muted}
            for line in wrap(printable_sentence(text), width):
                yield [(line, looks.get(type(block), styles.text))]
        case Table():
            yield from _table(block, width, styles)
        case TightBlocks(inner):
            yield from lines_of(inner, width, styles, gaps=False)


def _table(table: Table, width: int, styles: PaneStyles) -> Iterator[list[Piece]]:
    columns, rows = table.in_view("pane")
    head = [column.title if column.brief is None else column.brief for column in columns]
    looks = {"": styles.text, "name": styles.strong, "strong": styles.strong, "soft": styles.muted}
    faint = dict.fromkeys(looks, styles.faint)
    cells = [[_pieces(title, "", faint) for title in head]] if table.has_head else []
    cells += [
        [_pieces(cell, column.style, looks) for cell, column in zip(row, columns, strict=True)]
        for row in rows
    ]
    widths, gap = _widths(columns, cells, width)
    for row_cells in cells:
        line: list[Piece] = []
        for place, count in widths.items():
            line.append((" " * gap if line else "", styles.text))
            cell = row_cells[place]
            if isinstance(cell, Bar):
                full, empty = (" " * count, "") if cell.share is None else bar(cell.share, count)
                line += [(full, styles.text), (empty, styles.faint)]
                continue
            spare = (" " * max(0, count - _cells(cell)), styles.text)
            if columns[place].number:
                line.append(spare)
            for text, style in cell:
                cells_needed = cell_len(text)
                line.append((text if cells_needed <= count else fit_shown(text, count), style))
                count = max(0, count - cells_needed)
            if not columns[place].number:
                line.append(spare)
        yield line


def _pieces(cell: TableCell, style: str, looks: Mapping[str, Style]) -> list[Piece] | Bar:
    """A cell's printable texts with their styles."""
    if isinstance(cell, Bar):
        return cell
    parts = cell.parts if isinstance(cell, Spans) else [(str(cell), style)]
    return [(printable_line(text), looks.get(how, looks[""])) for text, how in parts]


def _cells(cell: list[Piece] | Bar) -> int:
    """Cells of the terminal that a table's cell needs."""
    return _SHORTEST_BAR if isinstance(cell, Bar) else sum(cell_len(text) for text, _ in cell)


def _widths(
    columns: Sequence[Column], rows: Sequence[Sequence[list[Piece] | Bar]], width: int
) -> tuple[dict[int, int], int]:
    """The cells of each drawn column, by its place, and the cells between two columns."""
    needed = [
        column.width or max((_cells(row[place]) for row in rows), default=0)
        for place, column in enumerate(columns)
    ]
    gap = next((gap for gap in _GAPS if sum(needed) + gap * (len(needed) - 1) <= width), _GAPS[-1])
    places: list[int] = []
    spare, last = width + gap, math.inf
    for place in sorted(range(len(columns)), key=lambda place: columns[place].rank):
        rank = columns[place].rank
        if rank > last:
            break
        if not rank or needed[place] + gap <= spare:
            places.append(place)
            spare -= needed[place] + gap
        else:
            # Columns of higher rank are dropped first.
            last = rank
    cells = {place: needed[place] for place in sorted(places)}
    for place in cells:
        if any(isinstance(row[place], Bar) for row in rows):
            cells[place] += min(max(0, spare), _LONGEST_BAR - _SHORTEST_BAR)
    # Names are cut before numbers.
    while spare < 0 and (
        names := [place for place in cells if cells[place] > 1 and not columns[place].number]
    ):
        widest = max(names, key=cells.__getitem__)
        cut_cells = min(-spare, cells[widest] - 1)
        cells[widest] -= cut_cells
        spare += cut_cells
    return cells, gap
