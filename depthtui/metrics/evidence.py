"""How robust a count of layers is: how it changes where something else is varied."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from depthtui.data.depth import HALF_A_LAYER
from depthtui.data.verdict import Evidence, EvidenceCurve, EvidenceKind
from depthtui.metrics.resampling import FEWEST_UNITS

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
        layer_number_end: the length of `reason` up to the first layer's number (see `Evidence`).
    """

    count: int | None
    reason: str
    layer_number_end: int = 0


def rounded_count(mean: float) -> int:
    """A mean as a number of layers; a half is rounded up."""
    return math.floor(mean + 0.5)


def rounded_up_count(layers: float) -> int:
    """The needed number of layers, rounded up to a whole one."""
    return math.ceil(round(layers, 6))


def rounded_up_range(ends: tuple[float, float], to: str) -> str:
    """The ends of an interval of counts, rounded up, with `to` between them."""
    return to.join(str(rounded_up_count(end)) for end in ends)


@dataclass(frozen=True)
class CountInterval:
    """The bootstrap interval of a count.

    Attributes:
        low, high: its ends, in layers.
        level: nominal coverage.
        over: the resampled units, such as `prompts and tokens`.
        resolution: how closely the ends are known: a whole number means half a layer on
            either side.
    """

    low: float
    high: float
    level: float
    over: str
    resolution: float = HALF_A_LAYER

    def variants(self, n_layers: int) -> Iterator[Variant]:
        """The count at either end, as variants."""
        low, high = (f"{round(end, 1):g}" for end in self.ends(n_layers))
        reason = f"the {self.level:.0%} interval over {self.over} is {low} to {high} layers"
        yield from (Variant(rounded_count(end), reason) for end in (self.low, self.high))

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


def evidence_over_prompts(
    evidence: Iterable[Evidence], n_with_metric: int, n_prompts: int
) -> list[Evidence]:
    """The evidence of `n_with_metric` of `n_prompts`; firm only where all prompts have the metric.

    Firm is a claim about other prompts, and needs an interval over prompts. A count that is robust
    without an interval holds for these prompts.
    """
    if n_with_metric >= n_prompts:
        return [_of_others(row, n_prompts) for row in evidence]
    rests = f"it rests on {n_with_metric} of {n_prompts} prompts"
    return [
        replace(
            row,
            firm=False,
            reason=row.reason if row.count is None else _both(row.reason, rests),
            prompts=(n_with_metric, n_prompts),
        )
        for row in evidence
    ]


def here_alone(evidence: Evidence, reason: str) -> Evidence:
    """Turn firm evidence into evidence for these prompts alone, whatever its interval is."""
    return (
        replace(evidence, firm=False, holds_here=True, reason=reason) if evidence.firm else evidence
    )


def pending(evidence: Evidence) -> Evidence:
    """Evidence whose interval is not computed yet: its range, and so its hold, are not known."""
    count = evidence.count
    if count is None:
        return evidence
    return replace(
        evidence,
        low=count,
        high=count,
        firm=False,
        holds_here=False,
        reason="",
        layer_number_end=0,
        is_pending=True,
    )


def of_these_prompts(evidence: Evidence, interval: CountInterval | None) -> Evidence:
    """Evidence of a measure that depends on single prompts: its interval does not cover others.

    Counts that were firm by their interval lay outside the range of other prompts in a third of
    cases and more (see `tests.benchmarks.firm`).
    """
    if interval is None or "prompts" not in interval.over:
        return evidence
    return here_alone(evidence, "narrow intervals of this measure have missed other prompts")


def _of_others(evidence: Evidence, prompts: int) -> Evidence:
    """The evidence, firm only where it has an interval over enough prompts."""
    if not evidence.firm or (prompts >= FEWEST_UNITS and evidence.interval is not None):
        return evidence
    few = "one prompt alone was" if prompts == 1 else f"{prompts} prompts alone were"
    reason = f"{few} read" if prompts < FEWEST_UNITS else ""
    if not reason:
        reason = "it has no interval over prompts"
    return here_alone(evidence, reason)


def _both(reason: str, other: str) -> str:
    return f"{reason}, and {other}" if reason else other


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

    def evidence(
        self,
        count: int,
        n_layers: int,
        variants: Sequence[Variant] = (),
        layers: Iterable[int] | None = None,
        curve: EvidenceCurve | None = None,
        interval: CountInterval | None = None,
    ) -> Evidence:
        """A count with its range over all variants and its interval.

        The count is firm where neither is wider than a tenth of `n_layers` and every variant has a
        count; else the reason is that of the variant that moves it most, the first of several.
        Whether there are enough prompts for a firm count, `evidence_over_prompts` decides.

        Args:
            count: the number of layers.
            n_layers: L.
            variants: the count with something varied.
            layers: the counted layers, where they are not the first `count`.
            curve: the curve that the count is read from.
            interval: the interval of the count (see `depth.units`).
        """
        ends, variants = None, list(variants)
        if interval is not None:
            ends = interval.ends(n_layers)
            # The first of several that move it as far gives the reason.
            variants = [*interval.variants(n_layers), *variants]
        counts = [count, *(variant.count for variant in variants if variant.count is not None)]

        def moved(variant: Variant) -> int:
            return n_layers + 1 if variant.count is None else abs(variant.count - count)

        low, high = min(counts), max(counts)
        firm = len(counts) > len(variants) and high - low <= n_layers / 10
        # A whole number of layers is not known better than to one layer.
        firm = firm and (ends is None or ends[1] - ends[0] <= max(1, n_layers / 10))
        worst = Variant(count, "") if firm else max(variants, key=moved)
        counted_layers = None if layers is None else tuple(map(int, layers))
        return replace(
            self.unknown(worst.reason),
            count=count,
            low=low,
            high=high,
            firm=firm,
            layers=counted_layers,
            curve=curve,
            layer_number_end=worst.layer_number_end,
            interval=ends,
        )

    def unknown(self, reason: str) -> Evidence:
        """Evidence without a count, and why there is none."""
        return Evidence(
            self.kind,
            self.measure,
            self.title,
            None,
            firm=False,
            reason=reason,
            meaning=self.meaning,
        )
