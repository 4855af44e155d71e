"""Run a prompt with more and more layers left out together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from depthtui.errors import DepthError
from depthtui.metrics.context import Context
from depthtui.metrics.output_change import OutputChange
from depthtui.metrics.sufficient import (
    Orders,
    Sufficient,
    block_numbers,
    block_weights,
    has_own_order,
)
from depthtui.metrics.sufficient.order_search import Texts, greedy_order, ranked
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.batching import slices
from depthtui.tracing.left_out import NOTHING, Substitute, without_first
from depthtui.tracing.replay import Replay


def compute(context: Context, partial: Sufficient | None) -> Sufficient:
    """Compute the metric of a run; orders and rows already in `partial` are not computed again."""
    replay, settings = context.replay, context.result.settings
    rows_at_once = context.layers_at_once(replay.n_tokens)
    result = partial or _begun(replay, settings.sufficient_order, settings.sufficient_search)
    with torch.no_grad():
        if not result.orders:
            orders, way = _orders(context, rows_at_once)
            result = replace(result, orders=orders, way=way)
        return sufficient(
            replay,
            context.unembedding,
            result,
            rows_at_once,
            context.report,
            context.substitute,
        )


def _begun(replay: Replay, kind: str, search: str) -> Sufficient:
    return Sufficient.unknown(replay.n_layers, replay.n_tokens, kind=kind, search=search, orders=())


def _orders(context: Context, rows_at_once: int) -> tuple[Orders, np.ndarray]:
    """The orders that a run is read with, and the index of each token's order."""
    replay, search = context.replay, context.result.settings.sufficient_search
    order = context.order()
    if order is not None:
        orders: Orders = (tuple(order),)
    else:
        orders = own_orders(replay, context.unembedding, search, rows_at_once, context.substitute)
    return orders, way_of(replay.n_tokens, orders)


def way_of(n_tokens: int, orders: Orders) -> np.ndarray:
    """The index of the order of each token, `[T]`; -1 for token 0, which is not scored."""
    blocks = block_numbers(n_tokens)
    way = np.minimum(blocks, 0).astype(np.int32)
    if len(orders) > 1:
        # Tokens of odd blocks are read with the order of the even ones, and the other way round.
        way[1:] = 1 - blocks[1:] % 2
    return way


def own_orders(
    replay: Replay,
    unembedding: Unembedding,
    search: str,
    layers_at_once: int,
    substitute: Substitute = NOTHING,
) -> Orders:
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
        return tuple(tuple(ranked(costs @ weights)) for weights in halves)
    texts = [
        Texts([replay], unembedding, weights, layers_at_once, substitute) for weights in halves
    ]
    return tuple(tuple(greedy_order([text], count).layers) for text in texts)


def sufficient(
    replay: Replay,
    unembedding: Unembedding,
    start_result: Sufficient,
    rows_at_once: int = 0,
    on_rows: Callable[[int, int, Sufficient], None] = lambda done, total, partial: None,
    substitute: Substitute = NOTHING,
) -> Sufficient:
    """KL(p || p~) and choices kept with the first layers of each order left out.

    Args:
        replay: the clean run.
        unembedding: final norm and LM head.
        start_result: the orders and the rows that are known.
        rows_at_once: rows that are run together; 0 for all.
        on_rows: called after each part with how many rows are done, their number, and the result
            so far.
        substitute: the substitute for a layer that is left out.
    """
    change = OutputChange(unembedding, replay.states[-1], replay.ids)
    result, is_known = start_result, start_result.is_known
    total, first = len(is_known), 0
    for way, order in enumerate(start_result.orders):
        rows = start_result.rows(way)
        unknown_rows = np.flatnonzero(~is_known[first : first + rows])
        first += rows
        for part in slices(len(unknown_rows), rows_at_once or rows):
            counts = unknown_rows[part]
            changes = change(without_first(replay, order, counts.tolist(), substitute))
            tokens = start_result.way == way
            # Copied: the listener keeps a reference to a reported result.
            result = result.copied()
            result.kl[np.ix_(counts, tokens)] = changes.kl.numpy()[:, tokens]
            result.kept[np.ix_(counts, tokens)] = changes.kept.numpy()[:, tokens]
            on_rows(int(result.is_known.sum()), total, result)
    return result
