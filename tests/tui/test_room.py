"""Room on the screens: every pane can have all of it, and no screen takes another's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.geometry import Region

from depthtui.tui.panes.key_footer import KeyFooter
from depthtui.tui.screens.pane_screen import PaneScreen
from tests.builders.engines import FakeEngine
from tests.tui.app_helpers import Explored, explore
from tests.tui.test_compare import compared
from tests.tui.test_dialogs import three_runs
from tests.tui.test_sweep import ran, show
from tests.tui.test_what_if import open_what_if

SMALL = (80, 24)
SIZES = [(170, 30), (100, 30), SMALL]
"""Where the screens are wide, medium and narrow."""

Opener = Callable[[Explored, Path], Awaitable[object]]


async def main(it: Explored, folder: Path) -> None:
    """The screen that is there already."""


async def what_if(it: Explored, folder: Path) -> None:
    await open_what_if(it)


async def compare(it: Explored, folder: Path) -> None:
    await three_runs(it)
    await compared(it)


async def sweep(it: Explored, folder: Path) -> None:
    await show(it, ran(folder / "sweep"))


SCREENS = [
    main,
    what_if,
    *(pytest.param(opener, marks=pytest.mark.by_hand) for opener in (compare, sweep)),
]


def shown_screen(it: Explored) -> PaneScreen:
    screen = it.app.screen
    assert isinstance(screen, PaneScreen)
    return screen


def room(screen: PaneScreen) -> Region:
    """What lies between header and footer."""
    header = [line.region.bottom for line in screen.query(".title-line") if line.region]
    footer, top = screen.query_one(KeyFooter).region, max(header)
    return Region(0, top, screen.size.width, footer.y - top)


def places(screen: PaneScreen) -> dict[str, Region]:
    """Where every pane is that can be seen."""
    return {pane.id or "": pane.region for pane in screen.query("Pane") if pane.is_on_screen}


async def with_pane(it: Explored, name: str) -> dict[str, Region]:
    """Go to a pane; where everything is then."""
    screen = shown_screen(it)
    screen.action_go_to(name)
    await it.pilot.pause()
    return places(screen)


@pytest.mark.parametrize("opened", SCREENS)
async def test_every_pane_can_have_the_whole_screen_and_gives_it_back(
    tmp_path: Path, opened: Opener
) -> None:
    async with explore(tmp_path, size=SMALL) as it:
        of_main = await with_pane(it, "heatmap")
        await opened(it, tmp_path)
        screen = shown_screen(it)
        for size in SIZES:
            await it.pilot.resize_terminal(*size)
            await it.pilot.pause()
            # What is there always stands beside the pane that was looked at last.
            panes = sorted(screen.panes, key=lambda pane: not pane.has_class("always"))
            names = [pane.id or "" for pane in panes]
            before = await with_pane(it, names[-1])
            await it.press("z")
            for name in names:
                what = f"{name} at {size}"
                assert await with_pane(it, name) == {name: room(screen)}, what
                wider = [widget for widget in screen.query("*") if widget.region.right > size[0]]
                assert not wider, what
            await it.press("z")
            assert places(screen) == before, size
        # No screen leaves its sizes behind.
        if screen is not it.main:
            it.app.pop_screen()
            await it.pilot.pause()
        assert await with_pane(it, "heatmap") == of_main


async def test_what_the_load_covers_is_not_enlarged(tmp_path: Path) -> None:
    # No load ends, and uncovers the panes, in between.
    async with explore(tmp_path, lambda: FakeEngine(silent=True), wait=False) as it:
        screen = it.main
        screen._cover_panes(True)
        await it.press("z")
        assert screen.maximized is None
