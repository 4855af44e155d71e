"""A list of options that has just changed survives keys and clicks.

- Textual turns the page of a list that has options and has not been laid out, such as the hidden
  list of the command palette: it looks up a line that is not there (not reported).
- Textual chooses the option that was drawn under the mouse by its number, though the list has
  become shorter since (not reported).

For Textual 8.2.8; replaces `OptionList._move_page` and `OptionList._on_click` for all of Textual.
"""

from __future__ import annotations

from textual import events
from textual._widget_navigation import Direction
from textual.widgets import OptionList

textuals_move_page = OptionList._move_page
textuals_on_click = OptionList._on_click


def move_page(self: OptionList, direction: Direction) -> None:
    """Turn the page of a list that has been laid out."""
    if self._lines:
        textuals_move_page(self, direction)


async def on_click(self: OptionList, event: events.Click) -> None:
    """Choose an option that is still there."""
    if event.style.meta.get("option", -1) < len(self._options):
        await textuals_on_click(self, event)


def install() -> None:
    """Replace both of Textual's functions."""
    OptionList._move_page = move_page  # type: ignore[method-assign]
    OptionList._on_click = on_click  # type: ignore[method-assign]
