"""Open a row of a list that a thread fills, or a typed name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input, Static

from depthtui.tui.panes.safe_input import SafeInput
from depthtui.tui.screens.dialogs.dialog import WRONG, Result
from depthtui.tui.screens.dialogs.path_suggester import PathSuggester
from depthtui.tui.screens.dialogs.picker import Picker, PickerRow


class OpenDialog(Picker[Result]):
    """A list of things to open, and a field for the name of any other.

    The `words` of a row are its name.

    Attributes:
        listed: the words over the list.
        name_words: the words over the field, and in the note where nothing is typed.
        example: a name, shown in the empty field.
        endings: the endings of files whose names are completed.
        completes_paths: whether names of files on this machine are completed.
        first_name: the name in the field at first.
        problem: why `first_name` could not be opened; untrusted.
    """

    hint = "enter opens · type a name · → completes · tab moves on · esc closes"
    types_into = "name"
    is_slow = True
    listed = name_words = example = first_name = problem = ""
    endings: tuple[str, ...] = ()
    completes_paths = True

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,f5", "submit", "open", tooltip="Open the typed name", id="open.typed"),
    ]

    def submit(self, name: str) -> None:
        """Open a thing by its typed name."""
        raise NotImplementedError

    def options(self) -> ComposeResult:
        """The widgets for the options of opening."""
        return ()

    def above(self) -> ComposeResult:
        yield Static(self.listed, classes="label")

    def below(self) -> ComposeResult:
        yield Static(f"Or {self.name_words}", classes="label")
        suggester = PathSuggester(self.endings, self._names, self.completes_paths)
        yield SafeInput(self.first_name, self.example, suggester=suggester, id="name", compact=True)
        yield from self.options()
        yield Static(id="note")

    def on_mount(self) -> None:
        self.note(self.problem, WRONG)

    @property
    def first_focus(self) -> Widget:
        return self.query_one("#name")

    def _names(self) -> list[str]:
        return [row.words for row in self._rows()]

    def _rows(self) -> list[PickerRow]:
        return [row for row in self.rows() if isinstance(row, PickerRow)]

    @property
    def typed(self) -> str:
        """The typed name without the slash that completes a folder."""
        name = self.query_one("#name", Input).value.strip()
        return name.rstrip("/") or name

    def rows_found(self) -> None:
        if self.row is not None and not self.typed:
            self.listing.focus()

    def describe(self, row: PickerRow) -> None:
        # A typed name or an error stays until the user moves in the list.
        if self.listing.has_focus or not (self.problem or self.typed):
            super().describe(row)

    @on(Input.Changed, "#name")
    def _describe_typed(self) -> None:
        row = next((row for row in self._rows() if row.words == self.typed), None)
        self.note(row.about if row else f"enter opens {self.typed}" if self.typed else "")

    @on(Input.Submitted)
    def action_submit(self) -> None:
        """Open the typed name."""
        if self.typed:
            self.submit(self.typed)
        else:
            self.note(f"Type {self.name_words}, or choose from the list.", "")
            self.query_one("#name").focus()

    def leave_with(self, work: Callable[[], Result], note: str) -> None:
        """Dismiss with the result of `work`, run in a thread; stay and say why where it fails."""
        self.note(note, "")
        self.run_worker(self._leave_with(work), group="open", exclusive=True)

    async def _leave_with(self, work: Callable[[], Result]) -> None:
        try:
            result = await asyncio.to_thread(work)
        except Exception as error:
            self.note(str(error), WRONG)
        else:
            self.dismiss(result)
