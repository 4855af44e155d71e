"""The writes of attention, MLP and layer to the residual stream (paper, metric 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.depth import Curves
from depthtui.data.run import RunResult
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import BlocksByLayer, ByLayer, Reduced
from depthtui.metrics.spec import Measure, Metric, Values
from depthtui.metrics.token_blocks import block_means

BRANCHES = ("attention", "mlp", "layer")
KINDS = ("norm_ratio", "cosine")
CURVES = tuple(f"{branch}_{kind}" for branch in BRANCHES for kind in KINDS)
"""Names of the arrays of contributions."""


@dataclass
class Contributions(MetricResult):
    """The write of each sublayer to the residual stream; rows that have not been run are NaN.

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
        contributions = result.get(Contributions)
        if contributions is None or (result.model.split_missing and branch != "layer"):
            return None
        return np.asarray(getattr(contributions, f"{branch}_{kind}"))

    return values


def _measure(branch: str, kind: str, title: str, formula: str, **others: Any) -> Measure:
    return Measure(
        f"{branch}_{kind}",
        title,
        formula,
        _values(branch, kind),
        leading=branch == "layer",
        **others,
    )


_RATIO = {"reading": "0.3: what is written is 0.3 times as long as what was there."}
_COSINE = {
    "diverging": True,
    "rule": "cosine",
    "limits": (-1.0, 1.0),
    "reading": "Below 0 it erases, near 0 it writes something new, above 0 it strengthens.",
}


@dataclass(frozen=True, kw_only=True)
class ReducedContributions(Reduced):
    """Means over tokens, `[L]` each; sublayers have None without a split."""

    block_fields: ClassVar = {"mean_cosine": "mean_cosine_blocks"}

    attention_norm_ratio: ByLayer | None = None
    attention_cosine: ByLayer | None = None
    mlp_norm_ratio: ByLayer | None = None
    mlp_cosine: ByLayer | None = None
    layer_norm_ratio: ByLayer
    layer_cosine: ByLayer
    mean_cosine_blocks: BlocksByLayer = None

    @property
    def mean_cosine(self) -> np.ndarray:
        """The mean of the available cosines, `[L]` (paper, metric 1)."""
        cosines = [self.attention_cosine, self.mlp_cosine, self.layer_cosine]
        return np.asarray(np.mean([cosine for cosine in cosines if cosine is not None], axis=0))


def _reduce(result: Contributions, run: RunResult, tokens: slice) -> ReducedContributions | None:
    branches = ("layer",) if run.model.split_missing else BRANCHES
    unavailable_curves = (name for name in CURVES if not name.startswith(branches))
    cosines = [getattr(result, f"{branch}_cosine")[:, tokens] for branch in branches]
    blocks = block_means(np.mean(cosines, axis=0)) if cosines[0].size else None
    return ReducedContributions.over(
        result, run, tokens, **dict.fromkeys(unavailable_curves), mean_cosine_blocks=blocks
    )


def _pool(reduced: Sequence[ReducedContributions], pooled: Pooled) -> Curves | None:
    return pooled.curves if "layer_cosine" in pooled.curves else None


def _summary(curves: Curves, pooled: Pooled) -> dict[str, Any]:
    return {
        branch: {kind: curves[f"{branch}_{kind}"] for kind in KINDS}
        for branch in BRANCHES
        if f"{branch}_cosine" in curves
    }


METRIC = Metric(
    name="contributions",
    title="Contributions",
    description=(
        "The size and direction of the writes of attention, MLP and layer into the residual stream."
    ),
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
        _measure("layer", "norm_ratio", "Layer contribution", "|c| / |h|", **_RATIO),
        _measure("attention", "norm_ratio", "Attention contribution", "|a| / |h|", **_RATIO),
        _measure("mlp", "norm_ratio", "MLP contribution", "|m| / |h+a|", **_RATIO),
        _measure("layer", "cosine", "Layer cosine", "cos(c, h)", **_COSINE),
        _measure("attention", "cosine", "Attention cosine", "cos(a, h)", **_COSINE),
        _measure("mlp", "cosine", "MLP cosine", "cos(m, h+a)", **_COSINE),
    ),
    reduced=ReducedContributions,
    reduce=_reduce,
    curves=(*CURVES, "mean_cosine"),
    pool=_pool,
    summary=_summary,
)
