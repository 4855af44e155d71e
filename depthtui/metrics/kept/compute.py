"""Run a prompt with more and more layers, or parts of them, left out together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch

from depthtui.data.pieces import Piece
from depthtui.errors import DepthError
from depthtui.metrics.context import Context
from depthtui.metrics.kept.order_search import Texts, greedy_order, ranked
from depthtui.metrics.kept.result import Kept, is_short, reads_own
from depthtui.metrics.layer_order import (
    LayerOrder,
    Orders,
    block_numbers,
    block_weights,
    drawn_orders,
    has_own_order,
    way_of,
)
from depthtui.metrics.output_change import Changes, OutputChange
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.batching import slices
from depthtui.tracing.left_out import LayersToLeave
from depthtui.tracing.parts_left_out import pieces_of

Result = TypeVar("Result", bound=Kept)

OnRows = Callable[[int, int, Kept], None]
"""Called after each part with how many rows are done, their number, and the result so far."""


def compute(context: Context, partial: Kept | None) -> Kept:
    """Compute the metric of a run; orders and rows already in `partial` are not computed again."""
    return in_orders(context, Kept, partial)


def in_orders(
    context: Context,
    kind: type[Result],
    partial: Result | None,
    with_controls: Callable[[Result], Result] = lambda result: result,
) -> Result:
    """Measure a run as its pieces leave in the model's order, its controls and the prompt's own.

    Args:
        context: the run.
        kind: the class of the result.
        partial: the result so far.
        with_controls: adds further controls.
    """
    pieces = pieces_of(kind.piece, [context.replay], context.anatomy, context.substitute)
    settings, unembedding, report = context.result.settings, context.unembedding, context.report
    rows_at_once = context.layers_at_once(pieces.replay.n_tokens)
    with torch.no_grad():
        if partial is not None and partial.orders:
            result = partial
        else:
            orders, guess = _orders(context, pieces, kind.piece, rows_at_once), context.guess()
            if guess is not None:
                guess = guess[:, context.result.tokens.ids[1:]]
            order, search = settings.order_source, settings.order_search
            result = begun(pieces, kind, order, search, orders, guess)
        result = with_pieces_left_out(pieces, unembedding, result, rows_at_once, report)
        # The headline rests on the first curve alone: its controls, and the search for the own
        # orders, wait.
        result = with_controls(replace(result, untrained=context.known_untrained()))
        if all(result.own_orders):
            return result
        own = _orders_beside(context, pieces, kind.piece, rows_at_once)
        result = replace(result, own_orders=tuple(order.whole(len(pieces)) for order in own))
        return with_pieces_left_out(pieces, unembedding, result, rows_at_once, report)


@dataclass(frozen=True)
class RunOrders:
    """The orders that a run is read with.

    Attributes:
        reading: of each token one.
        search_lengths: how many pieces of each of them a search found.
        controls: other orders of every token; empty for those that are not read.
        own: the prompt's own orders beside the model's, each empty until it is found.
    """

    reading: Orders
    search_lengths: tuple[int, ...]
    controls: Orders = ((), (), (), ())
    own: Orders = ()


def begun(
    pieces: LayersToLeave,
    kind: type[Result],
    order: str,
    search: str,
    orders: RunOrders,
    guess: np.ndarray | None = None,
) -> Result:
    """A result of which nothing is known but the orders and the guesses' losses `[3, T - 1]`."""
    n_tokens = pieces.replay.n_tokens
    unknown = kind.unknown(
        pieces.replay.n_layers,
        n_tokens,
        kind=order,
        search=search,
        orders=orders.reading,
        search_lengths=orders.search_lengths,
        controls=orders.controls,
        own_orders=orders.own,
        untrained=None,
    )
    way = way_of(n_tokens, orders.reading)
    if guess is None:
        return replace(unknown, way=way)
    guess = guess.astype(np.float32)
    return replace(unknown, way=way, guess=guess[0], half_guess=guess[1:])


def _orders(context: Context, pieces: LayersToLeave, piece: Piece, rows_at_once: int) -> RunOrders:
    """The orders that a run is read with, the random ones where they cost little."""
    settings, count = context.result.settings, len(pieces)
    drawn = drawn_orders(count) if is_short(pieces.replay.n_tokens) else ((), ())
    order = context.order(piece)
    if order is None:
        search = settings.order_search
        own = own_orders(pieces, context.unembedding, search, rows_at_once)
        reading = tuple(order.whole(count) for order in own)
        return RunOrders(reading, tuple(len(order.pieces) for order in own), ((), (), *drawn))
    halves: Orders = order.halves or ((), ())
    not_found: Orders = ((),) if settings.order_texts else ((), ())
    return RunOrders(
        (order.whole(count),),
        (len(order.pieces),),
        (*halves, *drawn),
        not_found if reads_own(context.result) else (),
    )


def _orders_beside(
    context: Context, pieces: LayersToLeave, piece: Piece, rows_at_once: int
) -> Sequence[LayerOrder]:
    """The prompt's own orders beside the model's; none where it is too short for any."""
    order = context.own_order(piece)
    if order is not None:
        return [order]
    if not has_own_order(pieces.replay.n_tokens):
        return []
    return own_orders(pieces, context.unembedding, "ranked", rows_at_once)


def own_orders(
    pieces: LayersToLeave, unembedding: Unembedding, search: str, pieces_at_once: int
) -> tuple[LayerOrder, ...]:
    """The orders found on the even blocks of a prompt's tokens, and on the odd ones.

    Raises:
        DepthError: there is only one block.
    """
    n_tokens = pieces.replay.n_tokens
    if not has_own_order(n_tokens):
        raise DepthError(
            "the prompt is too short to find the order on one half of it and read it on the other",
            "Take a longer prompt, or the model's order: --order-source model.",
        )
    blocks = np.arange(block_numbers(n_tokens)[-1] + 1)
    halves = [block_weights(n_tokens, blocks[half::2]) for half in (0, 1)]
    count = len(pieces)
    if search == "ranked":
        text = Texts(pieces, unembedding, halves[0], pieces_at_once)
        costs = text.token_costs(range(count))[:, 0]
        return tuple(LayerOrder(ranked(costs @ weights)) for weights in halves)
    texts = [Texts(pieces, unembedding, weights, pieces_at_once) for weights in halves]
    return tuple(greedy_order([text], count) for text in texts)


def with_pieces_left_out(
    pieces: LayersToLeave,
    unembedding: Unembedding,
    start_result: Result,
    rows_at_once: int = 0,
    on_rows: OnRows = lambda done, total, partial: None,
) -> Result:
    """The outputs and losses with the first pieces of each order left out.

    Args:
        pieces: the layers of the prompt, or their parts.
        unembedding: final norm and LM head.
        start_result: the orders and the rows that are known.
        rows_at_once: rows that are run together; 0 for all.
        on_rows: called after each part.
    """
    replay = pieces.replay
    change = OutputChange(unembedding, replay.states[-1], replay.ids)
    clean = change.losses.numpy()
    result, is_known = start_result, start_result.is_known
    total, first = len(is_known), 0
    ways, controls = len(start_result.orders), len(start_result.controls)
    own = way_of(replay.n_tokens, start_result.own_orders)[:-1] + ways + controls
    orders = (*start_result.orders, *start_result.controls, *start_result.own_orders)
    for place, order in enumerate(orders):
        if not order:
            continue
        rows = len(order) + 1
        unknown_rows = np.flatnonzero(~is_known[first : first + rows])
        first += rows
        for part in slices(len(unknown_rows), rows_at_once or rows):
            counts = unknown_rows[part]
            changes = change(pieces.without([order[:count] for count in counts])[:, 0])
            # Copied: the listener keeps a reference to a reported result.
            result = result.copied()
            if place < ways:
                _fill(result, counts, changes, clean, result.way == place)
            elif place < ways + controls:
                result.control_loss[place - ways, counts] = clean + changes.loss.numpy()
            else:
                tokens = own == place
                loss = (clean + changes.loss.numpy())[:, tokens]
                result.own_loss[np.ix_(counts, tokens)] = loss
            on_rows(int(result.is_known.sum()), total, result)
    return result


def _fill(
    result: Kept, counts: np.ndarray, changes: Changes, clean: np.ndarray, tokens: np.ndarray
) -> None:
    """Fill in the rows of some numbers of pieces, at the tokens of one order."""
    rows, losses = np.ix_(counts, tokens), np.ix_(counts, tokens[:-1])
    result.kl[rows] = changes.kl.numpy()[:, tokens]
    result.choices[rows] = changes.kept.numpy()[:, tokens]
    result.loss[losses] = (clean + changes.loss.numpy())[:, tokens[:-1]]
