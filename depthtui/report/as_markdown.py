"""A document as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from depthtui.report.blocks import (
    Bar,
    Block,
    Chapter,
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
    Tokens,
    blocks_in,
)
from depthtui.token_text import printable_line


def markdown_bytes(document: Document) -> bytes:
    """The document as UTF-8; pictures are left out."""
    parts = [f"# {_inline(document.title)}", *_blocks(document.blocks, 2)]
    return ("\n\n".join(parts).rstrip() + "\n").encode("utf-8")


def _blocks(blocks: Iterable[Block], level: int) -> Iterator[str]:
    """The blocks, whose headings have this level."""
    for block in blocks_in(blocks, "text"):
        match block:
            case Heading(text):
                yield f"{'#' * level} {_escape(text)}"
            case Paragraph(text) | Note(text):
                yield _escape(text)
            case Items(texts):
                yield "\n".join(f"- {_escape(text)}" for text in texts)
            case Code(text) | Tokens(_, text):
                yield _code(text)
            case Table():
                yield _table(block)
            case Chapter(title, inner):
                yield f"{'#' * level} {_escape(title)}"
                yield from _blocks(inner, level + 1)
            case TightBlocks(inner):
                yield from _blocks(inner, level)


def _code(text: str) -> str:
    """A code block whose fence is longer than any run of backticks in the text."""
    longest = max((len(row) for row in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join((f"{fence}text", *(printable_line(line) for line in text.split("\n")), fence))


def _table(table: Table) -> str:
    columns, rows = table.in_view("text")
    heads = [_inline(column.title) for column in columns]
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    return "\n".join(lines)


def _cell(cell: TableCell) -> str:
    match cell:
        case Bar(share):
            return "" if share is None else f"{share:.2f}"
        case Noted(text, note):
            lines = [text, *(note.split("\n") if note else ())]
            return "<br>".join(map(_inline, lines))
        case Token(text, _, value):
            return _inline(f"{text} {value}")
        case Spans(parts):
            return _inline("".join(text for text, _ in parts))
        case str():
            return _inline(cell)


def _escape(text: str) -> str:
    """The text with everything escaped that Markdown or HTML would interpret."""
    # Escape marks that begin a list or underline a heading, at the beginning of a line.
    return re.sub(r"^(\s*\d*)([-+=.)])", r"\1\\\2", _inline(text))


def _inline(text: str) -> str:
    """The text escaped for any place but the beginning of a line."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&$])", r"\\\1", printable_line(text))
