"""A note on a run, and its bookmarks."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, TextArea
from textual.widgets.option_list import Option

from depthtui.data.remarks import Bookmark
from depthtui.data.run import RunResult
from depthtui.report.remarks import place_words
from depthtui.token_text import printable_chars
from depthtui.tui.screens.dialogs.dialog import MUTED, Dialog
from depthtui.tui.screens.dialogs.safe_text_area import SafeTextArea
from depthtui.tui.state.session import Run


class NotesDialog(Dialog[Bookmark]):
    """Keeps what is typed at once; dismissed with the bookmark to go to.

    Args:
        run: whose remarks are changed.
        result: what it has found.
    """

    heading = "Notes on this run"
    hint = "tab to the marked places · enter goes there · d forgets it · esc closes"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d,delete", "forget", "forget", tooltip="Forget a bookmark", id="notes.forget"),
    ]

    def __init__(self, run: Run, result: RunResult) -> None:
        super().__init__()
        self._run = run
        self._result = result

    def body(self) -> ComposeResult:
        yield SafeTextArea(self._run.remarks.note, id="note", tab_behavior="focus")
        yield OptionList(compact=True)

    def on_mount(self) -> None:
        self._fill()
        self.query_one("#note").focus()

    def _fill(self) -> None:
        listing = self.query_one(OptionList)
        kept = listing.highlighted or 0
        listing.clear_options()
        for mark in self._run.remarks.bookmarks:
            place, note = place_words(mark, self._result), printable_chars(mark.note)
            listing.add_option(
                Option(Content.assemble(printable_chars(place), "  ", (note, MUTED)))
            )
        if not self._run.remarks.bookmarks:
            words = Content.styled("No place is marked: M marks the one under the cursor.", MUTED)
            listing.add_option(Option(words, disabled=True))
        else:
            listing.highlighted = min(kept, len(self._run.remarks.bookmarks) - 1)

    @on(TextArea.Changed)
    def _typed(self, event: TextArea.Changed) -> None:
        self._run.remarks = replace(self._run.remarks, note=event.text_area.text)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._run.remarks.bookmarks[event.option_index])

    def action_forget(self) -> None:
        """Take the mark away under the cursor of the list."""
        listing, marks = self.query_one(OptionList), self._run.remarks.bookmarks
        if listing.has_focus and listing.highlighted is not None and marks:
            mark = marks[listing.highlighted]
            self._run.remarks = self._run.remarks.without_bookmark(mark.layer, mark.token)
            self._fill()
