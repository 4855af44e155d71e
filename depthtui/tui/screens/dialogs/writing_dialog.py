"""How the model is to write: temperature, seed, how much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Button, Checkbox, Input, Label, Static

from depthtui.data.generation import GenerationSettings
from depthtui.tui.screens.dialogs.dialog import MUTED, Dialog

_FIELDS: dict[str, tuple[str, Callable[[str], Any], Callable[[Any], bool], str]] = {
    "max_tokens": ("most tokens", int, lambda value: value >= 1, "a whole number from 1"),
    "temperature": ("temperature", float, lambda value: 0 <= value <= 10, "a number from 0 to 10"),
    "top_p": ("top-p", float, lambda value: 0 <= value <= 1, "a number from 0 to 1"),
    "seed": ("seed", int, lambda value: 0 <= value < 1 << 63, "a whole number from 0"),
    "confidence": ("confidence", float, lambda value: 0 <= value <= 1, "a number from 0 to 1"),
}
"""Name -> its label, how it is read, which values it can have, and that in words."""


class WritingDialog(Dialog[GenerationSettings]):
    """Dismissed with changed settings.

    Args:
        settings: what the fields show at first.
        has_template: whether the model has a chat template.
    """

    heading = "How the model writes"
    hint = "enter writes anew · tab moves on · esc closes"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f5", "write", "write", tooltip="Write anew", id="writing.write", priority=True),
    ]

    def __init__(self, settings: GenerationSettings, has_template: bool) -> None:
        super().__init__()
        self._settings = settings
        self._has_template = has_template

    def body(self) -> ComposeResult:
        for name, (label, *_) in _FIELDS.items():
            with Horizontal(classes="field"):
                yield Label(label)
                yield Input(f"{getattr(self._settings, name):g}", id=name, compact=True)
        template = self._settings.chat_template and self._has_template
        yield Checkbox(
            "wrap the prompt in the chat template",
            template,
            id="chat_template",
            compact=True,
            disabled=not self._has_template,
        )
        yield Static(
            Content.styled("Temperature 0 always takes the most probable token.", MUTED),
            id="writing-note",
        )
        yield Button("Write (F5)", id="write", variant="primary", compact=True)

    def on_mount(self) -> None:
        self.query_one("#temperature").focus()

    @on(Button.Pressed)
    @on(Input.Submitted)
    def action_write(self) -> None:
        """Take the fields' values, or say which of them is wrong."""
        values: dict[str, Any] = {"chat_template": self.query_one("#chat_template", Checkbox).value}
        for name, (label, read, is_allowed, expected) in _FIELDS.items():
            try:
                values[name] = read(self.query_one(f"#{name}", Input).value)
                known = is_allowed(values[name])
            except ValueError:
                known = False
            if not known:
                words = f"{label[:1].upper()}{label[1:]} must be {expected}."
                note = Content.styled(words, "$text-error")
                self.query_one("#writing-note", Static).update(note)
                self.query_one(f"#{name}").focus()
                return
        self.dismiss(replace(self._settings, **values))
