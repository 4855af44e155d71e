"""What attention, MLP and layer add to the residual stream (paper, metric 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.depth import Curves
from depthtui.data.run import RunResult
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.spec import Measure, Metric, Values

BRANCHES = ("attention", "mlp", "layer")


@dataclass
class Contributions(MetricResult):
    """What each sublayer adds to the residual stream; rows that have not been run are NaN.

    Attributes:
        attention_norm_ratio: |a| / |h|.
        attention_cosine: cos(a, h).
        mlp_norm_ratio: |m| / |h + a|, or |m| / |h| in a parallel block.
        mlp_cosine: cos(m, h + a), or cos(m, h) in a parallel block.
        layer_norm_ratio: |c| / |h| with c = h_next - h.
        layer_cosine: cos(c, h).
    """

    attention_norm_ratio: Annotated[np.ndarray, Shape("L", "T")]
    attention_cosine: Annotated[np.ndarray, Shape("L", "T")]
    mlp_norm_ratio: Annotated[np.ndarray, Shape("L", "T")]
    mlp_cosine: Annotated[np.ndarray, Shape("L", "T")]
    layer_norm_ratio: Annotated[np.ndarray, Shape("L", "T")]
    layer_cosine: Annotated[np.ndarray, Shape("L", "T")]


def _values(branch: str, kind: str) -> Values:
    def values(result: RunResult) -> np.ndarray | None:
        found = result.get(Contributions)
        if found is None or (result.model.split_missing and branch != "layer"):
            return None
        return np.asarray(getattr(found, f"{branch}_{kind}"))

    return values


def _norm_ratio(branch: str, title: str, formula: str) -> Measure:
    leading = branch == "layer"
    title = f"{title} contribution"
    return Measure(
        f"{branch}_norm_ratio",
        title,
        formula,
        _values(branch, "norm_ratio"),
        leading=leading,
        rule="cosine",
        reading="0.3: what is written is 0.3 times as long as what was there.",
    )


def _cosine(branch: str, title: str, formula: str) -> Measure:
    return Measure(
        f"{branch}_cosine",
        f"{title} cosine",
        formula,
        _values(branch, "cosine"),
        diverging=True,
        limits=(-1.0, 1.0),
        leading=branch == "layer",
        rule="cosine",
        reading="Below 0 it erases, near 0 it writes something new, above 0 it strengthens.",
    )


def _pool(pooled: Pooled) -> Curves | None:
    return None if pooled.curves.layer_cosine is None else pooled.curves


def _summary(curves: Curves, pooled: Pooled) -> dict[str, Any]:
    kinds = ("norm_ratio", "cosine")
    return {
        "contributions": {
            branch: {kind: getattr(curves, f"{branch}_{kind}") for kind in kinds}
            for branch in BRANCHES
            if getattr(curves, f"{branch}_cosine") is not None
        }
    }


METRIC = Metric(
    name="contributions",
    title="Contributions",
    tells="How much attention, MLP and layer add to the residual stream, and in which direction.",
    formula=(
        "`|a|/|h|`, `|m|/|h+a|` (`|m|/|h|` in a parallel block), `|c|/|h|`; `cos(a, h)`, "
        "`cos(m, h+a)`, `cos(c, h)`: below 0 erases, near 0 writes something new, above 0 "
        "strengthens"
    ),
    reading=(
        "A ratio of 0.3: the layer writes a vector 0.3 times as long as what it reads. A cosine "
        "below 0 erases, near 0 writes something new, above 0 strengthens what is there."
    ),
    look_for=(
        "From which depth on ratios are small and cosines stay above 0: those layers refine. The "
        "first and the last layer often write most."
    ),
    source="Csordás, Manning, Potts, arXiv 2505.13898",
    cost="1 forward",
    stage="layers",
    result=Contributions,
    compute="depthtui.metrics.contributions.compute:contributions",
    measures=(
        _norm_ratio("layer", "Layer", "|c| / |h|"),
        _norm_ratio("attention", "Attention", "|a| / |h|"),
        _norm_ratio("mlp", "MLP", "|m| / |h+a|"),
        _cosine("layer", "Layer", "cos(c, h)"),
        _cosine("attention", "Attention", "cos(a, h)"),
        _cosine("mlp", "MLP", "cos(m, h+a)"),
    ),
    curves=tuple(f"{branch}_{kind}" for branch in BRANCHES for kind in ("norm_ratio", "cosine")),
    pool=_pool,
    summary=_summary,
    in_records=False,
)
