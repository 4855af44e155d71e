"""What is kept with more and more parts of layers left out: attention and MLP apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np

from depthtui.data.model import PART_TITLES
from depthtui.data.pieces import PARTS, PER_LAYER, NumberedParts, Piece, part_of
from depthtui.data.run import RunResult
from depthtui.metrics import kept, needs, sufficient
from depthtui.metrics.choices import STAND_INS, left_out_words
from depthtui.metrics.costs import MemoryNeed, Sizes, row_of_logits
from depthtui.metrics.evidence import CountMeasure, LayerCount, rounded_up_count, rounded_up_range
from depthtui.metrics.kept import Kept, PooledKept, ReducedKept
from depthtui.metrics.kept.curve import HALF, SHARE
from depthtui.metrics.layer_order import RECALLED_ORDERS, order_words
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.spec import Finding, LayerValues, Metric, noise_floor
from depthtui.metrics.sufficient import TOLERANCE, PooledSufficient

NAME = "parts"

_NAMED = 4


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
        sufficient: how near the output stays, counted in parts; None where it is not known.
        untrained: the parts that an untrained model takes to stay within a nat; None where they
            are not known.
    """

    knowledge: PooledKept
    sufficient: PooledSufficient | None
    untrained: NumberedParts | None

    @property
    def order(self) -> tuple[int, ...]:
        """All pieces, the first to leave out first."""
        return self.knowledge.order

    def left_out(self, count: int) -> NumberedParts:
        """The first `count` parts of the order."""
        return NumberedParts.of(self.order[:count])

    def staying(self, count: int) -> NumberedParts:
        """The `count` parts that stay where those before them in the order are left out."""
        return NumberedParts.of(self.order[len(self.order) - count :])


def places_of(order: Sequence[int]) -> np.ndarray:
    """The place of each part in an order, from 1 on, `[L, 2]`: of attention, and of MLP."""
    places = np.empty(len(order), int)
    places[list(order)] = np.arange(1, len(order) + 1)
    return places.reshape(-1, len(PARTS))


def _reduce(result: KeptParts, run: RunResult, tokens: slice) -> ReducedParts:
    reduced = kept.reduce(result, run, tokens)
    return ReducedParts(**vars(reduced), untrained_parts=result.untrained_parts)


def _pool(reduced: Sequence[ReducedParts], pooled: Pooled) -> PooledParts | None:
    knowledge = kept.pool_prompts(pooled.reduced(METRIC), pooled)
    if knowledge is None:
        return None
    untrained = reduced[0].untrained_parts
    return PooledParts(
        knowledge,
        sufficient.pool(reduced, pooled),
        None if untrained is None else NumberedParts.of(untrained),
    )


def _summary(parts: PooledParts, pooled: Pooled) -> dict[str, Any]:
    curve, near = parts.knowledge.curve, parts.sufficient
    counts = {} if curve.why_too_little else {least: curve.layers(least) for least in (HALF, SHARE)}
    values = {
        **kept.summary(parts.knowledge, pooled),
        "order": _named(parts.order),
        "stay": {
            f"{least:g}": asdict(parts.staying(rounded_up_count(count)))
            for least, count in counts.items()
        },
        "untrained_parts": None if parts.untrained is None else asdict(parts.untrained),
        "sufficient": None,
    }
    if near is not None:
        of_output = sufficient.summary(near, pooled)
        ways = [{**way, "order": _named(way["order"])} for way in of_output["ways"]]
        stay = {f"{TOLERANCE:g}": asdict(parts.staying(near.layers))}
        values["sufficient"] = {**of_output, "ways": ways, "stay": stay}
    return values


def _named(order: Sequence[int]) -> list[dict[str, Any]]:
    return [asdict(part_of(piece)) for piece in order]


def _findings(parts: PooledParts, pooled: Pooled) -> Iterator[Finding]:
    knowledge, near = parts.knowledge, parts.sufficient
    in_order = f"in {order_words(knowledge.kind, knowledge.search)}"
    yield from kept.curve_findings(
        knowledge, pooled, "Parts kept", lambda count: f"{parts.staying(count).words}; "
    )
    if near is not None:
        interval = "" if near.interval is None else f" ({rounded_up_range(near.interval, '-')})"
        yield Finding(
            "Parts within 1 nat",
            f"{near.layers} of {near.n_layers}{interval}",
            f"{parts.staying(near.layers).words}; {near.choices:.0%} of first choices stay",
        )
    untrained = (
        "" if parts.untrained is None else f", and stays within a nat with {parts.untrained.words}"
    )
    yield from kept.control_findings(knowledge, "Controls of parts kept", untrained)
    first = [part_of(piece) for piece in parts.order[:_NAMED]]
    go = ", ".join(f"{PART_TITLES[part.part]} {part.layer}" for part in first)
    stand_in = left_out_words("layer", (), pooled.n_layers, pooled.stand_in)
    yield Finding("Order of parts kept", f"{go} …", f"{in_order}{stand_in}")
    yield noise_floor(METRIC.title, f"{knowledge.floor:.2g} nats")


COUNT_MEASURE = CountMeasure("causal", NAME, "kept by parts")


def _evidence(parts: PooledParts, pooled: Pooled) -> list[LayerCount]:
    knowledge = parts.knowledge
    stay = parts.staying(knowledge.layers)
    meaning = f"in parts that keep nine tenths, each half a layer: {stay.words}"
    measure = replace(COUNT_MEASURE, meaning=meaning)
    return [kept.counted(measure, knowledge, pooled, stay.layers, KeptParts.per_layer)]


def _means(parts: PooledParts, pooled: Pooled) -> dict[str, float]:
    curve, near = parts.knowledge.curve, parts.sufficient
    means = {} if curve.why_too_little else {"parts kept": curve.layers()}
    return means if near is None else {**means, "parts within 1 nat": near.within()}


def _per_layer(parts: PooledParts) -> list[LayerValues]:
    attention, mlp = places_of(parts.order).T.astype(float)
    return [
        LayerValues("place of attention", attention),
        LayerValues("place of MLP", mlp),
    ]


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
        "How many attentions go before any MLP. The ranked order takes each part by itself: its "
        "count may be worse than that of layers where the greedy order's is better. An untrained "
        "model has parts that cost little too."
    ),
    source="Attention and MLP dropped apart (LLM-Drop, arXiv 2406.15786); counted as in `kept`",
    cost="twice that of knowledge kept; the model's order of parts once, longer",
    work=lambda result: kept.work(result, KeptParts.per_layer),
    result=KeptParts,
    needs=(
        needs.clean_run,
        needs.lens,
        needs.second_token,
        needs.whole_split,
        needs.no_mean_update,
    ),
    needs_order="part",
    preparation=lambda result: kept.search_work(result, KeptParts.per_layer),
    memory=_memory,
    recalled_with=RECALLED_ORDERS,
    depends_on=(
        "sufficient_order",
        "sufficient_search",
        "order_texts",
        "answer_start",
        *STAND_INS,
    ),
    reduced=ReducedParts,
    reduce=_reduce,
    pool=_pool,
    summary=_summary,
    findings=_findings,
    means=_means,
    per_layer=_per_layer,
    evidence=_evidence,
)
