"""The page of a question's options, alone."""

from __future__ import annotations

import pytest

from depthtui.data.run import Prompt, RunResult
from depthtui.tui.panes.answers_pane import AnswersPane
from depthtui.tui.panes.pane import Cursor
from tests.builders.results import full_result, tiny_model
from tests.report.test_answers import WRONG, answered
from tests.tui.panes.drawing import cells, framed, line_with, lines, show, summary_of


def shown(pane: AnswersPane, result: RunResult | None) -> str:
    show(pane, result, None if result is None else summary_of(result))
    return " ".join("\n".join(lines(pane)).split())


async def test_the_chosen_and_the_right_option_are_marked() -> None:
    pane = AnswersPane()
    async with framed(pane, (70, 20)):
        pane.cursor = Cursor(4, 0)
        words = shown(pane, answered(WRONG, along="wwwww"))
        assert words.startswith("The model chooses '64'; right is '46'.")
        assert "✓ 46 -2.00 27% 27%" in words
        assert "● 64 -1.00 73% 73%" in words
        assert words.endswith("It stays wrong all along the order.")
        assert "● ✓ 46" in shown(pane, answered())


async def test_the_cursor_moves_over_the_depths() -> None:
    pane = AnswersPane()
    async with framed(pane, (70, 20)):
        pane.cursor = Cursor(4, 0)
        assert "chance output" in shown(pane, answered())
        pane.cursor = Cursor(0, 0)
        head = lines(pane)[line_with(pane, "by depth")]
        assert "▴0" in head
        y = line_with(pane, "✓ 46")
        assert "-1.00    73%    27%" in lines(pane)[y]
        first = lines(pane)[y].index("27%") + 5
        colours = [style.color for _, style in cells(pane.render_line(y))]
        assert colours[first] == pane.pane_styles.accent.color != colours[first + 4]
        ruler = lines(pane)[line_with(pane, "● ✓ 46") + 4]
        assert ruler.strip().startswith("▴0")


@pytest.mark.parametrize("size", [(34, 8), (62, 12), (100, 30)], ids=["34x8", "62x12", "100x30"])
async def test_every_size_has_whole_lines(size: tuple[int, int]) -> None:
    pane = AnswersPane()
    async with framed(pane, size):
        for result in (None, answered(WRONG, along="wwwww", written="rrrrr")):
            assert shown(pane, result)
            assert all(len(line) == pane.size.width for line in lines(pane))


async def test_an_empty_page_says_what_helps() -> None:
    pane = AnswersPane()
    async with framed(pane, (80, 16)):
        assert "r runs the prompt" in shown(pane, None)
        model = tiny_model(4)
        typed = shown(pane, full_result(Prompt("one two"), model))
        assert "no options to choose from" in typed
        assert "o there asks it with options" in typed
        sums = Prompt("1 + 2 = 3", " 3", choices=(" 3", " 4"))
        assert "i computes it" in shown(pane, full_result(sums, model))
        assert pane.table() is None
        shown(pane, answered())
        assert pane.table() is not None
