"""Whether layers build on each other, or only add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run import RunResult
from depthtui.data.verdict import Evidence
from depthtui.metrics.evidence import FELT, FIFTH, Counted, Variant, read_off, so_far
from depthtui.metrics.noise import mean_noise
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.spec import (
    Finding,
    LayerValues,
    Measure,
    Metric,
    PromptMetrics,
    Values,
    clean_run,
    floor_of,
    head,
    lens,
    noise_floor,
    row_of_logits,
)

NAME = "order"


@dataclass
class Order(MetricResult):
    """What the loss gains where a layer and the next one do not run one after the other.

    Row l is the pair of layers l and l + 1, column j the loss of token j + 1, less the clean one,
    in nats; NaN in rows that are not known yet.

    Attributes:
        parallel: side by side: `h + c_l(h) + c_{l+1}(h)` (arXiv 2502.02790).
        swapped: layer l + 1 first, then l (arXiv 2407.09298).
        unchanged: the size of such a change in a run that goes the same way in order.
    """

    noise = ("unchanged",)

    parallel: Annotated[np.ndarray, Shape("L-1", "T-1")]
    swapped: Annotated[np.ndarray, Shape("L-1", "T-1")]
    unchanged: Annotated[np.ndarray, Shape("T-1")]

    @property
    def is_known(self) -> np.ndarray:
        """Whether each row is, `[L-1]`."""
        return np.asarray(np.isfinite(self.swapped).all(axis=1))

    @property
    def floor(self) -> float:
        """The largest change of a token's loss with nothing reordered."""
        return float(np.abs(self.unchanged).max(initial=0.0))


@dataclass(frozen=True)
class PooledOrder:
    """Means over the predicted tokens of one or more prompts, in nats.

    Attributes:
        parallel, swapped: `[L-1]`.
        noise: what rounding leaves in these means.
        floor: the largest change of a token's loss with nothing reordered.
    """

    parallel: np.ndarray
    swapped: np.ndarray
    noise: float
    floor: float

    @property
    def so_far(self) -> str:
        """How many pairs are known, in words; empty for all of them."""
        return so_far(np.isfinite(self.parallel), "pairs of layers")

    @property
    def depth(self) -> int | None:
        """The sequential depth; None where some pairs are not known yet."""
        return None if self.so_far else sequential_depth(self.parallel)


def pairs_side_by_side(parallel: np.ndarray, threshold: float = FELT) -> list[int]:
    """The first layers of as many pairs as may run side by side, no layer in two of them.

    Along the chain of layers, taking the first pair that is left makes the most pairs.

    Args:
        parallel: `[L-1]`, what each pair costs side by side.
        threshold: what it must stay below.
    """
    taken: list[int] = []
    for layer in np.flatnonzero(parallel < threshold).tolist():
        if not taken or layer > taken[-1] + 1:
            taken.append(layer)
    return taken


def sequential_depth(parallel: np.ndarray, threshold: float = FELT) -> int:
    """How many steps are left, 1 … L, where all pairs run side by side that may."""
    return len(parallel) + 1 - len(pairs_side_by_side(parallel, threshold))


def _pool(pooled: Pooled) -> PooledOrder | None:
    known = pooled.known(Order)
    if not known:
        return None
    unchanged = pooled.joined([found.unchanged[None] for found in known])[0]
    if not unchanged.size:
        return None
    parallel, swapped = (
        pooled.joined(rows).mean(axis=1, dtype=np.float64)
        for rows in ([found.parallel for found in known], [found.swapped for found in known])
    )
    floor = float(np.abs(unchanged).max())
    return PooledOrder(parallel, swapped, mean_noise(unchanged), floor)


def _summary(order: PooledOrder, pooled: Pooled) -> dict[str, Any]:
    return {
        NAME: {
            "parallel": order.parallel,
            "swapped": order.swapped,
            "depth": order.depth,
            "floor": order.floor,
        }
    }


def _findings(order: PooledOrder, pooled: Pooled) -> list[Finding]:
    noise = f"{order.noise:.2g} nats, of one token {order.floor:.2g}"
    return [_depth_line(order, pooled.n_layers), noise_floor(METRIC.title, noise)]


def _depth_line(order: PooledOrder, n_layers: int) -> Finding:
    title = "Sequential depth"
    if order.so_far:
        return Finding(title, "–", order.so_far)
    taken = pairs_side_by_side(order.parallel)
    pairs = f"{len(taken)} pairs of layers" if len(taken) != 1 else "1 pair of layers"
    cost = f"each less than {FELT:g} nats" if taken else f"none less than {FELT:g} nats"
    remark = f"{pairs} could run side by side, {cost}" if taken else f"no pair side by side: {cost}"
    return Finding(title, f"{order.depth} of {n_layers} layers", remark)


def _per_layer(order: PooledOrder) -> list[LayerValues]:
    return [
        LayerValues("side by side", order.parallel, "beside the next layer, nats"),
        LayerValues("swapped", order.swapped, "swapped with the next layer, nats"),
    ]


def _cell_means(prompts: PromptMetrics) -> dict[str, float]:
    """The sequential depth of the cell: of the mean costs of its prompts' tokens."""
    costs = _mean_costs(prompts)
    return {} if costs is None else {"sequential depth": float(sequential_depth(costs))}


def _mean_costs(prompts: PromptMetrics) -> np.ndarray | None:
    """What pairs of layers cost side by side, over the tokens of some prompts, `[L-1]`."""
    known = [(metrics[NAME], n_tokens - 1) for metrics, n_tokens in prompts if metrics.get(NAME)]
    if not known:
        return None
    costs = np.array([found["parallel"] for found, _ in known], float)
    return np.asarray(np.average(costs, axis=0, weights=[max(1, weight) for _, weight in known]))


def _evidence(order: PooledOrder, pooled: Pooled) -> list[Evidence]:
    words = order.so_far
    return [COUNTED.unknown(words) if words else _depth_evidence(order.parallel)]


def _cell_evidence(
    prompts: PromptMetrics, other_prompts: PromptMetrics, n_layers: int
) -> list[Evidence]:
    costs = _mean_costs(prompts)
    return [] if costs is None else [_depth_evidence(costs)]


COUNTED = Counted(
    "causal",
    NAME,
    "sequential depth",
    "left where pairs run side by side that may",
    of_use=False,  # of layers that do nothing half are left
)


def _depth_evidence(costs: np.ndarray) -> Evidence:
    """The sequential depth, and how far it moves with what a pair may cost.

    Of a pair that may run side by side the first layer is counted.
    """
    least, most = FELT * (1 - FIFTH), FELT * (1 + FIFTH)
    between = int(((costs >= least) & (costs < most)).sum())
    pairs = "1 pair of layers costs" if between == 1 else f"{between} pairs of layers cost"
    reason = f"{pairs} between {least:.2g} and {most:.2g} nats side by side"
    variants = [Variant(sequential_depth(costs, felt), reason) for felt in (most, least)]
    n_layers = len(costs) + 1
    beside = [layer + 1 for layer in pairs_side_by_side(costs)]
    steps = [layer for layer in range(n_layers) if layer not in beside]
    # A pair's cost stands at its second layer, which is the one that may run beside the first.
    curve = read_off([float("nan"), *costs], FELT, f"≥ {FELT:g} nats")
    return COUNTED.weighed(len(steps), n_layers, variants, steps, curve)


def _work(result: RunResult) -> float:
    """Each pair makes two more layers, and two runs behind it; an unchanged one goes from the
    first layer on."""
    count = result.model.n_layers
    layers = count + (count - 1) * (count - 2) + 2 * (count - 1)
    return layers / count + 2 * count * head(result)


def _predicts(result: RunResult) -> str:
    """A need: a token that another one predicts."""
    return "the prompt is a single token" if len(result.tokens) < 2 else ""


def _pairs(result: RunResult) -> str:
    """A need: two layers."""
    return "the model has a single layer" if result.model.n_layers < 2 else ""


def _map(name: str) -> Values:
    """A change of the loss `[L, T]`: no layer follows the last, and its last token no other."""

    def values(result: RunResult) -> np.ndarray | None:
        found = result.get(Order)
        if found is None:
            return None
        return np.pad(getattr(found, name), ((0, 1), (0, 1)), constant_values=np.nan)

    return values


METRIC = Metric(
    name=NAME,
    title="Order of layers",
    tells="Whether successive layers build on each other, or only add up.",
    formula=(
        "layers l, l+1 side by side, `h + c_l(h) + c_{l+1}(h)`, or swapped; change of the loss. "
        "Sequential depth: L less the pairs under 0.05 nats side by side, no layer in two"
    ),
    reading=(
        "Near 0 a pair could run at the same time: neither reads what the other writes. Large "
        "values are steps that must follow each other."
    ),
    look_for=(
        "Blocks of cheap pairs, which only add up, and the few pairs that the rest hangs on. "
        "Sequential depth counts a cheap pair as one layer."
    ),
    source="Side by side: arXiv 2502.02790; swapped: arXiv 2407.09298",
    cost="2 (L - 1) forwards, half of each",
    work=_work,
    result=Order,
    compute="depthtui.metrics.order.compute:compute",
    needs=(clean_run, lens, _predicts, _pairs),
    memory=row_of_logits,
    measures=(
        Measure(
            "order_parallel",
            "Beside the next layer",
            "loss change, nats",
            _map("parallel"),
            diverging=True,
            floor=floor_of(Order),
            reading="0: this layer and the next could run at the same time.",
        ),
        Measure(
            "order_swapped",
            "Swapped with the next",
            "loss change, nats",
            _map("swapped"),
            diverging=True,
            floor=floor_of(Order),
            reading="0: this layer and the next could change places.",
        ),
    ),
    pool=_pool,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
    cell_means=_cell_means,
    evidence=_evidence,
    cell_evidence=_cell_evidence,
)
