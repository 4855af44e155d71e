"""What skip effects and the like leave out: a layer or one of its sublayers, and where."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from depthtui.data.model import ModelInfo
from depthtui.token_text import printable_chars
from depthtui.tui.draw.text import sublayer_title
from depthtui.tui.screens.dialogs.dialog import MUTED, ListDialog


class SkipChoice(NamedTuple):
    """A part, `layer`, `attention` or `mlp`, and whether it is skipped at all tokens."""

    part: str
    everywhere: bool


CHOICES = tuple(
    SkipChoice(part, everywhere)
    for everywhere in (False, True)
    for part in ("layer", "attention", "mlp")
)


class SkipPicker(ListDialog[SkipChoice]):
    """Choose what is left out; a digit chooses at once."""

    heading = "What skip effects and the like leave out"
    hint = "1-6 or enter choose · esc closes"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(str(digit), f"take_number({digit})", "choose", show=False)
        for digit in range(1, len(CHOICES) + 1)
    ]

    def __init__(self, current: SkipChoice, model: ModelInfo) -> None:
        super().__init__(classes="small")
        self._current = current
        self._model = model

    def body(self) -> ComposeResult:
        yield OptionList(*map(self._option, CHOICES), compact=True)
        note = "Ablation leaves it out at all tokens either way."
        if self._model.split_missing:
            note = f"Attention and MLP cannot be told apart: {self._model.split_missing}."
        yield Static(Content.styled(printable_chars(note), MUTED))

    def on_mount(self) -> None:
        self.start_at(CHOICES.index(self._current))

    def _option(self, choice: SkipChoice) -> Option:
        where = "at all tokens" if choice.everywhere else "before a position"
        if choice == CHOICES[0]:
            where += ", as in the paper"
        return Option(
            Content.assemble(
                (f"{CHOICES.index(choice) + 1} ", "$text-accent"),
                f"{sublayer_title(choice.part):<11}",
                (where, MUTED),
            ),
            disabled=choice.part != "layer" and bool(self._model.split_missing),
        )

    def take(self, place: int) -> None:
        self.dismiss(CHOICES[place])
