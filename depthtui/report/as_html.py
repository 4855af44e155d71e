"""A document as one HTML page: no scripts, nothing fetched, light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from importlib.resources import files

from depthtui.report import svg
from depthtui.report.blocks import (
    Bar,
    Block,
    Chapter,
    Code,
    Column,
    Document,
    Figure,
    Figures,
    Heading,
    Items,
    Legend,
    Note,
    Noted,
    Paragraph,
    Spans,
    Style,
    Table,
    TableCell,
    TightBlocks,
    Token,
    Tokens,
    blocks_in,
)
from depthtui.report.look import Look
from depthtui.token_text import printable_line


def html_bytes(document: Document) -> bytes:
    """The page as UTF-8."""
    css = (files("depthtui.report") / "report.css").read_text(encoding="utf-8")
    css = f"{svg.page_style()}{css}{document.css}"
    title = f"{document.title}: {document.about}" if document.about else document.title
    page = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta http-equiv="Content-Security-Policy" ',
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{_safe(title)}</title><style>{css}</style></head><body>",
        f"<h1>{_safe(document.title)}</h1>",
        *_blocks(document.blocks, Look(document.palette), 2),
        "</body></html>\n",
    ]
    return "\n".join(page).encode("utf-8")


def _blocks(blocks: Iterable[Block], look: Look, level: int) -> Iterator[str]:
    """The blocks, whose headings have this level."""
    for block in blocks_in(blocks, "pictures"):
        match block:
            case Heading(text):
                yield f"<h{level}>{_safe(text)}</h{level}>"
            case Paragraph(text):
                yield f"<p>{_safe(text)}</p>"
            case Note(text):
                yield f'<p class="soft">{_safe(text)}</p>'
            case Items(texts):
                yield from ("<ul>", *(f"<li>{_safe(text)}</li>" for text in texts), "</ul>")
            case Code(text):
                lines = "<br>".join(_safe(line) for line in text.split("\n"))
                yield f'<div class="tokens">{lines}</div>'
            case Tokens(tokens) if tokens:
                yield f'<div class="tokens">{"".join(map(_in_a_row, tokens))}</div>'
            case Table():
                yield from _table(block)
            case Figures(figures):
                drawn = (_figure(figure, look) for figure in figures)
                yield from ('<div class="figures">', *drawn, "</div>")
            case Legend():
                yield _legend(block)
            case Chapter(title, inner, is_open):
                heading = f"<h{level}>{_safe(title)}</h{level}>"
                folded = f"<details><summary>{heading}</summary>"
                yield f"<section>{heading}" if is_open else folded
                yield from _blocks(inner, look, level + 1)
                yield "</section>" if is_open else "</details>"
            case TightBlocks(inner):
                yield from _blocks(inner, look, level)


def _in_a_row(token: Token) -> str:
    # The page breaks lines where the text does.
    return _token(token) + ("<br>" if "\n" in token.text else "<wbr>")


def _token(token: Token) -> str:
    return f"<bdi{_class(token.css)}>{_safe(token.text)}</bdi>"


def _table(table: Table) -> Iterator[str]:
    columns, rows = table.in_view("pictures")
    yield f'<div class="wide"><table{_class(table.css)}>'
    if table.has_head:
        heads = (_head(column) for column in table.columns if "pictures" in column.views)
        yield f"<thead><tr>{''.join(heads)}</tr></thead>"
    yield "<tbody>"
    for row in rows:
        yield f"<tr>{''.join(map(_cell, columns, row))}</tr>"
    yield "</tbody></table></div>"


def _head(column: Column) -> str:
    span = f' colspan="{column.span}"' if column.span > 1 else ""
    return f"<th{span}{_class('number' if column.number else '')}>{_safe(column.title)}</th>"


def _cell(column: Column, cell: TableCell) -> str:
    return f"<td{_class('number' if column.number else _css(column.style))}>{_inner(cell)}</td>"


def _inner(cell: TableCell) -> str:
    match cell:
        case Bar(share):
            width = "" if share is None else f"{100 * share:.1f}%"
            return f'<span class="bar"><i style="width:{width}"></i></span>' if width else ""
        case Noted(text, note):
            lines = "<br>".join(_safe(line) for line in note.split("\n"))
            return _safe(text) + (f'<br><span class="soft">{lines}</span>' if note else "")
        case Token(_, _, value):
            return f"{_token(cell)} {_safe(value)}"
        case Spans(parts):
            return "".join(f"<span{_class(_css(s))}>{_safe(text)}</span>" for text, s in parts)
        case str():
            return _safe(cell)


def _figure(figure: Figure, look: Look) -> str:
    drawn = svg.drawing(figure.picture, look)
    meaning = f'<p class="soft">{_safe(figure.meaning)}</p>' if figure.meaning else ""
    return f"<figure><figcaption>{_safe(figure.title)}</figcaption>{drawn}{meaning}</figure>"


def _legend(legend: Legend) -> str:
    colours = (f'<span class="key {css}">━ {_safe(text)}</span>' for css, text in legend.colours)
    dashes = (f"<span>{svg.sample(css)} {_safe(text)}</span>" for css, text in legend.dashes)
    return f'<p class="legend">{" ".join((*colours, *dashes))}</p>'


def _css(style: Style) -> str:
    return "" if style == "name" else style


def _class(css: str) -> str:
    return f' class="{css}"' if css else ""


def _safe(text: str) -> str:
    return escape(printable_line(text))
