"""How the model is to write: temperature, seed, how much, and the lens that reads along."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Button, Input, Label, Select, Static

from depthtui.data.lens_view import lens_title
from depthtui.data.run_settings import LENSES, GenerationSettings
from depthtui.options import WrongValue, options_of
from depthtui.tui.screens.dialogs.dialog import MUTED, WRONG, Dialog
from depthtui.tui.screens.dialogs.toggles import Checkbox

_LABELS = {
    "max_tokens": "most tokens",
    "temperature": "temperature",
    "top_p": "top-p",
    "seed": "seed",
    "confidence": "confidence",
}


class GenerationDialog(Dialog[GenerationSettings]):
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
        for name, label in _LABELS.items():
            with Horizontal(classes="field"):
                yield Label(label)
                yield Input(f"{getattr(self._settings, name):g}", id=name, compact=True)
        with Horizontal(classes="field"):
            yield Label("lens")
            yield Select(
                [(lens_title(lens), lens) for lens in LENSES],
                value=self._settings.lens,
                allow_blank=False,
                id="lens",
                compact=True,
            )
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
            id="note",
        )
        yield Button("Write (F5)", id="write", variant="primary", compact=True)

    def on_mount(self) -> None:
        self.query_one("#temperature").focus()

    @on(Button.Pressed)
    @on(Input.Submitted)
    def action_write(self) -> None:
        """Take the fields' values, or say which of them is wrong."""
        values: dict[str, Any] = {
            "chat_template": self.query_one("#chat_template", Checkbox).value,
            "lens": str(self.query_one("#lens", Select).value),
        }
        for name, label in _LABELS.items():
            try:
                typed = self.query_one(f"#{name}", Input).value
                values[name] = options_of(GenerationSettings)[name].parse_text(typed)
            except WrongValue as error:
                words = f"{label[:1].upper()}{label[1:]} must be {error}."
                self.note(words, WRONG)
                self.query_one(f"#{name}").focus()
                return
        self.dismiss(replace(self._settings, **values))
