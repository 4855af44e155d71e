"""What the dialogs share: a frame with a title, hints, escape to leave, a list to choose from."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static

from depthtui.token_text import printable_chars
from depthtui.tui.commands.everywhere import IN_DIALOGS
from depthtui.tui.textual_patches.screens import ModalScreen

MUTED = "$foreground 60%"
"""The style of what matters less."""

WRONG = "$text-error"
"""The style of what went wrong."""

Result = TypeVar("Result")


def line_cells(screen: int, widest: int) -> int:
    """Cells of a line of a list in a dialog, as the style sheet has it.

    Args:
        screen: cells of a line of the screen.
        widest: cells of the dialog where there is room.
    """
    # 5 are the dialog's edges and padding, and the scrollbar.
    return (min(screen * 9 // 10, widest) if screen >= 100 else screen) - 5


class Dialog(ModalScreen[Result | None]):
    """A framed dialog; dismissed with None when it is left.

    Attributes:
        heading: the title in its frame.
        hint: the keys, shown in the frame's lower edge.
    """

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-medium")]  # noqa: RUF012

    heading: str = ""
    hint: str = "esc closes"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "close", tooltip="Close this dialog", id="dialog.close"),
        *IN_DIALOGS,
    ]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as frame:
            frame.border_title = Content(self.heading)
            frame.border_subtitle = Content(self.hint)
            yield from self.body()

    def body(self) -> ComposeResult:
        """The widgets inside the frame."""
        return ()

    def note(self, text: str, style: str = MUTED) -> None:
        """Say something, untrusted or not, in the dialog's `#note`."""
        self.query_one("#note", Static).update(Content.styled(printable_chars(text), style))

    def action_leave(self) -> None:
        self.dismiss(None)


def is_there(event: OptionList.OptionMessage) -> bool:
    """Whether an option still has its place: a search or a deletion may have come in between."""
    place = event.option_index
    return event.option in event.option_list.options[place : place + 1]


class ListDialog(Dialog[Result]):
    """A dialog with one list: the arrows or j and k move in it, enter chooses."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "move(1)", "down", show=False),
        Binding("k", "move(-1)", "up", show=False),
    ]

    @property
    def listing(self) -> OptionList:
        return self.query_one(OptionList)

    def start_at(self, place: int | None) -> None:
        """Highlight the option at this place, from 0, and give the list the focus."""
        self.listing.highlighted = place
        self.listing.focus()

    def take(self, place: int) -> None:
        """Do what choosing the option at this place, from 0, is for."""
        raise NotImplementedError

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        if is_there(event):
            self.take(event.option_index)

    def action_move(self, step: int) -> None:
        listing = self.listing
        listing.action_cursor_down() if step > 0 else listing.action_cursor_up()

    def action_take_number(self, digit: int) -> None:
        """Choose by an option's number, from 1; 0 is the tenth."""
        listing, place = self.listing, (digit - 1) % 10
        if place < listing.option_count and not listing.get_option_at_index(place).disabled:
            self.take(place)
