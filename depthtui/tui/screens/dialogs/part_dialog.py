"""Which part of the slower metrics is computed: layers, positions, tokens, a search.

And what stands in for a layer that is left out.
"""

from __future__ import annotations

from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Button, Input, Label, RadioSet, Static

from depthtui.data.model import ModelInfo
from depthtui.data.run_settings import RunSettings
from depthtui.data.selection import layers_in
from depthtui.metrics.choices import FIRST_KEPT, MEAN_UPDATE
from depthtui.options import WrongValue, options_of
from depthtui.tui.screens.dialogs.dialog import MUTED, WRONG, Dialog
from depthtui.tui.screens.dialogs.toggles import Checkbox, RadioButton

_LABELS = {
    "layers": "layers",
    "skip_positions": "skipped before",
    "erase_tokens": "tokens to erase",
    "erase_threshold": "effect that counts",
}

_EXAMPLES = {
    "layers": "all · 0-5,20 · /4 for every fourth",
    "skip_positions": "four random tokens · 8,20",
    "erase_tokens": "all · 64 from all over the prompt",
}

_SEARCHES = {
    "": "erase at every depth",
    "bisect": "bisect depths: until which each token matters, and no more",
    "spans": "the same by spans of tokens first: fewer runs where few tokens matter",
}


class PartDialog(Dialog[dict[str, Any]]):
    """Dismissed with the settings that choose a part.

    Args:
        settings: what the fields show at first.
        model: whose layers can be chosen.
    """

    heading = "What slower metrics go through"
    hint = "enter takes it · tab moves on · esc closes"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f5", "choose", "choose", tooltip="Take this part", id="part.take", priority=True),
    ]

    def __init__(self, settings: RunSettings, model: ModelInfo) -> None:
        super().__init__()
        self._settings = settings
        self._model = model

    def body(self) -> ComposeResult:
        for name, label in _LABELS.items():
            with Horizontal(classes="field"):
                yield Label(label)
                yield Input(
                    self._text(name), placeholder=_EXAMPLES.get(name, ""), id=name, compact=True
                )
        with RadioSet(id="erase_search", compact=True):
            for search, label in _SEARCHES.items():
                yield RadioButton(label, value=search == self._settings.erase_search)
        is_mean, keeps_first = self._settings.ablate == "mean", self._settings.keep_first_token
        yield Checkbox(MEAN_UPDATE, is_mean, id="ablate", compact=True)
        yield Checkbox(FIRST_KEPT, keeps_first, id="keep_first_token", compact=True)
        words = "Layers: ablation, skip effects, erasure, integrated gradients. Empty is all."
        yield Static(Content.styled(words, MUTED), id="note")
        yield Button("Take it (F5)", id="take", variant="primary", compact=True)

    def _text(self, name: str) -> str:
        value = getattr(self._settings, name)
        if isinstance(value, tuple):
            return ",".join(map(str, value))
        return str(value) if value else ""

    def on_mount(self) -> None:
        self.query_one("#layers").focus()

    @on(Button.Pressed)
    @on(Input.Submitted)
    def action_choose(self) -> None:
        """Take the fields' values, or say which of them is wrong."""
        search = self.query_one("#erase_search", RadioSet).pressed_index
        values: dict[str, Any] = {
            "erase_search": list(_SEARCHES)[search],
            "ablate": "mean" if self.query_one("#ablate", Checkbox).value else "zero",
            "keep_first_token": self.query_one("#keep_first_token", Checkbox).value,
        }
        for name, label in _LABELS.items():
            try:
                values[name] = self._read(name, self.query_one(f"#{name}", Input).value.strip())
            except WrongValue as error:
                self.note(f"{label[:1].upper()}{label[1:]} must be {error}.", WRONG)
                self.query_one(f"#{name}").focus()
                return
        if values["skip_positions"]:
            values["skip_everywhere"] = False
        self.dismiss(values)

    def _read(self, name: str, typed: str) -> Any:
        option = options_of(RunSettings)[name]
        if not typed:
            return option.default
        value = option.parse_text(typed)
        n_layers = self._model.n_layers
        if name == "layers" and layers_in(value, n_layers)[-1] >= n_layers:
            raise WrongValue(f"layers of this model, 0 to {n_layers - 1}")
        return value
