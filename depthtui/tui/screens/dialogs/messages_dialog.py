"""The messages since the start, newest first: toasts are gone in seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from textual import getters
from textual.content import Content

from depthtui.tui.explorer_app import ExplorerApp
from depthtui.tui.screens.dialogs.dialog import MUTED
from depthtui.tui.screens.dialogs.picker import Picker, PickerRow
from depthtui.tui.state.toast import ShownMessage


class MessagesDialog(Picker[None]):
    """Lists one message a line; the highlighted one is shown in full beneath.

    Args:
        messages: newest first; their texts are printable.
    """

    app = getters.app(ExplorerApp)
    heading = "Messages"
    hint = "j k move · enter copies · / finds · esc closes"
    noun = "message"
    empty_words = "There was no message yet."

    def __init__(self, messages: Sequence[ShownMessage]) -> None:
        super().__init__()
        self._messages = messages

    def rows(self) -> Iterator[PickerRow]:
        for message in self._messages:
            first = message.text.splitlines()[0] if message.text else ""
            title = f"{message.title}  " if message.title else ""
            when = f"{message.time:%H:%M:%S}  "
            line = Content.assemble((when, MUTED), (title, "bold"), first)
            yield PickerRow(message.text, line, f"{title}{message.text}", message.text)

    def describe(self, row: PickerRow) -> None:
        self.note(row.about, "")

    def choose(self, value: str) -> None:
        self.app.copy(value, value)
        self.dismiss(None)
