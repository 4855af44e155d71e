"""What the model would say at each depth (paper, metric 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from depthtui.data.arrays import arrays_of
from depthtui.data.depth import Curves
from depthtui.data.lens import LogitLens
from depthtui.data.lens_view import fitted_lens
from depthtui.metrics.lens_measures import lens_measures
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.spec import Measure, Metric, lens, row_of_logits


@dataclass(frozen=True)
class PooledLens:
    """The lens over several prompts.

    Attributes:
        curves: means over all tokens.
        joined: the tokens of all prompts, one after another; None where one was not read whole.
    """

    curves: Curves
    joined: LogitLens | None


def joined_lens(pooled: Pooled) -> LogitLens | None:
    """The lens at the tokens of all prompts; None where one was not read whole."""
    found: PooledLens | None = pooled.get(METRIC)
    return None if found is None else found.joined


def _pool(pooled: Pooled) -> PooledLens | None:
    if pooled.curves.kl is None:
        return None
    return PooledLens(pooled.curves, _join(pooled))


def _join(pooled: Pooled) -> LogitLens | None:
    lenses = [found for found in pooled.known(LogitLens) if found.is_read]
    if len(lenses) < sum(METRIC.name not in result.failed for result in pooled.results):
        return None
    arrays: dict[str, Any] = {
        name: pooled.joined([getattr(found, name) for found in lenses])
        for name, _ in arrays_of(lenses[0])
    }
    joined = LogitLens(**arrays)
    return joined if joined.kl.size else None


def _summary(value: PooledLens, pooled: Pooled) -> dict[str, Any]:
    curves = value.curves
    return {
        "logit_lens": {
            "kl": curves.kl,
            "overlap": curves.overlap,
            "entropy": curves.entropy,
            "top_tokens": [_top_tokens(found) for found in pooled.known(LogitLens)],
            **_fit(pooled),
        }
    }


def _fit(pooled: Pooled) -> dict[str, Any]:
    """How the lens was fitted; nothing for the logit lens."""
    found = next((lens for run in pooled.results if (lens := fitted_lens(run)) is not None), None)
    if found is None:
        return {}
    names = ("kind", "source", "texts", "tokens", "ridge")
    about = {name: getattr(found.fit, name) for name in names}
    return {"lens": {**about, "held_out_kl": found.held_out_kl}}


def _top_tokens(found: LogitLens) -> list[list[dict[str, Any]]]:
    """The tokens listed at each depth of the last token."""
    return [
        [
            {"token": found.vocabulary.get(int(id_), ""), "probability": float(probability)}
            for id_, probability in zip(ids, probabilities, strict=True)
            if id_ >= 0
        ]
        for ids, probabilities in zip(
            found.top_ids[:, -1], found.top_probabilities[:, -1], strict=True
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
    tells="What the model would say at each depth, and how far that is from its output.",
    formula=(
        "`p_l = softmax(W N(h_l))`: `KL(p_l || p)` in nats, share of the final top five, entropy"
    ),
    reading=(
        "Row l is what enters layer l, read as if it were the end; `out` is the output. KL 0 and "
        "overlap 1 are the output's own."
    ),
    look_for=(
        "Where the final token first comes up, and from where on it stays. A lens sees what the LM"
        " head can read: what it reads late may have been known before."
    ),
    source="nostalgebraist, interpreting GPT: the logit lens, 2020",
    cost="1 forward and the LM head at every depth",
    stage="lens",
    result=LogitLens,
    compute="depthtui.metrics.logit_lens.compute:read_lens",
    needs=(lens,),
    memory=row_of_logits,
    depends_on=("top_k",),
    measures=_measures(),
    curves=("kl", "overlap", "entropy"),
    pool=_pool,
    summary=_summary,
    in_records=False,
)
