"""`I` explains every pane of every screen, focused by keys and by mouse."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from depthtui.metrics.registry import MEASURES, METRIC_BY_NAME
from depthtui.metrics.token_depths import DECIDED
from depthtui.report.explanations import LENS_TABLE, of_rules
from depthtui.tui.panes.pane import Pane
from depthtui.tui.screens.dialogs.explanation_screen import ExplanationScreen
from depthtui.tui.screens.main_screen import MainScreen
from depthtui.tui.screens.pane_screen import PaneScreen
from tests.tui.app_helpers import Explored, explore
from tests.tui.test_compare import compared
from tests.tui.test_layer import opened as open_layer
from tests.tui.test_sweep import ran, show
from tests.tui.test_what_if import open_what_if

RULES = of_rules()[0].title
MEASURE = MEASURES[0].title
TURNING = METRIC_BY_NAME["similarity"].title
DEPTH = DECIDED.title


async def main(it: Explored, folder: Path) -> PaneScreen:
    return it.main


async def compare(it: Explored, folder: Path) -> PaneScreen:
    await it.press("r", until=lambda: len(it.session.results) == 2)
    return await compared(it)


async def layer(it: Explored, folder: Path) -> PaneScreen:
    return await open_layer(it)


async def what_if(it: Explored, folder: Path) -> PaneScreen:
    return await open_what_if(it)


async def sweep(it: Explored, folder: Path) -> PaneScreen:
    return await show(it, ran(folder))


SCREENS: dict[Callable[[Explored, Path], Awaitable[PaneScreen]], dict[str, str]] = {
    main: {
        "prompt": MEASURE,
        "heatmap": MEASURE,
        "curves": RULES,
        "lens": LENS_TABLE.title,
        "verdict": "Knowledge kept",
        "evidence": "The verdict",
        "left-out": "Knowledge kept",
        "exits": "Early exit",
        "answers": "Right answers",
        "tokens": "Token depths",
        "means": MEASURE,
        "useful": TURNING,
    },
    compare: {
        "kept-pair": "Knowledge kept",
        "difference": MEASURE,
        "lens-a": LENS_TABLE.title,
        "lens-b": LENS_TABLE.title,
        "curves": RULES,
        "depth-pair": RULES,
    },
    layer: {
        "prompt": "Tokens read",
        "page-ends": "Before and after",
        "page-reads": "Reads",
        "page-writes": "Writes",
        "page-heads": "Heads",
        "page-neurons": "Neurons and experts",
        "values": "Values at the cursor",
    },
    what_if: {
        "stack": TURNING,
        "lens": LENS_TABLE.title,
        "output": "Output, clean and changed",
        "depths": RULES,
        "what-if-prompts": "This model's prompts",
        "prompt": "Likelihood change",
    },
    sweep: {"rows": "Model", "sweep-curves": RULES, "findings": RULES},
}
"""How each screen is opened, and the first title of the explanation of each of its panes."""


async def explained(it: Explored, screen: PaneScreen) -> str:
    """Press I, read the first title that is seen, and return to the screen."""
    await it.press("I", until=ExplanationScreen)
    await it.until(lambda: it.app.screen.query(".explained"), "its titles")
    title = str(it.app.screen.query(".explained").first().render())
    await it.until(lambda: title in it.screen_text(), title)
    await it.press("escape")
    await it.until(lambda: it.app.screen is screen, "the screen")
    return title


def is_seen(pane: Pane) -> bool:
    """Whether a click focuses the pane."""
    is_shown = all(widget.display for widget in pane.ancestors_with_self)
    return pane.can_focus and is_shown and bool(pane.region)


@pytest.mark.parametrize("open_screen", SCREENS)
async def test_every_pane_is_explained(
    tmp_path: Path, open_screen: Callable[[Explored, Path], Awaitable[PaneScreen]]
) -> None:
    titles = SCREENS[open_screen]
    async with explore(tmp_path, size=(200, 60)) as it:
        screen = await open_screen(it, tmp_path / "sweep")
        seen: dict[str | None, str] = {}
        for pane in filter(is_seen, screen.query(Pane)):
            await it.pilot.click(pane, offset=(3, 1))
            assert screen.focused is pane
            seen[pane.id] = screen.explained()[0].title
        turns = ["d"] * len(screen.PAGES) if isinstance(screen, MainScreen) else []
        for key in ["tab"] * len(screen.panes) + turns:
            await it.press(key)
            pane = screen.active_pane
            title = screen.explained()[0].title
            assert seen.setdefault(pane.id, title) == title
        assert seen == titles
        assert await explained(it, screen) == seen[screen.active_pane.id]
