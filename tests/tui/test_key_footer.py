"""The footer: the keys that work now, and that have room."""

from __future__ import annotations

from pathlib import Path

import pytest

from depthtui.tui.commands.main import COMMANDS
from depthtui.tui.panes.key_footer import KeyFooter
from depthtui.tui.panes.page import Page
from depthtui.tui.panes.pane import Pane
from tests.tui.app_helpers import Explored, explore


def footer(it: Explored) -> KeyFooter:
    return it.main.query_one(KeyFooter)


def keys_of(it: Explored) -> str:
    """The footer's keys with their labels."""
    return " ".join(f"{key.shown} {key.label}" for key in footer(it).keys)


async def test_a_footer_is_drawn_again_only_for_other_keys(
    it: Explored, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    refresh = KeyFooter.refresh
    monkeypatch.setattr(
        KeyFooter, "refresh", lambda *args, **kinds: drawn.append(1) or refresh(*args, **kinds)
    )
    footer(it)._update(it.main)
    assert not drawn
    footer(it).keys = []
    footer(it)._update(it.main)
    assert drawn


async def test_a_footer_follows_the_keys_that_work(it: Explored) -> None:
    await it.until(lambda: keys_of(it).startswith("tab panes v measure ⏎ open s step"), "its keys")
    it.app.set_keymap({"measure": "f9"})
    await it.until(lambda: keys_of(it).startswith("tab panes f9 measure"), "the key")
    await it.press("tab")
    await it.until(lambda: keys_of(it).startswith("tab panes / find"), "those of the lens")
    await it.press("s")
    await it.until(lambda: "esc stop" in keys_of(it), "those of a run at work")
    assert keys_of(it).endswith("p prompt ? help q quit")


async def test_every_pane_names_five_keys_which_have_room(it: Explored) -> None:
    await it.resize(80, 24)
    for pane in it.main.query(Pane):
        assert len(pane.footer) == 5
        assert "explain" in pane.footer
        assert ("turn_page" in pane.footer) is isinstance(pane, Page)
        assert set(pane.footer) <= {command.name for command in COMMANDS}
        it.main.action_go_to(str(pane.id))
        await it.until(lambda pane=pane: it.main.active_pane is pane, f"the pane {pane.id}")
        assert footer(it).shown_keys == footer(it).keys
    it.main.action_go_to("heatmap")
    for key, named in (("enter", "↓ layer below → next token"), ("x", "p prune")):
        await it.press(key)
        await it.until(lambda: it.app.screen is not it.main, "the screen")
        await it.until(lambda named=named: named in last_line(it), named)
        await it.press("escape")


async def test_a_click_presses_the_key_and_the_mouse_tells_its_words(it: Explored) -> None:
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
    async with explore(tmp_path, size=(80, 24)) as it:
        await it.until(lambda: last_line(it).startswith("tab panes d page"), "those of the verdict")
        assert footer(it).shown_keys == footer(it).keys
        await it.press("s")
        await it.until(lambda: "space next layer" in last_line(it), "the keys of a halted run")
        assert footer(it).shown_keys != footer(it).keys
        assert last_line(it).rstrip().endswith("? help q quit")
        await it.resize(120, 24)
        await it.until(lambda: footer(it).shown_keys == footer(it).keys, "every key")
