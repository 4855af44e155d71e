"""Options as fields of a dialog: drawn and read by their declarations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.events import Key
from textual.widget import Widget
from textual.widgets import Label

from depthtui.options import Option, WrongValue
from depthtui.tui.panes.safe_input import SafeInput
from depthtui.tui.screens.dialogs.choice_field import ChoiceField
from depthtui.tui.screens.dialogs.dialog import QUICK

_MOVING = "jk"
"""Keys that move between fields; no number or list of numbers contains them."""


class FieldInput(SafeInput):
    """A field that does not accept some characters, since they are keys of the dialog."""

    dialog_keys = ""

    def check_consume_key(self, key: str, character: str | None) -> bool:
        is_for_dialog = character is not None and character in self.dialog_keys
        return not is_for_dialog and super().check_consume_key(key, character)

    async def on_key(self, event: Key) -> None:
        """Pass a key of the dialog on to the dialog."""
        if not self.check_consume_key(event.key, event.character) and event.is_printable:
            event.prevent_default()


def field_lines(
    options: Mapping[str, Option],
    values: Mapping[str, Any],
    why_closed: Mapping[str, str] | None = None,
    dialog_keys: str = "",
) -> ComposeResult:
    """A line for each option: its label, and a field with the option's name as its id.

    A field in `why_closed` cannot be changed, for that untrusted reason.
    """
    width, why_closed = max(len(option.label) for option in options.values()), why_closed or {}
    for name, option in options.items():
        with Horizontal(classes="field"):
            yield Label(Content(option.label.ljust(width + 2)))
            if option.value_labels:
                reason = why_closed.get(name, "")
                yield ChoiceField(option.value_labels, values[name], id=name, why_closed=reason)
            else:
                text, closed = text_of(option, values[name]), name in why_closed
                field = FieldInput(text, option.example, id=name, compact=True, disabled=closed)
                field.dialog_keys = "" if option.is_free_text else dialog_keys + _MOVING
                field.set_class(option.is_number, QUICK)
                yield field


def text_of(option: Option, value: Any) -> str:
    """A value as its field shows it: empty for a default that an example stands for."""
    if option.example and value == option.default:
        return ""
    return f"{value:.10g}" if isinstance(value, float) else option.text(value)


def field_of(dialog: Widget, name: str) -> ChoiceField | FieldInput:
    """The field of an option."""
    widget = dialog.query_one(f"#{name}")
    assert isinstance(widget, ChoiceField | FieldInput)
    return widget


def read_fields(
    dialog: Widget, options: Mapping[str, Option], check: Callable[[str, Any], Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of valid fields and the mistakes in invalid ones, by name.

    An empty or closed field has its default. `check` gets the name and the value of any other
    field, and returns the value or raises `WrongValue`.
    """
    values, mistakes = {}, {}
    for name, option in options.items():
        field = field_of(dialog, name)
        try:
            values[name] = option.default if field.disabled else check(name, _read(field, option))
        except WrongValue as error:
            label = f"{option.label[:1].upper()}{option.label[1:]}"
            mistakes[name] = f"{label} must be {error}."
    return values, mistakes


def _read(field: ChoiceField | FieldInput, option: Option) -> Any:
    if isinstance(field, ChoiceField):
        return field.value
    typed = field.value.strip()
    return option.parse_text(typed) if typed else option.default
