"""Settling: the depth from which on a token's prediction stays close to the output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.lens import FittedLens
from depthtui.data.lens_view import LOGIT, lens_of
from depthtui.data.run import RunResult
from depthtui.metrics import needs
from depthtui.metrics.costs import head, row_of_logits
from depthtui.metrics.measures import divergence_measure
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.prediction_depth import (
    counts_by_depth,
    first_of_last_run,
    mean_depth,
    over_unread,
)
from depthtui.metrics.reduced_lens import ReducedFittedLens, ReducedSettling
from depthtui.metrics.spec import Finding, LayerValues, Metric
from depthtui.metrics.token_blocks import block_means

NAME = "settling"

SETTLED = 0.5
"""Divergence in nats, at most log 2, below which a token's prediction has settled."""

BAR = f"{SETTLED:g} of at most {math.log(2):.2f} nats"
"""The threshold of settling, in words."""

LATE = 0.85
"""A token that settles after this share of the layers, in the last 15 %, settles late."""


@dataclass
class Settling(MetricResult):
    """How far the lens is from the output, symmetrically (arXiv 2602.13517).

    Attributes:
        divergence: Jensen-Shannon divergence of p_l and p, in nats.
    """

    divergence: Annotated[np.ndarray, Shape("L+1", "T")]


def divergence_of(run: RunResult, lens: str) -> np.ndarray | None:
    """The divergence of a lens of `LENSES` from the output, `[L+1, T]` in nats; None if unknown."""
    lens_result = run.get(Settling) if lens == LOGIT else lens_of(run, lens)
    return lens_result.divergence if isinstance(lens_result, Settling | FittedLens) else None


def settling_depth(divergence: np.ndarray, threshold: float = SETTLED) -> np.ndarray:
    """The first depth from which on the divergence `[L+1, T]` stays below `threshold` nats.

    Returns:
        `[T]` depths 0 … L: l where it stays low from the residual entering layer l on, L where
        only the output's is low.
    """
    return first_of_last_run(over_unread(divergence < threshold, np.isfinite(divergence)))


def reduce_settling(result: Settling, run: RunResult, tokens: slice) -> ReducedSettling | None:
    """The settling of the tokens that count; None without one."""
    divergence = result.divergence[:, tokens]
    if not divergence.shape[1]:
        return None
    depths = settling_depth(divergence)
    counts = counts_by_depth(depths, len(divergence))
    is_known = np.isfinite(divergence).all(axis=1)
    has_settled = depths <= np.arange(len(divergence))[:, None]
    return ReducedSettling.over(
        result,
        run,
        tokens,
        mean_depth=mean_depth(counts),
        late_share=float(np.mean(depths >= LATE * (len(divergence) - 1))),
        settled=np.where(is_known, counts.cumsum() / len(depths), np.nan),
        settled_blocks=np.where(is_known, block_means(has_settled), np.nan),
    )


def _pool(
    reduced: Sequence[ReducedSettling | ReducedFittedLens], pooled: Pooled
) -> ReducedSettling:
    """The settling over the tokens of all prompts, under the chosen lens."""
    settlings = [part if isinstance(part, ReducedSettling) else part.settling for part in reduced]
    return ReducedSettling.pooled(settlings)


def _summary(settling: ReducedSettling, pooled: Pooled) -> dict[str, Any]:
    return {
        "divergence": settling.divergence,
        "threshold": SETTLED,
        "mean_depth": settling.mean_depth,
        "late_share": settling.late_share,
    }


def _findings(settling: ReducedSettling, pooled: Pooled) -> list[Finding]:
    remark = f"JSD < {BAR}; {settling.late_share:.0%} late"
    value = f"{settling.mean_depth:.1f} of {pooled.n_layers}"
    return [Finding("Settling depth", value, remark)]


def _means(settling: ReducedSettling, pooled: Pooled) -> dict[str, float]:
    return {"settling depth": settling.mean_depth, "settling late": settling.late_share}


METRIC = Metric(
    name=NAME,
    title="Settling depth",
    description=(
        f"The depth from which the divergence of each token's prediction stays below {BAR}."
    ),
    formula=f"from where on `JSD(p_l, p)` stays below {SETTLED:g} nats, of at most log 2",
    reading=(
        "The divergence is 0 where the lens is the output, and at most 0.69. Below half a nat "
        "the first choice may still be another. A token that settles in the last 15 % of the "
        "layers is late."
    ),
    look_for=(
        "Whether tokens settle later on harder prompts; late ones settle behind most of the layers."
    ),
    source="arXiv 2602.13517",
    cost="1 forward and the LM head at every depth",
    work=lambda result: (result.model.n_layers + 1) * head(result),
    result=Settling,
    lens_reducer="depthtui.metrics.settling.compute:Divergence",
    reruns_layers=False,
    needs=(needs.clean_run, needs.lens),
    memory=row_of_logits,
    measures=(divergence_measure(Settling, NAME, "Settling"),),
    reduced=ReducedSettling,
    reduce=reduce_settling,
    of_lens=True,
    curves=("settled",),
    pool=_pool,
    summary=_summary,
    findings=_findings,
    per_layer=lambda settling: [LayerValues("divergence", settling.divergence)],
    means=_means,
)
