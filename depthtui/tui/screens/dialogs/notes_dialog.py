"""A note on a run, the mark of the place under the cursor, and the marked places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static, TextArea

from depthtui.data.remarks import Bookmark
from depthtui.data.run import RunResult
from depthtui.report.remarks import place_words
from depthtui.token_text import printable_chars
from depthtui.tui.panes.safe_input import SafeInput
from depthtui.tui.screens.dialogs.dialog import MUTED
from depthtui.tui.screens.dialogs.picker import Picker, PickerRow
from depthtui.tui.screens.dialogs.safe_text_area import SafeTextArea
from depthtui.tui.state.session import SessionRun


class NotesDialog(Picker[Bookmark]):
    """Marks a place and keeps the note as it is typed; dismissed with the bookmark to go to.

    Args:
        run: the run whose remarks are changed.
        result: its result.
        place: the place under the cursor, with its mark.
    """

    heading = "Marks and notes"
    hint = "enter marks this place · tab note, marks · d forgets a mark · esc closes"

    empty_words = "No place is marked yet."

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d,delete", "forget", "forget", tooltip="Forget a bookmark", id="notes.forget"),
    ]

    def __init__(self, run: SessionRun, result: RunResult, place: Bookmark) -> None:
        super().__init__()
        self._run = run
        self._result = result
        self._place = place

    def above(self) -> ComposeResult:
        place = printable_chars(place_words(self._place, self._result))
        yield Static(Content(f"Mark {place}"), classes="label")
        yield SafeInput(self._place.note, placeholder="a note, or none", id="mark", compact=True)
        yield Static("A note on the run", classes="label")
        yield SafeTextArea(self._run.remarks.note, id="note", tab_behavior="focus")

    @property
    def first_focus(self) -> Widget:
        return self.query_one("#mark")

    def rows(self) -> Iterator[PickerRow]:
        for mark in self._run.remarks.bookmarks:
            place = printable_chars(place_words(mark, self._result))
            note = printable_chars(mark.note)
            yield PickerRow(mark, Content.assemble(place, "  ", (note, MUTED)))

    def choose(self, value: Bookmark) -> None:
        self.dismiss(value)

    @on(Input.Submitted, "#mark")
    def _mark(self, event: Input.Submitted) -> None:
        mark = replace(self._place, note=event.value.strip())
        self._run.remarks = self._run.remarks.with_bookmark(mark)
        self.dismiss(None)

    @on(TextArea.Changed)
    def _typed(self, event: TextArea.Changed) -> None:
        self._run.remarks = replace(self._run.remarks, note=event.text_area.text)
        self.keep_text(event.text_area)

    def action_forget(self) -> None:
        """Remove the mark under the list's cursor."""
        mark = self.highlighted_value
        if self.listing.has_focus and mark is not None:
            self._run.remarks = self._run.remarks.without_bookmark(mark.layer, mark.token)
            self.fill()
