"""Switches whose box and mark are drawn as text, which is seen in every theme.

Textual draws a box as a block of its own colour, which may be that of the dialog.
"""

from __future__ import annotations

from rich.segment import Segment
from textual import widgets
from textual.strip import Strip

from depthtui.tui.screens.dialogs.listing import Listing

BOX, TICKED = "[ ]", "[X]"
UNCHOSEN, CHOSEN = "○", "●"


class Checkbox(widgets.Checkbox):
    """A box with a mark where it is on."""

    BUTTON_LEFT = BUTTON_RIGHT = ""

    @property
    def BUTTON_INNER(self) -> str:  # type: ignore[override] # noqa: N802
        return TICKED if self.value else BOX


class RadioButton(widgets.RadioButton):
    """A choice among several, with a full mark where it is on."""

    BUTTON_LEFT = BUTTON_RIGHT = ""

    @property
    def BUTTON_INNER(self) -> str:  # type: ignore[override] # noqa: N802
        return CHOSEN if self.value else UNCHOSEN


class RadioSet(widgets.RadioSet):
    """Choices of which an arrow chooses the next one at once."""

    def action_next_button(self) -> None:
        super().action_next_button()
        self._choose_selected()

    def action_previous_button(self) -> None:
        super().action_previous_button()
        self._choose_selected()

    def _choose_selected(self) -> None:
        # Textual selects the first choice before any is pressed.
        if self.pressed_button is not None:
            self.query_one(".-selected", RadioButton).value = True


class SelectionList(widgets.SelectionList[str], Listing):
    """A list with a box before every line."""

    def render_line(self, y: int) -> Strip:
        strip, place = super().render_line(y), self.scroll_offset.y + y
        if place >= self.option_count:
            return strip
        is_on = self.get_option_at_index(place).value in self.selected
        _, mark, _, *rest = strip
        return Strip([Segment(TICKED if is_on else BOX, mark.style), *rest])
