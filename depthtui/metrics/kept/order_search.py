"""The order in which layers, or their parts, can be left out, the lowest cost first.

The cost of leaving pieces out is the mean over units of KL(p || p~), p the whole model's output.
Orders are found on some tokens, and read on others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from depthtui.metrics.layer_order import FEWEST_TRIED, LayerOrder, Orders
from depthtui.metrics.output_change import OutputChange, outputs_at_once
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.batching import slices
from depthtui.tracing.left_out import LayersToLeave, ShortenedModel

_REPORTED = 6
"""The most pieces that are tried between two reports."""


class Texts:
    """N texts on which an order is found, run together.

    Args:
        pieces: what can be left out of the texts.
        unembedding: final norm and LM head.
        weights: the weight of each token, `[T]`; the weights of a search add up to 1.
        pieces_at_once: how many pieces are tried together.
        places: the place of each text among all texts of a search.
    """

    def __init__(
        self,
        pieces: LayersToLeave,
        unembedding: Unembedding,
        weights: np.ndarray,
        pieces_at_once: int,
        places: Sequence[int] | None = None,
    ) -> None:
        clean, ids = pieces.clean[-1], pieces.ids
        self.places = range(len(clean)) if places is None else places
        self._stream = ShortenedModel(pieces)
        self._clean = clean
        rows = clean.flatten(0, 1)
        # Each part keeps its clean output for all pieces that are tried.
        self._changes = [
            (part, OutputChange(unembedding, rows[part], ids[part]))
            for part in slices(len(ids), outputs_at_once(unembedding, len(ids)))
        ]
        self._weights = weights
        self._pieces_at_once = pieces_at_once

    def __len__(self) -> int:
        return len(self._clean)

    def costs(self, pieces: Sequence[int]) -> np.ndarray:
        """Each text's share of the cost of leaving out each of some pieces too, `[pieces, N]`."""
        return np.asarray(self.token_costs(pieces) @ self._weights)

    def token_costs(self, pieces: Sequence[int]) -> np.ndarray:
        """KL(p || p~) of each token without each of some pieces, `[pieces, N, T]`, in float64."""
        parts = [
            self._token_costs(pieces[part]) for part in slices(len(pieces), self._pieces_at_once)
        ]
        return np.concatenate(parts).astype(np.float64)

    def _token_costs(self, pieces: Sequence[int]) -> np.ndarray:
        last = self._stream.without_each(pieces)
        rows = last.flatten(1, 2)
        costs = [change(rows[:, part]).kl for part, change in self._changes]
        # The output of the clean state is the clean one, however other rows round it.
        is_clean = (last == self._clean).all(dim=-1).to("cpu")
        return torch.cat(costs, dim=1).view(last.shape[:-1]).masked_fill(is_clean, 0.0).numpy()

    def leave_out(self, piece: int) -> None:
        """Leave out one more piece."""
        self._stream.leave_out(piece)


def ranked(costs: Sequence[float] | np.ndarray) -> list[int]:
    """Pieces by their cost alone, `[pieces]`, the lowest first; for equal costs the higher one."""
    return sorted(range(len(costs)), key=lambda piece: (costs[piece], -piece))


def ranked_order(
    texts: Sequence[Texts], count: int, on_tried: Callable[[float], None] = lambda pieces: None
) -> LayerOrder:
    """The order by the cost of each piece alone, and those of both halves of the texts.

    Arguments as in `greedy_order`.
    """
    costs = _tried(texts, range(count), on_tried)
    return LayerOrder(ranked(costs.sum(axis=1)), halves=_of_halves(texts, costs))


def _of_halves(texts: Sequence[Texts], costs: np.ndarray) -> Orders:
    """The ranked orders of both halves of the texts; none of a single text.

    Args:
        texts: the texts.
        costs: each text's share of the cost of leaving out each piece alone, `[pieces, texts]`.
    """
    in_place = costs[:, np.argsort(np.concatenate([group.places for group in texts]))]
    half = costs.shape[1] // 2
    halves = [in_place[:, :half], in_place[:, half:]] if half else []
    return tuple(tuple(ranked(part.sum(axis=1))) for part in halves)


def greedy_order(
    texts: Sequence[Texts],
    count: int,
    start_order: LayerOrder | None = None,
    on_piece: Callable[[LayerOrder], None] = lambda order: None,
    enough: Callable[[LayerOrder], bool] = lambda order: False,
    on_tried: Callable[[float], None] = lambda pieces: None,
) -> LayerOrder:
    """The greedy order: the next piece is always the cheapest one to leave out too.

    A round tries pieces by their costs in the last round: at least four, then each whose last cost
    is below the lowest cost of this round. The search ends above `MOST_COST`. The first round, of
    each piece alone, ranks the pieces by each half of the texts.

    Args:
        texts: the texts over which the cost is a mean.
        count: the number of pieces.
        start_order: the order so far, to continue from.
        on_piece: called after each piece with the order so far.
        enough: whether the order so far is enough.
        on_tried: called with how many more pieces have been tried, in shares for each text.
    """
    order = start_order or LayerOrder()
    for piece in order.pieces:
        _leave_out(texts, piece)
    while not order.is_whole(count) and not enough(order):
        halves = order.halves
        if order.last:
            candidates = sorted(order.last, key=lambda piece: (order.last[piece], -piece))
            costs = _summed(texts, candidates[:FEWEST_TRIED], on_tried)
            for piece in candidates[FEWEST_TRIED:]:
                if order.last[piece] > min(costs.values()):
                    break
                costs |= _summed(texts, [piece], on_tried)
        else:
            of_texts = _tried(texts, range(count), on_tried)
            costs = dict(enumerate(of_texts.sum(axis=1).tolist()))
            halves = _of_halves(texts, of_texts)
        best = min(costs, key=lambda piece: (costs[piece], -piece))
        _leave_out(texts, best)
        last = order.last | costs
        cost = last.pop(best)
        order = LayerOrder([*order.pieces, best], [*order.costs, cost], last, halves)
        on_piece(order)
    return order


def _summed(
    texts: Sequence[Texts], pieces: Sequence[int], on_tried: Callable[[float], None]
) -> dict[int, float]:
    costs = _tried(texts, pieces, on_tried).sum(axis=1)
    return dict(zip(pieces, costs.tolist(), strict=True))


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
