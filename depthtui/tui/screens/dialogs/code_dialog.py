"""Ask whether Python code that a model brings may run on this machine."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from depthtui.token_text import printable_chars
from depthtui.tui.screens.dialogs.dialog import ListDialog
from depthtui.tui.state.phase import CodeQuestion

SECONDS_TO_READ = 1.0
"""Until yes can be chosen: keys that were meant for what the dialog covers must not agree."""

NO, YES = "No, leave it closed", "Yes, run its code until depthtui ends"


class CodeDialog(ListDialog[bool]):
    """Dismissed with True for yes alone; no is the choice to begin with.

    Args:
        question: the model and its folder.
    """

    heading = "This model needs Python code of its own"
    hint = "enter chooses · esc says no"

    def __init__(self, question: CodeQuestion) -> None:
        super().__init__()
        self._question = question

    def body(self) -> ComposeResult:
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
        yield OptionList(NO, Option(YES, disabled=True), compact=True)

    def on_mount(self) -> None:
        self.start_at(0)
        self.set_timer(SECONDS_TO_READ, self._offer_yes)

    def _offer_yes(self) -> None:
        self.listing.enable_option_at_index(1)

    def take(self, place: int) -> None:
        self.dismiss(place == 1)
