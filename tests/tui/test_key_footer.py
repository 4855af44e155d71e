"""The footer: the keys that work now, and that have room."""

from __future__ import annotations

from pathlib import Path

import pytest

from depthtui.tui.panes.key_footer import KeyFooter
from tests.tui.app_helpers import Explored, explore


def footer(it: Explored) -> KeyFooter:
    return it.main.query_one(KeyFooter)


def that_work(it: Explored) -> list[str]:
    shown = [one.binding for one in it.main.active_bindings.values() if one.binding.show]
    return list(dict.fromkeys(binding.action for binding in shown))


async def test_a_footer_is_drawn_again_only_for_other_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    refresh = KeyFooter.refresh
    async with explore(tmp_path) as it:
        monkeypatch.setattr(
            KeyFooter, "refresh", lambda *args, **kinds: drawn.append(1) or refresh(*args, **kinds)
        )
        footer(it)._update(it.main)
        assert not drawn
        footer(it).keys = []
        footer(it)._update(it.main)
        assert drawn


async def test_a_footer_follows_the_keys_that_work(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await it.until(lambda: len(footer(it).keys) == len(that_work(it)) > 0)
        shown = [one.binding for one in it.main.active_bindings.values() if one.binding.show]
        it.app.set_keymap({shown[0].id or "": "f9"})
        await it.until(lambda: "f9" in [key.key for key in footer(it).keys], "the key")


async def test_a_click_presses_the_key_and_the_mouse_tells_its_words(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        at = 0
        for key in footer(it).shown_keys:
            if key.key == "question_mark":
                break
            at += key.cells
        await it.pilot.hover(KeyFooter, offset=(at, 0))
        assert footer(it).tooltip == key.words
        screen = it.app.screen
        await it.pilot.click(KeyFooter, offset=(at, 0))
        await it.until(lambda: it.app.screen is not screen, "help")


def last_line(it: Explored) -> str:
    """The screen's last line with words."""
    return next(line for line in reversed(it.screen_text().splitlines()) if line.strip())


async def test_keys_without_room_are_left_out_whole(tmp_path: Path) -> None:
    async with explore(tmp_path, size=(72, 24)) as it:
        await it.until(lambda: last_line(it).startswith("r run i compute"), "the keys of a run")
        assert last_line(it).rstrip().endswith("? help q quit")
        await it.pilot.resize_terminal(200, 24)
        await it.until(lambda: footer(it).shown_keys == footer(it).keys, "every key")
        await it.pilot.resize_terminal(70, 24)
        await it.until(lambda: footer(it).shown_keys != footer(it).keys, "fewer")
