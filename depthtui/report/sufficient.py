"""Knowledge kept in a report, and the cost of each further layer left out."""

from __future__ import annotations

from collections.abc import Iterator

from depthtui.depth.reading import Reading
from depthtui.metrics import kept
from depthtui.metrics.evidence import rounded_up_count
from depthtui.metrics.kept import PooledKept
from depthtui.metrics.kept.curve import SHARE, KeptCurve
from depthtui.metrics.sufficient import METRIC, TOLERANCE, PooledSufficient, Way
from depthtui.report.blocks import (
    Block,
    Chapter,
    Column,
    Figure,
    Figures,
    Line,
    Mark,
    Note,
    Panel,
    Table,
    ViewBlocks,
)

CHOICES = "choices"
"""The name of the curve of first choices that stay."""


def kept_blocks(reading: Reading) -> Iterator[Block]:
    """How to read the curve of what is kept, and the curves of other tokens and guesses."""
    knowledge: PooledKept | None = reading.get(kept.METRIC)
    if knowledge is None:
        return
    _, *others = knowledge.curves
    blocks: list[Block] = [Note(f"{kept.METRIC.description} {kept.METRIC.look_for}")]
    if others:
        blocks.append(Figures([kept_figure(knowledge, curve) for curve in others]))
    yield ViewBlocks(["pictures"], [Chapter("Knowledge kept", blocks)])


def kept_figure(knowledge: PooledKept, curve: KeptCurve) -> Figure:
    """The share of what the model knows that is kept against the layers kept."""
    lines = [
        Line(share, "layer", "random orders", f"random order {number}")
        for number, share in enumerate(curve.random_shares, start=1)
    ]
    main = {"model": "the model’s order", "own": "an order of these prompts"}[knowledge.kind]
    lines.append(Line(curve.share, "mean", main))
    if curve.own_share is not None:
        lines.append(Line(curve.own_share, "attention", "own order"))
    panel = Panel(
        lines,
        knowledge.n_layers + 1,
        SHARE,
        None if curve.why_too_little else _mark(curve.layers(), curve.range, knowledge.n_layers),
        limits=(0.0, 1.0),
        up="share kept",
        across="layers kept",
        falls_from=knowledge.n_layers,
    )
    words = f"Of {curve.gain:.2f} nats a token that context saves."
    return Figure(f"Knowledge kept, {curve.words}", panel, words, kept_name(knowledge, curve))


def kept_name(knowledge: PooledKept, curve: KeptCurve) -> str:
    """The name of a curve on the command line; the headline's is the metric's own."""
    return kept.NAME if curve is knowledge.curve else f"{kept.NAME}_{curve.scored}"


def _mark(layers: float, between: tuple[float, float] | None, n_layers: int) -> Mark:
    """A number of layers, rounded up, on an axis of the layers kept."""
    count = rounded_up_count(layers)
    ends = None if between is None else tuple(n_layers - rounded_up_count(e) for e in between)
    words = f"{count} of {n_layers}"
    return Mark(n_layers - count, words, None if ends is None else (ends[1], ends[0]))


def sufficient_blocks(reading: Reading) -> Iterator[Block]:
    """The curves of cost and choices against the layers kept, for each order."""
    pooled = reading.get(METRIC)
    if pooled is None:
        return
    blocks: list[Block] = [Note(f"{METRIC.description} {METRIC.look_for}")]
    blocks.append(ViewBlocks(["pictures"], [Figures(sufficient_figures(pooled))]))
    tables = [_table(way, order_number) for way, order_number in _numbered(pooled)]
    blocks.append(ViewBlocks(["text"], tables))
    yield Chapter("Layers that suffice", blocks)


def sufficient_figures(pooled: PooledSufficient) -> Iterator[Figure]:
    """The curves of cost and choices against the layers kept, for each order."""
    for way, order_number in _numbered(pooled):
        yield from _figures(pooled, way, order_number)


def _numbered(pooled: PooledSufficient) -> Iterator[tuple[Way, str]]:
    """Each order with the words that tell it from the others; no words for a single one."""
    for number, way in enumerate(pooled.ways, start=1):
        yield way, f", order {number}" if len(pooled.ways) > 1 else ""


def _figures(pooled: PooledSufficient, way: Way, order_number: str) -> Iterator[Figure]:
    n_layers, count, across = pooled.n_layers, len(way.curve), "layers kept"
    is_whole = len(pooled.ways) == 1
    cost = Panel(
        [Line(way.curve, "mean")],
        count,
        TOLERANCE,
        _mark(pooled.within(), pooled.interval, n_layers) if is_whole else None,
        up="KL to its own output, nats",
        across=across,
        falls_from=n_layers,
    )
    title = f"Cost of leaving layers out together{order_number}"
    yield Figure(title, cost, _order(way), METRIC.name)
    choices = Panel(
        [Line(way.choices_curve, "mean")],
        count,
        limits=(0.0, 1.0),
        up="share of first choices that stay",
        across=across,
        falls_from=n_layers,
    )
    meaning = "At 1 the most probable token is the same at every scored token."
    yield Figure(f"Choices that stay{order_number}", choices, meaning, CHOICES)


def _table(way: Way, order_number: str) -> Table:
    columns = [
        Column(f"left out{order_number}", number=True),
        Column("layer that goes", number=True),
        Column("KL, nats", number=True),
        Column("choices that stay", number=True),
    ]
    rows = [
        [
            str(count),
            str(way.order[count - 1]) if count else "–",
            f"{way.curve[count]:.3f}",
            f"{way.choices_curve[count]:.0%}",
        ]
        for count in range(len(way.curve))
    ]
    return Table(columns, rows)


def _order(way: Way) -> str:
    """The layers that are left out, in their order."""
    layers = way.order[: len(way.curve) - 1]
    return f"Layers go in this order: {', '.join(map(str, layers))}."
