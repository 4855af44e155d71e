"""The footer is made anew where it shows other keys, and only there."""

from __future__ import annotations

from pathlib import Path

from textual.widgets._footer import FooterKey

from tests.tui.app_helpers import Explored, explore


def in_footer(it: Explored) -> list[str]:
    return [key.action for key in it.main.query(FooterKey)]


def that_work(it: Explored) -> list[str]:
    shown = [one.binding for one in it.main.active_bindings.values() if one.binding.show]
    return list(dict.fromkeys(binding.action for binding in shown))


async def drawn(it: Explored) -> None:
    """Wait for a footer that shows the keys that work, and for all that is under way."""
    await it.until(lambda: in_footer(it) == that_work(it) != [], "the keys that work")
    await it.pilot.pause()


async def test_a_footer_stays_while_it_shows_the_same_keys(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await drawn(it)
        before = [*it.main.query(FooterKey)]
        await it.press("?")
        await it.press("escape")
        await it.until(lambda: it.app.screen is it.main, "the main screen")
        await drawn(it)
        assert [*it.main.query(FooterKey)] == before


async def test_a_footer_follows_the_keys_that_work(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await drawn(it)
        shown = [one.binding for one in it.main.active_bindings.values() if one.binding.show]
        it.app.set_keymap({shown[0].id or "": "f9"})
        await it.until(lambda: "f9" in [key.key for key in it.main.query(FooterKey)], "the key")


async def test_keys_without_room_are_left_out_whole(tmp_path: Path) -> None:
    async with explore(tmp_path, size=(72, 24)) as it:
        await drawn(it)
        last = next(line for line in reversed(it.screen_text().splitlines()) if line.strip())
        assert last.rstrip().endswith("? help q quit")
        assert last.startswith("r run i compute")
        await it.pilot.resize_terminal(200, 24)
        await it.until(lambda: all(key.display for key in it.main.query(FooterKey)), "every key")
        await it.pilot.resize_terminal(70, 24)
        await it.until(lambda: not all(key.display for key in it.main.query(FooterKey)), "fewer")
