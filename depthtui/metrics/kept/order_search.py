"""The order in which layers can be left out, the lowest cost first.

The cost of leaving layers out is the mean over units of KL(p || p~), p the whole model's output.
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
from depthtui.tracing.left_out import NOTHING, ShortenedModel, Substitute
from depthtui.tracing.replay import Replay

_REPORTED = 6
"""The most layers that are tried between two reports."""


class Texts:
    """N texts on which an order is found, run together.

    Args:
        replays: the clean run of each; the first one runs them all (see `Replay.serves`).
        unembedding: final norm and LM head.
        weights: the weight of each token, `[T]`; the weights of a search add up to 1.
        layers_at_once: how many layers are tried together.
        substitute: the substitute for a layer that is left out.
        places: the place of each text among all texts of a search.
    """

    def __init__(
        self,
        replays: Sequence[Replay],
        unembedding: Unembedding,
        weights: np.ndarray,
        layers_at_once: int,
        substitute: Substitute = NOTHING,
        places: Sequence[int] | None = None,
    ) -> None:
        self.places = range(len(replays)) if places is None else places
        self._stream = ShortenedModel(replays, substitute)
        clean = torch.cat([replay.states[-1] for replay in replays])
        ids = torch.cat([replay.ids for replay in replays])
        # Each part keeps its clean output for all layers that are tried.
        self._changes = [
            (part, OutputChange(unembedding, clean[part], ids[part]))
            for part in slices(len(ids), outputs_at_once(unembedding, len(ids)))
        ]
        self._count = len(replays)
        self._weights = weights
        self._layers_at_once = layers_at_once

    def __len__(self) -> int:
        return self._count

    def costs(self, layers: Sequence[int]) -> np.ndarray:
        """Each text's share of the cost of leaving out each of some layers too, `[layers, N]`."""
        return np.asarray(self.token_costs(layers) @ self._weights)

    def token_costs(self, layers: Sequence[int]) -> np.ndarray:
        """KL(p || p~) of each token without each of some layers, `[layers, N, T]`, in float64."""
        parts = [
            self._token_costs(layers[part]) for part in slices(len(layers), self._layers_at_once)
        ]
        return np.concatenate(parts).astype(np.float64)

    def _token_costs(self, layers: Sequence[int]) -> np.ndarray:
        last = self._stream.without_each(layers)
        rows = last.flatten(1, 2)
        costs = [change(rows[:, part]).kl for part, change in self._changes]
        return torch.cat(costs, dim=1).view(last.shape[:-1]).numpy()

    def leave_out(self, layer: int) -> None:
        """Leave out one more layer."""
        self._stream.leave_out(layer)


def ranked(costs: Sequence[float] | np.ndarray) -> list[int]:
    """Layers by their cost alone, `[L]`, the lowest first; for equal costs the higher layer."""
    return sorted(range(len(costs)), key=lambda layer: (costs[layer], -layer))


def ranked_order(
    texts: Sequence[Texts], n_layers: int, on_tried: Callable[[float], None] = lambda layers: None
) -> LayerOrder:
    """The order by the cost of each layer alone, and those of both halves of the texts.

    Arguments as in `greedy_order`.
    """
    costs = _tried(texts, range(n_layers), on_tried)
    return LayerOrder(ranked(costs.sum(axis=1)), halves=_of_halves(texts, costs))


def _of_halves(texts: Sequence[Texts], costs: np.ndarray) -> Orders:
    """The ranked orders of both halves of the texts; none of a single text.

    Args:
        texts: the texts.
        costs: each text's share of the cost of leaving out each layer alone, `[L, texts]`.
    """
    in_place = costs[:, np.argsort(np.concatenate([group.places for group in texts]))]
    half = costs.shape[1] // 2
    halves = [in_place[:, :half], in_place[:, half:]] if half else []
    return tuple(tuple(ranked(part.sum(axis=1))) for part in halves)


def greedy_order(
    texts: Sequence[Texts],
    n_layers: int,
    start_order: LayerOrder | None = None,
    on_layer: Callable[[LayerOrder], None] = lambda order: None,
    enough: Callable[[LayerOrder], bool] = lambda order: False,
    on_tried: Callable[[float], None] = lambda layers: None,
) -> LayerOrder:
    """The greedy order: the next layer is always the cheapest one to leave out too.

    A round tries layers by their costs in the last round: at least four, then each whose last cost
    is below the lowest cost of this round. The search ends above `MOST_COST`. The first round, of
    each layer alone, ranks the layers by each half of the texts.

    Args:
        texts: the texts over which the cost is a mean.
        n_layers: L.
        start_order: the order so far, to continue from.
        on_layer: called after each layer with the order so far.
        enough: whether the order so far is enough.
        on_tried: called with how many more layers have been tried, in shares for each text.
    """
    order = start_order or LayerOrder()
    for layer in order.layers:
        _leave_out(texts, layer)
    while not order.is_whole(n_layers) and not enough(order):
        halves = order.halves
        if order.last:
            candidates = sorted(order.last, key=lambda layer: (order.last[layer], -layer))
            costs = _summed(texts, candidates[:FEWEST_TRIED], on_tried)
            for layer in candidates[FEWEST_TRIED:]:
                if order.last[layer] > min(costs.values()):
                    break
                costs |= _summed(texts, [layer], on_tried)
        else:
            of_texts = _tried(texts, range(n_layers), on_tried)
            costs = dict(enumerate(of_texts.sum(axis=1).tolist()))
            halves = _of_halves(texts, of_texts)
        best = min(costs, key=lambda layer: (costs[layer], -layer))
        _leave_out(texts, best)
        last = order.last | costs
        cost = last.pop(best)
        order = LayerOrder([*order.layers, best], [*order.costs, cost], last, halves)
        on_layer(order)
    return order


def _summed(
    texts: Sequence[Texts], layers: Sequence[int], on_tried: Callable[[float], None]
) -> dict[int, float]:
    costs = _tried(texts, layers, on_tried).sum(axis=1)
    return dict(zip(layers, costs.tolist(), strict=True))


def _tried(
    texts: Sequence[Texts], layers: Sequence[int], on_tried: Callable[[float], None]
) -> np.ndarray:
    """Each text's share of the cost of leaving out each of some layers too, `[layers, texts]`."""
    count = sum(map(len, texts))
    rows = []
    for part in slices(len(layers), _REPORTED):
        groups = []
        for group in texts:
            groups.append(group.costs(layers[part]))
            on_tried(len(layers[part]) * len(group) / count)
        rows.append(np.concatenate(groups, axis=1))
    return np.concatenate(rows)


def _leave_out(texts: Sequence[Texts], layer: int) -> None:
    for group in texts:
        group.leave_out(layer)
