"""A question before something is lost."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from depthtui.tui.screens.dialogs.dialog import Dialog


class Confirm(Dialog[bool]):
    """Ask a question that `y` or enter answers with True, everything else with None."""

    heading = "Are you sure?"
    hint = "y yes · n no"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,enter", "agree", "yes", tooltip="Do it", id="confirm.yes"),
        Binding("n,q", "leave", "no", tooltip="Leave everything as it is", id="confirm.no"),
    ]

    def __init__(self, question: Content) -> None:
        super().__init__(classes="small")
        self._question = question

    def body(self) -> ComposeResult:
        yield Static(self._question)

    def action_agree(self) -> None:
        self.dismiss(True)
