"""Every setting, listed from its declaration: read it, change it, write it into the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input, OptionList

from depthtui.options import WrongValue
from depthtui.token_text import fit_shown, printable_chars
from depthtui.tui.panes.safe_input import SafeInput
from depthtui.tui.screens.dialogs import picker
from depthtui.tui.screens.dialogs.dialog import MUTED, QUICK, WRONG
from depthtui.tui.screens.dialogs.edited_list import EditedList
from depthtui.tui.state.settings_list import IN_FILE_ALONE, MOST_CYCLED, SettingRow, Source, wrong

_EDITING_HINT = "enter sets it · ctrl+s writes · esc leaves it as it was"
"""The keys of the field for a value."""

_NAME_CELLS, _SOURCE_CELLS, _DEFAULT_CELLS = 19, 13, 18
_LEAST_VALUE = 16
_STYLES = {Source.UNWRITTEN: "$text-warning", Source.DEFAULT: MUTED}


class SettingsScreen(EditedList):
    """Lists the settings by group; switches turn, choices advance, other values are typed."""

    heading = "Settings"
    hint = "enter changes · d default · / filters · ctrl+s writes · esc closes"
    noun = "setting"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "in_list('select')", "change", show=False)
    ]

    _edited = ""

    def fields(self) -> ComposeResult:
        yield SafeInput(id="value", compact=True)

    def on_mount(self) -> None:
        self.query_one("#value").display = False

    # The list ---------------------------------------------------------------

    def rows(self) -> Iterator[picker.PickerRow | picker.PickerHeading]:
        for group, rows in self._settings.rows():
            yield picker.PickerHeading(group)
            for row in rows:
                yield picker.PickerRow(row.name, self._line(row), row.words)

    def head(self) -> str:
        return " ".join(self._columns("", "name", "now", "default", "from"))

    def details(self, name: str) -> tuple[str, str]:
        row = self._settings.row(name)
        return row.help, f"default {row.default} · takes effect {row.effect.value}"

    def _line(self, row: SettingRow) -> Content:
        mark = "*" if row.source is Source.UNWRITTEN else " "
        default = row.default if row.default != row.value else ""
        cells = self._columns(mark, row.name, row.value, default, row.source.value)
        styles = ("$text-warning", "", "bold" if default else "", MUTED)
        return Content(" ").join(
            Content.styled(cell, style)
            for cell, style in zip(cells, (*styles, _STYLES.get(row.source, "")), strict=True)
        )

    def _columns(self, mark: str, *texts: str) -> list[str]:
        """The cells of a line; the value gets the remaining width."""
        name, value, default, source = map(printable_chars, texts)
        # 5 cells are the mark and the gaps.
        room = self.cells - 5 - _NAME_CELLS - _SOURCE_CELLS
        of_default = _DEFAULT_CELLS if room - _DEFAULT_CELLS >= _LEAST_VALUE else 0
        return [
            fit_shown(mark, 1),
            fit_shown(name, _NAME_CELLS),
            fit_shown(value, room - of_default),
            fit_shown(default, of_default),
            fit_shown(source, _SOURCE_CELLS),
        ]

    # Changing ---------------------------------------------------------------

    def choose(self, name: str) -> None:
        choices = self._settings.choices(name)
        if name in IN_FILE_ALONE:
            self.note(IN_FILE_ALONE[name])
        elif name == "theme":
            self.action_turn_to("looks")
        elif len(choices) > MOST_CYCLED:
            self._pick(name, choices)
        elif choices:
            self._settings.cycle(name)
            self.show_change()
        elif name == "keys":
            self.action_turn_to("keys")
        else:
            self._edit(name)

    def reset(self, name: str) -> None:
        if name in IN_FILE_ALONE:
            self.note(IN_FILE_ALONE[name])
        else:
            self._settings.reset(name)

    def _pick(self, name: str, choices: Mapping[str, Any]) -> None:
        def chosen(value: Any) -> None:
            if value is not None:
                self._settings.choose(name, value)
                self.show_change()

        self.app.push_screen(ChoicePicker(name, choices, self._settings.value(name)), chosen)

    def _edit(self, name: str) -> None:
        """Open the field with the setting's value."""
        self._edited = name
        field = self.query_one("#value", Input)
        field.value = self._settings.typed(name)
        field.display = True
        field.set_class(self._settings.is_number(name), QUICK)
        self.keep_text(field)
        self.show_hint(_EDITING_HINT)
        self.set_focus(field)
        field.action_select_all()

    @property
    def _is_editing(self) -> bool:
        return bool(self.query_one("#value").display)

    @on(OptionList.OptionHighlighted)
    def _leave_field(self) -> None:
        """Accept the field's value when the mouse or a filter moves to another setting."""
        if self._is_editing and self.highlighted_value != self._edited:
            self._accept()

    @on(Input.Changed, "#value")
    def _retype(self) -> None:
        self.note("")

    @on(Input.Submitted, "#value")
    def _accept(self) -> bool:
        """Accept the field's value, or go back to its setting and name the mistake.

        Returns whether the value was accepted.
        """
        try:
            self._settings.type(self._edited, self.query_one("#value", Input).value)
        except WrongValue as error:
            self._go_back_to_field()
            self.note(wrong(self._edited, error), WRONG)
            return False
        self._end_editing()
        self.show_change()
        return True

    def _go_back_to_field(self) -> None:
        """Highlight the edited setting again, which a filter may hide, and focus the field."""
        if self.highlighted_value != self._edited:
            self.query_one("#filter", Input).value = ""
            self.fill(self._edited)
        self.set_focus(self.query_one("#value"))

    def _end_editing(self) -> None:
        self.query_one("#value").display = False
        self.show_hint(self.hint)
        self.note("")
        self.listing.focus()

    def action_write(self) -> None:
        if not self._is_editing or self._accept():
            super().action_write()

    def leave(self) -> None:
        """Leave the field, then the filter, then the settings."""
        if self._is_editing:
            self._end_editing()
        else:
            super().leave()


class ChoicePicker(picker.Picker[Any]):
    """The choices of a setting as a list.

    Args:
        name: the setting's name.
        choices: values by their labels.
        current: the setting's value.
    """

    hint = "enter chooses · / finds · esc closes"

    def __init__(self, name: str, choices: Mapping[str, Any], current: Any) -> None:
        super().__init__(classes="small")
        self.heading = name
        self._choices = choices
        self.start = current

    def rows(self) -> Iterator[picker.PickerRow]:
        for label, value in self._choices.items():
            yield picker.PickerRow(value, Content(printable_chars(label)))

    def choose(self, value: Any) -> None:
        self.dismiss(value)
