"""The footer is made anew where it shows other keys, and only there."""

from __future__ import annotations

from pathlib import Path

from textual.widgets._footer import FooterKey

from depthtui.tui.panes.key_footer import KeyFooter
from tests.tui.app_helpers import explore


async def test_a_footer_stays_while_it_shows_the_same_keys(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        before = [*it.main.query(FooterKey)]
        assert before
        await it.press("?")
        await it.press("escape")
        assert it.app.screen is it.main
        assert [*it.main.query(FooterKey)] == before


async def test_a_footer_follows_the_keys_that_work(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        footer = it.main.query_one(KeyFooter)

        def keys() -> list[str]:
            return [key.key for key in footer.query(FooterKey) if not key.disabled]

        before = keys()
        it.app.set_keymap({binding.id: "f9" for binding in _first(it)})
        await it.until(lambda: keys() != before, "other keys")
        assert "f9" in keys()


def _first(it):  # type: ignore[no-untyped-def]
    """The first binding in the footer."""
    shown = [active.binding for active in it.main.active_bindings.values() if active.binding.show]
    return shown[:1]
