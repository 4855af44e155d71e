"""A list under headings that typing filters, of things that are kept in the settings file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from depthtui.errors import DepthError
from depthtui.token_text import printable_chars
from depthtui.tui.screens.dialogs.dialog import MUTED, WRONG, line_cells
from depthtui.tui.screens.dialogs.filtered_list import FilteredList
from depthtui.tui.state.settings_list import SettingsList

_WIDEST = 100
"""Cells of the widest such list, as the style sheet has it."""


class EditedList(FilteredList[None]):
    """What is changed here is heeded as soon as it can be, and written when that is asked for.

    Args:
        settings: the settings, with what is not written yet.
        heed: shows in the explorer what the settings say now.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d,delete", "reset", "default", tooltip="Back to the default", id="edited.default"),
        Binding(
            "ctrl+s,f5",
            "write",
            "write",
            tooltip="Write what was changed into the settings file",
            id="edited.write",
        ),
    ]

    def __init__(self, settings: SettingsList, heed: Callable[[], None]) -> None:
        super().__init__()
        self._settings = settings
        self._heed = heed
        self._names: list[str] = []
        self._described = ""

    def groups(self, words: str) -> Iterable[tuple[str, list[tuple[str, Content]]]]:
        """The names and lines that have these words in them, by heading."""
        raise NotImplementedError

    def head(self) -> str:
        """What the columns are."""
        raise NotImplementedError

    def describe(self, name: str) -> tuple[str, str]:
        """What a line's thing is, and what matters less."""
        raise NotImplementedError

    def change(self, name: str) -> None:
        """Do what enter is for."""
        raise NotImplementedError

    def reset(self, name: str) -> None:
        """Take the default."""
        raise NotImplementedError

    @property
    def cells(self) -> int:
        """Cells of a line."""
        return line_cells(self.app.size.width, _WIDEST)

    def body(self) -> ComposeResult:
        yield Input(placeholder=f"words of a {self.noun}", id="filter", compact=True)
        yield Static(id="head")
        yield OptionList(compact=True)
        yield Static(id="no-match")
        with Vertical(id="about"):
            yield Static(id="help")
            yield Static(id="less")
            yield from self.fields()
            yield Static(id="note")

    def fields(self) -> ComposeResult:
        """What is needed to change one."""
        return ()

    def on_mount(self) -> None:
        self.hide_filter()
        self.fill()
        self.listing.focus()
        if self._settings.problem:
            self.note(self._settings.problem, WRONG)

    def on_resize(self) -> None:
        self.fill()

    # The list ---------------------------------------------------------------

    def fill(self) -> None:
        """List what the filter lets through, with the cursor where it was."""
        listing, chosen = self.listing, self.chosen
        self._names = []
        options = []
        for heading, lines in self.groups(self.words):
            self._names.append("")
            options.append(Option(Content.styled(heading, f"bold {MUTED}"), disabled=True))
            for name, line in lines:
                self._names.append(name)
                options.append(Option(line))
        self.query_one("#head", Static).update(Content.styled(self.head(), MUTED))
        listing.clear_options().add_options(options)
        place = self._names.index(chosen) if chosen and chosen in self._names else 1
        listing.highlighted = place if options else None
        self.show_whether_found(bool(options))
        self._describe()

    @property
    def chosen(self) -> str:
        """The name of the line under the cursor; empty where there is none."""
        place = self.listing.highlighted
        return self._names[place] if place is not None and place < len(self._names) else ""

    @on(OptionList.OptionHighlighted)
    def _describe(self) -> None:
        """Say what the line is of; what was said of it stays."""
        name = self.chosen
        if name != self._described:
            self._described = name
            self.note("")
        if name:
            words, less = self.describe(name)
            self.query_one("#help", Static).update(Content(words))
            self.query_one("#less", Static).update(Content.styled(printable_chars(less), MUTED))

    # Changing ---------------------------------------------------------------

    def take(self, place: int) -> None:
        if self._names[place]:
            self.change(self._names[place])

    def action_reset(self) -> None:
        if self.chosen:
            self.reset(self.chosen)
            self.note("")
            self.show_change()

    def show_change(self) -> None:
        """Heed what was changed, and show it."""
        self._heed()
        self.fill()

    def action_write(self) -> None:
        """Write what was changed into the file, or say why that cannot be."""
        count = len(self._settings.unwritten)
        if not count:
            self.note("Nothing was changed that the settings file does not say.")
            return
        try:
            path = self._settings.write()
        except DepthError as error:
            self.note(str(error), WRONG)
            return
        self.fill()
        self.note(f"{count} setting{'s' * (count > 1)} written to {path}.", "$text-success")
