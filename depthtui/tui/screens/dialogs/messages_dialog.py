"""The messages of this start, newest first: toasts are gone in seconds."""

from __future__ import annotations

from collections.abc import Sequence

from textual import on
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import OptionList, Static

from depthtui.tui.screens.dialogs.dialog import MUTED, ListDialog
from depthtui.tui.state.toast import KeptMessage


class MessagesDialog(ListDialog[None]):
    """Lists messages in a line each; the highlighted one stands in full beneath.

    Args:
        messages: newest first; their texts are printable.
    """

    heading = "Messages"
    hint = "j k move · enter copies · esc closes"

    def __init__(self, messages: Sequence[KeptMessage]) -> None:
        super().__init__()
        self._messages = messages

    def body(self) -> ComposeResult:
        yield OptionList(*map(self._line, self._messages), compact=True)
        yield Static(id="note")

    def on_mount(self) -> None:
        self.start_at(0 if self._messages else None)
        if not self._messages:
            self.note("There was no message yet.")

    @staticmethod
    def _line(message: KeptMessage) -> Content:
        first = message.text.splitlines()[0] if message.text else ""
        title = f"{message.title}  " if message.title else ""
        return Content.assemble((f"{message.time:%H:%M:%S}  ", MUTED), (title, "bold"), first)

    @on(OptionList.OptionHighlighted)
    def _show_in_full(self, event: OptionList.OptionHighlighted) -> None:
        self.note(self._messages[event.option_index].text, "")

    def take(self, place: int) -> None:
        self.app.copy_to_clipboard(self._messages[place].text)
        self.dismiss(None)
