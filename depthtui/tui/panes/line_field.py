"""A line to type words in, on the lower edge of a screen."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input


class LineField(Input):
    """Hidden until `ask`; submitted by enter or down, dropped by escape.

    Args:
        placeholder: what is to be typed.
        id: of the widget.
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
        Binding("escape", "drop", "drop", tooltip="Drop what was typed", id="line.drop"),
        Binding("down", "submit", "keep", show=False),
    ]

    class Dropped(Message):
        """The line was left without an answer."""

        def __init__(self, field: LineField) -> None:
            super().__init__()
            self.field = field

        @property
        def control(self) -> LineField:
            """The field."""
            return self.field

    def __init__(self, placeholder: str, *, id: str) -> None:
        super().__init__(placeholder=placeholder, id=id, compact=True)

    @property
    def is_asking(self) -> bool:
        """Whether it is on the screen."""
        return self.has_class("shown")

    def ask(self, value: str = "") -> None:
        """Come up with this in it, and take the focus."""
        self.add_class("shown")
        self.value = value
        # At once: what is typed next is for the field.
        self.screen.set_focus(self)

    def close(self) -> None:
        """Leave the screen."""
        self.remove_class("shown")

    def action_drop(self) -> None:
        self.post_message(self.Dropped(self))
