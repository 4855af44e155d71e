"""What skip effects and ablation leave out: a layer or one of its sublayers, and where."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from depthtui.data.model import ModelInfo
from depthtui.tui.draw.text import sublayer_title
from depthtui.tui.screens.dialogs.dialog import MUTED, Dialog
from depthtui.tui.screens.dialogs.safe_text_area import stand_ins


class SkipChoice(NamedTuple):
    """A part, `layer`, `attention` or `mlp`, and whether it is skipped at all tokens."""

    part: str
    everywhere: bool


CHOICES = tuple(
    SkipChoice(part, everywhere)
    for everywhere in (False, True)
    for part in ("layer", "attention", "mlp")
)


class SkipPicker(Dialog[SkipChoice]):
    """Choose what is left out; a digit chooses at once."""

    heading = "What skip effects and ablation leave out"
    hint = "1-6 or enter choose · esc closes"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "down", "down", show=False),
        Binding("k", "up", "up", show=False),
        *(Binding(str(digit), f"take({digit})", "choose", show=False) for digit in range(1, 7)),
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
        yield Static(Content.styled(stand_ins(note), MUTED))

    def on_mount(self) -> None:
        listing = self.query_one(OptionList)
        listing.highlighted = CHOICES.index(self._current)
        listing.focus()

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

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(CHOICES[event.option_index])

    def action_take(self, digit: int) -> None:
        if not self.query_one(OptionList).get_option_at_index(digit - 1).disabled:
            self.dismiss(CHOICES[digit - 1])

    def action_down(self) -> None:
        self.query_one(OptionList).action_cursor_down()

    def action_up(self) -> None:
        self.query_one(OptionList).action_cursor_up()
