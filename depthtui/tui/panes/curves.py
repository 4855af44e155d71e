"""KL, overlap and cosine over depth, one above the other, with the effective depths marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.cells import cell_len
from rich.style import Style

from depthtui.data.explanation import Explanation
from depthtui.data.lens_view import through_words
from depthtui.depth import rules
from depthtui.depth.reading import Reading
from depthtui.depth.rule import Rule
from depthtui.report.blocks import Figure
from depthtui.report.explanations import of_rules
from depthtui.report.run_document import curve_figures
from depthtui.token_text import fit_shown, printable_sentence
from depthtui.tui.draw.plot import Curve, CurvePanel, Plot, PlotArea, reach
from depthtui.tui.draw.styles import Piece
from depthtui.tui.panes.chart import Chart, ChartAxis, relative_axis
from depthtui.tui.panes.page import Page
from depthtui.tui.panes.pane import CursorMoved, nothing_pooled
from depthtui.tui.panes.under_cursor import CurvePoint, Target

_SIGNS = ("◆", "◇")
_LINES = ("──", "┈┈")
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200)
"""Steps in which the axis may count layers."""


@dataclass(frozen=True)
class RuleCurve:
    """The curve of an effective-depth rule for one run.

    Attributes:
        rule: the rule.
        values: `[layers]`, NaN where unknown.
        n_layers: L of the run's model.
        effective: the layer that the rule finds, or None.
        threshold: the value that the rule compares with; NaN where not known yet.
    """

    rule: Rule
    values: np.ndarray
    n_layers: int
    effective: int | None
    threshold: float


def _with_room(curves: list[RuleCurve], lines: int) -> list[RuleCurve]:
    """The curves to draw: only the paper's where there are fewer than three lines for each."""
    of_paper = [curve for curve in curves if curve.rule.of_paper]
    return curves if lines >= 3 * len(curves) else of_paper or curves


class DepthCurves(Chart, Page):
    """Means over tokens by layer, in braille.

    Each curve has its own scale, printed beside it; its threshold is dashed, its effective depth is
    marked with its layer, and the layer cursor is a vertical line through all of them. The curves
    of a second run are dotted behind it, in another colour, over the same relative depth.
    """

    ALONG = "layer"
    _pointed_at = ""

    def explains(self) -> tuple[Explanation, ...]:
        return of_rules()

    def why_empty(self) -> tuple[str, str] | None:
        title = through_words("Depth curves", self.view.lens)
        self.set_titles(f"{title} · mean over tokens", self._mark_note())
        if self.reading is None:
            return nothing_pooled(self.result, f"{_rules_words()} over depth.", self.hint)
        if not curves_of(self.reading):
            if self.lens_to_compute():
                return self.no_lens()
            return "This run has neither contributions nor a logit lens.", ""
        return None

    def _mark_note(self) -> str:
        """The legend of a mark; empty without a mark."""
        has_mark = any(curve.effective is not None for curve in curves_of(self.reading))
        return "◆ effective depth" if has_mark else ""

    def computes(self) -> tuple[str, ...]:
        return self.lens_to_compute()

    def figures(self) -> Sequence[Figure]:
        return [] if self.reading is None else list(curve_figures(self.reading))

    def prepare(self) -> None:
        height = self.area.height
        curves = _with_room(curves_of(self.reading), height)
        self.has_axis = height > 2 * len(curves)
        has_legend = self.view.names is not None and height > 2 * len(curves) + 1
        self.legend = [self._legend(*self.view.names)] if has_legend and self.view.names else []
        curves = curves[: self.room.lines]
        others = {curve.rule.name: curve for curve in curves_of(self.other_reading)}
        areas = self.room.above_each_other(len(curves))
        self.panels = [
            self._panel([curve, *filter(None, [others.get(curve.rule.name)])], area)
            for curve, area in zip(curves, areas, strict=True)
        ]

    def _panel(self, runs: list[RuleCurve], area: PlotArea) -> CurvePanel:
        """A rule's curves; the compared run's is dotted behind."""
        rule = runs[0].rule
        letters = "AB" if self.legend else ("", "")
        curves = [
            Curve(
                np.arange(len(run.values)) / run.n_layers,
                run.values,
                self.value_style(place) if len(runs) > 1 else self.pane_styles.text,
                dotted=place > 0,
                mark=run.effective,
                sign=_SIGNS[place],
                label="" if run.effective is None else f"{letters[place]}{run.effective + 1}",
            )
            for place, run in enumerate(runs)
        ]
        plot = Plot(area, *scale_ends(*runs))
        return CurvePanel(rule.title, rule.unit, plot, curves, runs[0].threshold)

    def value_style(self, place: int) -> Style:
        is_alone = self.other_reading is None
        return self.pane_styles.accent if is_alone else self.line_style(place)

    def _legend(self, *names: str) -> list[Piece]:
        name, other = map(printable_sentence, names)
        room = max(0, self.area.width - 11)
        # The longer name gets the cells that the shorter one leaves.
        half = room // 2
        first = max(half, room - cell_len(other))
        name = fit_shown(name, min(first, cell_len(name)))
        other = fit_shown(other, min(max(half, room - cell_len(name)), cell_len(other)))
        return [
            (f"{_LINES[0]}{_SIGNS[0]} {name}", self.value_style(0)),
            (f"   {_LINES[1]}{_SIGNS[1]} {other}", self.line_style(1)),
        ]

    # The cursor -------------------------------------------------------------

    @property
    def _layers(self) -> int:
        assert self.reading is not None
        return self.reading.n_layers

    @property
    def share(self) -> float:
        layers = self._layers
        return min(max(self.cursor.layer, 0), layers) / layers

    def axis(self, area: PlotArea) -> ChartAxis:
        layers, other = self._layers, self.other_reading
        if other is not None and other.n_layers != layers:
            # Two models with different numbers of layers share the axis.
            return relative_axis(5, self.share)
        step = next((step for step in _STEPS if layers / step * 5 <= area.width), _STEPS[-1])
        marks = [(layer / layers, str(layer)) for layer in range(0, layers + 1, step)]
        return ChartAxis("layer", marks, str(round(self.share * layers)))

    def point_at(self, share: float, panel: CurvePanel | None) -> None:
        self._pointed_at = panel.name if panel is not None else ""
        self.post_message(CursorMoved(round(share * self._layers), self.cursor.token))

    def under_cursor(self) -> Target | None:
        curves = curves_of(self.reading)
        if not curves:
            return None
        curve = next(
            (candidate for candidate in curves if candidate.rule.title == self._pointed_at),
            curves[0],
        )
        layer = min(self.cursor.layer, curve.n_layers)
        return CurvePoint(curve.rule.name, layer)


def curves_of(reading: Reading | None) -> list[RuleCurve]:
    """The curves of a reading."""
    if reading is None:
        return []
    settings = reading.settings
    layers = {estimate.rule: estimate.layer for estimate in reading.depths}
    return [
        RuleCurve(
            rule, values, reading.n_layers, layers.get(rule.name), rule.level(values, settings)
        )
        for rule in rules.by_kind()
        if (values := reading.curves.get(rule.curve)) is not None
    ]


def _rules_words() -> str:
    *titles, last = (rule.title for rule in rules.by_kind())
    return f"{', '.join(titles)} and {last}"


def scale_ends(*curves: RuleCurve) -> tuple[float, float]:
    """The scale's ends: the rule's limits, else the range of 0 and the data."""
    return curves[0].rule.limits or reach(np.concatenate([curve.values for curve in curves]))
