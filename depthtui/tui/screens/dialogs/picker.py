"""A list of rows that `/` filters, with an explanation of the highlighted row beneath."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from depthtui.token_text import LONGEST_QUOTE, shortened
from depthtui.tui.panes.safe_input import SafeInput
from depthtui.tui.screens.dialogs.dialog import MUTED, WRONG, Dialog, Result, is_there
from depthtui.tui.screens.dialogs.listing import Listing


@dataclass(frozen=True)
class PickerRow:
    """A line of a list.

    Attributes:
        value: the thing of the line.
        line: the line.
        words: the text that the filter looks through; empty for the line's own.
        about: the text beneath the list while the row is highlighted; untrusted. An empty one
            leaves the former text.
        closed: whether the row can be highlighted but not chosen.
    """

    value: Any
    line: Content
    words: str = ""
    about: str = ""
    closed: bool = False

    def has(self, words: Iterable[str]) -> bool:
        """Whether the row contains each of these words in lower case."""
        text = (self.words or self.line.plain).lower()
        return all(word in text for word in words)


@dataclass(frozen=True)
class PickerHeading:
    """A line over some rows; shown with the first of them that matches the filter."""

    text: str


class Picker(Dialog[Result]):
    """Choose one of the rows.

    Attributes:
        noun: a word for a row, such as `setting`; empty for a list without a filter.
        searches: whether the filter is focused from the start, and stays.
        types_into: the id of a field that receives text typed on the list.
        is_slow: whether `find` is called before there are rows.
        empty_words: the words in place of a list without any row; empty for an empty list.
        start: the value of the row that is highlighted at first.
    """

    noun = ""
    searches = False
    types_into = ""
    is_slow = False
    empty_words = ""
    start: Any = None

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", tooltip="Filter", id="edited.filter"),
        Binding("g", "in_list('first')", "first", show=False),
        Binding("G", "in_list('last')", "last", show=False),
    ]

    def rows(self) -> Iterable[PickerRow | PickerHeading]:
        """Every row under its heading, in order."""
        raise NotImplementedError

    def choose(self, value: Any) -> None:
        """Act on the value of the chosen row."""
        raise NotImplementedError

    def find(self) -> None:
        """Find the things that the rows list; slow, so it runs in a thread."""

    def rows_found(self) -> None:
        """React to the end of `find`."""

    def head(self) -> str | Content:
        """The heads of the columns; empty where there are none."""
        return ""

    def describe(self, row: PickerRow) -> None:
        """Explain the highlighted row."""
        if row.about:
            self.note(row.about)

    def above(self) -> ComposeResult:
        """The widgets over the list."""
        return ()

    def below(self) -> ComposeResult:
        """The widgets beneath the list: a note, where rows have an `about`."""
        if any(row.about for row in self.rows() if isinstance(row, PickerRow)):
            yield Static(id="note")

    def body(self) -> ComposeResult:
        yield from self.above()
        yield SafeInput(placeholder=f"words of a {self.noun}", id="filter", compact=True)
        yield Static(id="head")
        yield Listing(compact=True)
        yield Static(id="no-match")
        yield from self.below()

    def on_mount(self) -> None:
        self._listed_rows: list[PickerRow | PickerHeading] = []
        self.query_one("#filter").display = self.searches
        self.listing.loading = self.is_slow
        self.fill(self.start)
        self.first_focus.focus()
        if self.is_slow:
            self.run_worker(self._find())

    @property
    def first_focus(self) -> Widget:
        """The widget that is focused first."""
        return self.query_one("#filter") if self.searches else self.listing

    async def _find(self) -> None:
        problem = ""
        try:
            await asyncio.to_thread(self.find)
        except Exception as error:
            problem = f"The list cannot be made: {error}"
        self.listing.loading = False
        self.fill(self.start)
        self.rows_found()
        if problem:
            self.note(problem, WRONG)

    def on_resize(self) -> None:
        self.fill()

    # The list ---------------------------------------------------------------

    @property
    def listing(self) -> OptionList:
        return self.query_one(OptionList)

    @property
    def words(self) -> str:
        """The filter's text."""
        return self.query_one("#filter", Input).value

    @property
    def row(self) -> PickerRow | None:
        """The row under the cursor."""
        place = self.listing.highlighted
        if place is None or place >= len(self._listed_rows):
            return None
        row = self._listed_rows[place]
        return row if isinstance(row, PickerRow) else None

    @property
    def highlighted_value(self) -> Any:
        """The value of the row under the cursor; None where there is no row."""
        return self.row.value if self.row is not None else None

    def fill(self, value: Any = None) -> None:
        """List the rows that match the filter; the cursor keeps its row, or goes to a value's."""
        listing, former_place = self.listing, self.listing.highlighted or 0
        value = self.highlighted_value if value is None else value
        self._listed_rows = list(self._matching())
        listing.clear_options().add_options(map(_option, self._listed_rows))
        places = {
            i: row.value for i, row in enumerate(self._listed_rows) if isinstance(row, PickerRow)
        }
        same = (place for place, other in places.items() if other == value)
        nearest = min(places, key=lambda place: abs(place - former_place), default=None)
        listing.highlighted = next(same, nearest)
        self._show_whether_found()
        self._describe()

    def _matching(self) -> Iterable[PickerRow | PickerHeading]:
        """The rows with every word of the filter, under their headings."""
        words, heading = self.words.lower().split(), None
        for row in self.rows():
            if isinstance(row, PickerHeading):
                heading = row
            elif row.has(words):
                if heading is not None:
                    yield heading
                heading = None
                yield row

    def _show_whether_found(self) -> None:
        """Show the list, or a message that there is no row, or none with the words."""
        has_rows, words, head = (
            bool(self._listed_rows),
            shortened(self.words, LONGEST_QUOTE),
            self.head(),
        )
        why = f"No {self.noun} matches “{words}”." if words else self.empty_words
        self.listing.display = has_rows or not why or self.listing.loading
        message, heads = self.query_one("#no-match", Static), self.query_one("#head", Static)
        message.display = not self.listing.display
        message.update(Content(why))
        heads.display = bool(head) and has_rows
        heads.update(head if isinstance(head, Content) else Content.styled(head, MUTED))

    @on(OptionList.OptionHighlighted)
    def _describe(self) -> None:
        if self.row is not None:
            self.describe(self.row)

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        row = self._listed_rows[event.option_index] if is_there(event) else None
        if isinstance(row, PickerRow):
            self.choose(row.value)

    def on_key(self, event: events.Key) -> None:
        """Pass text typed on the list to the field, where there is one."""
        if event.is_printable and event.character and (field := self.focus_field()):
            event.stop()
            field.insert_text_at_cursor(event.character)

    def focus_field(self) -> Input | None:
        """Focus the field for text that is typed or pasted on the list, and return it."""
        if not self.types_into or not self.listing.has_focus:
            return None
        field = self.query_one(f"#{self.types_into}", Input)
        # Focusing it would select its text, and the next key would replace that.
        field.select_on_focus = False
        self.set_focus(field)
        return field

    # The filter -------------------------------------------------------------

    def action_filter(self) -> None:
        if not self.noun:
            return
        field = self.query_one("#filter", Input)
        field.display = True
        # Focus at once: the next keys are for the field.
        self.set_focus(field)

    async def action_in_list(self, action: str) -> None:
        """Run an action of the list, wherever the focus is; a key may come before the list."""
        for listing in self.query(OptionList):
            await self.app.run_action(action, listing)

    @on(Input.Changed, "#filter")
    def _filter(self) -> None:
        """List the matches; the cursor stays on its row, or goes to the first."""
        former = self.highlighted_value
        self.fill()
        if self.highlighted_value != former:
            self.listing.action_first()

    @on(Input.Submitted, "#filter")
    def _submit(self) -> None:
        if self.searches:
            self.listing.action_select()
        elif self.listing.option_count:
            self.listing.focus()

    def leave(self) -> None:
        """Leave the filter, then the list; a key may do so before the list is there."""
        field = next(iter(self.query("#filter").results(Input)), None)
        if field is not None and field.display and not self.searches:
            field.value = ""
            field.display = False
            self.listing.focus()
        else:
            super().leave()


def _option(row: PickerRow | PickerHeading) -> Option:
    if isinstance(row, PickerHeading):
        return Option(Content.styled(row.text, f"bold {MUTED}"), disabled=True)
    return Option(row.line, disabled=row.closed)
