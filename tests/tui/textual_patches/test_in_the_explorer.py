"""What Textual lets through, in the explorer."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.widget import Widget

from depthtui.data.protocol import Progress
from depthtui.tui.screens.dialogs.help_screen import HelpScreen
from tests.tui.app_helpers import Explored, explore

OPENS: dict[str, Callable[[Explored], object]] = {
    "models": lambda it: it.main.action_command("model"),
    "prompts": lambda it: it.main.action_command("prompt"),
    "runs": lambda it: it.main.action_command("session"),
    "cell": lambda it: it.main.action_command("open"),
    "sweep": lambda it: it.app.open_screen("Sweep"),
    "writing": lambda it: it.main.action_command("write_with"),
    "keys": lambda it: it.app.action_command_palette(),
}
"""What opens a screen."""


async def test_a_screen_may_be_left_before_it_is_there(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        for name in [*OPENS] * 2:
            OPENS[name](it)
            screen = it.app.screen
            assert screen is not it.main
            it.app.pop_screen()
            await it.until(lambda screen=screen: not screen.is_attached, "its end")
        assert it.app.screen is it.main
        await it.press("j")


async def test_what_was_to_come_after_a_refresh_may_find_the_screen_gone(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await it.press("b", "S")
        screen = it.app.screen
        await it.press("b", "S")
        await it.until(lambda: not screen.is_attached, "its end")
        screen._show_tabs()


async def test_the_list_of_keys_may_be_opened_while_it_closes_and_is_opened_once(
    tmp_path: Path,
) -> None:
    async with explore(tmp_path) as it:
        it.app.action_command_palette()
        it.app.pop_screen()
        it.app.action_command_palette()
        it.app.action_command_palette()
        await it.until(lambda: isinstance(it.app.screen, HelpScreen), "the list of keys")
        await it.press("pagedown", "pageup", "escape")
        await it.until(lambda: it.app.screen is it.main, "the main screen")


@pytest.mark.parametrize("name", ["prompts", "cell", "sweep", "keys"])
async def test_of_a_screen_that_has_gone_nothing_is_kept_for_long(
    tmp_path: Path, name: str
) -> None:
    async with explore(tmp_path) as it:
        opened: list[list[weakref.ref[object]]] = []
        for _ in range(2):
            OPENS[name](it)
            await it.pilot.pause()
            opened.append(
                [
                    weakref.ref(part)
                    for widget in it.app.screen.walk_children(Widget, with_self=True)
                    for part in (widget, widget._styles_cache)
                ]
            )
            await it.press("escape")
            await it.until(lambda: it.app.screen is it.main, "the main screen")
        # A worker that has ended is kept until the next.
        await it.until(lambda: not alive(opened[0]), "the end of the first")


def alive(parts: list[weakref.ref[object]]) -> list[object]:
    """Those that something still holds."""
    gc.collect()
    return [part for ref in parts if (part := ref()) is not None]


async def test_a_load_that_lasts_longer_than_the_screen_is_not_shown(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        main = it.main
    main.advance(Progress("reading weights", 1, 2, "B"))
