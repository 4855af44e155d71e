"""How little layers turn the residual stream: what pruning by similarity goes by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.verdict import Evidence
from depthtui.errors import DepthError
from depthtui.metrics import ablation
from depthtui.metrics.evidence import FIFTH, Counted, Variant, read_off
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.ranking import useful_layers, usefulness
from depthtui.metrics.spec import Finding, LayerValues, Metric, PromptMetrics, clean_run


@dataclass
class Similarity(MetricResult):
    """How little each layer, and each block of layers, turns the residual stream.

    Attributes:
        block_influence: 1 - cos(h_l, h_{l+1}) (arXiv 2403.03853).
        angular_distance: row n - 1: mean over tokens of arccos(cos(h_l, h_{l+n})) / pi at l
            (arXiv 2403.17887); NaN where l + n > L.
        angular_distance_without_first: the same with token 0 left out of the mean; NaN
            where it is the only one.
    """

    block_influence: Annotated[np.ndarray, Shape("L", "T")]
    angular_distance: Annotated[np.ndarray, Shape("L", "L")]
    angular_distance_without_first: Annotated[np.ndarray, Shape("L", "L")]

    @property
    def useful(self) -> np.ndarray:
        return self.block_influence

    @property
    def rule(self) -> str:
        return "block influence"

    @property
    def ranked_by(self) -> str:
        return self.rule

    @property
    def unit(self) -> str:
        return ""

    @property
    def of_layers(self) -> bool:
        return True


def best_block(
    similarity: Similarity, n: int, include_first_token: bool = True
) -> tuple[int, float]:
    """The block of n layers that turns the residual stream least (arXiv 2403.17887).

    Returns:
        its first layer l, so that l … l + n - 1 can go, and its angular distance (0 to 1).

    Raises:
        DepthError: the model has no block of n layers.
    """
    n_layers = len(similarity.block_influence)
    if not 1 <= n <= n_layers:
        raise DepthError(f"There is no block of {n} layers in a model of {n_layers}.")
    distances = block_distances(similarity, n, include_first_token)
    if np.isnan(distances).all():
        raise DepthError("No angular distance is known: the residual stream is not finite.")
    first = int(np.nanargmin(distances))
    return first, float(distances[first])


def block_distances(similarity: Similarity, n: int, include_first_token: bool = True) -> np.ndarray:
    """The angular distance over n layers from each layer on, `[L + 1 - n]`."""
    distances = similarity.angular_distance
    if not include_first_token:
        distances = similarity.angular_distance_without_first
    return distances[n - 1, : len(distances) + 1 - n]


def pruned_share(n_layers: int) -> int:
    """How many layers the block to prune has where nobody says: a tenth of them."""
    return max(1, round(n_layers / 10))


def _pool(pooled: Pooled) -> Similarity | None:
    """The tokens of all prompts, one after another, and means over those."""
    known = pooled.known(Similarity)
    influences = [found.block_influence[:, pooled.first_token :] for found in known]
    weights = [influence.shape[1] for influence in influences]
    if not sum(weights):
        return None
    with_first = pooled.settings.include_first_token
    name = "angular_distance" if with_first else "angular_distance_without_first"
    distances = [
        getattr(found, name) * weight / sum(weights)
        for found, weight in zip(known, weights, strict=True)
        if weight
    ]
    distance = np.sum(distances, axis=0)
    return Similarity(np.concatenate(influences, axis=1), distance, distance)


def _summary(similarity: Similarity, pooled: Pooled) -> dict[str, Any]:
    return {
        "similarity": {
            "block_influence": usefulness(similarity),
            "angular_distance": similarity.angular_distance,
            "best_blocks": _best_blocks(similarity),
        }
    }


def _best_blocks(similarity: Similarity) -> list[dict[str, Any]]:
    """For every n, the block of n layers that turns the residual stream least."""
    blocks = []
    for n in range(1, len(similarity.block_influence) + 1):
        try:
            first, distance = best_block(similarity, n)
        except DepthError:
            break
        blocks.append({"n": n, "first_layer": first, "angular_distance": distance})
    return blocks


def _findings(similarity: Similarity, pooled: Pooled) -> list[Finding]:
    lines = []
    if pooled.get(ablation.METRIC) is None:
        # Where the loss is known, layers are ranked by that.
        lines += useful_layers(similarity, _by_influence)
    n = pruned_share(pooled.n_layers)
    try:
        first, distance = best_block(similarity, n)
    except DepthError:
        return lines
    layers = f"layer {first}" if n == 1 else f"layers {first} to {first + n - 1}"
    remark = f"n = {n}, angular distance {distance:.3f}"
    return [*lines, Finding("Best block to prune", layers, remark)]


def _by_influence(values: Sequence[float]) -> str:
    return f"block influence {', '.join(f'{value:.3g}' for value in values)}"


def _per_layer(similarity: Similarity) -> list[LayerValues]:
    return [LayerValues("block influence", usefulness(similarity), "1 − cos(h_l, h_l+1)")]


COUNTED = Counted(
    "geometric",
    "similarity",
    "angular distance",
    "that turn the residual stream",
    of_use=False,  # movement alone is not use
)

SHARE = 0.5
"""How much of the mean angle a layer that is used turns the residual stream by."""


def turning_layers(distances: np.ndarray, other_distances: np.ndarray | None = None) -> Evidence:
    """How many layers turn the residual stream by at least half of what they do on average.

    The angle of h_l and h_{l+1} is what is compared, not block influence, which grows with its
    square: the first layer's alone would lift the mean above all others. The mean, and not the
    median: where most layers do nothing, they must not set the measure.

    Args:
        distances: angular distance over one layer, mean over tokens, `[L]`.
        other_distances: the same without token 0, or with it where it was left out.
    """
    if not np.isfinite(distances).all():
        return COUNTED.unknown("the residual stream is not finite")

    def turning(values: np.ndarray, share: float = SHARE) -> np.ndarray:
        return np.flatnonzero((values >= share * values.mean()) & (values > 0))

    layers = turning(distances)
    found = len(layers)
    variants = []
    for share in ((1 - FIFTH) * SHARE, (1 + FIFTH) * SHARE):
        words = f"{found} layers turn the stream by {SHARE:g} of the mean, {{}} by {share:g}"
        other = len(turning(distances, share))
        variants.append(Variant(other, words.format(other)))
    if other_distances is not None and np.isfinite(other_distances).all():
        other = len(turning(other_distances))
        variants.append(Variant(other, f"token 0 alone moves it from {found} to {other} layers"))
    least = SHARE * float(distances.mean())
    curve = read_off(distances, least, f"≥ {least:.2g} of π")
    return COUNTED.weighed(found, len(distances), variants, layers, curve)


def _evidence(similarity: Similarity, pooled: Pooled) -> list[Evidence]:
    settings = pooled.settings
    other_settings = replace(settings, include_first_token=not settings.include_first_token)
    other = _pool(replace(pooled, settings=other_settings))
    other_distances = None if other is None else other.angular_distance[0]
    return [turning_layers(similarity.angular_distance[0], other_distances)]


def _cell_evidence(
    prompts: PromptMetrics, other_prompts: PromptMetrics, n_layers: int
) -> list[Evidence]:
    distances, other = _mean_distances(prompts), _mean_distances(other_prompts)
    return [] if distances is None else [turning_layers(distances, other)]


def _mean_distances(prompts: PromptMetrics) -> np.ndarray | None:
    """The angular distance over one layer, `[L]`, mean over the tokens of a cell's prompts."""
    known = [
        (found["similarity"]["angular_distance"][0], n_tokens)
        for found, n_tokens in prompts
        if found.get("similarity")
    ]
    if not known:
        return None
    distances = np.array([distance for distance, _ in known], np.float64)
    return np.asarray(np.average(distances, axis=0, weights=[weight for _, weight in known]))


METRIC = Metric(
    name="similarity",
    title="Block influence, angular distance",
    tells="How little layers turn the residual stream, and the best block of n layers to prune.",
    formula=(
        "`1 - cos(h_l, h_{l+1})`, and `arccos(cos(h_l, h_{l+n})) / π` over every block of n layers"
    ),
    reading=(
        "0 keeps the residual stream's direction; a right angle is 1 in block influence, 0.5 in "
        "angular distance."
    ),
    look_for=(
        "A run of small values is the block to prune first. Little movement is not yet no use: "
        "ablation loss tells."
    ),
    source="Men et al., arXiv 2403.03853; Gromov et al., arXiv 2403.17887",
    cost="1 forward",
    result=Similarity,
    compute="depthtui.metrics.similarity.compute:compute",
    reruns_layers=False,
    needs=(clean_run,),
    pool=_pool,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
    ranks_layers=True,
    evidence=_evidence,
    cell_evidence=_cell_evidence,
)
