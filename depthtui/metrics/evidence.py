"""Counts of layers, and how they change where something else is varied."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from depthtui.data.depth import HALF_A_LAYER
from depthtui.data.verdict import EvidenceCurve, EvidenceKind
from depthtui.metrics.column import rounded_up_count

FIFTH = 0.2
"""The share by which thresholds are lowered and raised."""

FELT = 0.05
"""The least rise of the loss, in nats, that counts as something missed."""


@dataclass(frozen=True)
class Variant:
    """A count with something varied.

    Attributes:
        count: layers; None where no count is left.
        reason: why the count changes, one clause without a full stop.
    """

    count: int | None
    reason: str


def widest(layers: int) -> float:
    """The widest range of a firm count of so many layers, in layers: a tenth of them."""
    return layers / 10


def rounded_count(mean: float) -> int:
    """A mean as a number of layers; a half is rounded up."""
    return math.floor(mean + 0.5)


def rounded_up_range(ends: tuple[float, float], to: str) -> str:
    """The ends of an interval of counts, rounded up, with `to` between them; one if they agree."""
    return to.join(dict.fromkeys(str(rounded_up_count(end)) for end in ends))


@dataclass(frozen=True)
class CountInterval:
    """The bootstrap interval of a count.

    Attributes:
        low, high: its ends, in layers.
        level: nominal coverage.
        over: the resampled units, such as `prompts and tokens`.
        resolution: how closely the ends are known: a whole number means half a layer on
            either side.
        rounds_up: whether whole layers are rounded up, since fewer are not enough.
    """

    low: float
    high: float
    level: float
    over: str
    resolution: float = HALF_A_LAYER
    rounds_up: bool = False

    def variants(self, n_layers: int) -> Iterator[Variant]:
        """The count at either end, as variants."""
        low, high = (f"{round(end, 1):g}" for end in self.ends(n_layers))
        reason = f"the {self.level:.0%} interval over {self.over} is {low} to {high} layers"
        rounded = rounded_up_count if self.rounds_up else rounded_count
        yield from (Variant(rounded(end), reason) for end in (self.low, self.high))

    def ends(self, n_layers: int) -> tuple[float, float]:
        """The lower and the upper end, in layers."""
        low, high = self.low - self.resolution, self.high + self.resolution
        return max(0.0, low), min(float(n_layers), high)


def evidence_curve(values: Iterable[float], threshold: float, words: str) -> EvidenceCurve:
    """The curve that a count is read from, with its threshold."""
    return EvidenceCurve(tuple(map(float, values)), float(threshold), words)


def progress_words(is_known: np.ndarray, of: str = "layers") -> str:
    """How many of a measure's layers `[L]` are known so far, in words; empty for all of them."""
    return "" if is_known.all() else f"{int(is_known.sum())} of {len(is_known)} {of} so far"


def not_of_others(interval: CountInterval | None) -> str:
    """Why a count that single prompts decide is of these prompts alone, where it has an interval.

    Counts that were firm by their interval lay outside the range of other prompts in a third of
    cases and more (see `tests.tools.benchmarks.firm`).
    """
    if interval is None or "prompts" not in interval.over:
        return ""
    return "narrow intervals of this measure have missed other prompts"


@dataclass(frozen=True)
class CountMeasure:
    """A measure that counts layers.

    Attributes:
        kind: the kind of evidence.
        measure: the rule or metric.
        title: a short title, such as `context depth`.
        meaning: the meaning of its count, such as `until the context needs no more layers`.
    """

    kind: EvidenceKind
    measure: str
    title: str
    meaning: str = ""

    def counted(
        self,
        count: int,
        variants: Iterable[Variant] = (),
        layers: Iterable[int] | None = None,
        curve: EvidenceCurve | None = None,
        interval: CountInterval | None = None,
        why_here: str = "",
    ) -> LayerCount:
        """A count, with everything that it was varied by (see `LayerCount`)."""
        counted_layers = None if layers is None else tuple(map(int, layers))
        return LayerCount(self, count, tuple(variants), counted_layers, curve, interval, why_here)

    def unknown(self, reason: str) -> LayerCount:
        """No count, and why there is none."""
        return LayerCount(self, None, why_none=reason)


@dataclass(frozen=True)
class LayerCount:
    """A count of layers as a measure finds it; how certain it is, `depth.certainty` decides.

    Attributes:
        measure: the measure.
        count: number of layers; None where there is none.
        variants: the count with something varied.
        layers: the counted layers, where they are not the first `count`.
        curve: the curve that the count is read from.
        interval: the interval of the count (see `depth.units`).
        why_here: why it is of these prompts alone, however narrow its range; empty for no reason.
        why_none: why there is no count.
    """

    measure: CountMeasure
    count: int | None
    variants: tuple[Variant, ...] = ()
    layers: tuple[int, ...] | None = None
    curve: EvidenceCurve | None = None
    interval: CountInterval | None = None
    why_here: str = ""
    why_none: str = ""

    def varied(self, n_layers: int) -> list[Variant]:
        """The ends of the interval, and the variants."""
        # The first of several that move the count as far gives the reason.
        ends = () if self.interval is None else self.interval.variants(n_layers)
        return [*ends, *self.variants]

    def range(self, n_layers: int) -> tuple[int, int]:
        """The smallest and the largest count of all variants that have one."""
        assert self.count is not None
        others = (variant.count for variant in self.varied(n_layers))
        counts = [self.count, *(count for count in others if count is not None)]
        return min(counts), max(counts)
