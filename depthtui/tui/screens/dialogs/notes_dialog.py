"""A note on a run, the mark of the place under the cursor, and the marked places."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input, OptionList, Static, TextArea
from textual.widgets.option_list import Option

from depthtui.data.remarks import Bookmark
from depthtui.data.run import RunResult
from depthtui.report.remarks import place_words
from depthtui.token_text import printable_chars
from depthtui.tui.screens.dialogs.dialog import MUTED, Dialog
from depthtui.tui.screens.dialogs.safe_text_area import SafeTextArea
from depthtui.tui.state.session import Run


class NotesDialog(Dialog[Bookmark]):
    """Marks a place, keeps the note as it is typed; dismissed with the bookmark to go to.

    Args:
        run: whose remarks are changed.
        result: its result.
        here: the place under the cursor, with the mark that it has.
    """

    heading = "Marks and notes"
    hint = "enter marks this place · tab note, marked places · d forgets one · esc closes"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d,delete", "forget", "forget", tooltip="Forget a bookmark", id="notes.forget"),
    ]

    def __init__(self, run: Run, result: RunResult, here: Bookmark) -> None:
        super().__init__()
        self._run = run
        self._result = result
        self._here = here

    def body(self) -> ComposeResult:
        place = printable_chars(place_words(self._here, self._result))
        yield Static(Content(f"Mark {place}"), classes="label")
        yield Input(self._here.note, placeholder="a note, or none", id="mark", compact=True)
        yield Static("A note on the run", classes="label")
        yield SafeTextArea(self._run.remarks.note, id="note", tab_behavior="focus")
        yield OptionList(compact=True)

    def on_mount(self) -> None:
        self._fill()
        self.query_one("#mark").focus()

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
            words = Content.styled("No place is marked yet.", MUTED)
            listing.add_option(Option(words, disabled=True))
        else:
            listing.highlighted = min(kept, len(self._run.remarks.bookmarks) - 1)

    @on(Input.Submitted, "#mark")
    def _mark(self, event: Input.Submitted) -> None:
        mark = replace(self._here, note=event.value.strip())
        self._run.remarks = self._run.remarks.with_bookmark(mark)
        self.dismiss(None)

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
