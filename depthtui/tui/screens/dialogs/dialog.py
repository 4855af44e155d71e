"""What the dialogs share: a frame with a title, a line of hints, escape to leave."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen

MUTED = "$foreground 60%"
"""The style of what matters less."""

Result = TypeVar("Result")


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
        Binding("ctrl+c", "app.quit", "quit", show=False, system=True),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as frame:
            frame.border_title = Content(self.heading)
            frame.border_subtitle = Content(self.hint)
            yield from self.body()

    def body(self) -> ComposeResult:
        """The widgets inside the frame."""
        return ()

    def action_leave(self) -> None:
        self.dismiss(None)
