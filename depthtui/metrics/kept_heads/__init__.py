"""What is kept with more and more attention heads left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from depthtui.data.pieces import Piece
from depthtui.metrics import kept, needs
from depthtui.metrics.kept import pool, words
from depthtui.metrics.kept.output import second_value
from depthtui.metrics.kept.pool import PooledKept, ReducedKept
from depthtui.metrics.kept.result import Kept
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.spec import Finding, no_evidence

NAME = "kept_heads"


@dataclass
class KeptHeads(Kept):
    """The output with more and more heads left out together, until none is left.

    Piece H l + h is head h of layer l.
    """

    per_layer = 0
    piece: ClassVar[Piece] = "head"


def _pool(reduced: Sequence[ReducedKept], pooled: Pooled) -> PooledKept | None:
    return pool.pool_prompts(pooled.reduced(METRIC), pooled)


def _findings(knowledge: PooledKept, pooled: Pooled) -> Iterable[Finding]:
    return words.findings(knowledge, output_of(pooled), pooled, "head")


METRIC = replace(
    kept.METRIC,
    name=NAME,
    title="Heads kept",
    description="The attention heads that keep nine tenths of what the model knows of a text.",
    formula=(
        "leave heads out together, those that cost least first, as `kept` does layers; a head that "
        "is left out passes zeros on to `W_O`"
    ),
    reading=(
        "Of all H x L heads as many are counted as keep nine tenths of what the model knows, and "
        "as many as stay within a nat of its own output. MLPs and biases stay."
    ),
    look_for=(
        "How many heads go before the output changes. A head that is cheap by itself may do the "
        "work of others that are gone."
    ),
    source="Michel, Levy and Neubig, arXiv 1905.10650; counted as in `kept`",
    cost="H times that of knowledge kept; the model's order of heads once, longer",
    work=lambda run: kept.work(run, run.model.heads),
    result=KeptHeads,
    needs=(*kept.METRIC.needs, needs.whole_split, needs.heads, needs.no_mean_update),
    needs_order="head",
    preparation=lambda run: kept.search_work(run, run.model.heads),
    pool=_pool,
    findings=_findings,
    means=lambda knowledge, pooled: {},
    evidence=no_evidence,
)

output_of = partial(second_value, METRIC)
"""How near the output stays without heads, pooled once; None where it is not known."""
