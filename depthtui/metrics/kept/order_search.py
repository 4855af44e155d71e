"""The order in which layers, or their parts, can be left out, the lowest cost first.

The cost of leaving pieces out is the mean over units of KL(p || p~), p the whole model's output, or
the rise of the loss.
Orders are found on some tokens, and read on others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad

from depthtui.metrics.layer_order import FEWEST_TRIED, LayerOrder
from depthtui.metrics.output_change import OutputChange, outputs_at_once
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.batching import slices
from depthtui.tracing.left_out import LayersToLeave, ShortenedModel

_ROUNDING = 0.01
"""A cost, in nats, that rounding alone never makes."""

_REPORTED = 6
"""The most pieces that are tried between two reports."""


class Texts:
    """N texts on which an order is found, run together.

    Args:
        pieces: what can be left out of the texts.
        unembedding: final norm and LM head.
        weights: the weight of each token, `[T]` or `[N, T]`; those of a search add up to 1.
        pieces_at_once: how many pieces are tried together.
        by_loss: whether the cost is the rise of the loss of the token after each, and not the KL.
    """

    def __init__(
        self,
        pieces: LayersToLeave,
        unembedding: Unembedding,
        weights: np.ndarray,
        pieces_at_once: int,
        by_loss: bool = False,
    ) -> None:
        clean, ids = pieces.clean[-1], pieces.ids
        self._stream = ShortenedModel(pieces)
        self._clean = clean
        rows = clean.flatten(0, 1)
        # Each part keeps its clean output for all pieces that are tried.
        self._changes = [
            (part, OutputChange(unembedding, rows[part], ids[part]))
            for part in slices(len(ids), outputs_at_once(unembedding, len(ids)))
        ]
        self._weights = weights
        self._by_loss = by_loss
        self._pieces_at_once = pieces_at_once

    def __len__(self) -> int:
        return len(self._clean)

    def costs(self, pieces: Sequence[int]) -> np.ndarray:
        """Each text's share of the cost of leaving out each of some pieces too, `[pieces, N]`."""
        return np.asarray((self.token_costs(pieces) * self._weights).sum(axis=-1))

    def token_costs(self, pieces: Sequence[int]) -> np.ndarray:
        """The cost of each token without each of some pieces, `[pieces, N, T]`, in float64."""
        parts = [
            self._token_costs(pieces[part]) for part in slices(len(pieces), self._pieces_at_once)
        ]
        return np.concatenate(parts).astype(np.float64)

    def _token_costs(self, pieces: Sequence[int]) -> np.ndarray:
        last = self._stream.without_each(pieces)
        rows = last.flatten(1, 2)
        changes = [change(rows[:, part]) for part, change in self._changes]
        # The last token's has no token after it, and no weight.
        parts = [pad(each.loss, (0, 1)) if self._by_loss else each.kl for each in changes]
        costs = torch.cat(parts, dim=1).view(last.shape[:-1])
        if bool((costs < _ROUNDING).any()):
            # The output of the clean state is the clean one, however other rows round it.
            is_clean = (last == self._clean.to(last.device)).all(dim=-1).to("cpu")
            costs = costs.masked_fill(is_clean, 0.0)
        return costs.numpy()

    def leave_out(self, piece: int) -> None:
        """Leave out one more piece."""
        self._stream.leave_out(piece)


def ranked(costs: Sequence[float] | np.ndarray) -> list[int]:
    """Pieces by their cost alone, `[pieces]`, the lowest first; for equal costs the higher one."""
    return sorted(range(len(costs)), key=lambda piece: (costs[piece], -piece))


def lazy_order(
    texts: Sequence[Texts],
    count: int,
    start_order: LayerOrder,
    fewest_tried: int = 1,
    on_piece: Callable[[LayerOrder], None] = lambda order: None,
    enough: Callable[[LayerOrder], bool] = lambda order: False,
    on_tried: Callable[[float], None] = lambda pieces: None,
) -> LayerOrder:
    """The order of a lazy queue: the next piece is the one with the least additional cost.

    A round tries the pieces again whose additional cost, when last tried, is below the least one of
    this round (Minoux 1978); the first round tries each piece alone. The search ends above
    `MOST_COST`.

    Args:
        texts: the texts over which the cost is a mean.
        count: the number of pieces.
        start_order: the order so far, to continue from, or the cost of each piece alone.
        fewest_tried: the fewest pieces that a round tries.
        on_piece: called after each piece with the order so far.
        enough: whether the order so far is enough.
        on_tried: called with how many more pieces have been tried, in shares for each text.
    """
    order = start_order
    for piece in order.pieces:
        _leave_out(texts, piece)
    while not order.is_whole(count) and not enough(order):
        base = order.costs[-1] if order.costs else 0.0
        queue = sorted(order.last, key=lambda piece: (order.last[piece], -piece))
        # Without any piece left out, the costs of each alone are known.
        tried = {} if order.pieces else dict(order.last)
        for place, piece in enumerate(queue if order.pieces else ()):
            if place >= fewest_tried and order.last[piece] > min(tried.values()):
                break
            tried[piece] = float(_tried(texts, [piece], on_tried).sum()) - base
        best = min(tried, key=lambda piece: (tried[piece], -piece))
        _leave_out(texts, best)
        last = {**order.last, **tried}
        order = LayerOrder([*order.pieces, best], [*order.costs, base + last.pop(best)], last)
        on_piece(order)
    return order


def single_costs(
    texts: Sequence[Texts], count: int, on_tried: Callable[[float], None] = lambda pieces: None
) -> LayerOrder:
    """The cost of each piece alone, in an order of which none is left out yet.

    Arguments as in `lazy_order`.
    """
    costs = _tried(texts, range(count), on_tried).sum(axis=1).tolist()
    return LayerOrder(last=dict(enumerate(costs)))


def searched(
    texts: Sequence[Texts], costs: LayerOrder, count: int, search: str, **options: Any
) -> LayerOrder:
    """The order by a search: `ranked`, `lazy` or `greedy`.

    Args:
        texts: the texts over which the cost is a mean.
        costs: the order so far, or the cost of each piece alone.
        count: the number of pieces.
        search: the search.
        options: those of `lazy_order`.
    """
    if search == "ranked":
        return LayerOrder(list(costs.whole(count)))
    return lazy_order(texts, count, costs, FEWEST_TRIED[search], **options)


def _tried(
    texts: Sequence[Texts], pieces: Sequence[int], on_tried: Callable[[float], None]
) -> np.ndarray:
    """Each text's share of the cost of leaving out each of some pieces too, `[pieces, texts]`."""
    count = sum(map(len, texts))
    rows = []
    for part in slices(len(pieces), _REPORTED):
        groups = []
        for group in texts:
            groups.append(group.costs(pieces[part]))
            on_tried(len(pieces[part]) * len(group) / count)
        rows.append(np.concatenate(groups, axis=1))
    return np.concatenate(rows)


def _leave_out(texts: Sequence[Texts], piece: int) -> None:
    for group in texts:
        group.leave_out(piece)
