"""What is left as layers, or their parts, leave: in a report's tables and figures, and in JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from depthtui.data.pieces import NumberedParts, Piece, part_of, piece_mark
from depthtui.depth.left_out import (
    CHOICES,
    CHOSEN,
    KL,
    KNOWLEDGE,
    LOSS,
    PERPLEXITY,
    TIME,
    WRITTEN,
    LeftOut,
)
from depthtui.depth.reading import Reading
from depthtui.metrics import kept
from depthtui.metrics.column import LeftOutColumn, rounded_up_count
from depthtui.metrics.kept.curve import (
    AT_HALF,
    AT_NINE_TENTHS,
    HALF,
    SHARE,
    KeptCurve,
    depth_of,
)
from depthtui.metrics.kept.output import (
    HALF_OF_CHOICES,
    STRICT_CHOICES,
    STRICT_TOLERANCE,
    TOLERANCE,
    Way,
)
from depthtui.metrics.kept.pool import PooledKept
from depthtui.metrics.parts import METRIC as PARTS
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


def kept_blocks(reading: Reading) -> Iterator[Block]:
    """How to read the curve of what is kept, and the curves of other tokens and guesses."""
    knowledge: PooledKept | None = reading.get(kept.METRIC)
    if knowledge is None:
        return
    _, *others = knowledge.curves
    blocks: list[Block] = [Note(f"{kept.METRIC.description} {kept.METRIC.look_for}")]
    if others:
        blocks.append(Figures([kept_figure(knowledge, curve) for curve in others]))
    yield Chapter("Knowledge kept", blocks, views=["pictures"])


def kept_figure(knowledge: PooledKept, curve: KeptCurve) -> Figure:
    """The share of what the model knows that is kept against the layers kept."""
    lines = [
        Line(share, "layer", "random orders", f"random order {number}")
        for number, share in enumerate(curve.random_shares, start=1)
    ]
    best = curve.best()
    lines += [
        Line(curve.shares[place], "mean" if place == best else "attention", order)
        for place in curve.read
        if (order := f"{knowledge.order_name(place)} order")
    ]
    panel = Panel(
        lines,
        knowledge.n_pieces + 1,
        curve.stop.share_of(curve.gain),
        None if curve.why_too_little else _mark(curve.count(), curve.range(), knowledge.n_pieces),
        limits=(0.0, 1.0),
        up="share kept",
        across="layers kept",
        falls_from=knowledge.n_pieces,
    )
    words = f"Of {curve.gain:.2f} nats a token that context saves."
    return Figure(f"Knowledge kept, {curve.words}", panel, words, kept_name(knowledge, curve))


def kept_name(knowledge: PooledKept, curve: KeptCurve) -> str:
    """The name of a curve on the command line; the headline's is the metric's own."""
    return kept.NAME if curve is knowledge.curve else f"{kept.NAME}_{curve.scored}"


def _mark(count: int, ends: tuple[int, int] | None, n_pieces: int) -> Mark:
    """A number of pieces on an axis of the pieces that stay."""
    between = None if ends is None else (n_pieces - ends[1], n_pieces - ends[0])
    return Mark(n_pieces - count, f"{count} of {n_pieces}", between)


def left_out_blocks(reading: Reading) -> Iterator[Block]:
    """The tables of what is left without layers, and without parts of layers, with their curves."""
    for left_out in filter(None, (reading.left_out, reading.parts_left_out)):
        note = Note(f"A row for each number of {left_out.piece}s that stay. {key_words(left_out)}")
        figures = ViewBlocks(["pictures"], [Figures(left_out_figures(left_out))])
        table = left_out_table(left_out, left_out.stays)
        yield Chapter(f"{left_out.piece.capitalize()}s left out", [note, figures, table])


_MEANINGS = {
    KNOWLEDGE: "known: the share that stays of what context tells the model about {scored}",
    LOSS: "nats: its loss there above the whole model's",
    KL: "KL: nats from the whole model's output, at all tokens but token 0",
    CHOICES: "choices: how often the likeliest token stays, at the same tokens",
    CHOSEN: "chosen: right answers among options",
    WRITTEN: "written: right answers that it writes",
    TIME: "time: of a token, by the whole model's of the same round, the middle half of rounds",
    PERPLEXITY: "perplexity: exp of its loss at all tokens but the first of each prompt",
}
"""By column, its meaning."""


def key_words(left_out: LeftOut) -> str:
    """The columns in words."""
    words = [f"Goes: the {left_out.piece} that leaves in this row, counted from 0"]
    words += [
        meaning.format(scored=left_out.scored)
        for name, meaning in _MEANINGS.items()
        if name in left_out.columns
    ]
    if not all(np.isfinite(column.values).all() for column in left_out.columns.values()):
        words.append("–: not measured")
    return "; ".join(words) + "."


_RANKS = {KL: 2, TIME: 1}
"""The columns that a narrow pane drops, the highest rank first."""


def left_out_table(
    left_out: LeftOut, stays: Sequence[int], remarks: Mapping[int, str] | None = None
) -> Table:
    """A row for each number of pieces that stay.

    Args:
        left_out: what is left.
        stays: the numbers of pieces that stay, a row each.
        remarks: by such a number, what its row ends with; None for no such column.
    """
    columns = [
        Column(f"{left_out.piece}s kept", number=True, brief="kept"),
        Column("goes", number=True),
        *(
            Column(values.title, number=True, rank=_RANKS.get(name, 0))
            for name, values in left_out.columns.items()
        ),
    ]
    rows = [row_of(left_out, stay) for stay in stays]
    if remarks is None:
        return Table(columns, rows)
    ends = [remarks.get(stay, "") for stay in stays]
    return Table([*columns, Column("")], [[*row, end] for row, end in zip(rows, ends, strict=True)])


def row_of(left_out: LeftOut, stay: int) -> list[str]:
    """The cells of the row with `stay` pieces: their number, the piece that goes, the columns."""
    gone = left_out.n_pieces - stay
    goes = piece_mark(left_out.order[gone - 1], left_out.piece) if gone else "–"
    return [str(stay), goes, *(values.text(gone) for values in left_out.columns.values())]


_CURVES = {
    LOSS: ("Loss", "nats above the whole model's", None),
    KL: ("KL to its own output", "nats", TOLERANCE),
    CHOICES: ("First choices", "share that stays", STRICT_CHOICES),
    CHOSEN: ("Right answers, chosen", "share of the questions", None),
    WRITTEN: ("Right answers, written", "share of the questions", None),
    TIME: ("Time of a token", "share of the whole model's", None),
    PERPLEXITY: ("Perplexity", "of all tokens but the first", None),
}
"""By column, the title of its figure, its axis, and the limit that is marked."""


_MEANING = "Without the first pieces of the order, beside the whole model."


def left_out_figures(left_out: LeftOut) -> Iterator[Figure]:
    """The columns against the pieces that stay, those of the output for each order."""
    ways = () if left_out.output is None else left_out.output.ways
    for name, (title, _, _) in _CURVES.items():
        if name not in left_out.columns:
            continue
        figure_name = name if left_out.piece == "layer" else f"{left_out.piece}s_{name}"
        full_title = f"{title} as {left_out.piece}s leave"
        if name not in (KL, CHOICES):
            panel = _panel(left_out, name, left_out.columns[name].values)
            yield Figure(full_title, panel, _MEANING, figure_name)
            continue
        for number, way in enumerate(ways, start=1):
            which = f", order {number}" if len(ways) > 1 else ""
            panel = _panel(left_out, name, way.curve if name == KL else way.choices_curve)
            yield Figure(full_title + which, panel, _order(way, left_out.piece), figure_name)


def _panel(left_out: LeftOut, name: str, curve: np.ndarray) -> Panel:
    """The plot of a column, with the pieces that keep its limit."""
    _, up, limit = _CURVES[name]
    is_one = left_out.output is None or len(left_out.output.ways) == 1
    count = left_out.least(name, limit) if limit is not None and is_one else None
    ends = left_out.columns[name].interval if name == TIME else None
    return Panel(
        [Line(curve, "mean"), *(Line(end, "layer") for end in ([] if ends is None else ends))],
        len(curve),
        limit,
        None if count is None else _mark(count, None, left_out.n_pieces),
        limits=None if name in (LOSS, KL, TIME, PERPLEXITY) else (0.0, 1.0),
        up=up,
        across=f"{left_out.piece}s kept",
        falls_from=left_out.n_pieces,
    )


def _order(way: Way, piece: Piece) -> str:
    """The pieces that are left out, in their order."""
    marks = ", ".join(piece_mark(number, piece) for number in way.order[: len(way.curve) - 1])
    return f"{piece.capitalize()}s go in this order: {marks}."


_LIMITS = {
    KNOWLEDGE: (HALF, SHARE),
    KL: (STRICT_TOLERANCE, TOLERANCE),
    CHOICES: (HALF_OF_CHOICES, STRICT_CHOICES),
}
"""By column, the limits at which JSON counts pieces; right answers are counted by their margin."""


def left_out_dict(reading: Reading) -> dict[str, Any]:
    """What is left without layers and without parts, by kind of piece, as JSON values."""
    tables = filter(None, (reading.left_out, reading.parts_left_out))
    return {left_out.piece: _dict(left_out, reading) for left_out in tables}


def _dict(left_out: LeftOut, reading: Reading) -> dict[str, Any]:
    knowledge, output = left_out.knowledge, left_out.output
    margin = (reading.settings.answers_within / 100,)
    limits = {**_LIMITS, CHOSEN: margin, WRITTEN: margin}
    others = () if output is None else output.ways[1:]
    interval = None if output is None else output.interval
    least = {
        name: {f"{limit:g}": left_out.least(name, limit) for limit in of_column}
        for name, of_column in limits.items()
        if name in left_out.columns
    }
    return {
        "order": [_named(piece, left_out.piece) for piece in left_out.order],
        "order_of": left_out.kind,
        "search": left_out.search,
        "stay": list(range(left_out.n_pieces, -1, -1)),
        "columns": {name: _column_dict(name, values) for name, values in left_out.columns.items()},
        "least": least,
        "units": None if output is None else output.units,
        "interval_kl": None if interval is None else list(interval),
        "other_orders": [_way_dict(way, left_out.piece) for way in others],
        **({} if knowledge is None else _knowledge_dict(knowledge)),
        **(_of_parts(left_out, reading, least) if left_out.piece == "part" else {}),
    }


def _of_parts(left_out: LeftOut, reading: Reading, least: Mapping[str, Any]) -> dict[str, Any]:
    """The attentions and MLPs that stay with each count, and those of an untrained model."""
    untrained = reading.get(PARTS).untrained if left_out.knowledge is not None else None
    return {
        "staying": {
            name: {
                limit: asdict(NumberedParts.of(left_out.staying(count)))
                for limit, count in counts.items()
                if count is not None
            }
            for name, counts in least.items()
        },
        "untrained_parts": None if untrained is None else asdict(untrained),
    }


def _named(piece: int, kind: Piece) -> Any:
    return piece if kind == "layer" else asdict(part_of(piece))


def _column_dict(name: str, values: LeftOutColumn) -> dict[str, Any]:
    ends = values.interval
    shape: dict[str, Any] = {"values": values.values}
    if name == LOSS:
        shape["perplexity"] = [math.exp(cost) for cost in values.values]
    if values.of:
        shape["of"] = values.of
    return shape | ({} if ends is None else {"low": ends[0], "high": ends[1]})


def _way_dict(way: Way, piece: Piece) -> dict[str, Any]:
    order = [_named(number, piece) for number in way.order]
    return {"order": order, "kl": way.curve, "choices": way.choices_curve}


def _knowledge_dict(knowledge: PooledKept) -> dict[str, Any]:
    """What is known of the tokens, with the order's controls; then of the other tokens."""
    first, *others = knowledge.curves
    return {
        "found_by_search": knowledge.search_length,
        "untrained": knowledge.untrained,
        **_curve_dict(first),
        "other_tokens": [_other_curve(curve) for curve in others],
    }


def _other_curve(curve: KeptCurve) -> dict[str, Any]:
    """What is known of tokens that are not the headline's."""
    is_counted = not curve.why_too_little
    counts = {stop.words: curve.count(stop) if is_counted else None for stop in _STOPS}
    return {**_curve_dict(curve), "share": curve.share, "least": counts}


_STOPS = (AT_HALF, AT_NINE_TENTHS)


def _curve_dict(curve: KeptCurve) -> dict[str, Any]:
    is_counted, gain = not curve.why_too_little, curve.gain_range
    names = ("first", "own", "own_lazy")
    return {
        "scored": curve.scored,
        "guess": curve.guess_of,
        "gain": curve.gain,
        "range_gain": None if gain is None else list(gain),
        "too_little_known": curve.why_too_little,
        "loss_by_guess": curve.mean.guess,
        "loss_by_half_guesses": curve.half_guesses,
        "loss": curve.mean.loss[0],
        "count": curve.count() if is_counted else None,
        "range": curve.range() if is_counted else None,
        "mean_depth": curve.mean_depth if is_counted else None,
        "range_mean_depth": curve.depth_range if is_counted else None,
        "orders": {names[place]: _order_dict(curve, place) for place in curve.read},
        "random": curve.random_shares,
    }


def _order_dict(curve: KeptCurve, place: int) -> dict[str, Any]:
    """The share that is kept in a candidate, and the counts by it."""
    n = {
        stop.words: rounded_up_count(curve.by_order(stop.layers)[place])
        for stop in dict.fromkeys((*_STOPS, curve.stop))
    }
    return {"share": curve.shares[place], "n": n, "mean_depth": curve.by_order(depth_of)[place]}
