"""How near the output stays to the whole model's with more and more pieces left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from depthtui.data.lazy import lazy_value
from depthtui.metrics.column import LeftOutColumn, crossing_above
from depthtui.metrics.kept.pool import ReducedKept
from depthtui.metrics.layer_order import MOST_COST, PROMPTS_AS_UNITS
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.resampling import drawn_interval
from depthtui.metrics.spec import Metric

TOLERANCE, STRICT_TOLERANCE = 1.0, 0.1
"""The costs, in nats, at which pieces are counted."""

STRICT_CHOICES, HALF_OF_CHOICES = 0.9, 0.5
"""The shares of first choices at which pieces are counted."""


@dataclass(frozen=True)
class Way:
    """The units that are read with one order.

    Attributes:
        order: the pieces, in the order in which they are left out.
        kl, choices: values of every unit without the first 0, 1, 2, … pieces, `[units, n + 1]`.
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
        """The mean share of first choices that stay, up to the length of `curve`."""
        mean = np.average(self.choices, axis=0, weights=self.weights)
        return np.asarray(mean[: len(self.curve)])

    def drawn_curves(self, counts: np.ndarray) -> np.ndarray:
        """The mean costs of resamples, `[resamples, n + 1]`.

        `counts` are how often each unit is drawn, `[resamples, units]`.
        """
        weights = counts * self.weights
        return np.asarray(weights @ self.kl / weights.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class PooledOutput:
    """How near the output stays, of one or more prompts.

    Attributes:
        kind, search: as in `Kept`.
        units: `prompts` or `blocks`.
        ways: the units by their order.
        tokens: the first choices that stay, a sum over prompts, `[n + 1]`, NaN where unknown.
        n_tokens: all scored tokens.
        seed: seed of the draws for intervals; None to draw nothing.
    """

    kind: str
    search: str
    units: str
    ways: tuple[Way, ...]
    tokens: np.ndarray
    n_tokens: int
    seed: int | None

    @property
    def order(self) -> tuple[int, ...]:
        """The first order."""
        return self.ways[0].order

    @property
    def n_pieces(self) -> int:
        """The number of pieces."""
        return len(self.order)

    @lazy_value
    def kl(self) -> LeftOutColumn:
        """The KL to the whole model's output, in nats; each unit counts once."""
        values = self._filled([way.curve for way in self.ways])
        return LeftOutColumn("KL", values, "z.2f", curves=[way.curve for way in self.ways])

    @lazy_value
    def choices(self) -> LeftOutColumn:
        """The share of first choices that stay; counted with each unit once."""
        return LeftOutColumn(
            "choices",
            self.tokens / self.n_tokens,
            ".2f",
            True,
            [way.choices_curve for way in self.ways],
            of=self.n_tokens,
        )

    def _filled(self, curves: Sequence[np.ndarray]) -> np.ndarray:
        """The mean of curves as far as all are known, then NaN."""
        values = np.full(self.n_pieces + 1, np.nan)
        length = min(map(len, curves))
        values[:length] = np.mean([curve[:length] for curve in curves], axis=0)
        return values

    @lazy_value
    def interval(self) -> tuple[float, float] | None:
        """The interval of the pieces within `TOLERANCE` over the units; None where unknown."""

        def statistic(counts: Sequence[np.ndarray]) -> np.ndarray:
            left_out = [
                crossing_above(way.drawn_curves(drawn), TOLERANCE)
                for way, drawn in zip(self.ways, counts, strict=True)
            ]
            return np.asarray(self.n_pieces - np.mean(left_out, axis=0))

        return drawn_interval([len(way.weights) for way in self.ways], statistic, self.seed)


def pool_output(reduced: Sequence[ReducedKept], pooled: Pooled) -> PooledOutput | None:
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
    # One piece at least stays.
    rows = {order: min(len(order) + 1, len(reduced[0].mean_kl) - 1) for order in units}
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
    return PooledOutput(
        reduced[0].kind,
        reduced[0].search,
        "prompts" if by_prompt else "blocks",
        tuple(ways),
        np.sum([prompt.tokens * prompt.mean_choices for prompt in reduced], axis=0),
        sum(prompt.tokens for prompt in reduced),
        pooled.seed,
    )


def second_value(metric: Metric, pooled: Pooled) -> PooledOutput | None:
    """The second value that reduced values of `kept` or `parts` are pooled to, once."""
    name = f"{metric.name}_output"
    second = replace(metric, name=name, derived_from=metric.name, pool=pool_output)
    output: PooledOutput | None = pooled.get(second)
    return output
