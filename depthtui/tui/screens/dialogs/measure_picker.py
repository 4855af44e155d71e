"""A short list of the measures that the heatmap can show."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from depthtui.data.protocol import Pace
from depthtui.data.run import RunResult
from depthtui.metrics import ALL_MEASURES, METRIC_BY_NAME, formula_in
from depthtui.metrics.chosen_lens import through
from depthtui.metrics.estimates import about_time
from depthtui.metrics.spec import Measure
from depthtui.report.explanations import of_measure
from depthtui.tui.screens.dialogs.dialog import MUTED, ListDialog


class MeasurePicker(ListDialog[str]):
    """Choose a measure by its name; a digit chooses at once.

    What the highlighted one tells stands beneath the list.

    Args:
        current: the measure that is shown.
        result: the run; None while there is none.
        lens: the lens that reads it.
        pace: by which is told how long a measure takes that is not computed yet.
        preview: shows a measure that the run has, behind the list.
    """

    heading = "Measure"
    hint = "1-9, 0 or enter choose · esc closes"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(str(digit), f"take_number({digit})", "choose", show=False) for digit in range(10)
    ]

    def __init__(
        self,
        current: str,
        result: RunResult | None,
        lens: str,
        pace: Pace,
        preview: Callable[[Measure], None],
    ) -> None:
        super().__init__(classes="small")
        self._current = current
        self._result = result
        self._lens = lens
        self._pace = pace
        self._preview = preview

    def body(self) -> ComposeResult:
        yield OptionList(
            *(self._option(index, measure) for index, measure in enumerate(ALL_MEASURES)),
            compact=True,
        )
        yield Static(id="note")

    def on_mount(self) -> None:
        names = [measure.name for measure in ALL_MEASURES]
        self.start_at(names.index(self._current) if self._current in names else 0)

    @on(OptionList.OptionHighlighted)
    def _describe(self, event: OptionList.OptionHighlighted) -> None:
        measure = ALL_MEASURES[event.option_index]
        self.note(of_measure(measure)[0].tells)
        if self._result is not None and not self._lacks(measure):
            self._preview(measure)

    def _lacks(self, measure: Measure) -> bool:
        """Whether there is a run, and the run lacks the measure."""
        run = self._result
        return run is not None and through(measure, self._lens).values(run) is None

    def _option(self, index: int, measure: Measure) -> Option:
        formula = formula_in(measure, self._result) if self._result else measure.formula
        missing = self._lacks(measure)
        can_be_computed = METRIC_BY_NAME[measure.metric].on_demand
        if missing:
            formula = self._not_computed(measure) if can_be_computed else "not in this run"
        return Option(
            Content.assemble(
                (f"{(index + 1) % 10} " if index < 10 else "  ", "$text-accent"),
                f"{measure.title:<24}",
                (formula, MUTED),
            ),
            disabled=missing and not can_be_computed,
        )

    def _not_computed(self, measure: Measure) -> str:
        assert self._result is not None
        time = about_time(METRIC_BY_NAME[measure.metric], self._result, self._pace)
        return " · ".join(filter(None, ("not computed yet", time)))

    def take(self, place: int) -> None:
        self.dismiss(ALL_MEASURES[place].name)
