"""After any cursor move the terminal shows what a full repaint would show."""

from __future__ import annotations

import random
from dataclasses import replace

import pyte
import pytest
from rich.console import Console
from textual._compositor import LayoutUpdate
from textual.app import App, ComposeResult
from textual.screen import Screen

from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.tui.panes.curves import DepthCurves
from depthtui.tui.panes.evidence_pane import EvidencePane
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.panes.lens_table import LensTable
from depthtui.tui.panes.pane import Cursor, Pane
from depthtui.tui.panes.prompt_pane import PromptPane
from depthtui.tui.panes.view import View
from depthtui.tui.textual_patches.minimal_updates import (
    ShownCells,
    ThinCompositor,
    ThinUpdate,
    thin,
)
from tests.builders.results import make_result
from tests.hostile import HOSTILE
from tests.tui.panes.drawing import change, framed, show, summary_of


class OnePane(Screen[None]):
    def __init__(self, pane: Pane) -> None:
        super().__init__()
        self.pane = pane
        self._compositor = ThinCompositor()

    def compose(self) -> ComposeResult:
        yield self.pane


class Terminal:
    """What a terminal shows after everything that an app sent to it."""

    def __init__(self, width: int, height: int) -> None:
        self.screen = pyte.Screen(width, height)
        self.stream = pyte.Stream(self.screen)
        self.console = Console(color_system="truecolor", width=width, height=height)
        self.shown = ShownCells()

    def show(self, _: object, update: object) -> None:
        if isinstance(update, LayoutUpdate):
            update = thin(update)
        if isinstance(update, ThinUpdate):
            update.shown_cells = self.shown
            self.stream.feed(update.render_segments(self.console))

    @property
    def cells(self) -> list[object]:
        """What each cell looks like: the style of a blank one does not show."""
        rows, columns = self.screen.lines, self.screen.columns
        cells = (self.screen.buffer[y][x] for y in range(rows) for x in range(columns))
        return [
            (cell.bg, cell.underscore) if cell.data == " " and not cell.reverse else cell
            for cell in cells
        ]


@pytest.mark.parametrize("tokens", ["plain", "hostile"])
@pytest.mark.parametrize("size", [(34, 11), (70, 26)])
@pytest.mark.parametrize("kind", [PromptPane, HeatmapPane, LensTable, DepthCurves, EvidencePane])
async def test_partial_repaints_add_up(kind, size, tokens, monkeypatch):
    number = random.Random(7)
    pane = kind()
    change(pane, ramp="truecolor")
    change(pane, measure=MEASURE_BY_NAME["kl"])
    result = make_result(layers=24, tokens=40)
    if tokens == "hostile":
        texts = [*HOSTILE.values()]
        result.tokens.texts[:] = [texts[place % len(texts)] for place in range(40)]
    app: App[None] = App()
    async with app.run_test(size=size) as pilot:
        await app.push_screen(OnePane(pane))
        terminal, fresh = Terminal(*size), Terminal(*size)
        monkeypatch.setattr(app, "_display", terminal.show)
        show(pane, result, summary_of(result))
        app.screen.refresh(layout=True)
        await pilot.pause()
        layer, token = 12, 20
        for _ in range(10):
            layer = min(max(layer + number.choice((-7, -1, 0, 1, 7)), 0), 24)
            token = min(max(token + number.choice((-9, -1, 0, 1, 9)), 0), 39)
            pane.cursor = Cursor(layer, token)
            await pilot.pause()
            pane._styles_cache.clear()
            fresh.shown.forget()
            fresh.show(None, app.screen._compositor.render_full_update())
            assert terminal.cells == fresh.cells


@pytest.mark.parametrize("kind", [PromptPane, HeatmapPane, LensTable, DepthCurves, EvidencePane])
async def test_a_view_that_looks_the_same_draws_nothing_again(
    kind: type[Pane], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    render_line = kind.render_line
    monkeypatch.setattr(
        kind, "render_line", lambda pane, y: drawn.append(y) or render_line(pane, y)
    )
    result = make_result(layers=24, tokens=40)
    reading = summary_of(result)
    pane = kind()
    async with framed(pane) as pilot:
        view = View(result, reading)
        pane.show(view)
        await pilot.pause()
        assert drawn
        drawn.clear()
        pane.show(replace(view))
        await pilot.pause()
        assert not drawn
        # Another reading says that rows of the run were filled in.
        pane.show(replace(view, reading=summary_of(result)))
        await pilot.pause()
        assert drawn
