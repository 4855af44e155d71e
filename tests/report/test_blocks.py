"""Whatever a block holds, every renderer shows it and obeys nothing in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import StringIO

import numpy as np
import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from depthtui.report.as_html import html_bytes
from depthtui.report.as_markdown import markdown_bytes
from depthtui.report.as_plain import plain_text
from depthtui.report.as_rich import rich_lines
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
    Line,
    Note,
    Noted,
    Panel,
    Paragraph,
    Spans,
    Table,
    TightBlocks,
    Token,
    Tokens,
    ViewBlocks,
)
from tests.hostile import DOORS
from tests.report.test_documents import checked, controls


def html(document: Document) -> str:
    return html_bytes(document).decode("utf-8")


def markdown(document: Document) -> str:
    return markdown_bytes(document).decode("utf-8")


def terminal(document: Document) -> str:
    console = Console(file=StringIO(), width=200, color_system=None, _environ={})
    console.print(rich_lines(document))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def plain(document: Document) -> str:
    """The document as plain text, its tabs, which part cells alone, as spaces."""
    output = plain_text(document)
    assert {line.count("\t") for line in output.splitlines()} == {0, 3}
    return output.replace("\t", " ")


def every_block(text: str) -> Iterator[Block]:
    """Every kind of block and of cell, made of one text."""
    yield Heading(text)
    yield TightBlocks([Paragraph(text), Note(text), Items([text, text])])
    yield Code(text)
    yield Tokens([Token(text), Token(text, "answer", text)], text)
    cells = [text, Noted(text, text), Spans([(text, "strong")]), Token(text, "", text), Bar(0.5)]
    yield Table([Column(text, style="soft") for _ in cells], [cells])
    line = Line(np.arange(3.0), "mean", text)
    yield Figures([Figure(text, Panel([line], 3, title=text)), Figure("", Panel([line], 3), text)])
    yield Legend([("m0", text)], [("t0", text)])
    yield Chapter(text, [ViewBlocks(["pictures", "text"], [Note(text)])])
    yield Chapter(text, [Chapter(text, [Note(text)])], is_open=True)


@pytest.mark.parametrize("render", [html, markdown, terminal, plain])
@pytest.mark.parametrize("text", DOORS.values(), ids=DOORS)
def test_nothing_in_a_block_is_obeyed(render: Callable[[Document], str], text: str) -> None:
    output = render(Document(text, every_block(text), about=text))
    assert controls(output) == set()
    output.encode("utf-8")


@pytest.mark.parametrize("text", DOORS.values(), ids=DOORS)
def test_a_text_adds_no_elements(text: str) -> None:
    def tags(content: str) -> set[str]:
        document = Document(content, every_block(content))
        rendered = MarkdownIt("commonmark").enable("table").render(markdown(document))
        return checked(html(document)).tags | checked(rendered.replace(" />", ">")).tags

    assert tags(text) <= tags("plain")


def test_a_block_is_seen_where_it_belongs() -> None:
    def document() -> Document:
        views = (("pictures", "a picture"), ("text", "a text"), ("brief", "in brief"))
        only = [ViewBlocks([view], [Paragraph(text)]) for view, text in views]
        columns = [Column("long", brief="short"), Column("far", views=["text"])]
        return Document("title", [*only, Table(columns, [["near", "wide"]])])

    assert ("a picture" in html(document())) == ("in brief" not in html(document()))
    assert markdown(document()) == (
        "# title\n\na text\n\n| long | far |\n| --- | --- |\n| near | wide |\n"
    )
    assert terminal(document()).split() == ["in", "brief", "short", "near"]


def test_a_terminal_cuts_long_lists_and_parts_blocks() -> None:
    def shown(count: int) -> str:
        items = Items([str(number) for number in range(count)], most=2)
        return terminal(Document("", [TightBlocks([Heading("head"), items]), Note("end")]))

    assert shown(3) == "head\n0\n1\n2\n\nend\n"
    assert shown(5) == "head\n0\n1\n… and 3 more in the report.\n\nend\n"


def test_chapters_are_folded_on_a_page_unless_they_are_open() -> None:
    def document() -> Document:
        inner = Chapter("inner", [Note("deep")])
        nothing = Chapter("nothing", [ViewBlocks(["pane"], [Note("unseen")])])
        return Document("title", [Chapter("outer", [Note("a"), inner], True), nothing, Note("b")])

    page = html(document())
    assert (
        '<section>\n<h2>outer</h2>\n<p class="soft">a</p>\n<details>\n<summary><h3>inner</h3>'
        '</summary>\n<p class="soft">deep</p>\n</details>\n</section>\n<p class="soft">b</p>'
    ) in page.replace("><h2", ">\n<h2").replace("<summary", "\n<summary")
    assert markdown(document()) == "# title\n\n## outer\n\na\n\n### inner\n\ndeep\n\nb\n"
    assert terminal(document()) == "outer\na\n\ninner\ndeep\n\nb\n"
