"""Lists of options that change under keys and clicks."""

from __future__ import annotations

import pytest
from rich.style import Style
from textual import events
from textual.app import App, ComposeResult

from depthtui.tui.screens.dialogs.listing import Listing


class Shown(App[None]):
    """A list of two options."""

    def compose(self) -> ComposeResult:
        yield Listing("one", "two")


@pytest.mark.parametrize("display", ["block", "none"])
async def test_a_hidden_list_has_no_pages(display: str) -> None:
    app = Shown()
    app.CSS = f"Listing {{ display: {display}; }}"
    async with app.run_test():
        listing = app.query_one(Listing)
        listing.highlighted = 0
        listing.action_page_down()
        assert listing.highlighted == (1 if display == "block" else 0)
        listing.action_page_up()
        assert listing.highlighted == 0


async def test_an_option_that_has_gone_is_not_chosen() -> None:
    app = Shown()
    async with app.run_test() as pilot:
        listing = app.query_one(Listing)
        for place in (listing.option_count, 1):
            style = Style(meta={"option": place})
            click = events.Click(listing, 0, 0, 0, 0, 1, False, False, False, style=style)
            listing.post_message(click)
        await pilot.pause()
        assert listing.highlighted == 1
