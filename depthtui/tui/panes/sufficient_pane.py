"""How many layers give an output near the model's own, with a dial for the distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from rich.style import Style
from textual.reactive import reactive

from depthtui.data.explanation import Explanation
from depthtui.data.run import RunResult
from depthtui.data.selection import numbers_text
from depthtui.metrics import kept
from depthtui.metrics.estimates import about_time
from depthtui.metrics.evidence import rounded_up_count, rounded_up_range
from depthtui.metrics.kept import Kept
from depthtui.metrics.layer_order import MODEL_ORDER
from depthtui.metrics.parts import METRIC as PARTS
from depthtui.metrics.parts import PooledParts
from depthtui.metrics.sufficient import METRIC, STRICT_CHOICES, TOLERANCE, PooledSufficient
from depthtui.report.blocks import Figure
from depthtui.report.explanations import of_metrics
from depthtui.report.sufficient import sufficient_figures
from depthtui.tui.draw.bars import layer_ruler, type_line, upright_bars
from depthtui.tui.draw.plot import Curve, CurvePanel, Plot, PlotArea
from depthtui.tui.draw.styles import Piece, fit_right, ruler
from depthtui.tui.draw.text import not_computed
from depthtui.tui.panes.page import Page, as_many_as_fit
from depthtui.tui.state.automatic_metrics import soonest_order

DIAL = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
"""The tolerances of the dial, in nats."""

_NAME_CELLS = 13
_STACK_LINES = 3
"""The least lines of the stack: a title, bars in one line, a ruler."""

_LEAST_PLOT = 2


class SufficientPane(Page):
    """The cost and the unchanged choices by layers kept, and when each layer is dropped.

    Attributes:
        tolerance: the cost in nats that is allowed, one of `DIAL`.
    """

    dial = "nats"
    follows_cursor = True
    tolerance: reactive[float] = reactive(TOLERANCE, repaint=False)

    def turn_dial(self, steps: int) -> None:
        place = DIAL.index(self.tolerance) + steps
        self.tolerance = DIAL[min(max(place, 0), len(DIAL) - 1)]

    def watch_tolerance(self) -> None:
        self.redraw()

    def computes(self) -> tuple[str, ...]:
        return (kept.NAME,)

    def computes_with(self) -> Mapping[str, Any]:
        return MODEL_ORDER if self._is_own else soonest_order(self.drawn_result, self.view.pace)

    @property
    def _is_own(self) -> bool:
        """Whether the result was computed in an order of the prompt's own tokens."""
        sufficient = self.result.get(Kept) if self.result is not None else None
        return sufficient is not None and sufficient.kind == "own"

    def explains(self) -> tuple[Explanation, ...]:
        return of_metrics(METRIC.name)

    def figures(self) -> Sequence[Figure]:
        pooled = None if self.reading is None else self.reading.get(METRIC)
        return () if pooled is None else [*sufficient_figures(pooled)]

    def why_empty(self) -> tuple[str, str] | None:
        self.title_with_dial("Layers that suffice")
        if self.result is None or self.reading is None:
            return METRIC.description, self.hint
        if self.reading.get(METRIC) is None:
            return not_computed(self._computed, kept.METRIC, self.view.pace, self.compute_key)
        return None

    def prepare(self) -> None:
        assert self.reading is not None
        self._sufficient: PooledSufficient = self.reading.get(METRIC)
        super().prepare()

    def lay_out(self) -> list[list[Piece]]:
        sufficient, width = self._sufficient, self.area.width
        lines = [
            as_many_as_fit(words, width) for words in (self._tolerance_line(), self._choices_line())
        ]
        room = self.area.height - len(lines)
        stack = _STACK_LINES + max(0, (room - 4 * _LEAST_PLOT - _STACK_LINES) // 4)
        plots = room - stack - 1
        if plots >= 2 * _LEAST_PLOT:
            lines += self._plot("KL", sufficient.ways[0].curve, (plots + 1) // 2, self.tolerance)
            lines += self._plot("choices", sufficient.ways[0].choices_curve, plots // 2, None)
            lines.append(self._axis_line())
            room = stack
        return [*lines, *self._stack(room)]

    def _tolerance_line(self) -> list[Piece]:
        """The layers within the tolerance; at one nat, their interval too."""
        sufficient, styles = self._sufficient, self.pane_styles
        count = rounded_up_count(sufficient.within(self.tolerance))
        unit = "nat" if self.tolerance == TOLERANCE else "nats"
        words: list[Piece] = [
            (f"Within {self.tolerance:g} {unit}", styles.accent),
            (f" of its own output: {count} of {sufficient.n_layers} layers", styles.strong),
        ]
        if self.tolerance == TOLERANCE:
            if sufficient.interval is not None:
                ends = rounded_up_range(sufficient.interval, " to ")
                words.append((f" ({ends} over {sufficient.units})", styles.muted))
            stay = f" · {sufficient.choices:.0%} of choices stay"
            words.append((stay, styles.text))
        return words

    def _choices_line(self) -> list[Piece]:
        """The layers that keep most choices, parts within the tolerance, remarks on layers."""
        sufficient, styles = self._sufficient, self.pane_styles
        count = rounded_up_count(sufficient.keeping(STRICT_CHOICES))
        words: list[Piece] = [(f"{count} layers keep nine in ten choices", styles.text)]
        by_parts: PooledParts | None = None if self.reading is None else self.reading.get(PARTS)
        if by_parts is not None and by_parts.sufficient is not None:
            stay = by_parts.staying(rounded_up_count(by_parts.sufficient.within(self.tolerance)))
            words.append((f" · by parts {stay.words}", styles.text))
        if self.reading is not None and (idle := self.reading.idle):
            words.append((f" · layers {numbers_text(idle)} write nothing", styles.text))
        if self.reading is not None and self.reading.stand_in:
            words.append((f" · {self.reading.stand_in}", styles.accent))
        return words

    @property
    def _computed(self) -> RunResult:
        """The run with the settings that the key computes with."""
        settings = replace(self.drawn_result.settings, **self.computes_with())
        return replace(self.drawn_result, settings=settings)

    def _model_time(self) -> str:
        """The time to find the model's order, after a comma; empty if unknown."""
        time = about_time(METRIC, self._computed, self.view.pace)
        return time and f", {time}"

    def _plot(
        self, name: str, values: np.ndarray, lines: int, threshold: float | None
    ) -> list[list[Piece]]:
        """A curve by layers kept, all layers at the left."""
        area = PlotArea(0, 0, max(1, self.area.width - _NAME_CELLS), lines)
        at = np.arange(len(values)) / max(1, self._sufficient.n_layers - 1)
        curve = Curve(at, values, self.pane_styles.text)
        plot = Plot(area, 0.0, max(1.0, float(np.nanmax(values))))
        panel = CurvePanel(name, "", plot, [curve], np.nan if threshold is None else threshold)
        return panel.rows(_NAME_CELLS, self.pane_styles)

    def _axis_line(self) -> list[Piece]:
        """The axis of layers kept, beneath the curves."""
        count, width = self._sufficient.n_layers, max(1, self.area.width - _NAME_CELLS)

        def column(layers: float) -> int:
            return round((count - layers) / max(1, count - 1) * (2 * width - 1)) // 2

        marks = [(column(layers), str(layers)) for layers in range(10 * (count // 10), 0, -10)]
        layers_needed = self._sufficient.within(self.tolerance)
        cursor = column(layers_needed), f"▴{layers_needed:.1f}"
        name = f"{fit_right('layers kept', _NAME_CELLS - 1)} "
        return [(name, self.pane_styles.faint), *ruler(marks, cursor, width, self.pane_styles)]

    def _stack(self, lines: int) -> list[list[Piece]]:
        """When each layer is dropped: the higher the bar, the later."""
        sufficient, styles, width = self._sufficient, self.pane_styles, self.area.width
        order = sufficient.ways[0].order
        places = np.full(sufficient.n_layers, float(sufficient.n_layers))
        places[list(order)] = np.arange(1, len(order) + 1)
        left_out = set(
            order[: sufficient.n_layers - rounded_up_count(sufficient.within(self.tolerance))]
        )

        def style_of(_value: float, layers: range) -> Style:
            return styles.faint if left_out.intersection(layers) else styles.text

        kinds = {"model": "model's order", "own": "prompt's order"}
        title = [(f"{kinds[sufficient.kind]}, {sufficient.search}", styles.muted)]
        if self._is_own and self.view.can_compute:
            model = f" · {self.compute_key} finds the model's{self._model_time()}"
            title.append((model, styles.text))
        first = ", ".join(map(str, order[:8]))
        title.append((f": {first} … go first", styles.muted))
        title.append((" · faint: left out", styles.muted))
        cursor_layer = min(self.cursor.layer, sufficient.n_layers - 1)
        types = type_line(self.drawn_result.model, width, styles) if lines > _STACK_LINES else []
        bars = upright_bars(places, width, max(1, lines - 2 - len(types)), styles, style_of)
        ruled = layer_ruler(sufficient.n_layers, cursor_layer, width, styles)
        return [as_many_as_fit(title, width), *bars, *types, ruled]
