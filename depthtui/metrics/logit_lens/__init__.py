"""The model's output as read at each depth (paper, metric 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from depthtui.data.depth import Curves
from depthtui.data.lens import LENS_CLASSES, LogitLens
from depthtui.metrics import needs
from depthtui.metrics.costs import row_of_logits
from depthtui.metrics.lens_reduction import reduce_lens
from depthtui.metrics.measures import lens_measures
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced_lens import ReducedFittedLens, ReducedLens
from depthtui.metrics.spec import Measure, Metric


def _pool(reduced: Sequence[ReducedLens], pooled: Pooled) -> Curves | None:
    return pooled.curves if "kl" in pooled.curves else None


def _summary(curves: Curves, pooled: Pooled) -> dict[str, Any]:
    lenses = pooled.measured(LENS_CLASSES[pooled.settings.lens])
    return {
        **{name: curves[name] for name in METRIC.curves if name in curves},
        "top_tokens": [_top_tokens(lens) for lens in lenses if lens is not None],
        **_fit(pooled),
    }


def _fit(pooled: Pooled) -> dict[str, Any]:
    """How the lens was fitted; empty for the logit lens."""
    reduced = next((part for part in pooled.reduced(METRIC) if part is not None), None)
    if not isinstance(reduced, ReducedFittedLens):
        return {}
    names = ("kind", "source", "texts", "tokens", "ridge")
    about = {name: getattr(reduced.fit, name) for name in names}
    return {"lens": {**about, "held_out_kl": reduced.held_out_kl}}


def _top_tokens(lens: LogitLens) -> list[list[dict[str, Any]]]:
    """The tokens listed at each depth of the last token."""
    return [
        [
            {"token": lens.vocabulary.get(int(id_), ""), "probability": float(probability)}
            for id_, probability in zip(ids, probabilities, strict=True)
            if id_ >= 0
        ]
        for ids, probabilities in zip(
            lens.top_ids[:, -1], lens.top_probabilities[:, -1], strict=True
        )
    ]


def _measures() -> tuple[Measure, ...]:
    kl, overlap, entropy, says_final = lens_measures(LogitLens, "Lens")
    reading = (
        "0 is the output's own distribution; the rule asks where it falls below a share of its "
        "maximum."
    )
    return (
        replace(kl, leading=True, rule="kl", reading=reading),
        replace(overlap, leading=True, rule="overlap"),
        entropy,
        says_final,
    )


METRIC = Metric(
    name="logit_lens",
    title="Logit lens",
    description="The model's next tokens as read at each depth, and their distance to the output.",
    formula=(
        "`p_l = softmax(W N(h_l))`: `KL(p_l || p)` in nats, share of the final top five, entropy"
    ),
    reading=(
        "Row l is what enters layer l, read as if it were the end; `out` is the output. KL 0 and "
        "overlap 1 are the output's own."
    ),
    look_for=(
        "The depth where the final token first comes up, and the one from which it stays. A "
        "lens sees only what the LM head can read: the stream may have had it before."
    ),
    source="nostalgebraist, interpreting GPT: the logit lens, 2020",
    cost="1 forward and the LM head at every depth",
    stage="lens",
    result=LogitLens,
    compute="depthtui.metrics.logit_lens.compute:read_lens",
    needs=(needs.lens,),
    memory=row_of_logits,
    depends_on=("lens_top_k",),
    reduced=ReducedLens,
    reduce=reduce_lens,
    of_lens=True,
    measures=_measures(),
    curves=("kl", "overlap", "entropy", "agreement"),
    pool=_pool,
    summary=_summary,
)
