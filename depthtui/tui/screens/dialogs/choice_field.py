"""A choice among a few values, all of them on one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static

from depthtui.token_text import printable_chars
from depthtui.tui.screens.dialogs.toggles import CHOSEN, UNCHOSEN

_GAP = "   "


class ChoiceField(Static, can_focus=True):
    """A field whose value the left and right arrows, space and the mouse choose.

    Args:
        labels: the values and their words.
        value: the value at first.
        id: the widget's id.
        why_closed: the reason why there is no choice; untrusted.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "step(-1)", "previous", show=False),
        Binding("right,l,space", "step(1)", "next", show=False),
    ]

    COMPONENT_CLASSES: ClassVar[set[str]] = {"choice--chosen"}

    value: reactive[Any] = reactive(None, init=False)

    class Changed(Message):
        """Another value was chosen."""

    def __init__(
        self, labels: Mapping[Any, str], value: Any, *, id: str, why_closed: str = ""
    ) -> None:
        super().__init__(id=id, disabled=bool(why_closed))
        self._labels = labels
        self._why_closed = why_closed
        self.set_reactive(ChoiceField.value, value)

    def render(self) -> Content:
        if self._why_closed:
            return Content(printable_chars(f"{self._labels[self.value]}: {self._why_closed}"))
        chosen = self.get_visual_style("choice--chosen", partial=True)
        words = (
            Content.assemble((CHOSEN, chosen), (f" {label}", "bold"))
            if value == self.value
            else Content(f"{UNCHOSEN} {label}")
            for value, label in self._labels.items()
        )
        return Content(_GAP).join(words)

    def watch_value(self) -> None:
        self.post_message(self.Changed())

    def action_step(self, step: int) -> None:
        values = list(self._labels)
        self.value = values[(values.index(self.value) + step) % len(values)]

    def on_click(self, event: events.Click) -> None:
        """Choose the value whose words are under the pointer."""
        end = 0
        for value, label in self._labels.items():
            start, end = end, end + cell_len(f"{CHOSEN} {label}{_GAP}")
            if start <= event.get_content_offset_capture(self).x < end:
                self.value = value
