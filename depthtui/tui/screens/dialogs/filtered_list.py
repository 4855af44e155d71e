"""A list that typing filters: `/` opens the filter, enter returns to the list."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input, Static

from depthtui.token_text import printable_chars
from depthtui.tui.screens.dialogs.dialog import ListDialog, Result


class FilteredList(ListDialog[Result]):
    """A dialog whose list an `Input` with the id `filter` narrows.

    Beside the list it has a `Static` with the id `no-match`.

    Attributes:
        noun: the thing in one line, such as `setting`.
    """

    noun = ""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", tooltip="Filter", id="edited.filter"),
    ]

    def fill(self) -> None:
        """List the lines with every word of `words` in them."""
        raise NotImplementedError

    @property
    def words(self) -> str:
        """The text in the filter."""
        return self.query_one("#filter", Input).value

    def hide_filter(self) -> None:
        """Show the whole list, without the filter."""
        for hidden in ("#filter", "#no-match"):
            self.query_one(hidden).display = False

    def show_whether_found(self, found: bool) -> None:
        """Show the list, or in its place that no line has the words."""
        self.listing.display = found
        nothing = self.query_one("#no-match", Static)
        nothing.display = not found and bool(self.words)
        words = printable_chars(self.words)
        nothing.update(Content(f"No {self.noun} has “{words}” in its words."))

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.display = True
        # At once: what is typed next is for the field.
        self.set_focus(field)

    @on(Input.Changed, "#filter")
    def _filter(self) -> None:
        self.fill()

    @on(Input.Submitted, "#filter")
    def _to_list(self) -> None:
        if self.listing.option_count:
            self.listing.focus()

    def action_leave(self) -> None:
        """Leave the filter, then the list."""
        field = self.query_one("#filter", Input)
        if field.display:
            field.value = ""
            field.display = False
            self.listing.focus()
        else:
            self.dismiss(None)
