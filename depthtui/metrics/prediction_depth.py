"""Prediction depth: the depth at which each token is decided."""

from __future__ import annotations

from typing import Any

import numpy as np

from depthtui.data.lens import LENS_CLASSES, LogitLens
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced_lens import ReducedLens
from depthtui.metrics.spec import Finding, Metric

NAME = "prediction_depth"


def prediction_depth(lens: LogitLens) -> np.ndarray:
    """The first depth from which on the lens's first choice stays the model's own.

    Returns:
        `[T]` depths 0 … L: l where the lens's choice is final from the residual entering layer l
        on, L where it is final only at the output; NaN where the output is not known yet.
    """
    top = lens.top_ids[:, :, 0]
    is_final = over_unread(top == top[-1], top >= 0)
    return np.where(top[-1] >= 0, first_of_last_run(is_final), np.nan)


def over_unread(condition: np.ndarray, is_read: np.ndarray) -> np.ndarray:
    """Fill a condition `[L+1, T]` at depths that were not read from the depth before.

    A fitted lens may have no map for a depth: such a depth has no information on a token. Before
    the first depth that was read the condition does not hold. Where the output was not read,
    nothing is filled.
    """
    if is_read.all():
        return condition
    depths = np.where(is_read, np.arange(len(condition))[:, None], -1)
    last = np.maximum.accumulate(depths, axis=0)
    before = np.take_along_axis(condition, np.maximum(last, 0), axis=0) & (last >= 0)
    return np.where(is_read[-1], before, condition & is_read)


def first_of_last_run(condition: np.ndarray) -> np.ndarray:
    """The first row from which on a condition `[L+1, T]` holds to the end; L if it never does."""
    n_layers = len(condition) - 1
    broken = ~condition[:n_layers][::-1]
    since = np.where(broken.any(axis=0), broken.argmax(axis=0), n_layers)
    return np.asarray(n_layers - since)


def counts_by_depth(depths: np.ndarray, n_depths: int) -> np.ndarray:
    """How many tokens have each of `n_depths` depths, `[n_depths]`."""
    return np.bincount(depths.astype(np.int64), minlength=n_depths)


def mean_depth(counts: np.ndarray) -> float:
    """The mean depth of tokens, from their counts by depth."""
    return float((counts * np.arange(len(counts))).sum() / counts.sum())


def _summary(lens: ReducedLens, pooled: Pooled) -> dict[str, Any]:
    lenses = pooled.measured(LENS_CLASSES[pooled.settings.lens])
    depths = [prediction_depth(lens) for lens in lenses if lens is not None]
    return {"mean": mean_depth(lens.prediction_depths), "depths": depths}


def _findings(lens: ReducedLens, pooled: Pooled) -> list[Finding]:
    mean = mean_depth(lens.prediction_depths)
    return [
        Finding(
            "Prediction depth",
            f"{mean:.1f} of {pooled.n_layers}",
            "first choice stays, the next token's too",
        )
    ]


METRIC = Metric(
    name=NAME,
    title="Prediction depth",
    description="The depth at which each token is decided.",
    formula="the depth from which the lens keeps its first choice",
    reading=(
        "The depth from which the lens's first choice is the output's. A smaller depth is an "
        "earlier decision."
    ),
    look_for="Which tokens are decided late, and whether harder prompts have more of them.",
    source="Baldock, Maennel, Neyshabur, arXiv 2106.09647",
    stage="derived",
    derived_from="logit_lens",
    of_lens=True,
    summary=_summary,
    findings=_findings,
    means=lambda lens, pooled: {"prediction depth": mean_depth(lens.prediction_depths)},
)
