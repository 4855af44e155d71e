"""The explorer's main path by its keys: `main_path.walk`."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import OptionList

from depthtui.data.protocol import StartRun
from depthtui.tui.panes.pane import Cursor
from depthtui.tui.screens.compare_screen import CompareScreen
from depthtui.tui.screens.dialogs.export_screen import ExportScreen
from depthtui.tui.screens.dialogs.help_screen import HelpScreen
from depthtui.tui.screens.dialogs.prompt_picker import PromptPicker
from depthtui.tui.screens.dialogs.run_list import RunList
from depthtui.tui.screens.layer_screen import LayerScreen
from depthtui.tui.screens.main_screen import MainScreen
from depthtui.tui.screens.what_if_screen import WhatIfScreen
from tests.tui.app_helpers import Explored, explore


async def walk(folder: Path) -> None:
    """Open, run, move, heatmap, layer, comparison, what-if, export, quit."""
    async with explore(folder) as it:

        async def to(kind: type, *keys: str) -> None:
            await it.press(*keys)
            await it.until(lambda: type(it.app.screen) is kind, kind.__name__)
            await it.pilot.pause()

        await to(PromptPicker, "p")
        await it.press(*"Paris is")
        await to(MainScreen, "f5")
        await it.until(lambda: len(it.engine.sent(StartRun)) == 2, "a run")
        await it.ready()
        assert it.session.current.prompt.text == "Paris is"

        former = it.main.cursor
        await it.press("3", "j", "h")
        assert it.main.cursor == Cursor(former.layer - 3, former.token - 1)
        await it.press("v", "7")
        await it.until(lambda: "Lens KL" in it.screen_text(), "another heatmap")
        await it.press("z")
        assert it.main.maximized is not None
        await it.press("z")

        await to(HelpScreen, "question_mark")
        it.app.screen.query_one(OptionList).action_page_down()
        await to(MainScreen, "escape")
        await to(LayerScreen, "enter")
        await to(MainScreen, "escape")

        await to(RunList, "b")
        await to(CompareScreen, "C")
        await to(MainScreen, "escape")

        await to(WhatIfScreen, "x")
        await it.until(lambda: it.session.live is None, "an idle engine")
        await it.press("x")
        await it.until(lambda: it.engine.sent(StartRun)[-1].settings.skipped, "a layer left out")
        await it.until(lambda: it.session.live is None, "an idle engine")
        await to(MainScreen, "escape")

        await to(ExportScreen, "e")
        await to(MainScreen, "enter")
        assert [*(folder / "exports").iterdir()]
        await resize(it)
        await it.press("q")
    assert it.app.return_code == 0
    assert it.engine.killed


async def resize(it: Explored) -> None:
    """Draw in another window, and afresh."""
    await it.pilot.resize_terminal(90, 30)
    await it.press("ctrl+l")
    assert "Lens KL" in it.screen_text()
