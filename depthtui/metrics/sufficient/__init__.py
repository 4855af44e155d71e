"""How many layers, run together, still give the model's own output, and how closely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeAlias

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.lazy import lazy_value
from depthtui.data.run import RunResult
from depthtui.data.verdict import Headline
from depthtui.metrics import needs
from depthtui.metrics.choices import STAND_INS, left_out_words
from depthtui.metrics.costs import head, row_of_logits
from depthtui.metrics.evidence import (
    FIFTH,
    CountInterval,
    CountMeasure,
    LayerCount,
    Variant,
    rounded_up_count,
    rounded_up_range,
)
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import Reduced
from depthtui.metrics.resampling import LEVEL, drawn_interval
from depthtui.metrics.spec import Finding, Metric, noise_floor

NAME = "sufficient"

MOST_COST = 3.0
"""The cost, in nats, above which no further layer is left out."""

TOLERANCE = 1.0
STRICT_TOLERANCE = 0.1
"""The costs, in nats, at which layers are counted."""

STRICT_CHOICES, HALF_OF_CHOICES = 0.9, 0.5
"""The shares of first choices kept at which layers are counted."""

BLOCK = 4
"""Scored tokens of a block, the unit where there are few prompts."""

PROMPTS_AS_UNITS = 4
"""With fewer prompts, blocks of tokens are the units."""

MOST_GROUPS = 32
"""Groups of neighbouring blocks that a prompt is reduced to."""

TEXTS = 8
LENGTH = 32
"""The number and the length in tokens of the texts, written by the model itself, on which its
order is found."""

FEWEST_TRIED = 4
"""The fewest layers that a round of a greedy search for an order tries."""

MODEL_ORDER: Mapping[str, Any] = {"sufficient_order": "model", "sufficient_search": "greedy"}
OWN_ORDER: Mapping[str, Any] = {"sufficient_order": "own", "sufficient_search": "ranked"}
"""The settings of the order that says most, and of the one that comes soonest."""

_NAMED = 6

Orders: TypeAlias = tuple[tuple[int, ...], ...]


@dataclass
class Sufficient(MetricResult):
    """The output with more and more layers left out together.

    Attributes:
        kind: where the orders come from: `model`, or `own` for the prompts themselves.
        search: how they were found: `ranked` or `greedy`.
        orders: the orders in which layers are left out.
        way: the index of the order that a token is read with; -1 for a token that is not scored.
        kl: KL(p || p~), in nats, without the first 0, 1, 2, … layers of a token's order; NaN
            where not known, or not scored.
        kept: 1 where the most probable token stays the same, else 0.
    """

    kind: str
    search: str
    orders: Orders
    way: Annotated[np.ndarray, Shape("T", dtype=np.int32)]
    kl: Annotated[np.ndarray, Shape("L", "T")]
    kept: Annotated[np.ndarray, Shape("L", "T")]

    @property
    def is_known(self) -> np.ndarray:
        """Whether each row of each order is known."""
        is_known = [
            np.isfinite(self.kl[: self.rows(way), self.way == way]).all(axis=1)
            for way in range(len(self.orders))
        ]
        return np.concatenate(is_known) if is_known else np.zeros(1, np.bool_)

    def rows(self, way: int) -> int:
        """How many rows an order has: at least one layer stays."""
        return min(len(self.orders[way]) + 1, len(self.kl))

    @property
    def floor(self) -> float:
        """The largest KL with nothing left out."""
        return float(np.nanmax(np.abs(self.kl[0]), initial=0.0))


@dataclass(frozen=True, kw_only=True)
class ReducedSufficient(Reduced):
    """The costs of one prompt by groups of blocks, and of G groups of several prompts.

    Attributes:
        tokens: the number of scored tokens.
        kind, search, orders: as in `Sufficient`.
        way: the order of each group.
        blocks: how many blocks each group has.
        kl, choices: means over the blocks of each group; the tokens of a block count equally.
        mean_kl, mean_choices: means over all scored tokens; NaN for rows that no order has.
        floor: the largest KL with nothing left out.
    """

    kind: str
    search: str
    orders: Orders
    way: Annotated[np.ndarray, Shape("G", dtype=np.int64)]
    blocks: Annotated[np.ndarray, Shape("G", dtype=np.int64)]
    kl: Annotated[np.ndarray, Shape("G", "L", dtype=np.float64)]
    choices: Annotated[np.ndarray, Shape("G", "L", dtype=np.float64)]
    mean_kl: Annotated[np.ndarray, Shape("L", dtype=np.float64)]
    mean_choices: Annotated[np.ndarray, Shape("L", dtype=np.float64)]
    floor: float

    pools: ClassVar = {}


def block_numbers(n_tokens: int) -> np.ndarray:
    """The block of each token, `[T]`; -1 for token 0, which is not scored."""
    return np.concatenate([[-1], np.arange(max(0, n_tokens - 1)) // BLOCK])[:n_tokens]


def has_own_order(n_tokens: int) -> bool:
    """Whether a prompt has enough blocks to find an order on one half and read it on the other."""
    return n_tokens - 1 > BLOCK


def block_weights(n_tokens: int, blocks: Sequence[int] | np.ndarray) -> np.ndarray:
    """The weight of each token in the mean over some blocks, `[T]`: each block counts once."""
    numbers = block_numbers(n_tokens)
    weights = np.zeros(n_tokens)
    for block in blocks:
        in_block = numbers == block
        weights[in_block] = 1 / in_block.sum() / len(blocks)
    return weights


def _reduce(result: Sufficient, run: RunResult, tokens: slice) -> ReducedSufficient:
    numbers = block_numbers(len(result.way))
    way, blocks, kl, choices = [], [], [], []
    for number in range(len(result.orders)):
        blocks_of_order = np.unique(numbers[(result.way == number) & (numbers >= 0)])
        most = max(1, MOST_GROUPS // len(result.orders))
        for group in np.array_split(blocks_of_order, min(most, len(blocks_of_order)) or 1):
            if not len(group):
                continue
            weights = block_weights(len(numbers), group)
            way.append(number)
            blocks.append(len(group))
            kl.append(_weighted(result.kl, weights))
            choices.append(_weighted(result.kept, weights))
    scored = result.way >= 0
    return ReducedSufficient(
        tokens=int(scored.sum()),
        kind=result.kind,
        search=result.search,
        orders=result.orders,
        way=np.array(way, np.int64),
        blocks=np.array(blocks, np.int64),
        kl=np.array(kl, np.float64),
        choices=np.array(choices, np.float64),
        mean_kl=result.kl[:, scored].mean(axis=1, dtype=np.float64),
        mean_choices=result.kept[:, scored].mean(axis=1, dtype=np.float64),
        floor=result.floor,
    )


def _weighted(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted mean over the tokens that have a weight, `[L]`."""
    has_weight = weights > 0
    return np.asarray(values[:, has_weight].astype(np.float64) @ weights[has_weight])


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
        kind, search: as in `Sufficient`.
        units: `prompts` or `blocks`.
        ways: the units by their order.
        n_layers: L.
        seed: seed of the draws for intervals; None to draw nothing.
        floor: the largest KL with nothing left out.
    """

    kind: str
    search: str
    units: str
    ways: tuple[Way, ...]
    n_layers: int
    seed: int | None
    floor: float

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
    def headline(self) -> Headline:
        """The number of layers for a verdict, with its tolerance."""
        low, high = self.interval or (None, None)
        strict = self.keeping(STRICT_CHOICES)
        return Headline(NAME, self.within(), low, high, self.choices, strict, self.kind)

    @property
    def kept_layers(self) -> tuple[int, ...]:
        """The `layers` that stay in the first order."""
        left_out = self.ways[0].order[: self.n_layers - self.layers]
        return tuple(layer for layer in range(self.n_layers) if layer not in left_out)


def drawn_curves(way: Way, counts: np.ndarray) -> np.ndarray:
    """The mean costs of resamples, `[resamples, n + 1]`.

    Args:
        way: the units.
        counts: how often each is drawn, `[resamples, units]`.
    """
    weights = counts * way.weights
    return np.asarray(weights @ way.kl / weights.sum(axis=1, keepdims=True))


def crossing_above(curves: np.ndarray, threshold: float) -> np.ndarray:
    """Where curves `[curves, n + 1]` first pass a threshold, interpolated linearly between counts.

    n where a curve never does.
    """
    above = curves[:, 1:] > threshold
    first = above.argmax(axis=1)
    rows = np.arange(len(curves))
    before, after = curves[rows, first], curves[rows, first + 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        at = first + (threshold - before) / (after - before)
    return np.where(above.any(axis=1), at, curves.shape[1] - 1)


def _pool(reduced: Sequence[ReducedSufficient], pooled: Pooled) -> PooledSufficient | None:
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
    n_layers = pooled.n_layers
    ways = [
        Way(
            order,
            np.stack([kl for kl, _, _ in parts])[:, : len(order) + 1],
            np.stack([choices for _, choices, _ in parts])[:, : len(order) + 1],
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
        max(prompt.floor for prompt in reduced),
    )


def _summary(sufficient: PooledSufficient, pooled: Pooled) -> Mapping[str, Any]:
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
    kinds = {"model": "the model's order", "own": "an order of other tokens of these prompts"}
    where = f"in {kinds[sufficient.kind]}, {sufficient.search}"
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
        noise_floor(METRIC.title, f"{sufficient.floor:.2g} nats"),
    ]


COUNT_MEASURE = CountMeasure(
    "causal", NAME, "sufficient count", "that give its own output within a nat when run alone"
)


def _evidence(sufficient: PooledSufficient, pooled: Pooled) -> list[LayerCount]:
    variants = []
    for share in (1 - FIFTH, 1 + FIFTH):
        other = rounded_up_count(sufficient.within(share * TOLERANCE))
        variants.append(Variant(other, f"within {share:.1f} nats it takes {other}"))
    ends, interval = sufficient.interval, None
    if ends is not None:
        interval = CountInterval(*ends, LEVEL, sufficient.units, resolution=0)
    layers = sufficient.kept_layers
    return [COUNT_MEASURE.counted(sufficient.layers, variants, layers, interval=interval)]


def _work(result: RunResult) -> float:
    """The work: a curve takes half of L passes; the prompt's own order takes two and a ranking."""
    n_layers = result.model.n_layers
    curves, searches = (1, 0) if result.settings.sufficient_order == "model" else (2, 1)
    passes = (curves + searches) * n_layers / 2
    return passes + (curves + searches) * n_layers * head(result)


def expected_trials(n_layers: int, search: str) -> float:
    """About how many layers a search tries: all, and in a greedy search some more in each round.

    A round tries three more than the fewest, in 0.6 L rounds (measured).
    """
    rounds = 0.6 * n_layers if search == "greedy" else 0
    return n_layers + (FEWEST_TRIED + 3) * rounds


def _preparation(result: RunResult) -> float:
    """The cost of an order: a trial runs half of the layers and the LM head on all text tokens."""
    settings = result.settings
    if settings.sufficient_order != "model":
        return 0.0
    trials = expected_trials(result.model.n_layers, settings.sufficient_search)
    return TEXTS * LENGTH * trials * (1 / 2 + head(result))


METRIC = Metric(
    name=NAME,
    title="Layers that suffice",
    description=("The number of layers that, run together, still give the model's own output."),
    formula=(
        "leave layers out together, those that cost least first; `KL(p || p~)` on tokens that did "
        "not choose them"
    ),
    reading=(
        "The layers that must run so that the output stays within a nat of the whole model's, and "
        "those that keep nine in ten first choices."
    ),
    look_for=(
        "How far apart the two counts are: a model that is close to its own output need not "
        "choose the same tokens."
    ),
    source="Greedy depth pruning, verified on other tokens (see arXiv 2604.24938); defined here",
    cost="L forwards, half of each; the model's order once, longer",
    work=_work,
    result=Sufficient,
    needs=(needs.clean_run, needs.lens, needs.second_token),
    needs_order=True,
    preparation=_preparation,
    memory=row_of_logits,
    recalled_with=(
        MODEL_ORDER,
        {**MODEL_ORDER, "sufficient_search": "ranked"},
        {**OWN_ORDER, "sufficient_search": "greedy"},
        OWN_ORDER,
    ),
    depends_on=("sufficient_order", "sufficient_search", "order_texts", *STAND_INS),
    reduced=ReducedSufficient,
    reduce=_reduce,
    pool=_pool,
    summary=_summary,
    findings=_findings,
    means=lambda sufficient, pooled: {"layers within 1 nat": sufficient.within()},
    evidence=_evidence,
)
