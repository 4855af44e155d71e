"""Nothing is cut without a mark, at the sizes of terminals that people have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest
from rich.cells import cell_len

from depthtui.data.protocol import MetricRows
from depthtui.data.run import Prompt
from depthtui.tui.panes.answers_pane import AnswersPane
from depthtui.tui.panes.depth_pair import DepthPair
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.panes.layer_rows import LayerRows
from depthtui.tui.panes.lines_pane import LinesPane
from depthtui.tui.panes.pane import Pane
from depthtui.tui.panes.prompt_pane import PromptPane
from depthtui.tui.panes.verdict_pane import VerdictPane
from depthtui.tui.panes.what_if_summary import WhatIfSummary
from depthtui.tui.screens import dialogs
from depthtui.tui.screens.dialogs.dialog import Dialog
from depthtui.tui.screens.dialogs.prompt_picker import HINTS
from depthtui.tui.screens.pane_screen import PaneScreen
from tests.tui.app_helpers import Explored, explore
from tests.tui.panes.drawing import lines
from tests.tui.test_compare import compared
from tests.tui.test_dialogs import three_runs
from tests.tui.test_layer import opened
from tests.tui.test_sweep import ran, show
from tests.tui.test_what_if import open_what_if

SIZES = [(80, 24), (100, 30), (120, 40)]


def assert_whole(pane: Pane) -> None:
    """Check that the pane shows all, or how to see the rest."""
    shown = lines(pane)
    note = str(pane.border_subtitle)
    if isinstance(pane, HeatmapPane) and pane.is_ready:
        hides = pane.grid.rows.n_visible < pane.grid.rows.count
        assert ("layers " in note and " of 0-" in note) is hides
        assert len(note) <= pane.size.width - 4
    if isinstance(pane, LayerRows) and pane.is_ready:
        assert (" of 0 to out" in note) is (pane.depths > len(shown) - 1)
    if isinstance(pane, LinesPane) and len(pane._lines) > len(shown):
        assert note.startswith("lines ") or "z shows all" in shown[-1]
    if isinstance(pane, PromptPane):
        assert note.startswith("lines ") is (len(pane._lines) > len(shown))
        texts = pane.drawn_result.tokens.texts
        predicted = texts[min(pane.cursor.token + 1, len(texts) - 1)].replace(" ", "·")
        assert any(predicted in line for line in shown), "the token predicted at the cursor"
    if isinstance(pane, VerdictPane):
        assert "…" not in re.sub("Counting[^.…]*…", "", "\n".join(shown))
        words = pane.shown_verdict.words
        assert words.headline + words.clauses[0] in " ".join(" ".join(shown).split())
        assert len(words.clauses[1:]) <= 3


async def every_pane(it: Explored) -> None:
    """Check each pane and page of the main screen."""
    for pane in [*it.main.query("#prompt, #panes Pane").results(Pane)]:
        assert pane.id is not None
        it.main.action_go_to(pane.id)
        await it.pilot.pause()
        if pane.display and pane.region.area:
            await it.until(lambda pane=pane: lines(pane), "its lines")
            assert_whole(pane)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_no_pane_is_cut_without_a_mark(tmp_path: Path, size: tuple[int, int]) -> None:
    async with explore(tmp_path, size=size) as it:
        await every_pane(it)
        verdict = it.main.query_one(VerdictPane)
        it.main.action_go_to("verdict")
        it.engine.manual = True
        await it.press("i")
        it.engine.advance(until=MetricRows)
        await it.until(lambda: "Counting" in verdict.text or "of 30 layers" in verdict.text)
        assert_whole(verdict)
        it.engine.advance()
        await it.until(lambda: "go first" in verdict.text or "of 30 layers" in verdict.text)
        await every_pane(it)


LONG = " the children ran down to the river and threw their boats into the water"


@pytest.mark.parametrize("choices", [(" 52", " 46", " 64", " 5"), (" 46", *[LONG] * 3)])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_every_option_of_a_question_is_in_sight(
    it: Explored, size: tuple[int, int], choices: tuple[str, ...]
) -> None:
    await it.resize(*size)
    named = tuple(f" {n}{text}" if text == LONG else text for n, text in enumerate(choices))
    it.app.explorer.run(Prompt("19 + 27 = 46", " 46", choices=named))
    await it.until(lambda: it.session.current.prompt.choices, "the question")
    await it.ready()
    pane = it.main.query_one(AnswersPane)
    it.main.action_go_to("answers")
    await it.press("i")
    await it.until(lambda: "chooses" in pane.text, "the answer")
    shown = lines(pane)
    assert_whole(pane)
    words = " ".join(" ".join(shown).split())
    assert "The model chooses and writes '46', which is right." in words
    assert "layers of the order" in words or "z shows all" in words
    for text in named:
        first = " ".join(text.split()[:2])
        assert any(first in line and ("…" in line or text[-1] in line) for line in shown)
    assert sum("%" in line for line in shown) == len(named)


def subclasses(kind: type[Dialog[Any]]) -> Iterator[type[Dialog[Any]]]:
    """Every kind of dialog beneath this one."""
    for below in kind.__subclasses__():
        yield below
        yield from subclasses(below)


def test_every_hint_of_a_dialog_fits_the_narrowest_terminal() -> None:
    for module in iter_modules(dialogs.__path__):
        import_module(f"{dialogs.__name__}.{module.name}")
    hints = {kind.hint for kind in subclasses(Dialog)} | {*HINTS.values()}
    assert len(hints) > 20
    for hint in hints:
        assert cell_len(f"╰─ {hint} ─╯") <= SIZES[0][0], hint


@pytest.mark.parametrize("size", [*SIZES[1:], (160, 24)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_every_pane_of_a_comparison_is_in_sight(it: Explored, size: tuple[int, int]) -> None:
    await it.resize(*size)
    await three_runs(it)
    screen = await compared(it)
    await it.until(lambda: screen.query_one("#lens-b").region.area, "the panes")
    for pane in screen.query(Pane):
        assert screen.region.contains_region(pane.region), pane.id


async def every_pane_of(it: Explored, screen: PaneScreen) -> None:
    """Check each pane of a screen: its place, the note in its frame, and its lines."""
    for pane in [*screen.query(Pane)]:
        screen.go_to_pane(pane)
        await it.pilot.pause()
        if pane.display and pane.region.area:
            assert screen.region.contains_region(pane.region), pane.id
            assert len(str(pane.border_subtitle or "")) <= pane.size.width - 4, pane.id
            await it.until(lambda pane=pane: lines(pane), "its lines")
            assert_whole(pane)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_the_cost_of_a_change_is_whole_and_three_rules_are_in_sight(
    it: Explored, size: tuple[int, int]
) -> None:
    await it.resize(*size)
    screen = await open_what_if(it)
    await it.press("x")
    summary = screen.query_one(WhatIfSummary)
    await it.until(lambda: "loss" in summary.text and "+" in summary.text, "the cost")
    assert "…" not in "\n".join(lines(summary))
    depths = screen.query_one("#depths", DepthPair)
    if depths.display and depths.region.area:
        assert all(f"\n{rule}" in depths.text for rule in ("KL", "overlap", "cosine"))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_no_pane_of_the_other_screens_is_cut_without_a_mark(
    it: Explored, size: tuple[int, int]
) -> None:
    sweep = ran(it.folder / "sweep")
    await it.resize(*size)
    layer = await opened(it)
    await it.until(lambda: layer.page is not None, "the page")
    await every_pane_of(it, layer)
    await it.press("escape")
    await every_pane_of(it, await open_what_if(it))
    await it.press("escape")
    await every_pane_of(it, await show(it, sweep))
