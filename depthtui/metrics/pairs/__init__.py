"""Which layers stand in for each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeAlias

import numpy as np

from depthtui.data.arrays import Shape
from depthtui.data.run import RunResult
from depthtui.metrics import needs
from depthtui.metrics.ablation import ROUNDING
from depthtui.metrics.choices import STAND_INS, chosen_key, left_out_words, measured_layers
from depthtui.metrics.costs import head, row_of_logits
from depthtui.metrics.evidence import CountInterval, progress_words
from depthtui.metrics.loss_change import InRows
from depthtui.metrics.measures import floor_of, values_of
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import Reduced
from depthtui.metrics.spec import Finding, LayerMap, Measure, Metric, noise_floor
from depthtui.metrics.token_blocks import block_means, block_starts

NAME = "pairs"

WRECK = 1.0
"""The cost, in nats, above which a sum of costs says little: it is of two wrecks."""

_COSTS = 3
"""The costs in an interaction, each with its noise."""

_NAMED = 3
"""The most pairs that a finding names."""

ByPair: TypeAlias = Annotated[np.ndarray, Shape("L", "L", dtype=np.float64)]
"""A number for each pair of layers."""

BlocksByPair: TypeAlias = Annotated[np.ndarray, Shape("B", "L", "L", dtype=np.float64)] | None
"""A number for each pair in each block of tokens; None for several prompts together."""


def pairs_among(layers: tuple[int, ...] | range) -> list[tuple[int, int]]:
    """Each layer with itself and with each later one, by the lower layer."""
    return [(lower, upper) for lower in layers for upper in layers if lower <= upper]


def interactions(kl: np.ndarray) -> np.ndarray:
    """C({i, j}) - C(i) - C(j) of each pair by costs in `LayerPairs.kl`, `[L, L]` and symmetric.

    NaN for a layer with itself, for pairs that are not known, and for those of `wrecks`.
    """
    alone, both = kl.diagonal(), _symmetric(kl)
    return np.where(wrecks(kl), np.nan, both - alone[:, None] - alone)


def wrecks(kl: np.ndarray) -> np.ndarray:
    """Whether a pair, or a single layer of it, costs more than `WRECK`, `[L, L]`, symmetric."""
    alone = kl.diagonal() > WRECK
    is_wreck = (_symmetric(kl) > WRECK) | alone[:, None] | alone
    np.fill_diagonal(is_wreck, False)
    return np.asarray(is_wreck)


def _symmetric(kl: np.ndarray) -> np.ndarray:
    """The costs of pairs `[L, L]` above and below the diagonal, on which there is none."""
    both = np.fmax(kl, kl.T)
    np.fill_diagonal(both, np.nan)
    return both


def floor(unchanged: float, tokens: int) -> float:
    """The noise floor of an interaction, in nats.

    Rounding that moves every output by a KL of e moves a cost of one nat at a token by about
    2 sqrt(e), to either side: the cross term of two changes. The noise of a mean cost is its
    standard error.

    Args:
        unchanged: the mean KL of a run with nothing left out.
        tokens: the number of tokens of the mean.
    """
    return _COSTS * max(unchanged + 2 * math.sqrt(unchanged / tokens), ROUNDING)


@dataclass
class LayerPairs(InRows):
    """The cost of leaving out each layer, and each pair of layers, at all tokens.

    A cost is the mean of KL(p || p~) over every token but token 0, in nats; p is the whole model's
    output.

    Attributes:
        kl: by lower and upper layer, the cost without both; on the diagonal, without one layer.
            NaN below the diagonal, and where it is not known yet, or was not chosen.
        kl_blocks: the same over blocks of tokens; NaN for blocks that there are not.
        unchanged: the largest KL of each token in runs with nothing left out; NaN at token 0.
        chosen: the layers of the pairs, in order; empty for every one.
    """

    noise = ("unchanged",)

    kl: Annotated[np.ndarray, Shape("L", "L")]
    kl_blocks: Annotated[np.ndarray, Shape("8", "L", "L")]
    unchanged: Annotated[np.ndarray, Shape("T")]
    chosen: tuple[int, ...] = ()

    @property
    def places(self) -> list[tuple[int, int]]:
        """The places in `kl` of all that is measured, by the lower layer."""
        return pairs_among(self.chosen or range(len(self.kl)))

    @property
    def known_rows(self) -> np.ndarray:
        """Whether the cost at each of `places` is known."""
        return np.isfinite(self.kl[_index(self.places)])

    @property
    def noise_of_outputs(self) -> float:
        """The mean KL of a run with nothing left out."""
        return float(self.unchanged[1:].mean(dtype=np.float64))

    @property
    def floor(self) -> float:
        """The noise floor of an interaction, in nats; 0 where nothing is known."""
        is_known = np.isfinite(self.unchanged[1:]).any()
        return floor(self.noise_of_outputs, len(self.unchanged) - 1) if is_known else 0.0

    def filled(self, places: list[tuple[int, int]], kl: np.ndarray) -> LayerPairs:
        """A copy with some costs filled in.

        Args:
            places: their places.
            kl: `[1 + places, T]`, the unchanged run first.
        """
        result, scored, index = self.copied(), kl[:, 1:], _index(places)
        result.unchanged[1:] = np.fmax(result.unchanged[1:], scored[0])
        result.kl[index] = scored[1:].mean(axis=1, dtype=np.float64)
        blocks = block_means(scored[1:])
        result.kl_blocks[: len(blocks), *index] = blocks
        return result


def _index(places: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """The places as an index of an array `[L, L]`."""
    lower, upper = np.array(places).T
    return lower, upper


@dataclass(frozen=True)
class PairCosts:
    """Two layers and what leaving them out costs, in nats.

    Attributes:
        layers: the lower and the upper one.
        alone: the cost without each by itself.
        both: the cost without both.
    """

    layers: tuple[int, int]
    alone: tuple[float, float]
    both: float

    @property
    def interaction(self) -> float:
        """What both cost beyond the sum of their own costs; negative where they cost less."""
        return self.both - sum(self.alone)

    @property
    def words(self) -> str:
        """Its layers, such as `3 and 5`."""
        return f"{self.layers[0]} and {self.layers[1]}"


@dataclass(frozen=True, kw_only=True)
class ReducedPairs(Reduced):
    """The costs of one or more prompts, means over their tokens.

    Attributes:
        kl, kl_blocks, chosen: as in `LayerPairs`.
        unchanged: the mean KL of runs with nothing left out.
    """

    block_fields: ClassVar = {"kl": "kl_blocks"}

    kl: ByPair
    kl_blocks: BlocksByPair = None
    unchanged: float
    chosen: tuple[int, ...]

    @property
    def floor(self) -> float:
        """The noise floor of an interaction, in nats."""
        return floor(self.unchanged, self.tokens)

    @property
    def is_known(self) -> np.ndarray:
        """Whether the cost of each pair, or layer by itself, is known."""
        return np.isfinite(self.kl[_index(pairs_among(self.chosen or range(len(self.kl))))])

    @property
    def n_readable(self) -> int:
        """The number of pairs that cost less than `WRECK`."""
        return int(np.isfinite(self._interactions).sum())

    @property
    def n_wrecks(self) -> int:
        """The number of pairs that cost more, or one of whose layers does."""
        return int((wrecks(self.kl) & np.isfinite(self.kl)).sum())

    @property
    def covering(self) -> list[PairCosts]:
        """The pairs of which each covers for the other, the strongest first."""
        return self._pairs_beyond(self._interactions)

    @property
    def dependent(self) -> list[PairCosts]:
        """The pairs of which one layer is needed only for the other, the strongest first."""
        return self._pairs_beyond(-self._interactions)

    @property
    def _interactions(self) -> np.ndarray:
        """`interactions` above the diagonal alone."""
        return np.where(np.tri(len(self.kl), dtype=bool), np.nan, interactions(self.kl))

    def _pairs_beyond(self, values: np.ndarray) -> list[PairCosts]:
        """The pairs whose value is above the noise floor, the largest first."""
        places = np.argwhere(np.nan_to_num(values) > self.floor)
        order = np.argsort(-values[tuple(places.T)], kind="stable")
        return [self._pair(*map(int, place)) for place in places[order]]

    def _pair(self, lower: int, upper: int) -> PairCosts:
        alone = float(self.kl[lower, lower]), float(self.kl[upper, upper])
        return PairCosts((lower, upper), alone, float(self.kl[lower, upper]))

    def of_pair(self, pair: PairCosts) -> ReducedInteraction:
        """The interaction of one pair; linear in costs, so that its mean is that of mean costs."""
        lower, upper = pair.layers

        def interaction(kl: np.ndarray) -> Any:
            return kl[..., lower, upper] - kl[..., lower, lower] - kl[..., upper, upper]

        blocks = self.kl_blocks
        return ReducedInteraction(
            tokens=self.tokens,
            value=float(interaction(self.kl)),
            blocks=None if blocks is None else interaction(blocks),
        )


@dataclass(frozen=True, kw_only=True)
class ReducedInteraction(Reduced):
    """The interaction of one pair, and its values over blocks of tokens `[B]`."""

    block_fields: ClassVar = {"value": "blocks"}

    value: float
    blocks: np.ndarray | None


def _reduce(result: LayerPairs, run: RunResult, tokens: slice) -> ReducedPairs | None:
    """Reduce in the same way whether or not token 0 counts elsewhere: it is never scored here."""
    count = len(run.tokens) - 1
    return ReducedPairs.of(
        result,
        tokens=count,
        kl_blocks=result.kl_blocks[: len(block_starts(count))].astype(np.float64),
        unchanged=result.noise_of_outputs,
    )


def _interval(pooled: Pooled, pair: PairCosts) -> CountInterval | None:
    """The interval of a pair's interaction, in nats."""
    parts = [part and part.of_pair(pair) for part in pooled.reduced(METRIC)]
    return pooled.interval(parts, lambda values: values, "value")


def _summary(value: ReducedPairs, pooled: Pooled) -> dict[str, Any]:
    # One prompt is no sample of others, and often has no interval: it names no pair.
    is_sample = len(pooled.prompts) > 1
    covering, dependent = (value.covering, value.dependent) if is_sample else ([], [])
    return {
        "kl": value.kl,
        "interaction": interactions(value.kl),
        "covering": [_pair_summary(pair, pooled) for pair in covering[:_NAMED]],
        "dependent": [_pair_summary(pair, pooled) for pair in dependent[:_NAMED]],
        "counts": {
            "covering": len(covering) if is_sample else None,
            "dependent": len(dependent) if is_sample else None,
            "readable": value.n_readable,
            "above_a_nat": value.n_wrecks,
        },
        "floor": value.floor,
        "kl_floor": value.unchanged,
        **chosen_key(value.chosen),
    }


def _pair_summary(pair: PairCosts, pooled: Pooled) -> dict[str, Any]:
    interval = _interval(pooled, pair)
    return {
        "layers": list(pair.layers),
        "interaction": pair.interaction,
        "kl": pair.both,
        "apart": list(pair.alone),
        "interval": None if interval is None else [interval.low, interval.high],
    }


def _findings(value: ReducedPairs, pooled: Pooled) -> Iterator[Finding]:
    words = left_out_words("layer", value.chosen, pooled.n_layers, pooled.stand_in)
    if progress := progress_words(value.is_known, "costs"):
        words += f"; {progress}"
    kinds = [
        ("Layers that cover for each other", value.covering[:_NAMED]),
        ("Layers needed only for another", value.dependent[:_NAMED]),
    ]
    if len(pooled.prompts) == 1:
        yield Finding("Pairs of layers", "–", f"a single prompt names none{words}")
        kinds = []
    for title, pairs in kinds:
        named = ", ".join(pair.words for pair in pairs)
        remark = _sentence(pairs, pooled) if pairs else f"of {value.n_readable} pairs"
        yield Finding(title, named or "none", remark + words)
    if count := value.n_wrecks:
        remark = f"one or both cost more than {WRECK:g} nat: the sum of two wrecks"
        yield Finding("Pairs of layers that say little", str(count), remark)
    yield noise_floor(METRIC.title, f"{value.floor:.2g} nats, KL {value.unchanged:.2g}")


def _sentence(pairs: Sequence[PairCosts], pooled: Pooled) -> str:
    """The costs of the first of some pairs in words, and how far those of the others interact."""
    first, *others = pairs
    interval, (one, other) = _interval(pooled, first), first.alone
    ends = (
        f" ({interval.low:+.3g} to {interval.high:+.3g} over {interval.over})" if interval else ""
    )
    then = "".join(f", {pair.interaction:+.3g}" for pair in others)
    return (
        f"layers {first.words} cost {one:.3g} and {other:.3g} nats by themselves, {first.both:.3g} "
        f"together, {first.interaction:+.3g} beyond their sum{ends}{then and '; then'}{then[1:]}"
    )


def _maps(value: ReducedPairs) -> list[LayerMap]:
    noise = f"; noise {value.floor:.1g}" if value.floor >= 0.001 else ""
    caption = f"nats beyond the sum; hatched: above {WRECK:g}{noise}"
    return [
        LayerMap(
            MAP,
            interactions(value.kl),
            MAP.title,
            caption,
            "layer left out",
            "layer left out with it",
            wrecks(value.kl),
        )
    ]


MAP = Measure(
    NAME,
    "Pairs of layers",
    "C(i, j) - C(i) - C(j), nats",
    values_of(LayerPairs, lambda pairs: interactions(pairs.kl)),
    diverging=True,
    columns="layers",
    floor=floor_of(LayerPairs),
    hatched=values_of(LayerPairs, lambda pairs: wrecks(pairs.kl)),
)
"""Layers x layers that are left out together."""


def _work(result: RunResult) -> float:
    """The work: parts of L costs, with an unchanged run each.

    A run without a single layer begins behind it, and that of a pair behind its upper layer.
    """
    count, places = result.model.n_layers, pairs_among(measured_layers(result))
    calls = reads = 0
    for stop in range(len(places), 0, -count):
        part = set(places[max(0, stop - count) : stop])
        runs = part | {(lower, lower) for lower, _ in part}
        calls += count - min(runs)[0] + sum(count - 1 - upper for _, upper in runs)
        reads += 1 + len(runs)
    return calls / count + reads * head(result)


def _two_layers(result: RunResult) -> str:
    """A need: two layers."""
    layers = measured_layers(result)
    return f"a pair needs two layers, not layer {layers[0]} alone" if len(layers) < 2 else ""


METRIC = Metric(
    name=NAME,
    title="Pairs of layers",
    description="The layers that cover for each other, and those needed only for another.",
    formula=(
        "leave out each layer and each pair; `C(i, j) - C(i) - C(j)`, C the mean `KL(p ‖ p~)` of "
        "the output"
    ),
    reading=(
        "Above 0 each covers for the other: both cost more than the sum of their costs. Below 0 "
        "one is needed only for the other. Above a nat it says little, and is hatched."
    ),
    look_for=(
        "Do not prune both of a pair that covers for each other; a pair below 0 can leave together."
        " Layers that write the same are above 0 too: KL grows with the square of a change."
    ),
    source="Defined here",
    cost="L (L - 1) / 2 forwards, a third of each",
    work=_work,
    result=LayerPairs,
    needs=(needs.clean_run, needs.lens, needs.second_token, _two_layers),
    memory=row_of_logits,
    depends_on=("layers", *STAND_INS),
    measures=(MAP,),
    reduced=ReducedPairs,
    reduce=_reduce,
    summary=_summary,
    findings=_findings,
    maps=_maps,
)
