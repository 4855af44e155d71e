"""A list of options that survives keys and clicks while it changes."""

from __future__ import annotations

from textual import events
from textual.widgets import OptionList


class Listing(OptionList):
    """Turns pages, and chooses options, only of the list that is there now.

    Textual looks up lines that a list without a layout does not have, and chooses a clicked option
    by its number, though the list may have become shorter since it was drawn.
    """

    def action_page_up(self) -> None:
        if self.scrollable_content_region:
            super().action_page_up()  # type: ignore[no-untyped-call]

    def action_page_down(self) -> None:
        if self.scrollable_content_region:
            super().action_page_down()  # type: ignore[no-untyped-call]

    def on_click(self, event: events.Click) -> None:
        """Keep Textual's own handler, which runs next, from a click on an option that is gone."""
        if event.style.meta.get("option", -1) >= self.option_count:
            event.prevent_default()
