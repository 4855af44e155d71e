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
from depthtui.metrics.kept.curve import LOST, ORDERS
from depthtui.metrics.kept.order_search import Texts, searched
from depthtui.metrics.kept.result import Kept, answer_tokens, is_short, reads_own
from depthtui.metrics.layer_order import (
    OWN_ORDER,
    LayerOrder,
    Orders,
    block_numbers,
    block_weights,
    drawn_orders,
    has_own_order,
    way_of,
)
from depthtui.metrics.output_change import OutputChange
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.batching import slices
from depthtui.tracing.left_out import LayersToLeave
from depthtui.tracing.parts_left_out import pieces_of

Result = TypeVar("Result", bound=Kept)

_ROWS = 4
"""The most rows that are run together of an order that is read until nothing is kept."""

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

    A draft in the prompt's own order, ranked, is all there is until the model's is found.

    Args:
        context: the run.
        kind: the class of the result.
        partial: the result so far, or the draft.
        with_controls: adds further controls.
    """
    pieces = pieces_of(kind.piece, [context.replay], context.anatomy, context.substitute)
    run, unembedding, report = context.result, context.unembedding, context.report
    settings, order = run.settings, context.order(kind.piece)
    if is_draft := order is None and settings.order_source == "model":
        settings = replace(settings, **OWN_ORDER)
    rows_at_once = context.layers_at_once(pieces.replay.n_tokens)
    rows = OrderedRows(pieces, unembedding, rows_at_once, report, bool(settings.order_texts))
    scored = [slice(1, None), *filter(None, [answer_tokens(run)])]
    with torch.no_grad():
        if partial is not None and partial.orders and partial.kind == settings.order_source:
            result = partial
        else:
            search = settings.order_search
            orders = _orders(context, pieces, order, search, rows_at_once)
            result = begun(pieces, kind, settings.order_source, search, orders)
            result = with_guess(result, context.guess(is_draft=True), run.tokens.ids)
        # The first curve is drawn by a draft: the guess, the controls and other orders wait.
        result = rows.with_pieces_left_out(result, scored, candidates=1)
        is_known = result.is_known
        report(int(is_known.sum()), len(is_known), result, at_once=True)
        if is_draft:
            return result
        result = with_guess(result, context.guess(), run.tokens.ids)
        result = with_controls(replace(result, untrained=context.known_untrained()))
        if not all(result.own_orders):
            ranked, lazy = _orders_beside(context, pieces, kind.piece, rows_at_once)
            result = replace(result, own_orders=ranked, own_lazy_orders=lazy)
        return rows.with_pieces_left_out(result, scored)


@dataclass(frozen=True)
class RunOrders:
    """The orders that a run is read with.

    Attributes:
        reading: the first orders: of each token one.
        search_lengths: how many pieces of each of them a search found.
        own: the prompt's own orders beside the model's, each empty until it is found.
        drawn: the orders that are drawn.
    """

    reading: Orders
    search_lengths: tuple[int, ...]
    own: Orders = ()
    drawn: Orders = ((), ())


def begun(
    pieces: LayersToLeave,
    kind: type[Result],
    order: str,
    search: str,
    orders: RunOrders,
) -> Result:
    """A result of which nothing is known but the orders."""
    return kind.unknown(
        pieces.replay.n_layers,
        pieces.replay.n_tokens,
        pieces=len(pieces),
        kind=order,
        search=search,
        orders=orders.reading,
        search_lengths=orders.search_lengths,
        own_orders=orders.own,
        own_lazy_orders=orders.own,
        drawn=orders.drawn,
        untrained=None,
    )


def with_guess(result: Result, guess: np.ndarray | None, ids: np.ndarray) -> Result:
    """The result with the loss of each of the ids `[T]` but the first by guesses, `[3, V]`."""
    if guess is None:
        return result
    losses = guess[:, ids[1:]].astype(np.float32)
    return replace(result, guess=losses[0], half_guess=losses[1:])


def _orders(
    context: Context,
    pieces: LayersToLeave,
    order: LayerOrder | None,
    search: str,
    rows_at_once: int,
) -> RunOrders:
    """The orders that a run is read with, those beside the model's still to be found.

    Without an order, the first orders are those of the prompt's own tokens.
    """
    settings, count = context.result.settings, len(pieces)
    drawn = drawn_orders(count) if is_short(pieces.replay.n_tokens) else ((), ())
    if order is None:
        own = own_orders(pieces, context.unembedding, (search,), rows_at_once)[0]
        reading = tuple(order.whole(count) for order in own)
        return RunOrders(reading, tuple(len(order.pieces) for order in own), (), drawn)
    not_found: Orders = ((),) if settings.order_texts else ((), ())
    own_beside = not_found if reads_own(context.result) else ()
    return RunOrders((order.whole(count),), (len(order.pieces),), own_beside, drawn)


def _orders_beside(
    context: Context, pieces: LayersToLeave, piece: Piece, rows_at_once: int
) -> tuple[Orders, Orders]:
    """The prompt's own orders beside the model's, ranked and by a lazy queue.

    Both are empty where the prompt is too short for any.
    """
    count, of_others = len(pieces), context.own_orders(piece)
    if of_others is not None:
        ranked, lazy = ([order] for order in of_others)
    elif has_own_order(pieces.replay.n_tokens):
        ranked, lazy = own_orders(pieces, context.unembedding, ("ranked", "lazy"), rows_at_once)
    else:
        return (), ()
    whole = [tuple(order.whole(count) for order in orders) for orders in (ranked, lazy)]
    return whole[0], whole[1]


def own_orders(
    pieces: LayersToLeave, unembedding: Unembedding, searches: Sequence[str], pieces_at_once: int
) -> list[list[LayerOrder]]:
    """By search, the orders found on the even blocks of a prompt's tokens, and on the odd ones.

    Raises:
        DepthError: there is only one block.
    """
    n_tokens, count = pieces.replay.n_tokens, len(pieces)
    if not has_own_order(n_tokens):
        raise DepthError(
            "the prompt is too short to find the order on one half of it and read it on the other",
            "Take a longer prompt, or the model's order: --order-source model.",
        )
    blocks = np.arange(block_numbers(n_tokens)[-1] + 1)
    halves = [block_weights(n_tokens, blocks[half::2]) for half in (0, 1)]
    texts = [Texts(pieces, unembedding, weights, pieces_at_once) for weights in halves]
    token_costs = texts[0].token_costs(range(count))[:, 0]
    costs = [LayerOrder(last=dict(enumerate((token_costs @ half).tolist()))) for half in halves]
    return [
        [searched([text], alone, count, search) for text, alone in zip(texts, costs, strict=True)]
        for search in searches
    ]


@dataclass(frozen=True)
class OrderedRows:
    """Runs a prompt without the first pieces of orders: a row for each number of them.

    Attributes:
        pieces: the layers of the prompt, or their parts.
        unembedding: final norm and LM head.
        at_once: rows that are run together; 0 for all.
        on_rows: called after each part.
        reads_on: whether all orders are read to their end, as for prompts that are counted
            together: where nothing of this one is kept, something of others may be.
    """

    pieces: LayersToLeave
    unembedding: Unembedding
    at_once: int = 0
    on_rows: OnRows = lambda done, total, partial: None
    reads_on: bool = True

    def with_pieces_left_out(
        self,
        start_result: Result,
        scored: Sequence[slice] = (slice(1, None),),
        candidates: int = ORDERS,
    ) -> Result:
        """The outputs and losses with the first pieces of each order left out.

        The first orders are read to their end, those of a single prompt else until nothing is kept.

        Args:
            start_result: the orders and the rows that are known.
            scored: the losses of which nothing is kept at the end.
            candidates: the first so many orders are read.
        """
        replay, result = self.pieces.replay, start_result
        change = OutputChange(self.unembedding, replay.states[-1], replay.ids)
        if np.isnan(result.are_first).any():
            result = replace(result, are_first=change.are_first.numpy())
        for place, orders in enumerate(start_result.all_orders[:candidates]):
            ends = place > 0 and not self.reads_on
            if orders and all(orders):
                result = self._in_orders(change, result, place, orders, scored if ends else ())
        return result

    def _in_orders(
        self,
        change: OutputChange,
        result: Result,
        place: int,
        orders: Orders,
        scored: Sequence[slice],
    ) -> Result:
        """The rows of an order, until nothing of the scored is kept."""
        clean, ways = change.losses.numpy(), way_of(self.pieces.replay.n_tokens, orders)
        losses = result.loss[place]
        unknown = np.flatnonzero(~np.isfinite(losses[:, 1:]).all(axis=1))
        unknown = unknown[unknown <= max(map(len, orders), default=0)]
        at_once = self.at_once or len(unknown) or 1
        for part in slices(len(unknown), min(at_once, _ROWS) if scored else at_once):
            rows = unknown[part]
            # Copied: the listener keeps a reference to a reported result.
            result = result.copied()
            for way, order in enumerate(orders):
                tokens = ways == way
                changes = change(self.pieces.without([order[:count] for count in rows])[:, 0])
                loss = clean + changes.loss.numpy()
                _fill(result.loss[place], rows, loss, tokens[:-1])
                _fill(result.choices[place], rows, changes.kept.numpy(), tokens)
                if place == 0:
                    _fill(result.kl, rows, changes.kl.numpy(), tokens)
            losses = result.loss[place]
            last = int(rows[-1])
            if scored and _is_nothing_kept(losses[last], result.guess, scored):
                losses[last + 1 :], result.choices[place, last + 1 :] = LOST, 0
            is_known = result.is_known
            self.on_rows(int(is_known.sum()), len(is_known), result)
            if np.isfinite(losses[:, 1:]).all():
                break
        return result


def _fill(values: np.ndarray, rows: np.ndarray, new: np.ndarray, tokens: np.ndarray) -> None:
    """Fill in values `[M + 1, tokens]` in some rows, at some tokens."""
    values[np.ix_(rows, tokens)] = new[:, tokens]


def _is_nothing_kept(loss: np.ndarray, guess: np.ndarray, scored: Sequence[slice]) -> bool:
    """Whether nothing of what is known of each kind of scored tokens is kept."""
    return all(bool(loss[tokens].mean() >= guess[tokens].mean()) for tokens in scored)
