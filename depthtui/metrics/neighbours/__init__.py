"""Whether successive layers push the residual stream in the same direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from depthtui.data.arrays import MetricResult, Shape, arrays_of
from depthtui.metrics import needs
from depthtui.metrics.measures import array, values_of
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import ByDepth, Reduced
from depthtui.metrics.spec import Finding, LayerValues, Measure, Metric


@dataclass
class Neighbours(MetricResult):
    """The cosine of each layer's update and the next one's, and the angle of the stream to its end.

    Attributes:
        cosine: cos(c_l, c_{l+1}), with c_l the update of layer l; 0 where one of them is 0.
        angle_to_output: arccos(cos(h_l, h_L)) / pi, from 0 (the same direction) to 1 (opposite).
    """

    cosine: Annotated[np.ndarray, Shape("L-1", "T")]
    angle_to_output: Annotated[np.ndarray, Shape("L+1", "T")]

    @property
    def is_known(self) -> np.ndarray:
        """Whether each depth's values are finite."""
        return np.asarray(np.isfinite(self.angle_to_output).all(axis=1))


def _by_layer(neighbours: Neighbours) -> np.ndarray:
    """The cosines `[L, T]`; the last layer has no next one."""
    return np.pad(neighbours.cosine, ((0, 1), (0, 0)), constant_values=np.nan)


@dataclass(frozen=True, kw_only=True)
class ReducedNeighbours(Reduced):
    """Means over the tokens of one or more prompts."""

    cosine: Annotated[np.ndarray, Shape("L-1", dtype=np.float64)]
    angle_to_output: ByDepth


def _findings(neighbours: ReducedNeighbours, pooled: Pooled) -> list[Finding]:
    cosine = neighbours.cosine
    if not np.isfinite(cosine).any():
        return []
    low, high = int(np.nanargmin(cosine)), int(np.nanargmax(cosine))
    remark = f"most alike {high} and {high + 1}, most opposed {low} and {low + 1}"
    return [Finding("Neighbouring layers", f"mean cosine {np.nanmean(cosine):+.2f}", remark)]


def _per_layer(neighbours: ReducedNeighbours) -> list[LayerValues]:
    return [
        LayerValues("cosine with the next", neighbours.cosine, "cos(c_l, c_l+1)"),
        LayerValues("angle to output", neighbours.angle_to_output),
    ]


METRIC = Metric(
    name="neighbours",
    title="Neighbouring layers",
    description="Whether successive layers push the residual stream the same way.",
    formula=(
        "`cos(c_l, c_{l+1})`, and `arccos(cos(h_l, h_L)) / π`: how far the stream is from its end"
    ),
    reading=(
        "Above 0 the next layer continues in the same direction, below 0 it takes back. An "
        "angle of 0 is the output's direction."
    ),
    look_for="Where signs alternate, and whether the angle falls steadily or at the end alone.",
    source="Defined here",
    cost="1 forward",
    result=Neighbours,
    reruns_layers=False,
    needs=(needs.clean_run,),
    measures=(
        Measure(
            "neighbours",
            "Cosine with the next",
            "cos(c_l, c_l+1)",
            values_of(Neighbours, _by_layer),
            diverging=True,
            limits=(-1.0, 1.0),
            reading=(
                "Above 0 the next layer continues in the same direction, below 0 it takes back."
            ),
        ),
        Measure(
            "angle_to_output",
            "Angle to the output",
            "arccos(cos(h_l, h_L)) / pi",
            array(Neighbours, "angle_to_output"),
            reads_residual=True,
            reading="0: the stream points where it ends; 0.5: at right angles to that.",
        ),
    ),
    reduced=ReducedNeighbours,
    reduce=ReducedNeighbours.over,
    summary=lambda neighbours, pooled: dict(arrays_of(neighbours)),
    findings=_findings,
    per_layer=_per_layer,
)
