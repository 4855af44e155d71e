"""The per-token values that a pane can draw as layers x tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from depthtui.data.results import Contributions, LogitLens, RunResult


@dataclass(frozen=True)
class Measure:
    """One thing to draw.

    Attributes:
        name: its key, such as `layer_norm_ratio`.
        title: a short title, such as `Layer contribution`.
        formula: the formula and unit, such as `|c| / |h|`.
        diverging: whether the sign matters (drawn symmetrically about zero).
        limits: fixed ends of the scale, or None where the data decide.
        values: result -> `[rows, T]`, NaN where unknown, or None where unavailable.
        metric: name of the metric that it is part of (see `engine.metrics.catalog`).
        note: result, row -> what else to say about a row, or empty.
    """

    name: str
    title: str
    formula: str
    diverging: bool
    limits: tuple[float, float] | None
    values: Callable[[RunResult], np.ndarray | None]
    metric: str = "contributions"
    note: Callable[[RunResult, int], str] = lambda result, row: ""

    @property
    def reads_residual(self) -> bool:
        """Whether row l is the residual entering layer l (L + 1 rows), not layer l (L rows)."""
        return self.metric in {"logit_lens", "residual_erasure", "settling"}

    @property
    def by_token(self) -> bool:
        """Whether columns are tokens, and not layers."""
        return self.metric != "skip_effects"


def _contribution(name: str) -> Callable[[RunResult], np.ndarray | None]:
    def values(result: RunResult) -> np.ndarray | None:
        part: Contributions | None = result.contributions
        if part is None or (result.model.split_missing and not name.startswith("layer")):
            return None
        return np.asarray(getattr(part, name))

    return values


def _lens(name: str) -> Callable[[RunResult], np.ndarray | None]:
    def values(result: RunResult) -> np.ndarray | None:
        part: LogitLens | None = result.logit_lens
        return None if part is None else np.asarray(getattr(part, name))

    return values


def _causal(
    metric: str, name: str, rows: slice = slice(None)
) -> Callable[[RunResult], np.ndarray | None]:
    def values(result: RunResult) -> np.ndarray | None:
        part = getattr(result, metric)
        return None if part is None else np.asarray(getattr(part, name))[rows]

    return values


def _completeness(result: RunResult, row: int) -> str:
    """How far a layer's attributions are from the change that they explain."""
    part = result.integrated_gradients
    if part is None or not np.isfinite(part.completeness_error[row]):
        return ""
    over = "" if part.reached[row] else f", over {part.tolerance:.1%}"
    return f"error {part.completeness_error[row]:.1%}{over}"


def _answer_begins(result: RunResult, row: int) -> str:
    return f"answer from token {result.answer_start}"


def _says_final(result: RunResult) -> np.ndarray | None:
    lens = result.logit_lens
    if lens is None:
        return None
    top = lens.top_ids[:, :, 0]
    known = (top >= 0) & (top[-1] >= 0)
    return np.where(known, top == top[-1], np.nan).astype(np.float32)


MEASURES: tuple[Measure, ...] = (
    Measure(
        "layer_norm_ratio",
        "Layer contribution",
        "|c| / |h|",
        False,
        None,
        _contribution("layer_norm_ratio"),
    ),
    Measure(
        "attention_norm_ratio",
        "Attention contribution",
        "|a| / |h|",
        False,
        None,
        _contribution("attention_norm_ratio"),
    ),
    Measure(
        "mlp_norm_ratio",
        "MLP contribution",
        "|m| / |h+a|",
        False,
        None,
        _contribution("mlp_norm_ratio"),
    ),
    Measure(
        "layer_cosine", "Layer cosine", "cos(c, h)", True, (-1, 1), _contribution("layer_cosine")
    ),
    Measure(
        "attention_cosine",
        "Attention cosine",
        "cos(a, h)",
        True,
        (-1, 1),
        _contribution("attention_cosine"),
    ),
    Measure("mlp_cosine", "MLP cosine", "cos(m, h+a)", True, (-1, 1), _contribution("mlp_cosine")),
    Measure("kl", "Lens KL", "KL(p_l || p), nats", False, None, _lens("kl"), "logit_lens"),
    Measure(
        "overlap", "Lens overlap", "top-5 shared", False, (0, 1), _lens("overlap"), "logit_lens"
    ),
    Measure("entropy", "Lens entropy", "H(p_l), nats", False, None, _lens("entropy"), "logit_lens"),
    Measure(
        "says_final", "Lens says it", "top-1 = final", False, (0, 1), _says_final, "logit_lens"
    ),
    Measure(
        "residual_erasure",
        "Residual erasure",
        "|p - p~| of the answer",
        False,
        None,
        _causal("residual_erasure", "effect"),
        "residual_erasure",
        _answer_begins,
    ),
    Measure(
        "integrated_gradients",
        "Integrated gradients",
        "share of p(answer)",
        True,
        None,
        _causal("integrated_gradients", "attribution"),
        "integrated_gradients",
        _completeness,
    ),
    Measure(
        "direct_logits",
        "Direct logits",
        "W[top-1] N'(c)",
        True,
        None,
        # Row 0 is the embedding's share, which no layer wrote.
        _causal("direct_logits", "attribution", slice(1, None)),
        "direct_logits",
    ),
    Measure(
        "settling",
        "Settling",
        "JSD(p_l, p), nats",
        False,
        (0.0, float(np.log(2))),
        _causal("settling", "divergence"),
        "settling",
    ),
)

SKIP_MAP = Measure(
    "skip_effects",
    "Skip effects",
    "|c - c~| / |c|",
    False,
    None,
    _causal("skip_effects", "layers"),
    "skip_effects",
)
"""Layers skipped x layers measured: the one measure whose columns are no tokens."""

ALL_MEASURES = (*MEASURES, SKIP_MAP)

MEASURE_BY_NAME: dict[str, Measure] = {each.name: each for each in ALL_MEASURES}


def formula_in(measure: Measure, result: RunResult) -> str:
    """The formula as it holds for this model: a parallel block's MLP is relative to h."""
    return measure.formula.replace("h+a", "h") if result.model.parallel else measure.formula
