"""A filtered list under headings, of things that are saved in the settings file."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from depthtui.data.sentence import plural
from depthtui.errors import DepthError
from depthtui.token_text import printable_chars
from depthtui.tui.screens.dialogs.dialog import MUTED, WRONG, line_cells
from depthtui.tui.screens.dialogs.picker import Picker, PickerRow
from depthtui.tui.state.settings_list import SettingsList

_WIDEST = 100
"""Cells of the widest such list, as in the style sheet."""


class EditedList(Picker[None]):
    """Changes take effect as soon as they can, and are written on request.

    Args:
        settings: the settings, with changes not written yet.
        apply: applies the settings to the explorer.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d,delete", "reset", "default", tooltip="Back to the default", id="edited.default"),
        Binding(
            "ctrl+s,f5",
            "write",
            "write",
            tooltip="Write the changes to the settings file",
            id="edited.write",
        ),
    ]

    def __init__(self, settings: SettingsList, apply: Callable[[], None]) -> None:
        super().__init__()
        settings.read_file()
        self._settings = settings
        self._apply = apply
        self._described = ""

    def details(self, name: str) -> tuple[str, str]:
        """The description of a line's thing, and minor details."""
        raise NotImplementedError

    def reset(self, name: str) -> None:
        """Set a thing to its default."""
        raise NotImplementedError

    @property
    def cells(self) -> int:
        """Cells of a line."""
        return line_cells(self.app.size.width, _WIDEST)

    def below(self) -> ComposeResult:
        with Vertical(id="about"):
            yield Static(id="help")
            yield Static(id="less")
            yield from self.fields()
            yield Static(id="note")

    def fields(self) -> ComposeResult:
        """The widgets that change a thing."""
        return ()

    def on_mount(self) -> None:
        if self._settings.problem:
            self.call_after_refresh(self.note, self._settings.problem, WRONG)

    def describe(self, row: PickerRow) -> None:
        """Describe the highlighted thing; a note on the same thing stays."""
        if row.value != self._described:
            self._described = row.value
            self.note("")
        words, less = self.details(row.value)
        self.query_one("#help", Static).update(Content(words))
        self.query_one("#less", Static).update(Content.styled(printable_chars(less), MUTED))

    # Changing ---------------------------------------------------------------

    def action_reset(self) -> None:
        if self.highlighted_value:
            self.note("")
            self.reset(self.highlighted_value)
            self.show_change()

    def show_change(self) -> None:
        """Apply the changes, and show them."""
        self._apply()
        self.fill()

    def action_write(self) -> None:
        """Write the changes into the file, or say why they cannot be written."""
        count = len(self._settings.unwritten)
        if not count:
            self.note("Every change is in the settings file already.")
            return
        try:
            path = self._settings.write()
        except DepthError as error:
            self.note(str(error), WRONG)
            return
        self.fill()
        self.note(f"{plural(count, 'setting')} written to {path}.", "$text-success")
