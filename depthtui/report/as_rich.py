"""A document for the terminal: its main results as Rich text and tables."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from depthtui.report.blocks import (
    Bar,
    Block,
    Code,
    Document,
    Heading,
    Items,
    Note,
    Noted,
    Paragraph,
    Spans,
    Table,
    TableCell,
    TightBlocks,
    Token,
    blocks_in,
)
from depthtui.token_text import printable_line

_BAR = 12
_STYLES = {"name": "bold", "strong": "bold", "soft": "dim"}


def rich_lines(document: Document) -> Group:
    """A document as a terminal shows it, without its title."""
    lines = lines_of(document)
    return Group(*(_table(line) if isinstance(line, Table) else line for line in lines))


def lines_of(document: Document) -> Iterator[Text | Table]:
    """The blocks with a blank line between them, but none below a heading."""
    is_tight = True
    for block in blocks_in(document.blocks, "brief"):
        lines = list(_lines(block))
        if lines and not is_tight:
            yield Text("")
        if lines:
            is_tight = isinstance(block, Heading)
        yield from lines


def _lines(block: Block) -> Iterator[Text | Table]:
    match block:
        case Heading(text):
            yield Text(printable_line(text), style="bold")
        case Paragraph(text):
            yield Text(printable_line(text))
        case Note(text):
            yield Text(printable_line(text), style="dim")
        case Code(text):
            yield from (Text(printable_line(line)) for line in text.split("\n"))
        case Items():
            yield from (Text(printable_line(text)) for text in _cut(block))
        case Table():
            yield block
        case TightBlocks(inner):
            for part in blocks_in(inner, "brief"):
                yield from _lines(part)


def _cut(items: Items) -> list[str]:
    texts, most = list(items.texts), items.most
    if most is None or len(texts) <= most + 1:
        return texts
    return [*texts[:most], f"… and {len(texts) - most} more in the report."]


def _table(table: Table) -> RichTable:
    columns, rows = table.in_view("brief")
    result = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=table.has_head)
    for column in columns:
        result.add_column(
            Text(printable_line(column.title if column.brief is None else column.brief)),
            justify="right" if column.number else "left",
            style=_STYLES.get(column.style, ""),
            width=column.width or None,
            no_wrap=not column.wraps,
        )
    for row in rows:
        result.add_row(*map(cell_text, row))
    return result


def cell_text(cell: TableCell) -> Text:
    """A cell as a terminal shows it; a remark is on lines of its own."""
    match cell:
        case Bar(share):
            filled = round((share or 0) * _BAR)
            return Text("" if share is None else "█" * filled + "░" * (_BAR - filled))
        case Noted(text, note):
            lines = "".join(f"\n{printable_line(line)}" for line in note.split("\n") if line)
            return Text.assemble(printable_line(text), (lines, "dim"))
        case Token(text, _, value):
            return Text(printable_line(f"{text} {value}"))
        case Spans(parts):
            return Text.assemble(
                *((printable_line(text), _STYLES.get(style, "")) for text, style in parts)
            )
        case str():
            return Text(printable_line(cell))
