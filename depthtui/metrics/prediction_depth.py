"""Prediction depth: where each token is decided."""

from __future__ import annotations

from typing import Any

import numpy as np

from depthtui.data.lens import LogitLens
from depthtui.metrics.logit_lens import joined_lens
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.spec import Finding, Metric, PromptMetrics, weighted_mean

NAME = "prediction_depth"


def prediction_depth(lens: LogitLens) -> np.ndarray:
    """The first depth from which on the lens's first choice stays the model's own.

    Returns:
        `[T]` depths 0 … L: l where the residual entering layer l already says it, L where
        only the output does; NaN where the output is not known yet.
    """
    top = lens.top_ids[:, :, 0]
    return np.where(top[-1] >= 0, first_of_last_run(top == top[-1]), np.nan)


def first_of_last_run(holds: np.ndarray) -> np.ndarray:
    """The first row from which on a condition `[L+1, T]` holds to the end; L where never."""
    n_layers = len(holds) - 1
    broken = ~holds[:n_layers][::-1]
    since = np.where(broken.any(axis=0), broken.argmax(axis=0), n_layers)
    return np.asarray(n_layers - since)


def _summary(lens: LogitLens, pooled: Pooled) -> dict[str, Any]:
    return {
        NAME: {
            "mean": float(prediction_depth(lens).mean()),
            "depths": [prediction_depth(found) for found in pooled.known(LogitLens)],
        }
    }


def _findings(lens: LogitLens, pooled: Pooled) -> list[Finding]:
    depth = float(np.mean(prediction_depth(lens)))
    return [Finding("Prediction depth", f"{depth:.1f} of {pooled.n_layers}", "first choice stays")]


def _cell_means(prompts: PromptMetrics) -> dict[str, float]:
    found = [(metrics[NAME]["mean"], n) for metrics, n in prompts if NAME in metrics]
    return {"prediction depth": weighted_mean(found)}


METRIC = Metric(
    name=NAME,
    title="Prediction depth",
    tells="Prediction depth, where each token is decided.",
    formula="from where on the lens keeps its first choice",
    reading=(
        "The depth from which on the lens's first choice is the output's; the fewer, the earlier a"
        " token is decided."
    ),
    look_for="Which tokens are decided late, and whether harder prompts have more of them.",
    source="Baldock, Maennel, Neyshabur, arXiv 2106.09647",
    stage="derived",
    of="logit_lens",
    pool=joined_lens,
    summary=_summary,
    findings=_findings,
    cell_means=_cell_means,
)
