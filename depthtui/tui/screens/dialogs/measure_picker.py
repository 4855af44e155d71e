"""A short list of the measures that the heatmap can show."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from depthtui.data.run import RunResult
from depthtui.metrics import ALL_MEASURES, METRIC_BY_NAME, formula_in
from depthtui.metrics.spec import Measure
from depthtui.tui.screens.dialogs.dialog import MUTED, Dialog


class MeasurePicker(Dialog[str]):
    """Choose a measure by its name; a digit chooses at once."""

    heading = "Measure"
    hint = "1-9, 0 or enter choose · esc closes"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "down", "down", show=False),
        Binding("k", "up", "up", show=False),
        *(Binding(str(digit), f"take({digit})", "choose", show=False) for digit in range(10)),
    ]

    def __init__(self, current: str, result: RunResult | None) -> None:
        super().__init__(classes="small")
        self._current = current
        self._result = result

    def body(self) -> ComposeResult:
        yield OptionList(
            *(self._option(index, each) for index, each in enumerate(ALL_MEASURES)), compact=True
        )

    def on_mount(self) -> None:
        names = [each.name for each in ALL_MEASURES]
        listing = self.query_one(OptionList)
        listing.highlighted = names.index(self._current) if self._current in names else 0
        listing.focus()

    def _option(self, index: int, measure: Measure) -> Option:
        formula = formula_in(measure, self._result) if self._result else measure.formula
        missing = self._result is not None and measure.values(self._result) is None
        can_be_computed = METRIC_BY_NAME[measure.metric].on_demand
        if missing:
            formula = "not computed yet" if can_be_computed else "not in this run"
        return Option(
            Content.assemble(
                (f"{(index + 1) % 10} " if index < 10 else "  ", "$text-accent"),
                f"{measure.title:<24}",
                (formula, MUTED),
            ),
            id=measure.name,
            disabled=missing and not can_be_computed,
        )

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)

    def action_take(self, digit: int) -> None:
        index = (digit - 1) % 10
        if (
            index < len(ALL_MEASURES)
            and not self.query_one(OptionList).get_option_at_index(index).disabled
        ):
            self.dismiss(ALL_MEASURES[index].name)

    def action_down(self) -> None:
        self.query_one(OptionList).action_cursor_down()

    def action_up(self) -> None:
        self.query_one(OptionList).action_cursor_up()
