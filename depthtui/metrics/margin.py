"""The answer's margin: how far a lens ranks the answer ahead of every other token."""

from __future__ import annotations

from typing import Any

import numpy as np

from depthtui.data.lens import LogitLens
from depthtui.data.run import RunResult
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.prediction_depth import first_of_last_run, over_unread
from depthtui.metrics.reduced_lens import ReducedLens
from depthtui.metrics.spec import Finding, Metric

CURVE = "answer_margin"


def answer_margin(lens: LogitLens, run: RunResult) -> np.ndarray | None:
    """log p_l(answer) - max log p_l(other) at each depth, `[L+1]` in nats.

    The answer stands for its first token that is not only white space, read at the position that
    predicts it; `other` is every other token of the vocabulary. NaN at a depth that was not read.

    Returns:
        None where there is no such token, or none before it, or the lens lists only one token.
    """
    place = _first_token(run)
    if not place or lens.top_ids.shape[-1] < 2:
        return None
    at = place - 1
    is_first = lens.top_ids[:, at, 0] == run.tokens.ids[place]
    other = np.where(is_first, lens.top_probabilities[:, at, 1], lens.top_probabilities[:, at, 0])
    # Where the answer is certain, the next probability may be 0.
    log_other = np.log(np.maximum(other, np.finfo(np.float32).tiny), dtype=np.float64)
    return np.asarray(lens.next_log_probability[:, at] - log_other)


def _first_token(run: RunResult) -> int | None:
    """The index of the answer's first token that is not only white space."""
    texts, start = run.tokens.texts, run.answer_start
    return next((place for place in range(start, len(texts)) if texts[place].strip()), None)


def decided_depths(margins: np.ndarray) -> np.ndarray:
    """The depth 1 … L from which on each margin `[..., L+1]` stays above 0.

    A depth that was not read has the margin's sign at the depth before.

    Returns:
        `[...]` floats; NaN for a margin that is not above 0 at the output, or is at every depth.
    """
    rows = margins.reshape(-1, margins.shape[-1]).T
    ahead = over_unread(rows > 0, np.isfinite(rows))
    depths = first_of_last_run(ahead)
    return np.where(ahead[-1] & (depths > 0), depths, np.nan).reshape(margins.shape[:-1])


def _margins(pooled: Pooled) -> list[np.ndarray]:
    """The margin on each prompt that has one."""
    reduced: list[ReducedLens | None] = pooled.reduced(METRIC)
    return [lens.answer_margin for lens in reduced if lens and lens.answer_margin is not None]


def _summary(margin: np.ndarray, pooled: Pooled) -> dict[str, Any]:
    depth = float(decided_depths(margin))
    return {
        "options": [],
        "margin": margin,
        "depth": None if np.isnan(depth) else int(depth),
        "prompts": len(_margins(pooled)),
    }


def _findings(margin: np.ndarray, pooled: Pooled) -> list[Finding]:
    at_output = [float(margins[-1]) for margins in _margins(pooled)]
    first = sum(value > 0 for value in at_output)
    remark = f"at the output; the answer's first token comes first in {first} of {len(at_output)}"
    return [Finding(METRIC.title, f"{margin[-1]:+.2f} nats", remark)]


METRIC = Metric(
    name="margin",
    title="Answer margin",
    description="The lead of the answer over every other token, by depth.",
    formula="`log p_l(answer) - max log p_l(other)` in nats, at the answer's first token",
    reading="Above 0 the lens puts the answer's first token first; each prompt counts once.",
    look_for=(
        "The depth from which on it stays above 0. Where the model answers otherwise, it ends "
        "below 0."
    ),
    source="Margin by depth: arXiv 2605.07271",
    stage="derived",
    derived_from="logit_lens",
    of_lens=True,
    curves=(CURVE,),
    pool=lambda reduced, pooled: pooled.curves.get(CURVE),
    summary=_summary,
    findings=_findings,
)
