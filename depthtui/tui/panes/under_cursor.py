"""The thing under a pane's cursor, as a value that a key or a double click opens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from depthtui.depth import rules
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.metrics.spec import Measure

_PAGES = {
    "accuracy": "answers",
    "kept": "left-out",
    "settled": "tokens",
}
"""Pages with the evidence of one metric or rule alone, by its name."""


@dataclass(frozen=True)
class HeatmapCell:
    """A layer at a token; layer L is the output."""

    layer: int
    token: int


@dataclass(frozen=True)
class LensRow:
    """The lens of a token at a depth; depth L is the output."""

    layer: int
    token: int


@dataclass(frozen=True)
class Layer:
    """A layer of the model, whatever the token."""

    layer: int


@dataclass(frozen=True)
class StackBlock:
    """A layer of the what-if's stack, or one of its sublayers: `layer`, `attention` or `mlp`."""

    layer: int
    part: str


@dataclass(frozen=True)
class CurvePoint:
    """A rule's curve at a layer."""

    rule: str
    layer: int


@dataclass(frozen=True)
class MeasureRow:
    """A measure of the verdict: a rule or a metric, by its name."""

    measure: str

    @property
    def page(self) -> str:
        """The id of the page with its evidence; empty where a heatmap has it."""
        if self.measure in _PAGES or self.heatmap_measure is None:
            return _PAGES.get(self.measure, "curves")
        return ""

    @property
    def heatmap_measure(self) -> Measure | None:
        """Its measure in a heatmap, or None."""
        rule = next((rule for rule in rules.ALL if rule.name == self.measure), None)
        if rule is not None:
            return next((measure for measure in _measures() if measure.name == rule.curve), None)
        metric = METRIC_BY_NAME.get(self.measure)
        return metric.measures[0] if metric is not None and metric.measures else None


@dataclass(frozen=True)
class PageBehind:
    """A page with the details of this one, by its id."""

    page: str


@dataclass(frozen=True)
class SweepCell:
    """A row and a column of a sweep's table, in the order shown."""

    row: int
    column: int


Target: TypeAlias = (
    HeatmapCell | LensRow | Layer | StackBlock | CurvePoint | MeasureRow | PageBehind | SweepCell
)


def _measures() -> list[Measure]:
    return [measure for metric in METRIC_BY_NAME.values() for measure in metric.measures]
