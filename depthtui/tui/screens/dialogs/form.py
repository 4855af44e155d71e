"""A form that is drawn from the declarations of the options that it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.events import DescendantFocus
from textual.widget import Widget
from textual.widgets import Button, Input, Label, Static

from depthtui.options import Option, WrongValue
from depthtui.tui.screens.dialogs.choice import Choice
from depthtui.tui.screens.dialogs.dialog import WRONG, Dialog


class FormInput(Input):
    """A field in which some characters are not typed, since they are keys of the form."""

    form_keys = ""

    def check_consume_key(self, key: str, character: str | None) -> bool:
        is_for_form = character is not None and character in self.form_keys
        return not is_for_form and super().check_consume_key(key, character)


class Form(Dialog[dict[str, Any]]):
    """A line for each option; dismissed with the values of all of them.

    The last line explains the field with the focus, or names the mistake in it.

    Args:
        fields: the options, by name.
        values: the values at first, by the same names.
        closed: why a field cannot be changed, by its name; untrusted.

    Attributes:
        button: what the button calls taking the values.
        form_keys: the characters that are keys of the form, and typed into no field.
    """

    hint = "enter takes it · ↑↓ move · space chooses · esc closes"
    button = "Take it"
    form_keys = ""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter,f5", "take", "take", tooltip="Take the values", id="form.take", priority=True
        ),
        Binding("up", "app.focus_previous", "previous", show=False),
        Binding("down", "app.focus_next", "next", show=False),
    ]

    def __init__(
        self,
        fields: Mapping[str, Option],
        values: Mapping[str, Any],
        closed: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(classes="form")
        self.fields = fields
        self._values = values
        self._why_closed = closed or {}

    def check(self, name: str, value: Any) -> Any:
        """The value of a field, where it is one by itself.

        Raises:
            WrongValue: it cannot be taken after all; the text is what it must be.
        """
        return value

    def describe(self, name: str) -> str:
        """The sentence about a field with the focus and a right value; untrusted."""
        option = self.fields[name]
        expected = option.expected if option.kind in (int, float) and not option.labelled else ""
        return f"{option.sentence} {expected[:1].upper()}{expected[1:]}{'.' * bool(expected)}"

    def tried(self, values: dict[str, Any]) -> None:
        """React to a changed field; `values` has the fields with a right value."""

    # Fields -----------------------------------------------------------------

    def body(self) -> ComposeResult:
        width = max(len(option.label) for option in self.fields.values())
        for name, option in self.fields.items():
            with Horizontal(classes="field"):
                yield Label(Content(option.label.ljust(width + 2)))
                yield self._field(name, option)
        yield Static(id="note")
        yield Button(f"{self.button} (F5)", id="take", variant="primary", compact=True)

    def _field(self, name: str, option: Option) -> Choice | Input:
        value, why_closed = self._values[name], self._why_closed.get(name, "")
        if option.labelled:
            return Choice(option.labelled, value, id=name, why_closed=why_closed)
        text = self.text(name, value)
        closed = bool(why_closed)
        field = FormInput(text, option.example, id=name, compact=True, disabled=closed)
        field.form_keys = self.form_keys
        return field

    def text(self, name: str, value: Any) -> str:
        """A value as its field has it: empty for the default where an example stands for it."""
        option = self.fields[name]
        if option.example and value == option.default:
            return ""
        return f"{value:.10g}" if isinstance(value, float) else option.text(value)

    def on_mount(self) -> None:
        next(field for field in map(self.field, self.fields) if not field.disabled).focus()

    def field(self, name: str) -> Choice | Input:
        """The widget of a field."""
        widget = self.query_one(f"#{name}")
        assert isinstance(widget, Choice | Input)
        return widget

    def name_of(self, widget: Widget | None) -> str:
        """The name of the field of a widget; empty for any other widget, and for None."""
        name = widget.id if widget is not None else None
        return name if name is not None and name in self.fields else ""

    def put(self, name: str, value: Any) -> None:
        """Give a field another value."""
        field = self.field(name)
        field.value = value if isinstance(field, Choice) else self.text(name, value)

    def _read(self, name: str) -> Any:
        """The value of a field; the default of one that cannot be changed.

        Raises:
            WrongValue: it has none.
        """
        field, option = self.field(name), self.fields[name]
        if field.disabled:
            return option.default
        if isinstance(field, Choice):
            return self.check(name, field.value)
        typed = field.value.strip()
        return self.check(name, option.parse_text(typed) if typed else option.default)

    def _sorted(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The values of right fields by name, and the mistakes in wrong ones by name."""
        values, mistakes = {}, {}
        for name, option in self.fields.items():
            try:
                values[name] = self._read(name)
            except WrongValue as error:
                mistakes[name] = f"{option.label[:1].upper()}{option.label[1:]} must be {error}."
        return values, mistakes

    @on(Input.Changed)
    @on(Choice.Changed)
    def _retyped(self) -> None:
        self.tried(self._sorted()[0])
        self.tell()

    @on(DescendantFocus)
    def tell(self) -> None:
        """Explain the field with the focus, or name the mistake in it."""
        name = self.name_of(self.focused)
        if name:
            mistake = self._sorted()[1].get(name)
            self.note(mistake or self.describe(name), *[WRONG] * bool(mistake))

    @on(Button.Pressed)
    def action_take(self) -> None:
        """Take the values, or go to the first field that is wrong."""
        # A key is quicker than the message of the change before it.
        self.tried(self._sorted()[0])
        values, mistakes = self._sorted()
        if mistakes:
            self.field(next(iter(mistakes))).focus()
            self.tell()
        else:
            self.dismiss(values)
