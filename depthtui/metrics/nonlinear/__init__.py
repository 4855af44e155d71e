"""The share of a layer's update that no affine map of its input explains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.metrics import needs
from depthtui.metrics.fitted_lens import affine_fit
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import ByLayer, Reduced
from depthtui.metrics.spec import Finding, LayerValues, Metric


@dataclass
class Nonlinear(MetricResult):
    """The share of each layer's update that the best affine map of its input leaves unexplained.

    It is a value of the model, not of the prompt: it was measured on calibration texts.

    Attributes:
        share: held-out 1 - R^2 of c_l, the update of layer l, on (h_l / rms(h_l), 1); NaN where
            unknown.
    """

    share: Annotated[np.ndarray, Shape("L")]


@dataclass(frozen=True, kw_only=True)
class ReducedNonlinear(Reduced):
    """The nonlinear share of each layer, which does not depend on the tokens."""

    share: ByLayer


def _findings(share: np.ndarray, pooled: Pooled) -> list[Finding]:
    if not np.isfinite(share).any():
        return []
    least, most = int(np.nanargmin(share)), int(np.nanargmax(share))
    remark = f"least at layer {least}, most at layer {most}; on calibration texts"
    return [Finding("Nonlinear share", f"mean {np.nanmean(share):.2f}", remark)]


METRIC = Metric(
    name="nonlinear",
    title="Nonlinear share",
    description="The part of a layer's update that no affine map of its input can give.",
    formula="`1 - R^2` of `c_l` on `(h_l / rms(h_l), 1)`, on held-out calibration texts",
    reading=(
        "0: an affine map of its input does all that the layer does on these texts; 1: none of "
        "it. A value below 0 is a 0, measured on few texts."
    ),
    look_for="Layers near 0, which a matrix could replace, and those that must stay as they are.",
    source="Defined here",
    cost="none with the affine lens, which it fits",
    work=lambda result: 0.01,
    result=Nonlinear,
    reruns_layers=False,
    lens_kind="affine",
    preparation=affine_fit,
    needs=(needs.clean_run, needs.lens),
    depends_on=("lens_texts", "lens_ridge"),
    reduced=ReducedNonlinear,
    reduce=lambda result, run, tokens: ReducedNonlinear.of(result, tokens=len(run.tokens)),
    pool=lambda reduced, pooled: reduced[0].share,
    summary=lambda share, pooled: share,
    findings=_findings,
    per_layer=lambda share: [
        LayerValues("nonlinear share", share, "1 - R^2 of c_l on (x_l, 1)", of_layer=True)
    ],
)
