"""How many layers, run together, still give the model's own output, and how closely.

Layers stand for the pieces that are left out, which may be parts of layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from depthtui.data.lazy import lazy_value
from depthtui.metrics import kept
from depthtui.metrics.choices import left_out_words
from depthtui.metrics.evidence import rounded_up_count, rounded_up_range
from depthtui.metrics.kept import ReducedKept
from depthtui.metrics.layer_order import (
    MOST_COST,
    PROMPTS_AS_UNITS,
    crossing_above,
    order_words,
    staying_layers,
)
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.resampling import drawn_interval
from depthtui.metrics.spec import Finding, Metric

NAME = "sufficient"

TOLERANCE = 1.0
STRICT_TOLERANCE = 0.1
"""The costs, in nats, at which layers are counted."""

STRICT_CHOICES, HALF_OF_CHOICES = 0.9, 0.5
"""The shares of first choices kept at which layers are counted."""

_NAMED = 6


@dataclass(frozen=True)
class Way:
    """The units that are read with one order.

    Attributes:
        order: the layers, in the order in which they are left out.
        kl, choices: values of every unit without the first 0, 1, 2, … layers, `[units, n + 1]`.
        weights: the weight of each unit in the mean.
    """

    order: tuple[int, ...]
    kl: np.ndarray
    choices: np.ndarray
    weights: np.ndarray

    @lazy_value
    def curve(self) -> np.ndarray:
        """The mean cost, until it is above `MOST_COST`, `[n + 1]`."""
        mean = np.average(self.kl, axis=0, weights=self.weights)
        above = np.flatnonzero(mean > MOST_COST)
        return mean[: above[0] + 1] if len(above) else mean

    @lazy_value
    def choices_curve(self) -> np.ndarray:
        """The mean share of first choices kept, up to the length of `curve`."""
        mean = np.average(self.choices, axis=0, weights=self.weights)
        return np.asarray(mean[: len(self.curve)])


@dataclass(frozen=True)
class PooledSufficient:
    """Layers that suffice, of one or more prompts.

    Attributes:
        kind, search: as in `Kept`.
        units: `prompts` or `blocks`.
        ways: the units by their order.
        n_layers: L.
        seed: seed of the draws for intervals; None to draw nothing.
    """

    kind: str
    search: str
    units: str
    ways: tuple[Way, ...]
    n_layers: int
    seed: int | None

    def within(self, cost: float = TOLERANCE) -> float:
        """N(x): the layers kept where the cost first passes x nats, a mean over orders."""
        left_out = [crossing_above(way.curve[None], cost)[0] for way in self.ways]
        return self.n_layers - float(np.mean(left_out))

    def keeping(self, share: float) -> float:
        """The layers kept where the share of first choices kept first falls below `share`."""
        left_out = [crossing_above(-way.choices_curve[None], -share)[0] for way in self.ways]
        return self.n_layers - float(np.mean(left_out))

    @lazy_value
    def choices_between(self) -> float:
        """The share of first choices kept at N(1), interpolated linearly between counts."""
        return self._choices_at(
            [crossing_above(way.curve[None], TOLERANCE)[0] for way in self.ways]
        )

    @lazy_value
    def layers(self) -> int:
        """The number of layers with which the output stays within a nat: N(1), rounded up."""
        return rounded_up_count(self.within())

    @lazy_value
    def choices(self) -> float:
        """The share of first choices kept with `layers`."""
        return self._choices_at([self.n_layers - self.layers] * len(self.ways))

    def _choices_at(self, left_out: Sequence[float]) -> float:
        """The mean share of first choices kept without `left_out` layers of each order."""
        shares = [
            np.interp(count, np.arange(len(way.choices_curve)), way.choices_curve)
            for count, way in zip(left_out, self.ways, strict=True)
        ]
        return float(np.mean(shares))

    @lazy_value
    def interval(self) -> tuple[float, float] | None:
        """The bootstrap interval of N(1) over the units; None for too few, or without a seed."""

        def statistic(counts: Sequence[np.ndarray]) -> np.ndarray:
            left_out = [
                crossing_above(drawn_curves(way, drawn), TOLERANCE)
                for way, drawn in zip(self.ways, counts, strict=True)
            ]
            return np.asarray(self.n_layers - np.mean(left_out, axis=0))

        return drawn_interval([len(way.weights) for way in self.ways], statistic, self.seed)

    @property
    def kept_layers(self) -> tuple[int, ...]:
        """The `layers` that stay in the first order."""
        return staying_layers(self.ways[0].order, self.n_layers, self.layers)


def drawn_curves(way: Way, counts: np.ndarray) -> np.ndarray:
    """The mean costs of resamples, `[resamples, n + 1]`.

    Args:
        way: the units.
        counts: how often each is drawn, `[resamples, units]`.
    """
    weights = counts * way.weights
    return np.asarray(weights @ way.kl / weights.sum(axis=1, keepdims=True))


def pool(reduced: Sequence[ReducedKept], pooled: Pooled) -> PooledSufficient | None:
    """Pool the prompts that are known; None where some of their values are not."""
    by_prompt = len(reduced) >= PROMPTS_AS_UNITS
    units: dict[tuple[int, ...], list[tuple[np.ndarray, np.ndarray, float]]] = {}
    for prompt in reduced:
        if by_prompt and len(prompt.orders) == 1:
            unit = prompt.mean_kl, prompt.mean_choices, 1.0
            units.setdefault(prompt.orders[0], []).append(unit)
        else:
            # Two orders of one prompt share its weight where prompts count once.
            weights = prompt.blocks / (prompt.blocks.sum() if by_prompt else 1)
            for way, kl, choices, weight in zip(
                prompt.way, prompt.kl, prompt.choices, weights, strict=True
            ):
                unit = kl, choices, float(weight)
                units.setdefault(prompt.orders[way], []).append(unit)
    n_layers = len(reduced[0].mean_kl) - 1
    # One layer at least stays.
    rows = {order: min(len(order) + 1, n_layers) for order in units}
    ways = [
        Way(
            order,
            np.stack([kl for kl, _, _ in parts])[:, : rows[order]],
            np.stack([choices for _, choices, _ in parts])[:, : rows[order]],
            np.array([weight for _, _, weight in parts]),
        )
        for order, parts in units.items()
    ]
    if not ways or not all(np.isfinite(way.kl).all() for way in ways):
        return None
    first = reduced[0]
    return PooledSufficient(
        first.kind,
        first.search,
        "prompts" if by_prompt else "blocks",
        tuple(ways),
        n_layers,
        pooled.seed,
    )


def summary(sufficient: PooledSufficient, pooled: Pooled) -> dict[str, Any]:
    """The counts and the curves, as a part of `summary.json`."""
    costs, shares = (STRICT_TOLERANCE, TOLERANCE), (HALF_OF_CHOICES, STRICT_CHOICES)
    return {
        "order": sufficient.kind,
        "search": sufficient.search,
        "units": sufficient.units,
        "ways": [
            {
                "order": list(way.order),
                "kl": way.curve.tolist(),
                "choices": way.choices_curve.tolist(),
            }
            for way in sufficient.ways
        ],
        "n": {f"{cost:g}": sufficient.within(cost) for cost in costs},
        "n_choices": {f"{share:g}": sufficient.keeping(share) for share in shares},
        "interval": None if sufficient.interval is None else list(sufficient.interval),
        "choices_at_1": sufficient.choices_between,
    }


def _findings(sufficient: PooledSufficient, pooled: Pooled) -> list[Finding]:
    where = f"in {order_words(sufficient.kind, sufficient.search)}"
    stand_in = left_out_words("layer", (), sufficient.n_layers, pooled.stand_in)
    go = ", ".join(map(str, sufficient.ways[0].order[:_NAMED]))
    interval = (
        "" if sufficient.interval is None else f" ({rounded_up_range(sufficient.interval, '-')})"
    )
    return [
        Finding(
            "Layers within 1 nat",
            f"{sufficient.layers} of {sufficient.n_layers}{interval}",
            f"{where}; {sufficient.choices:.0%} of first choices stay; "
            f"layers {go} go first{stand_in}",
        ),
        Finding(
            "Layers within 0.1 nats",
            f"{rounded_up_count(sufficient.within(STRICT_TOLERANCE))} of {sufficient.n_layers}",
        ),
        Finding(
            "Layers for 90% of choices",
            f"{rounded_up_count(sufficient.keeping(STRICT_CHOICES))} of {sufficient.n_layers}",
            f"half of the choices: {rounded_up_count(sufficient.keeping(HALF_OF_CHOICES))}",
        ),
    ]


METRIC = Metric(
    name=NAME,
    title="Layers that suffice",
    description=("The number of layers that, run together, still give the model's own output."),
    formula=(
        "leave layers out together, those that cost least first; `KL(p || p~)` on tokens that did "
        "not choose them"
    ),
    reading=(
        "The layers with which the output stays within a nat of the whole model's, and those that "
        "keep nine in ten first choices, in one order of leaving layers out."
    ),
    look_for=(
        "How far apart the two counts are: a model that is close to its own output need not "
        "choose the same tokens."
    ),
    source="Greedy depth pruning, verified on other tokens (see arXiv 2604.24938); defined here",
    stage="derived",
    derived_from=kept.NAME,
    pool=pool,
    summary=summary,
    findings=_findings,
    means=lambda sufficient, pooled: {"layers within 1 nat": sufficient.within()},
)
