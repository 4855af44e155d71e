"""What is kept, as findings and as evidence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from depthtui.data.pieces import NumberedParts, Piece, piece_mark
from depthtui.metrics.choices import left_out_words
from depthtui.metrics.column import rounded_up_count
from depthtui.metrics.evidence import (
    CountMeasure,
    LayerCount,
    Variant,
    rounded_up_range,
)
from depthtui.metrics.kept.curve import AT_HALF
from depthtui.metrics.kept.output import (
    HALF_OF_CHOICES,
    STRICT_CHOICES,
    STRICT_TOLERANCE,
    TOLERANCE,
    PooledOutput,
)
from depthtui.metrics.kept.pool import PooledKept
from depthtui.metrics.layer_order import order_words
from depthtui.metrics.pooling import FEWEST_TOKENS, Pooled
from depthtui.metrics.spec import Finding, noise_floor

_NAMED = 6
"""The most pieces of an order that are named."""


def findings(
    knowledge: PooledKept,
    output: PooledOutput | None,
    pooled: Pooled,
    piece: Piece = "layer",
    of_untrained: str = "",
) -> Iterator[Finding]:
    """The pieces that keep nine tenths and the output, controls, the order and the noise floor.

    Args:
        knowledge: what is kept.
        output: how near the output stays; None where it is not known.
        pooled: the prompts.
        piece: the kind of pieces.
        of_untrained: a clause on the untrained model, or empty.
    """
    pieces = f"{piece.capitalize()}s"
    yield from _curve_findings(knowledge, pooled, piece)
    if output is not None:
        yield from _output_findings(output, knowledge.order, piece)
    yield from _control_findings(knowledge, f"{pieces} kept, controls", of_untrained)
    per_layer = knowledge.n_pieces // pooled.n_layers
    go = ", ".join(piece_mark(number, piece, per_layer) for number in knowledge.order[:_NAMED])
    stand_in = left_out_words("layer", (), pooled.n_layers, pooled.stand_in)
    where = f"the first to go, in {order_words(knowledge.kind, knowledge.search)}{stand_in}"
    yield Finding(f"{pieces} kept, order", f"{go} …", where)
    yield noise_floor(f"{pieces} kept", f"{knowledge.floor:.2g} nats")


def _staying_words(order: Sequence[int], count: int | None, piece: Piece) -> str:
    """Which parts stay of an order, before a semicolon; empty for layers and heads."""
    if count is None or piece != "part":
        return ""
    return f"{NumberedParts.of(order[len(order) - count :]).words}; "


def _curve_findings(knowledge: PooledKept, pooled: Pooled, piece: Piece) -> Iterator[Finding]:
    """The count that keeps nine tenths by each curve."""
    for curve in knowledge.curves:
        title = f"{piece.capitalize()}s that keep {curve.stop.kept_words}, {curve.words}"
        if curve.why_too_little:
            yield Finding(title, "–", f"too little is known: {curve.why_too_little}")
            continue
        interval, count = curve.interval, curve.count()
        ends = ""
        if interval is not None:
            ends = f" ({rounded_up_range((interval.low, interval.high), '-')})"
        depth = f"{curve.mean_depth:.1f} on average"
        best = curve.best() == 0
        words = _staying_words(knowledge.order, count, piece) if best else ""
        words += f"half with {curve.count(AT_HALF)}, {depth}; of {curve.gain:.1f} nats a token"
        for place, layers in curve.by_order(curve.stop.layers).items():
            if len(curve.read) > 1:
                order = _ORDERS[knowledge.order_name(place)]
                words += f"; {order} {rounded_up_count(layers)}"
        yield Finding(title, f"{count} of {knowledge.n_pieces}{ends}", words)


_ORDERS = {
    "model": "in the model's order",
    "own": "in their own order",
    "own lazy": "in their own order by a lazy queue",
}
"""By name, an order in words."""


def _output_findings(output: PooledOutput, order: Sequence[int], piece: Piece) -> Iterator[Finding]:
    """The pieces with which the output stays near, and those that keep first choices."""
    pieces, of_all = f"{piece.capitalize()}s", f"of {output.n_pieces}"
    near, strict = (output.kl.least(cost) for cost in (TOLERANCE, STRICT_TOLERANCE))
    most, half = (output.choices.least(share) for share in (STRICT_CHOICES, HALF_OF_CHOICES))
    ends = "" if output.interval is None else f" ({rounded_up_range(output.interval, '-')})"
    words = _staying_words(order, near, piece) + f"within {STRICT_TOLERANCE:g} nats {strict}"
    yield Finding(f"{pieces} within 1 nat", f"{near} {of_all}{ends}", words)
    yield Finding(f"{pieces} for 90% of choices", f"{most} {of_all}", f"half of them: {half}")


def _control_findings(knowledge: PooledKept, title: str, more: str) -> Iterator[Finding]:
    """The controls in a row: the count in random orders, and what an untrained model knows."""
    curve, value, words = knowledge.curve, "–", []
    if (drawn := curve.in_random_orders()) and not curve.why_too_little:
        counts = " and ".join(str(rounded_up_count(pieces)) for pieces in drawn)
        value = f"{counts} of {knowledge.n_pieces}"
        words.append(f"keep {curve.stop.kept_words} in two random orders")
    if knowledge.untrained is not None:
        # Without -0.0.
        nats = round(knowledge.untrained, 1) + 0.0
        of_texts = f"knows {nats:.1f} nats a token of texts that the model writes"
        words.append(f"an untrained model of this shape {of_texts}{more}")
    if words:
        yield Finding(title, value, "; ".join(words))


def counted(
    measure: CountMeasure,
    knowledge: PooledKept,
    pooled: Pooled,
    layers: Iterable[int],
    per_layer: int = 1,
) -> LayerCount:
    """The layers that keep nine tenths, and what this count was varied by.

    Args:
        measure: the measure.
        knowledge: what is kept.
        pooled: the prompts.
        layers: the layers that stay.
        per_layer: the pieces of a layer, each of which counts as much.
    """
    curve = knowledge.curve
    if curve.why_too_little:
        return measure.unknown(f"too little is known: {curve.why_too_little}")
    variants = [
        Variant(
            (other := rounded_up_count(count / per_layer)),
            f"by the guess: by half of its texts it takes {other}",
        )
        for count in curve.by_half_guesses()
    ]
    variants += [
        Variant(
            (other := rounded_up_count(count / per_layer)),
            f"by the prompts: half of them take {other}",
        )
        for count in curve.of_halves()
    ]
    if curve.n_tokens < FEWEST_TOKENS:
        few = "a single token" if curve.n_tokens == 1 else f"{curve.n_tokens} tokens"
        variants.append(Variant(None, f"it rests on {few}"))
    if curve.is_no_better_than_random:
        variants.append(Variant(None, "no order tried is better than a random one"))
    interval = curve.interval
    if interval is not None:
        ends = interval.low / per_layer, interval.high / per_layer
        interval = replace(interval, low=ends[0], high=ends[1])
    count = rounded_up_count(curve.layers() / per_layer)
    return measure.counted(count, variants, layers, interval=interval)
