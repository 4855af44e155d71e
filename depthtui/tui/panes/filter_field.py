"""A line to type words in that filter a list."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input


class FilterField(Input):
    """Submitted by enter or down, dropped by escape."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "drop", "show all", tooltip="Drop the filter", id="filter.drop"),
        Binding("down", "submit", "keep", show=False),
    ]

    class Dropped(Message):
        """Nothing is to be filtered."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(placeholder="words of a model or a task", id=id, compact=True)

    def action_drop(self) -> None:
        self.post_message(self.Dropped())
