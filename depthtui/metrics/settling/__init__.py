"""Settling: from where on a token's prediction stays close to the final one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.lens import FittedLens
from depthtui.data.lens_view import LOGIT, lens_of
from depthtui.data.run import RunResult
from depthtui.metrics.lens_measures import divergence_measure
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.prediction_depth import first_of_last_run
from depthtui.metrics.spec import (
    Finding,
    LayerValues,
    Metric,
    PromptMetrics,
    clean_run,
    head,
    lens,
    row_of_logits,
    weighted_mean,
)

NAME = "settling"

SETTLED = 0.5
"""Divergence in nats, at most log 2, below which a token's prediction has settled."""

LATE = 0.85
"""A token settles late where it settles in the last 15 % of the layers."""


@dataclass
class Settling(MetricResult):
    """How far the lens is from the output, symmetrically (arXiv 2602.13517).

    Attributes:
        divergence: Jensen-Shannon divergence of p_l and p, in nats.
    """

    divergence: Annotated[np.ndarray, Shape("L+1", "T")]


def divergence_of(run: RunResult, lens: str) -> np.ndarray | None:
    """The divergence of a lens of `LENSES` from the output, `[L+1, T]` in nats; None if unknown."""
    found = run.get(Settling) if lens == LOGIT else lens_of(run, lens)
    return found.divergence if isinstance(found, Settling | FittedLens) else None


def settling_depth(divergence: np.ndarray, threshold: float = SETTLED) -> np.ndarray:
    """The first depth from which on the divergence `[L+1, T]` stays below `threshold` nats.

    Returns:
        `[T]` depths 0 … L: l where the residual entering layer l already says what the
        output says, L where only the output does.
    """
    return first_of_last_run(divergence < threshold)


def share_of_late(divergence: np.ndarray, threshold: float = SETTLED, late: float = LATE) -> float:
    """The share of tokens that settle at a depth of at least `late` times L."""
    n_layers = len(divergence) - 1
    return float(np.mean(settling_depth(divergence, threshold) >= late * n_layers))


def _pool(pooled: Pooled) -> Settling | None:
    """The tokens of all prompts, one after another."""
    known = pooled.known(Settling)
    if not known:
        return None
    divergence = pooled.joined([found.divergence for found in known])
    return Settling(divergence) if divergence.size else None


def _summary(settling: Settling, pooled: Pooled) -> dict[str, Any]:
    return {
        NAME: {
            "divergence": settling.divergence.mean(axis=1, dtype=np.float64),
            "threshold": SETTLED,
            "mean_depth": float(settling_depth(settling.divergence).mean()),
            "late_share": share_of_late(settling.divergence),
        }
    }


def _findings(settling: Settling, pooled: Pooled) -> list[Finding]:
    depth = float(np.mean(settling_depth(settling.divergence)))
    remark = f"JSD < {SETTLED:g} nats; {share_of_late(settling.divergence):.0%} late"
    return [Finding("Settling depth", f"{depth:.1f} of {pooled.n_layers}", remark)]


def _per_layer(settling: Settling) -> list[LayerValues]:
    return [LayerValues("divergence", settling.divergence.mean(axis=1))]


def _cell_means(prompts: PromptMetrics) -> dict[str, float]:
    known = [(metrics[NAME], n_tokens) for metrics, n_tokens in prompts if NAME in metrics]
    titles = {"mean_depth": "settling depth", "late_share": "settling late"}
    return {
        title: weighted_mean([(found[field], n_tokens) for found, n_tokens in known])
        for field, title in titles.items()
    }


METRIC = Metric(
    name=NAME,
    title="Settling depth",
    tells="From which depth on each token's prediction stays close to the final one.",
    formula="from where on `JSD(p_l, p)` stays below half a nat",
    reading=(
        "The divergence is 0 where the lens is the output, at most 0.69. A token that settles in "
        "the last 15 % of the layers is late."
    ),
    look_for="Whether tokens settle later on harder prompts; late ones needed most of the layers.",
    source="arXiv 2602.13517",
    cost="1 forward and the LM head at every depth",
    work=lambda result: (result.model.n_layers + 1) * head(result),
    result=Settling,
    compute="depthtui.metrics.settling.compute:compute",
    beside_lens="depthtui.metrics.settling.compute:Divergence",
    reruns_layers=False,
    needs=(clean_run, lens),
    memory=row_of_logits,
    measures=(divergence_measure(Settling, NAME, "Settling"),),
    pool=_pool,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
    cell_means=_cell_means,
)
