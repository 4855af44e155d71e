"""Token depths: the depth of each single token, by several measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from depthtui.data.arrays import arrays_of
from depthtui.data.explanation import Explanation
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.data.token_depths import TokenDepths
from depthtui.metrics import settling
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.settling import BAR
from depthtui.metrics.spec import Measure, Metric

NAME = "token_depths"


@dataclass(frozen=True)
class TokenDepthMeasure:
    """One measure of the depth of a token.

    Attributes:
        name: its attribute of `TokenDepths`.
        title: its common name.
        meaning: the meaning of a depth, in words.
    """

    name: str
    title: str
    meaning: str


DECIDED = TokenDepthMeasure("prediction", "prediction depth", "from here on the first choice stays")
"""The depth at which a token is decided. It may settle before: a lens that is close to the output
may still have another first choice."""

TOKEN_DEPTHS = (
    DECIDED,
    TokenDepthMeasure(
        "settling",
        "settling depth",
        f"from here on the divergence stays below its bar ({BAR} if not set)",
    ),
    TokenDepthMeasure("kl", "KL depth", "the first layer whose KL is below the threshold"),
    TokenDepthMeasure("overlap", "overlap depth", "the first layer whose top five overlap enough"),
    TokenDepthMeasure("early_exit", "early exit", "the lens is sure enough to stop here"),
)


def first_counted(settings: SummarySettings) -> int:
    """The first token whose depth counts in means: it is read at a token that counts."""
    return 1 + (settings.tokens.start or 0)


def mean_depths(depths: Sequence[TokenDepths], tokens: slice) -> dict[str, float]:
    """The mean of each measure over the tokens that have a depth, by name; NaN without one."""
    return {
        measure.name: mean_depth(
            np.concatenate([getattr(of_prompt, measure.name)[tokens] for of_prompt in depths])
        )
        for measure in TOKEN_DEPTHS
    }


def mean_depth(depths: np.ndarray) -> float:
    """The mean over the tokens that have a depth; NaN without one."""
    finite = depths[np.isfinite(depths)]
    return float(finite.mean(dtype=np.float64)) if len(finite) else float("nan")


def _pool(reduced: Sequence[Any], pooled: Pooled) -> list[TokenDepths | None] | None:
    """The depths of each run; None where there are no runs, as in a sweep."""
    depths = [pooled.token_depths(run) for run in pooled.runs]
    return depths if any(of_run is not None for of_run in depths) else None


def _summary(depths: Sequence[TokenDepths | None], pooled: Pooled) -> dict[str, Any]:
    of_prompts = [of_prompt for of_prompt in depths if of_prompt is not None]
    return {
        "mean": mean_depths(of_prompts, slice(first_counted(pooled.settings), None)),
        "depths": [None if of is None else dict(arrays_of(of)) for of in depths],
    }


def _from_depth_on(name: str, run: RunResult, pooled: Pooled) -> np.ndarray | None:
    """`[L+1, T]`: the depth of a token from there on, NaN before."""
    depths = pooled.token_depths(run)
    if depths is None or np.isnan(of_tokens := getattr(depths, name)).all():
        return None
    rows = np.arange(run.model.n_layers + 1)[:, None]
    return np.where(rows >= of_tokens, of_tokens, np.nan).astype(np.float32)


_READING = (
    "The depth of token t is read at token t - 1, from which the model predicts it; token 0 has "
    "none. A heatmap has a token's depth as its colour from that depth on."
)
_LOOK_FOR = (
    "Tokens that take more layers than those around them, and whether depth rises or falls along a "
    "text."
)
_SOURCE = "The rules of arXiv 2512.14064, 2106.09647, 2602.13517 and 2207.07061"


def _measure(depth: TokenDepthMeasure) -> Measure:
    title = f"{depth.title[:1].upper()}{depth.title[1:]}"
    return Measure(
        f"{depth.name}_depth",
        title,
        depth.meaning,
        lambda run: None,
        read_by=partial(_from_depth_on, depth.name),
        reads_residual=True,
        metric=settling.NAME if depth.name == "settling" else "logit_lens",
        explained=Explanation(
            title,
            f"The depth of each token: {depth.meaning}.",
            depth.meaning,
            _READING,
            _LOOK_FOR,
            _SOURCE,
        ),
    )


METRIC = Metric(
    name=NAME,
    title="Token depths",
    description="The depth of each single token: prediction, settling, KL, overlap, early exit.",
    formula="the rule of each measure on the token's own curve, read where the token is predicted",
    reading=_READING,
    look_for=_LOOK_FOR,
    source=_SOURCE,
    stage="derived",
    derived_from="logit_lens",
    of_lens=True,
    measures=tuple(map(_measure, TOKEN_DEPTHS)),
    pool=_pool,
    summary=_summary,
)
