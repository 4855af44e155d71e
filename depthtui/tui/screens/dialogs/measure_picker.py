"""A short list of measures for the heatmap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content

from depthtui.data.protocol import Pace
from depthtui.data.run import RunResult
from depthtui.metrics.estimates import about_time
from depthtui.metrics.registry import ALL_MEASURES, MEASURE_BY_NAME, METRIC_BY_NAME, formula_in
from depthtui.metrics.spec import Measure
from depthtui.report.explanations import of_measure
from depthtui.token_text import printable_sentence
from depthtui.tui.screens.dialogs.dialog import MUTED
from depthtui.tui.screens.dialogs.picker import Picker, PickerRow


class MeasurePicker(Picker[str]):
    """Choose a measure by its name; a digit chooses at once.

    Args:
        current: the measure that is shown.
        result: the run; None while there is none.
        read: a measure -> the same with the values of the run's lens and reading.
        pace: gives the time of measures that are not computed yet.
        preview: shows a measure that the run has, behind the list.
        turn_average: switches between means over tokens and every token, behind the list.
        turn_over: turns the layers upside down.
    """

    heading = "Measure"
    hint = "0-9 enter choose · a means · o layer order · / finds · esc"
    noun = "measure"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(str(digit), f"choose_number({digit})", "choose", show=False) for digit in range(10)
    ]
    BINDINGS += [
        Binding("a", "average", "means", tooltip="Show means over tokens, or every token"),
        Binding("o", "order", "layer order", tooltip="Put layer 0 at the bottom or at the top"),
    ]

    def __init__(
        self,
        current: str,
        result: RunResult | None,
        read: Callable[[Measure], Measure],
        pace: Pace,
        preview: Callable[[Measure], None],
        turn_average: Callable[[], None],
        turn_over: Callable[[], None],
    ) -> None:
        super().__init__(classes="small")
        self.start = current
        self._result = result
        self._read = read
        self._pace = pace
        self._preview = preview
        self._turn_average = turn_average
        self._turn_over = turn_over

    def action_average(self) -> None:
        self._turn_average()

    def action_order(self) -> None:
        self._turn_over()

    def rows(self) -> Iterator[PickerRow]:
        for index, measure in enumerate(ALL_MEASURES):
            formula, can_be_had = self._formula(measure)
            line = Content.assemble(
                (f"{(index + 1) % 10} " if index < 10 else "  ", "$text-accent"),
                f"{measure.title:<23} ",
                (formula, MUTED),
            )
            about = of_measure(measure)[0].description
            yield PickerRow(measure.name, line, measure.title, about, closed=not can_be_had)

    def describe(self, row: PickerRow) -> None:
        super().describe(row)
        measure = MEASURE_BY_NAME[row.value]
        if self._result is not None and not self._lacks(measure):
            self._preview(measure)

    def _lacks(self, measure: Measure) -> bool:
        """Whether there is a run that lacks the measure."""
        run = self._result
        return run is not None and self._read(measure).values(run) is None

    def _formula(self, measure: Measure) -> tuple[str, bool]:
        """A measure's formula, or why it has no values; and whether it can be chosen."""
        run, metric = self._result, METRIC_BY_NAME[measure.metric]
        if run is None or not self._lacks(measure):
            return formula_in(measure, run) if run else measure.formula, True
        if not metric.on_demand:
            return "not in this run", False
        if reason := run.unavailable.get(metric.name) or metric.why_unavailable(run):
            return printable_sentence(reason), True
        time = about_time(metric, run, self._pace)
        return " · ".join(filter(None, ("not computed yet", time))), True

    def choose(self, value: str) -> None:
        self.dismiss(value)

    def action_choose_number(self, digit: int) -> None:
        """Choose a measure by its number, from 1; 0 is the tenth."""
        measure = ALL_MEASURES[(digit - 1) % 10]
        if self._formula(measure)[1]:
            self.dismiss(measure.name)
