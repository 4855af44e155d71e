"""How little layers turn the residual stream: the criterion of pruning by similarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run import RunResult
from depthtui.errors import DepthError
from depthtui.metrics import ablation, needs
from depthtui.metrics.evidence import (
    FIFTH,
    CountInterval,
    CountMeasure,
    LayerCount,
    Variant,
    evidence_curve,
)
from depthtui.metrics.measures import array, values_of
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.ranking import Ranked, useful_layers
from depthtui.metrics.reduced import BlocksByLayer, ByLayer, Reduced
from depthtui.metrics.spec import Finding, LayerMap, LayerValues, Measure, Metric
from depthtui.metrics.token_blocks import block_means


@dataclass
class Similarity(MetricResult, Ranked):
    """How little each layer, and each block of layers, turns the residual stream.

    Attributes:
        block_influence: 1 - cos(h_l, h_{l+1}) (arXiv 2403.03853).
        angular_distance: row n - 1: mean over tokens of arccos(cos(h_l, h_{l+n})) / pi at l
            (arXiv 2403.17887); NaN where l + n > L.
        angular_distance_without_first: the same with token 0 left out of the mean; NaN
            where it is the only token.
    """

    rule = of_one = "block influence"

    block_influence: Annotated[np.ndarray, Shape("L", "T")]
    angular_distance: Annotated[np.ndarray, Shape("L", "L")]
    angular_distance_without_first: Annotated[np.ndarray, Shape("L", "L")]

    @property
    def is_known(self) -> np.ndarray:
        """Whether each layer's values are finite."""
        return np.asarray(np.isfinite(self.block_influence).all(axis=1))

    @property
    def useful(self) -> np.ndarray:
        return self.block_influence

    def distances(self, tokens: slice) -> np.ndarray:
        """The angular distance over the tokens that count, `[L, L]`."""
        return self.angular_distance_without_first if tokens.start else self.angular_distance


def best_block(distances: np.ndarray, n: int) -> tuple[int, float]:
    """The block of n layers that turns the residual stream least (arXiv 2403.17887).

    Args:
        distances: angular distances `[L, L]`, as in `Similarity`.
        n: how many layers.

    Returns:
        its first layer l, so that l … l + n - 1 can be removed, and its angular distance (0 to 1).

    Raises:
        DepthError: the model has no block of n layers.
    """
    n_layers = len(distances)
    if not 1 <= n <= n_layers:
        raise DepthError(f"There is no block of {n} layers in a model of {n_layers}.")
    over_n = distances[n - 1, : n_layers + 1 - n]
    if np.isnan(over_n).all():
        raise DepthError("No angular distance is known: the residual stream is not finite.")
    first = int(np.nanargmin(over_n))
    return first, float(over_n[first])


def _by_block(similarity: Similarity | ReducedSimilarity) -> np.ndarray:
    """The angular distance over layers a to b in row a and column b, `[L, L]`; NaN below."""
    n_layers = len(similarity.angular_distance)
    first, last = np.triu_indices(n_layers)
    by_block = np.full((n_layers, n_layers), np.nan, np.float32)
    by_block[first, last] = similarity.angular_distance[last - first, first]
    return by_block


MAP = Measure(
    "angular_distance",
    "Angular distance over a block",
    "arccos(cos(h_a, h_b+1)) / pi",
    values_of(Similarity, _by_block),
    columns="layers",
    reading="Row a, column b: how far layers a to b together turn the stream.",
)


def pruned_share(n_layers: int) -> int:
    """The default number of layers of the block to prune: a tenth of all layers."""
    return max(1, round(n_layers / 10))


@dataclass(frozen=True, kw_only=True)
class ReducedSimilarity(Reduced):
    """How little layers and blocks turn the stream, mean over the tokens of one or more prompts.

    Attributes:
        block_influence: `[L]`.
        angular_distance: `[L, L]`, as in `Similarity`.
        angle_blocks: the first row of `angular_distance`, of single layers, over blocks of tokens.
    """

    block_fields: ClassVar = {"angle": "angle_blocks"}

    block_influence: ByLayer
    angular_distance: Annotated[np.ndarray, Shape("L", "L", dtype=np.float64)]
    angle_blocks: BlocksByLayer = None

    @property
    def angle(self) -> np.ndarray:
        """The angular distance over each layer by itself, `[L]`."""
        return np.asarray(self.angular_distance[0])


def _reduce(result: Similarity, run: RunResult, tokens: slice) -> ReducedSimilarity | None:
    distances = result.distances(tokens).astype(np.float64)
    cosines = 1 - result.block_influence[:, tokens]
    angles = np.arccos(np.clip(cosines, -1, 1)) / np.pi
    blocks = block_means(angles) if angles.size else None
    return ReducedSimilarity.over(
        result, run, tokens, angular_distance=distances, angle_blocks=blocks
    )


def _summary(similarity: ReducedSimilarity, pooled: Pooled) -> dict[str, Any]:
    return {
        "block_influence": similarity.block_influence,
        "angular_distance": similarity.angular_distance,
        "best_blocks": _best_blocks(similarity.angular_distance),
    }


def _best_blocks(distances: np.ndarray) -> list[dict[str, Any]]:
    """For every n, the block of n layers that turns the residual stream least."""
    blocks = []
    for n in range(1, len(distances) + 1):
        try:
            first, distance = best_block(distances, n)
        except DepthError:
            break
        blocks.append({"n": n, "first_layer": first, "angular_distance": distance})
    return blocks


def _findings(similarity: ReducedSimilarity, pooled: Pooled) -> list[Finding]:
    lines = []
    if pooled.get(ablation.METRIC) is None:
        # Where the loss is known, layers are ranked by the loss.
        lines += useful_layers(similarity.block_influence, _by_influence)
    n = pruned_share(pooled.n_layers)
    try:
        first, distance = best_block(similarity.angular_distance, n)
    except DepthError:
        return lines
    layers = f"layer {first}" if n == 1 else f"layers {first} to {first + n - 1}"
    remark = f"n = {n}, angular distance {distance:.3f}"
    return [*lines, Finding("Best block to prune", layers, remark)]


def _by_influence(values: Sequence[float]) -> str:
    return f"block influence {', '.join(f'{value:.3g}' for value in values)}"


def _per_layer(similarity: ReducedSimilarity) -> list[LayerValues]:
    return [
        LayerValues(
            "block influence", similarity.block_influence, "1 − cos(h_l, h_l+1)", of_layer=True
        )
    ]


def _maps(similarity: ReducedSimilarity) -> list[LayerMap]:
    axes = "first layer of the block", "its last layer"
    return [LayerMap(MAP, _by_block(similarity), MAP.title, MAP.formula, *axes)]


COUNT_MEASURE = CountMeasure(
    "geometric",
    "similarity",
    "angular distance",
    "that turn the residual stream",
)

SHARE = 0.5
"""The least share of the mean angle by which a used layer turns the residual stream."""

FLOOR = 1e-7
"""The largest angle, of pi, that rounding leaves between two equal residuals: an arc cosine near 1
in double precision."""


def _turning(distances: np.ndarray, share: float = SHARE) -> np.ndarray:
    """Which layers turn the stream by at least a share of the mean turn, `[..., L]`."""
    return (distances > FLOOR) & (distances >= share * _mean_turn(distances)[..., None])


def turning_layers(
    distances: np.ndarray,
    other_distances: np.ndarray | None = None,
    interval: CountInterval | None = None,
) -> LayerCount:
    """How many layers turn the residual stream by at least half of the mean angle.

    The angle of h_l and h_{l+1} is compared, not block influence, which grows with its square: the
    first layer's influence alone would lift the mean above all others. The mean is over the layers
    that turn the stream at all, by more than `FLOOR`: layers that write nothing do not lower it. A
    median would be set by the layers of little effect where these are most.

    Args:
        distances: angular distance over one layer, mean over tokens, `[L]`.
        other_distances: the same without token 0, or with token 0 where it was left out.
        interval: the interval of the count.
    """
    if not np.isfinite(distances).all():
        return COUNT_MEASURE.unknown("the residual stream is not finite")
    layers = np.flatnonzero(_turning(distances))
    count = len(layers)
    variants = []
    for share in ((1 - FIFTH) * SHARE, (1 + FIFTH) * SHARE):
        words = f"{count} layers turn the stream by {SHARE:g} of the mean, {{}} by {share:g}"
        other = int(_turning(distances, share).sum())
        variants.append(Variant(other, words.format(other)))
    if other_distances is not None and np.isfinite(other_distances).all():
        other = int(_turning(other_distances).sum())
        variants.append(Variant(other, f"token 0 alone moves it from {count} to {other} layers"))
    least = SHARE * float(_mean_turn(distances))
    curve = evidence_curve(distances, least, f"≥ {least:.2g} of π")
    return COUNT_MEASURE.counted(count, variants, layers, curve, interval)


def _mean_turn(distances: np.ndarray) -> np.ndarray:
    """The mean angle of the layers that turn the stream at all, `[..., L]`; 0 where none does."""
    moves = distances > FLOOR
    return np.asarray((distances * moves).sum(axis=-1) / np.maximum(1, moves.sum(axis=-1)))


def _evidence(similarity: ReducedSimilarity, pooled: Pooled) -> list[LayerCount]:
    other = pooled.other.get(METRIC)
    interval = pooled.interval(
        pooled.reduced(METRIC), lambda angles: _turning(angles).sum(axis=1), "angle"
    )
    return [turning_layers(similarity.angle, None if other is None else other.angle, interval)]


METRIC = Metric(
    name="similarity",
    title="Block influence, angular distance",
    description=(
        "How little layers turn the residual stream, and the best block of n layers to prune."
    ),
    formula=(
        "`1 - cos(h_l, h_{l+1})`, and `arccos(cos(h_l, h_{l+n})) / π` over every block of n layers"
    ),
    reading=(
        "0 keeps the residual stream's direction; a right angle is 1 in block influence, 0.5 in "
        "angular distance."
    ),
    look_for=(
        "A run of small values is the block to prune first. A layer that moves little may still"
        " be needed: ablation shows that."
    ),
    source="Men et al., arXiv 2403.03853; Gromov et al., arXiv 2403.17887",
    cost="1 forward",
    result=Similarity,
    reruns_layers=False,
    needs=(needs.clean_run,),
    measures=(
        Measure(
            "block_influence",
            "Block influence",
            "1 - cos(h_l, h_l+1)",
            array(Similarity, "block_influence"),
        ),
        MAP,
    ),
    reduced=ReducedSimilarity,
    reduce=_reduce,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
    maps=_maps,
    evidence=_evidence,
)
