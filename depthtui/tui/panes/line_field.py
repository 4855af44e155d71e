"""A line to type words in, at the lower edge of a screen."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from depthtui.tui.panes.safe_input import SafeInput


class LineField(SafeInput):
    """Hidden until `open`; submitted by enter or down, dropped by escape.

    Args:
        placeholder: the words in the empty field.
        id: the widget's id.
    """

    DEFAULT_CSS = """
    LineField {
        display: none;
        height: 1;
        padding: 0 1;
        background: $panel;
        &.shown { display: block; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "drop", "drop", tooltip="Clear the line", id="line.drop"),
        Binding("down", "submit", "keep", show=False),
    ]

    class Dropped(Message):
        """The user left the line without an answer."""

        def __init__(self, field: LineField) -> None:
            super().__init__()
            self.field = field

        @property
        def control(self) -> LineField:
            """The field that the user left."""
            return self.field

    def __init__(self, placeholder: str, *, id: str) -> None:
        super().__init__(placeholder=placeholder, id=id, compact=True)

    @property
    def is_open(self) -> bool:
        """Whether the line is shown."""
        return self.has_class("shown")

    def open(self, value: str = "") -> None:
        """Show the line with this text, and focus it."""
        self.add_class("shown")
        self.value = value
        # Focus at once: the next keys are for the field.
        self.screen.set_focus(self)

    def close(self) -> None:
        """Hide the line."""
        self.remove_class("shown")

    def action_drop(self) -> None:
        self.post_message(self.Dropped(self))
