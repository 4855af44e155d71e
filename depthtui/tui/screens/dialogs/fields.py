"""Options as fields of a dialog: drawn from their declarations, and read by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Label

from depthtui.options import Option, WrongValue
from depthtui.tui.screens.dialogs.choice import Choice


class FieldInput(Input):
    """A field in which some characters are not typed, since they are keys of the dialog."""

    dialog_keys = ""

    def check_consume_key(self, key: str, character: str | None) -> bool:
        is_for_dialog = character is not None and character in self.dialog_keys
        return not is_for_dialog and super().check_consume_key(key, character)


def field_lines(
    options: Mapping[str, Option],
    values: Mapping[str, Any],
    why_closed: Mapping[str, str] | None = None,
    dialog_keys: str = "",
) -> ComposeResult:
    """A line for each option: what it is called, and a field with the option's name as its id.

    Args:
        options: the options, by name.
        values: the values at first, by the same names.
        why_closed: why a field cannot be changed, by its name; untrusted.
        dialog_keys: the characters that are typed into no field.
    """
    width = max(len(option.label) for option in options.values())
    for name, option in options.items():
        reason = (why_closed or {}).get(name, "")
        with Horizontal(classes="field"):
            yield Label(Content(option.label.ljust(width + 2)))
            if option.labelled:
                yield Choice(option.labelled, values[name], id=name, why_closed=reason)
            else:
                field = FieldInput(
                    text_of(option, values[name]),
                    option.example,
                    id=name,
                    compact=True,
                    disabled=bool(reason),
                )
                field.dialog_keys = dialog_keys
                yield field


def text_of(option: Option, value: Any) -> str:
    """A value as its field has it: empty for the default where an example stands for it."""
    if option.example and value == option.default:
        return ""
    return f"{value:.10g}" if isinstance(value, float) else option.text(value)


def field_of(dialog: Widget, name: str) -> Choice | FieldInput:
    """The field of an option."""
    widget = dialog.query_one(f"#{name}")
    assert isinstance(widget, Choice | FieldInput)
    return widget


def read(field: Choice | FieldInput, option: Option) -> Any:
    """The value of a field; the default of one that is empty, or cannot be changed.

    Raises:
        WrongValue: it has none.
    """
    if field.disabled:
        return option.default
    if isinstance(field, Choice):
        return field.value
    typed = field.value.strip()
    return option.parse_text(typed) if typed else option.default


def mistake(option: Option, error: WrongValue) -> str:
    """The sentence about a field with a wrong value."""
    return f"{option.label[:1].upper()}{option.label[1:]} must be {error}."
