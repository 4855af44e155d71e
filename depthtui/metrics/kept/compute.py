"""Run a prompt with more and more layers left out together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from depthtui.errors import DepthError
from depthtui.metrics.context import Context
from depthtui.metrics.kept import Kept, is_short, reads_own
from depthtui.metrics.kept.order_search import Texts, greedy_order, ranked
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
from depthtui.tracing.left_out import NOTHING, Substitute, without_first
from depthtui.tracing.replay import Replay

OnRows = Callable[[int, int, Kept], None]
"""Called after each part with how many rows are done, their number, and the result so far."""


def compute(context: Context, partial: Kept | None) -> Kept:
    """Compute the metric of a run; orders and rows already in `partial` are not computed again."""
    replay, settings = context.replay, context.result.settings
    rows_at_once = context.layers_at_once(replay.n_tokens)
    with torch.no_grad():
        if partial is not None and partial.orders:
            result = partial
        else:
            orders, guess = _orders(context, rows_at_once), context.guess()
            if guess is not None:
                guess = guess[:, context.result.tokens.ids[1:]]
            kind, search = settings.sufficient_order, settings.sufficient_search
            result = begun(replay, kind, search, orders, guess)
        unembedding, report, substitute = context.unembedding, context.report, context.substitute
        result = with_layers_left_out(replay, unembedding, result, rows_at_once, report, substitute)
        # The headline rests on the first curve alone: its control, and the search for the own
        # orders, wait.
        result = replace(result, untrained=context.known_untrained())
        if all(result.own_orders):
            return result
        own = _orders_beside(context, rows_at_once)
        result = replace(result, own_orders=tuple(order.whole(replay.n_layers) for order in own))
        return with_layers_left_out(replay, unembedding, result, rows_at_once, report, substitute)


@dataclass(frozen=True)
class RunOrders:
    """The orders that a run is read with.

    Attributes:
        reading: of each token one.
        search_lengths: how many layers of each of them a search found.
        controls: other orders of every token; empty for those that are not read.
        own: the prompt's own orders beside the model's, each empty until it is found.
    """

    reading: Orders
    search_lengths: tuple[int, ...]
    controls: Orders = ((), (), (), ())
    own: Orders = ()


def begun(
    replay: Replay, kind: str, search: str, orders: RunOrders, guess: np.ndarray | None = None
) -> Kept:
    """A result of which nothing is known but the orders and the guesses' losses `[3, T - 1]`."""
    n_layers, n_tokens = replay.n_layers, replay.n_tokens
    unknown = Kept.unknown(
        n_layers,
        n_tokens,
        kind=kind,
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


def _orders(context: Context, rows_at_once: int) -> RunOrders:
    """The orders that a run is read with, the random ones where they cost little."""
    replay, settings = context.replay, context.result.settings
    search = settings.sufficient_search
    n_layers = replay.n_layers
    drawn = drawn_orders(n_layers) if is_short(replay.n_tokens) else ((), ())
    order = context.order()
    if order is None:
        unembedding, substitute = context.unembedding, context.substitute
        own = own_orders(replay, unembedding, search, rows_at_once, substitute)
        reading = tuple(order.whole(n_layers) for order in own)
        return RunOrders(reading, tuple(len(order.layers) for order in own), ((), (), *drawn))
    halves: Orders = order.halves or ((), ())
    not_found: Orders = ((),) if settings.order_texts else ((), ())
    return RunOrders(
        (order.whole(n_layers),),
        (len(order.layers),),
        (*halves, *drawn),
        not_found if reads_own(context.result) else (),
    )


def _orders_beside(context: Context, rows_at_once: int) -> Sequence[LayerOrder]:
    """The prompt's own orders beside the model's; none where it is too short for any."""
    order = context.own_order()
    if order is not None:
        return [order]
    replay = context.replay
    if not has_own_order(replay.n_tokens):
        return []
    unembedding, substitute = context.unembedding, context.substitute
    return own_orders(replay, unembedding, "ranked", rows_at_once, substitute)


def own_orders(
    replay: Replay,
    unembedding: Unembedding,
    search: str,
    layers_at_once: int,
    substitute: Substitute = NOTHING,
) -> tuple[LayerOrder, ...]:
    """The orders found on the even blocks of a prompt's tokens, and on the odd ones.

    Raises:
        DepthError: there is only one block.
    """
    if not has_own_order(replay.n_tokens):
        raise DepthError(
            "the prompt is too short to find the order on one half of it and read it on the other",
            "Take a longer prompt, or the model's order: --sufficient-order model.",
        )
    blocks = np.arange(block_numbers(replay.n_tokens)[-1] + 1)
    halves = [block_weights(replay.n_tokens, blocks[half::2]) for half in (0, 1)]
    count = replay.n_layers
    if search == "ranked":
        text = Texts([replay], unembedding, halves[0], layers_at_once, substitute)
        costs = text.token_costs(range(count))[:, 0]
        return tuple(LayerOrder(ranked(costs @ weights)) for weights in halves)
    texts = [
        Texts([replay], unembedding, weights, layers_at_once, substitute) for weights in halves
    ]
    return tuple(greedy_order([text], count) for text in texts)


def with_layers_left_out(
    replay: Replay,
    unembedding: Unembedding,
    start_result: Kept,
    rows_at_once: int = 0,
    on_rows: OnRows = lambda done, total, partial: None,
    substitute: Substitute = NOTHING,
) -> Kept:
    """The outputs and losses with the first layers of each order left out.

    Args:
        replay: the clean run.
        unembedding: final norm and LM head.
        start_result: the orders and the rows that are known.
        rows_at_once: rows that are run together; 0 for all.
        on_rows: called after each part.
        substitute: the substitute for a layer that is left out.
    """
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
            changes = change(without_first(replay, order, counts.tolist(), substitute))
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
    """Fill in the rows of some numbers of layers, at the tokens of one order."""
    rows, losses = np.ix_(counts, tokens), np.ix_(counts, tokens[:-1])
    result.kl[rows] = changes.kl.numpy()[:, tokens]
    result.kept[rows] = changes.kept.numpy()[:, tokens]
    result.loss[losses] = (clean + changes.loss.numpy())[:, tokens[:-1]]
