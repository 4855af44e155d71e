"""What is kept with more and more parts of layers left out: attention and MLP apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np

from depthtui.data.pieces import PARTS, PER_LAYER, NumberedParts, Piece
from depthtui.data.run import RunResult
from depthtui.metrics import kept, needs
from depthtui.metrics.costs import MemoryNeed, Sizes, row_of_logits
from depthtui.metrics.evidence import CountMeasure, LayerCount
from depthtui.metrics.kept import pool, words
from depthtui.metrics.kept.output import second_value
from depthtui.metrics.kept.pool import PooledKept, ReducedKept
from depthtui.metrics.kept.result import Kept
from depthtui.metrics.layer_order import RECALLED_ORDERS
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.spec import Finding, LayerValues, Metric

NAME = "parts"


@dataclass
class KeptParts(Kept):
    """The output with more and more parts of layers left out together, until none is left.

    Piece 2l is the attention of layer l, piece 2l + 1 its MLP. A part that is left out writes
    nothing.

    Attributes:
        untrained_parts: the pieces with which an untrained model of this shape stays within a nat
            of its own output; None where they are not known.
    """

    per_layer = PER_LAYER["part"]
    piece: ClassVar[Piece] = "part"

    untrained_parts: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class ReducedParts(ReducedKept):
    """The outputs of one prompt with parts left out.

    Attributes:
        untrained_parts: as in `KeptParts`.
    """

    untrained_parts: tuple[int, ...] | None = None


@dataclass(frozen=True)
class PooledParts:
    """What is kept with parts of layers left out, of one or more prompts.

    Attributes:
        knowledge: what is kept of what the model knows; it counts parts.
        untrained: the parts that an untrained model takes to stay within a nat; None where they
            are not known.
    """

    knowledge: PooledKept
    untrained: NumberedParts | None


def places_of(order: Sequence[int]) -> np.ndarray:
    """The place of each part in an order, from 1 on, `[L, 2]`: of attention, and of MLP."""
    places = np.empty(len(order), int)
    places[list(order)] = np.arange(1, len(order) + 1)
    return places.reshape(-1, len(PARTS))


def _reduce(result: KeptParts, run: RunResult, tokens: slice) -> ReducedParts:
    reduced = pool.reduce(result, run, tokens)
    return ReducedParts(**vars(reduced), untrained_parts=result.untrained_parts)


def _pool(reduced: Sequence[ReducedParts], pooled: Pooled) -> PooledParts | None:
    knowledge = pool.pool_prompts(pooled.reduced(METRIC), pooled)
    if knowledge is None:
        return None
    untrained = reduced[0].untrained_parts
    return PooledParts(knowledge, None if untrained is None else NumberedParts.of(untrained))


def _findings(parts: PooledParts, pooled: Pooled) -> Iterator[Finding]:
    untrained = (
        "" if parts.untrained is None else f", and stays within a nat with {parts.untrained.words}"
    )
    return words.findings(parts.knowledge, output_of(pooled), pooled, "part", untrained)


COUNT_MEASURE = CountMeasure("causal", NAME, "kept by parts")


def _evidence(parts: PooledParts, pooled: Pooled) -> list[LayerCount]:
    knowledge = parts.knowledge
    stay = NumberedParts.of(knowledge.kept_layers)
    meaning = f"in parts that keep nine tenths, each half a layer: {stay.words}"
    measure = replace(COUNT_MEASURE, meaning=meaning)
    return [words.counted(measure, knowledge, pooled, stay.layers, KeptParts.per_layer)]


def _means(parts: PooledParts, pooled: Pooled) -> dict[str, float]:
    curve = parts.knowledge.curve
    return {} if curve.why_too_little else {"parts kept": curve.count()}


def _per_layer(parts: PooledParts) -> list[LayerValues]:
    attention, mlp = places_of(parts.knowledge.order).T.astype(float)
    return [LayerValues("place of attention", attention), LayerValues("place of MLP", mlp)]


def _memory(sizes: Sizes) -> MemoryNeed:
    """The states between attention and MLP, and outputs to compare."""
    return MemoryNeed(layers=sizes.of_layers(sizes.residual_bytes)) + row_of_logits(sizes)


METRIC = Metric(
    name=NAME,
    title="Parts kept",
    description=(
        "The attentions and MLPs that keep nine tenths of what the model knows of a text."
    ),
    formula=(
        "leave out attention and MLP of each layer apart, those that cost least first, as `kept` "
        "does layers; a part that is left out writes nothing"
    ),
    reading=(
        "Each layer has two parts, and a layer without both is left out. Of all 2L parts as many "
        "are counted as keep nine tenths of what the model knows, and as many as stay within a nat "
        "of its own output."
    ),
    look_for=(
        "How many attentions go before any MLP. A ranked order takes each part by itself: its "
        "count may be worse than that of layers where the greedy order's is better. An untrained "
        "model has parts that cost little too."
    ),
    source="Attention and MLP dropped apart (LLM-Drop, arXiv 2406.15786); counted as in `kept`",
    cost="twice that of knowledge kept; the model's order of parts once, longer",
    work=lambda result: kept.work(result, KeptParts.per_layer),
    result=KeptParts,
    needs=(*kept.METRIC.needs, needs.whole_split, needs.no_mean_update),
    needs_order="part",
    has_draft=kept.METRIC.has_draft,
    preparation=lambda result: kept.search_work(result, KeptParts.per_layer),
    memory=_memory,
    recalled_with=RECALLED_ORDERS,
    depends_on=kept.DEPENDS_ON,
    reduced=ReducedParts,
    reduce=_reduce,
    pool=_pool,
    findings=_findings,
    means=_means,
    per_layer=_per_layer,
    evidence=_evidence,
)

output_of = partial(second_value, METRIC)
"""How near the output stays without parts, pooled once; None where it is not known."""
