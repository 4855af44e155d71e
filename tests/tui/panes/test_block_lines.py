"""A report's blocks as lines of a pane."""

from __future__ import annotations

from rich.cells import cell_len
from textual.geometry import Size

from depthtui.report.blocks import (
    Bar,
    Column,
    Heading,
    Note,
    Paragraph,
    Spans,
    Table,
    TightBlocks,
    ViewBlocks,
)
from depthtui.tui.draw.block_lines import as_much_as_fits, lines_of
from depthtui.tui.panes.depth_pair import DepthPair
from tests.hostile import HOSTILE
from tests.tui.panes.drawing import framed

TABLE = Table(
    [
        Column("model", style="name"),
        Column("layers", number=True),
        Column("", rank=1),
        Column("criterion", rank=2),
        Column("sentence", views=["text"]),
    ],
    [("a long name", "7", Bar(0.5), "last", "unseen"), ("b", "12", Bar(None), "first", "unseen")],
)


async def drawn(blocks: object, width: int, height: int = 99) -> list[str]:
    """The text of each line."""
    pane = DepthPair()
    async with framed(pane):
        lines = as_much_as_fits([blocks], Size(width, height), pane.pane_styles)  # type: ignore[list-item]
        assert all(cell_len("".join(text for text, _ in line)) <= width for line in lines)
        return ["".join(text for text, _ in line).rstrip() for line in lines]


async def test_a_table_has_numbers_on_the_right_and_bars_take_what_is_left():
    assert await drawn([TABLE], 60) == [
        "model        layers" + " " * 32 + "criterion",
        "a long name       7  ━━━━━━━━━━━━━━──────────────  last",
        "b                12" + " " * 32 + "first",
    ]


async def test_without_room_columns_of_high_rank_go_first_and_then_names_are_cut():
    assert await drawn([TABLE], 30) == [
        "model       layers",
        "a long name      7 ━━━━━╸─────",
        "b               12",
    ]
    assert await drawn([TABLE], 14) == ["model   layers", "a long…      7", "b           12"]


async def test_sentences_are_wrapped_and_blocks_stand_apart():
    blocks = [
        Heading("A head"),
        TightBlocks([Paragraph("one two three"), Note("four")]),
        ViewBlocks(["text"], [Note("unseen")]),
        Note("five"),
    ]
    expected = ["A head", "", "one two", "three", "four", "", "five"]
    assert await drawn(blocks, 8) == expected
    assert await drawn(blocks, 32, 4) == [
        "A head",
        "",
        "one two three",
        "… 3 more lines, z shows all",
    ]


async def test_the_first_version_that_fits_is_drawn():
    pane = DepthPair()
    async with framed(pane):
        versions = [[Note("one two three")], [Note("one two")], [Note("one")]]
        for width, text in ((20, "one two three"), (8, "one two"), (4, "one")):
            lines = as_much_as_fits(versions, Size(width, 1), pane.pane_styles)
            assert lines == [[(text, pane.pane_styles.muted)]]


async def test_hostile_texts_are_printable_and_as_wide_as_they_look():
    for text in HOSTILE.values():
        blocks = [
            Paragraph(text),
            Table([Column(text), Column("")], [(text, Spans([(text, "soft")]))]),
        ]
        shown = "".join(await drawn(blocks, 200))
        assert not {"\x1b", "\u202e", "\u200b", "\n"} & set(shown)


async def test_styles_say_what_a_text_is():
    pane = DepthPair()
    async with framed(pane):
        styles = pane.pane_styles
        head, row, _ = lines_of([TABLE], 60, styles)
        assert {style for text, style in head if text.strip()} == {styles.faint}
        assert row[1] == ("a long name", styles.strong)
