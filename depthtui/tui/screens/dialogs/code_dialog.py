"""Ask whether Python code that a model brings may run on this machine."""

from __future__ import annotations

from collections.abc import Iterator

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from depthtui.token_text import printable_chars
from depthtui.tui.screens.dialogs.picker import Picker, PickerRow
from depthtui.tui.state.phase import CodeQuestion

SECONDS_TO_READ = 1.0
"""Seconds until yes can be chosen: keys meant for the covered screen must not agree."""

NO, YES = "No, leave it closed", "Yes, run its code until depthtui ends"


class CodeDialog(Picker[bool]):
    """Dismissed with True for yes alone; no is chosen at first.

    Args:
        question: the model and its folder.
    """

    heading = "This model needs Python code of its own"
    hint = "enter chooses · esc: no"

    def __init__(self, question: CodeQuestion) -> None:
        super().__init__()
        self._question = question
        self._is_read = False

    def above(self) -> ComposeResult:
        question = self._question
        yield Static("The model", classes="label")
        yield Static(Content(printable_chars(question.spec.name)), id="model")
        yield Static("Its folder", classes="label")
        yield Static(Content(printable_chars(question.folder)), id="folder")
        yield Static(
            "Its code would be fetched where it is missing, and run as you: it can read, change "
            "and send all that you can. Read it first.",
            id="risk",
        )

    def on_mount(self) -> None:
        self.set_timer(SECONDS_TO_READ, self._offer_yes)

    def _offer_yes(self) -> None:
        self._is_read = True
        self.fill()

    def rows(self) -> Iterator[PickerRow]:
        yield PickerRow(False, Content(NO))
        yield PickerRow(True, Content(YES), closed=not self._is_read)

    def choose(self, value: bool) -> None:
        self.dismiss(value)
