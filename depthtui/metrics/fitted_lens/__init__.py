"""The lens through a map fitted for each depth, which may find more than the logit lens."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from depthtui.data.lens import TOKENS_A_WIDTH, AffineLens, FittedLens, JacobianLens
from depthtui.data.run import RunResult
from depthtui.data.selection import numbers_text
from depthtui.data.sentence import noun_for
from depthtui.metrics import needs
from depthtui.metrics.costs import MemoryNeed, Sizes, head, row_of_logits
from depthtui.metrics.lens_reduction import reduce_lens
from depthtui.metrics.measures import divergence_measure, lens_measures
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced_lens import ReducedFittedLens
from depthtui.metrics.spec import Finding, LayerValues, Measure, Metric

_DRAWN = 1.5
"""Tokens that a model draws per token before the end of its text."""


def affine_fit(result: RunResult) -> float:
    """The cost of fitting an affine lens, in forward passes of one token through all layers.

    The texts are written, and the maps take about as long again.
    """
    tokens = TOKENS_A_WIDTH * result.model.d_model
    return 2 * _DRAWN * tokens * (1 + head(result))


def _summary(value: ReducedFittedLens, pooled: Pooled) -> dict[str, Any]:
    return {
        "kl": value.kl,
        "overlap": value.overlap,
        "entropy": value.entropy,
        "divergence": value.settling.divergence,
        "lens": {
            **asdict(value.fit),
            "held_out_kl": value.held_out_kl,
            "logit_held_out_kl": value.logit_held_out_kl,
        },
    }


def _findings(title: str, value: ReducedFittedLens) -> list[Finding]:
    through, plain = value.held_out_kl, value.logit_held_out_kl
    if not (np.isfinite(through).any() and np.isfinite(plain).any()):
        return []
    words = f"KL {np.nanmean(through):.2f} nats, the logit lens {np.nanmean(plain):.2f}"
    worse = np.flatnonzero(through > plain).tolist()
    depths = noun_for(len(worse), "depth")
    remark = f"it reads worse at {depths} {numbers_text(worse)}" if worse else ""
    return [Finding(f"{title}, held-out text", words, remark)]


def _per_layer(short: str, value: ReducedFittedLens) -> list[LayerValues]:
    return [
        LayerValues(f"{short} KL", value.kl, "KL(p_l || p), nats"),
        LayerValues(f"{short} held-out KL", value.held_out_kl),
    ]


def _measures(kind: type[FittedLens], title: str) -> tuple[Measure, ...]:
    *measures, says_final = lens_measures(kind, title, f"{kind.kind}_")
    divergence = divergence_measure(
        kind,
        f"{kind.kind}_divergence",
        f"{title} settling",
        "0 where the lens is the output, 0.69 where they share nothing.",
    )
    return (*measures, divergence, says_final)


def _memory(sizes: Sizes) -> MemoryNeed:
    """The memory of a row of logits, the map of one depth, and the states read through it."""
    return row_of_logits(sizes) + MemoryNeed(head=4 * sizes.width**2 + sizes.residual_bytes)


def _metric(
    kind: type[FittedLens], title: str, fit: Callable[[RunResult], float], **words: str
) -> Metric:
    name = f"{kind.kind}_lens"
    return Metric(
        name=name,
        title=title,
        **words,  # type: ignore[arg-type]
        work=lambda result: (result.model.n_layers + 1) * head(result),
        result=kind,
        compute=f"depthtui.metrics.fitted_lens.compute:{name}",
        reruns_layers=False,
        lens_kind=kind.kind,
        preparation=fit,
        needs=(needs.clean_run, needs.lens, needs.readout_of_one_depth),
        memory=_memory,
        depends_on=("lens_top_k", "lens_texts", "lens_ridge"),
        measures=_measures(kind, title),
        reduced=ReducedFittedLens,
        reduce=reduce_lens,
        summary=_summary,
        findings=lambda value, pooled: _findings(title, value),
        per_layer=lambda value: _per_layer(kind.kind, value),
    )


AFFINE = _metric(
    AffineLens,
    "Affine lens",
    affine_fit,
    description="The next tokens at each depth, once a fitted map brings it into the final basis.",
    formula=(
        "`p_l = softmax(W N(A_l x + b_l))`, `x = h_l / rms(h_l)`: ridge regression on "
        "`h_L / rms(h_L)`, drawn to the identity; the logit lens's quantities"
    ),
    cost="1 forward and the LM head at every depth; once per model, a fit on texts that it writes",
    reading=(
        "Read it as the logit lens, without the basis in which early layers write. It shows what "
        "an affine map can find about the output, which need not be written out yet."
    ),
    look_for=(
        "Depths at which it reads much closer to the output than the logit lens, and how well it "
        "reads held-out text there."
    ),
    source="After the tuned lens, Belrose et al., arXiv 2303.08112, in closed form",
)

JACOBIAN = _metric(
    JacobianLens,
    "Jacobian lens",
    # A run only reads through a lens that `depthtui lens fit` has fitted.
    lambda result: math.nan,
    description="The average effect of each depth on all outputs that follow.",
    formula=(
        "`p_l = softmax(W N(J_l h_l))`, `J_l` the mean derivative of later `h_L` by `h_l`; the "
        "logit lens's quantities"
    ),
    cost="1 forward and the LM head at every depth; once per model, a fit by backward passes",
    reading=(
        "The effect of the residual stream at a depth on this output and those that follow, on "
        "average and to first order. It is not the output itself."
    ),
    look_for="Tokens that come up long before they are said, which the logit lens does not show.",
    source="Transformer Circuits, 2026 (transformer-circuits.pub/2026/workspace)",
)
