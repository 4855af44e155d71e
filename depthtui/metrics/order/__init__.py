"""Whether layers build on each other, or only add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeAlias

import numpy as np

from depthtui.data.arrays import Shape
from depthtui.data.run import RunResult
from depthtui.data.sentence import plural
from depthtui.metrics import needs
from depthtui.metrics.costs import head, row_of_logits
from depthtui.metrics.evidence import (
    FELT,
    FIFTH,
    CountInterval,
    CountMeasure,
    LayerCount,
    Variant,
    evidence_curve,
    progress_words,
)
from depthtui.metrics.loss_change import LossChange, MeanLoss, loss_measure
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.spec import Finding, LayerValues, Metric

NAME = "order"


ByPair: TypeAlias = Annotated[np.ndarray, Shape("L-1", dtype=np.float64)]


def _common(idle: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The layers that are idle on every prompt."""
    return tuple(sorted(set(idle[0]).intersection(*idle)))


@dataclass
class Order(LossChange):
    """The rise of the loss where a layer and the next one do not run one after the other.

    Row l is the pair of layer l and the next one that writes anything (see `LossChange`). The row
    of a layer that writes nothing, and of the last layer that writes, is 0.

    Attributes:
        parallel: the pair side by side: `h + c_l(h) + c_{l+1}(h)` (arXiv 2502.02790).
        swapped: layer l + 1 first, then l (arXiv 2407.09298).
        idle: the layers that write nothing at any token, in order.
    """

    changes = ("parallel", "swapped")

    parallel: Annotated[np.ndarray, Shape("L-1", "T-1")]
    swapped: Annotated[np.ndarray, Shape("L-1", "T-1")]
    unchanged: Annotated[np.ndarray, Shape("T-1")]
    idle: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReducedOrder(MeanLoss):
    """The cost of each pair of layers: means over the predicted tokens of one or more prompts.

    Attributes:
        parallel, swapped: as in `Order`.
        idle: the layers that write nothing at any token of any prompt, which are no steps.
    """

    pools: ClassVar = MeanLoss.pools | {"idle": _common}
    block_fields: ClassVar = {"parallel": "parallel_blocks"}

    parallel: ByPair
    parallel_blocks: Annotated[np.ndarray, Shape("B", "L-1", dtype=np.float64)] | None = None
    swapped: ByPair
    idle: tuple[int, ...] = ()

    @property
    def progress_words(self) -> str:
        """How many pairs are known, in words; empty for all of them."""
        return progress_words(np.isfinite(self.parallel), "pairs of layers")

    @property
    def writing(self) -> np.ndarray:
        """The layers that write something, in order."""
        return np.setdiff1d(np.arange(len(self.parallel) + 1), self.idle)

    @property
    def costs(self) -> np.ndarray:
        """The cost of each writing layer side by side with the next, `[writing - 1]`, in nats."""
        return self.parallel[self.writing[:-1]]

    def steps(self, threshold: float = FELT) -> np.ndarray:
        """The layers that are left as steps where all possible pairs run side by side.

        The step of such a pair is its first layer.
        """
        joined_places = [place + 1 for place in pairs_side_by_side(self.costs, threshold)]
        return np.delete(self.writing, joined_places)

    @property
    def depth(self) -> int | None:
        """The sequential depth, the number of steps; None where some pairs are not known yet."""
        return None if self.progress_words else len(self.steps())


def pairs_side_by_side(parallel: np.ndarray, threshold: float = FELT) -> list[int]:
    """The first layers of the most pairs that may run side by side, no layer in two of them.

    Along the chain of layers, always taking the first remaining pair makes the most pairs.

    Args:
        parallel: `[L-1]`, the cost of each pair side by side.
        threshold: the cost that a pair must stay below.
    """
    pairs: list[int] = []
    for layer in np.flatnonzero(parallel < threshold).tolist():
        if not pairs or layer > pairs[-1] + 1:
            pairs.append(layer)
    return pairs


def step_counts(costs: np.ndarray, layers: int) -> np.ndarray:
    """The sequential depth by each row of costs, `[rows]` of `[rows, pairs]`."""
    pairs, is_taken = np.zeros(len(costs), int), np.zeros(len(costs), np.bool_)
    for at_pair in costs.T:
        is_taken = (at_pair < FELT) & ~is_taken
        pairs += is_taken
    return layers - pairs


def _summary(order: ReducedOrder, pooled: Pooled) -> dict[str, Any]:
    return {
        "parallel": order.parallel,
        "swapped": order.swapped,
        "depth": order.depth,
        "floor": order.floor,
    }


def _findings(order: ReducedOrder, pooled: Pooled) -> list[Finding]:
    return [_depth_line(order, pooled.n_layers), order.noise_floor(METRIC.title)]


def _depth_line(order: ReducedOrder, n_layers: int) -> Finding:
    title = "Sequential depth"
    if order.progress_words:
        return Finding(title, "–", order.progress_words)
    joined_pairs = pairs_side_by_side(order.costs)
    pairs = plural(len(joined_pairs), "pair of layers", "pairs of layers")
    cost = f"each less than {FELT:g} nats" if joined_pairs else f"none less than {FELT:g} nats"
    remark = (
        f"{pairs} could run side by side, {cost}"
        if joined_pairs
        else f"no pair side by side: {cost}"
    )
    idle = len(order.idle)
    if idle:
        write = plural(idle, "layer writes nothing and is", "layers write nothing and are")
        remark += f"; {write} no step"
    return Finding(title, f"{order.depth} of {n_layers} layers", remark)


def _per_layer(order: ReducedOrder) -> list[LayerValues]:
    return [
        LayerValues("side by side", order.parallel, "beside the next layer, nats"),
        LayerValues("swapped", order.swapped, "swapped with the next layer, nats"),
    ]


def _means(order: ReducedOrder, pooled: Pooled) -> dict[str, float]:
    return {"sequential depth": float("nan") if order.depth is None else float(order.depth)}


def _evidence(order: ReducedOrder, pooled: Pooled) -> list[LayerCount]:
    words = order.progress_words
    if words:
        return [COUNT_MEASURE.unknown(words)]
    first = order.writing[:-1]
    interval = pooled.interval(
        pooled.reduced(METRIC),
        lambda costs: step_counts(costs[:, first], len(order.writing)),
        "parallel",
    )
    return [_depth_evidence(order, pooled.n_layers, interval)]


COUNT_MEASURE = CountMeasure(
    "causal",
    NAME,
    "sequential depth",
    "that must run one after another",
)


def _depth_evidence(
    order: ReducedOrder, n_layers: int, interval: CountInterval | None
) -> LayerCount:
    """The sequential depth, and how far it moves with the allowed cost of a pair.

    The first layer of a pair that may run side by side is counted.
    """
    costs, steps = order.costs, order.steps()
    least, most = FELT * (1 - FIFTH), FELT * (1 + FIFTH)
    n_between = int(((costs >= least) & (costs < most)).sum())
    pairs = plural(n_between, "pair of layers costs", "pairs of layers cost")
    reason = f"{pairs} between {least:.2g} and {most:.2g} nats side by side"
    variants = [Variant(len(order.steps(allowed_cost)), reason) for allowed_cost in (most, least)]
    # A pair's cost is drawn at its second layer, which may run beside the first.
    at_layers = np.full(n_layers, np.nan)
    at_layers[order.writing[1:]] = costs
    curve = evidence_curve(at_layers, FELT, f"≥ {FELT:g} nats")
    return COUNT_MEASURE.counted(len(steps), variants, steps, curve, interval)


def _work(result: RunResult) -> float:
    """The work: each pair makes two more layer calls, and two runs behind it; an unchanged run goes
    from the first layer on."""
    count = result.model.n_layers
    layers = count + (count - 1) * (count - 2) + 2 * (count - 1)
    return layers / count + 2 * count * head(result)


def _pairs(result: RunResult) -> str:
    """A need: two layers."""
    return "the model has a single layer" if result.model.n_layers < 2 else ""


METRIC = Metric(
    name=NAME,
    title="Order of layers",
    description="Whether successive layers build on each other, or only add up.",
    formula=(
        "layers l, l+1 side by side, `h + c_l(h) + c_{l+1}(h)`, or swapped; change of the loss. "
        "Sequential depth: the layers that write anything, minus the pairs under 0.05 nats side by "
        "side, no layer in two"
    ),
    reading=(
        "Near 0 a pair could run at the same time: neither reads what the other writes. Large "
        "values are steps that must follow each other."
    ),
    look_for=(
        "Blocks of cheap pairs, which only add up, and the few pairs on which the rest depends."
        " Sequential depth counts a cheap pair as one layer."
    ),
    source="Side by side: arXiv 2502.02790; swapped: arXiv 2407.09298",
    cost="2 (L - 1) forwards, half of each",
    work=_work,
    result=Order,
    needs=(needs.clean_run, needs.lens, needs.unbroken_stream, needs.second_token, _pairs),
    memory=row_of_logits,
    measures=(
        loss_measure(
            Order,
            "parallel",
            "order_parallel",
            "Beside the next layer",
            rows_after=1,
            reading="0: this layer and the next could run at the same time.",
        ),
        loss_measure(
            Order,
            "swapped",
            "order_swapped",
            "Swapped with the next",
            rows_after=1,
            reading="0: this layer and the next could change places.",
        ),
    ),
    reduced=ReducedOrder,
    reduce=ReducedOrder.over,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
    means=_means,
    evidence=_evidence,
)
