"""A form, drawn from the declarations of its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import DescendantFocus
from textual.widget import Widget
from textual.widgets import Button, Input, Static

from depthtui.options import Option
from depthtui.tui.screens.dialogs.choice_field import ChoiceField
from depthtui.tui.screens.dialogs.dialog import WRONG, Dialog
from depthtui.tui.screens.dialogs.fields import (
    FieldInput,
    field_lines,
    field_of,
    read_fields,
    text_of,
)


class Form(Dialog[dict[str, Any]]):
    """A line for each option; dismissed with their values.

    The last line explains the focused field, or names its mistake.

    Args:
        fields: the options, by name.
        values: the values at first, by the same names.
        closed: why a field cannot be changed, by its name; untrusted.
        first: the field that has the focus; empty for the first one.

    Attributes:
        button: the button's label.
        form_keys: the characters that are keys of the form; only text fields accept them.
    """

    hint = "enter applies · ↑↓ move · space chooses · esc closes"
    button = "Apply"
    form_keys = ""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter,f5", "take", "take", tooltip="Apply the values", id="form.take", priority=True
        )
    ]

    def __init__(
        self,
        fields: Mapping[str, Option],
        values: Mapping[str, Any],
        closed: Mapping[str, str] | None = None,
        first: str = "",
    ) -> None:
        super().__init__(classes="form")
        self.fields = fields
        self._first = first
        self._values = values
        self._why_closed = closed or {}

    def check(self, name: str, value: Any) -> Any:
        """Return the value of a field if it is valid by itself.

        Raises:
            WrongValue: the value is invalid after all; the text says what it must be.
        """
        return value

    def describe(self, name: str) -> str:
        """A sentence about a focused field with a valid value; untrusted."""
        option = self.fields[name]
        if option.value_labels or not option.is_number:
            return option.sentence
        return f"{option.sentence} {option.requirement[0].upper()}{option.requirement[1:]}."

    def tried(self, values: dict[str, Any]) -> None:
        """React to a changed field; `values` has the valid fields."""

    # Fields -----------------------------------------------------------------

    def body(self) -> ComposeResult:
        yield from field_lines(self.fields, self._values, self._why_closed, self.form_keys)
        yield Static(id="note")
        yield Button(f"{self.button} (F5)", id="take", variant="primary", compact=True)

    def on_mount(self) -> None:
        names = [self._first] if self._first else self.fields
        next(field for field in map(self.field, names) if not field.disabled).focus()

    def field(self, name: str) -> ChoiceField | FieldInput:
        """The widget of a field."""
        return field_of(self, name)

    def name_of(self, widget: Widget | None) -> str:
        """The field name of a widget; empty for any other widget, and for None."""
        name = widget.id if widget is not None else None
        return name if name is not None and name in self.fields else ""

    def set_field(self, name: str, value: Any) -> None:
        """Set a field to another value, which was not typed."""
        field = self.field(name)
        if isinstance(field, ChoiceField):
            field.value = value
        else:
            field.value = text_of(self.fields[name], value)
            self.keep_text(field)

    def _read(self) -> tuple[dict[str, Any], dict[str, str]]:
        return read_fields(self, self.fields, self.check)

    @on(Input.Changed)
    @on(ChoiceField.Changed)
    def _retyped(self) -> None:
        self.tried(self._read()[0])
        self.explain()

    @on(DescendantFocus)
    def explain(self) -> None:
        """Explain the focused field, or name its mistake."""
        name = self.name_of(self.focused)
        if name:
            mistake = self._read()[1].get(name)
            self.note(mistake or self.describe(name), *[WRONG] * bool(mistake))

    @on(Button.Pressed)
    def action_take(self) -> None:
        """Return the values, or go to the first invalid field."""
        # A key is quicker than the message of the change before it.
        self.tried(self._read()[0])
        values, mistakes = self._read()
        if mistakes:
            self.field(next(iter(mistakes))).focus()
            self.explain()
        else:
            self.dismiss(values)
