"""The depths at which another engine's states differ from those of transformers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run import RunResult
from depthtui.data.selection import numbers_text
from depthtui.data.sentence import noun_for
from depthtui.metrics import needs
from depthtui.metrics.measures import array, floor_of
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import ByDepth, Reduced, token_mean
from depthtui.metrics.spec import Finding, LayerValues, Measure, Metric

NAME = "engine_distance"


@dataclass
class EngineDistance(MetricResult):
    """States of another engine beside those of transformers for the same tokens.

    Attributes:
        distance: |h - h'| / |h'|, h the engine's, h' of transformers' own pass: the differences
            of all layers up to that depth.
        own: the difference of one layer by itself, in units of the rounding error (see
            `tracing.rounding`): row l + 1 compares h_{l+1} with the output of transformers'
            layer l for the engine's own h_l, row 0 the embedding.
        floor: values of `own` up to this are rounding.
        rounded_to: the dtype that rounds.
    """

    distance: Annotated[np.ndarray, Shape("L+1", "T")]
    own: Annotated[np.ndarray, Shape("L+1", "T")]
    floor: float = 0.0
    rounded_to: str = "float32"


@dataclass(frozen=True, kw_only=True)
class ReducedEngineDistance(Reduced):
    """Means over the tokens of one or more prompts.

    Attributes:
        distance, own, floor, rounded_to: as in `EngineDistance`.
        apart: the share of tokens at which `own` is above the floor.
    """

    distance: ByDepth
    own: ByDepth
    apart: ByDepth
    floor: float
    rounded_to: str

    @property
    def depths(self) -> list[int]:
        """The depths, from 0, whose layer or embedding differs at half of the tokens or more.

        Half, since a layer whose router narrowly chooses another expert is still the same layer.
        """
        return [int(depth) for depth in np.flatnonzero(self.apart >= 0.5)]


def _reduce(result: EngineDistance, run: RunResult, tokens: slice) -> ReducedEngineDistance | None:
    distances = result.own[:, tokens]
    # NaN counts as a difference: it is not rounding.
    share_apart = token_mean(~(distances <= result.floor)) if distances.size else None
    return ReducedEngineDistance.over(result, run, tokens, apart=share_apart)


def _summary(distance: ReducedEngineDistance, pooled: Pooled) -> dict[str, Any]:
    first = next(iter(distance.depths), None)
    return {
        "layer": None if not first else first - 1,
        "in_embedding": first == 0,
        "layers_apart": [depth - 1 for depth in distance.depths if depth],
        **{
            name: getattr(distance, name)
            for name in ("distance", "own", "apart", "floor", "rounded_to")
        },
    }


def _findings(distance: ReducedEngineDistance, pooled: Pooled) -> list[Finding]:
    title, depths = "Parts from transformers", distance.depths
    roundings, floor = (
        f"roundings of {distance.rounded_to}",
        f"up to {distance.floor:g} is rounding",
    )
    if not depths:
        most = float(distance.own.max())
        remark = f"no layer's own work differs by more than {most:.1f} {roundings}; {floor}"
        return [Finding(title, "nowhere", remark)]
    first, others = depths[0], [depth - 1 for depth in depths[1:]]
    where = f"at layer {first - 1}" if first else "in the embedding"
    remark = f"its own work differs by {distance.own[first]:.3g} {roundings}; {floor}"
    if others:
        remark += f"; so is that of {noun_for(len(others), 'layer')} {numbers_text(others)}"
    return [Finding(title, where, remark)]


def _per_layer(distance: ReducedEngineDistance) -> list[LayerValues]:
    return [
        LayerValues("distance to transformers", distance.distance, "|h − h′| / |h′|"),
        LayerValues("own difference", distance.own[1:], "in roundings"),
    ]


METRIC = Metric(
    name=NAME,
    title="Distance to transformers",
    description=(
        "The layer at which the states of a serving engine first differ from those of transformers."
    ),
    formula=(
        "`|h - h'| / |h'|`, `h'` of transformers' pass; and, in roundings, `h_{l+1}` beside what "
        "transformers' layer makes of the engine's own `h_l`"
    ),
    reading=(
        "The distance grows from layer to layer by rounding alone. A layer's own difference "
        "stays near 1 or 2; above 8 it computes something else."
    ),
    look_for=(
        "The first layer whose own work differs: a weight, a kernel or a scale. Small differences "
        "in every layer are a quantisation or another dtype."
    ),
    source="Defined here",
    cost="2 forwards, with the whole model loaded",
    work=lambda result: 2.0,
    result=EngineDistance,
    reruns_layers=False,
    needs=(needs.clean_run, needs.states_from_files),
    measures=(
        Measure(
            "own_difference",
            "Own difference",
            "|h_l+1 - f_l(h_l)|, roundings",
            array(EngineDistance, "own", slice(1, None)),
            floor=floor_of(EngineDistance),
            reading="Up to 8 is rounding; above, the layer does something else.",
        ),
        Measure(
            "engine_distance",
            "Distance to transformers",
            "|h - h'| / |h'|",
            array(EngineDistance, "distance"),
            reads_residual=True,
            reading="0: both engines have the same state there; 0.01: they differ by a hundredth.",
        ),
    ),
    reduced=ReducedEngineDistance,
    reduce=_reduce,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
    moved_by_rounding=True,
)
