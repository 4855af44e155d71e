"""Orders in which layers, or their parts, are left out together: pieces of `data/pieces.py`."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

Orders: TypeAlias = tuple[tuple[int, ...], ...]
"""Orders of pieces, each the first to leave out first."""

MOST_COST = 3.0
"""The cost, in nats, above which a search leaves no further piece out: the others follow by
their last cost."""

FEWEST_TRIED = {"lazy": 1, "greedy": 4}
"""By search, the fewest pieces that a round tries."""

TEXTS = 8
LENGTH = 32
"""The number and the length in tokens of the texts, written by the model itself, on which its
order is found."""

GUESS_TEXTS = 64
"""The number of such texts that the guess without context is a mean over."""

BLOCK = 4
"""Scored tokens of a block, the unit where there are few prompts."""

PROMPTS_AS_UNITS = 4
"""With fewer prompts, blocks of tokens are the units."""

MODEL_ORDER: Mapping[str, Any] = {"order_source": "model", "order_search": "lazy"}
OWN_ORDER: Mapping[str, Any] = {"order_source": "own", "order_search": "ranked"}
"""The settings of the order that says most, and of the one that comes soonest."""

RECALLED_ORDERS: tuple[Mapping[str, Any], ...] = (
    *({**MODEL_ORDER, "order_search": search} for search in ("lazy", "greedy", "ranked")),
    *({**OWN_ORDER, "order_search": search} for search in ("lazy", "greedy", "ranked")),
)
"""The orders under which a stored result is looked for, the best first."""

_KINDS = {"model": "the model's order", "own": "an order of other tokens of these prompts"}

_RANDOM = (1, 2)
"""The seeds of the random orders."""


@dataclass
class LayerOrder:
    """An order of layers or of their parts, finished or not.

    Attributes:
        pieces: the pieces to leave out, first to last.
        costs: the cost of leaving out the first 1, 2, … of them together, in nats.
        last: the additional cost of leaving out each other piece too, when it was last tried.
    """

    pieces: list[int] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    last: dict[int, float] = field(default_factory=dict)

    def whole(self, count: int) -> tuple[int, ...]:
        """All `count` pieces: those that were not found follow by their last cost."""
        others = (piece for piece in range(count) if piece not in self.pieces)
        by_cost = sorted(others, key=lambda piece: (self.last.get(piece, 0.0), -piece))
        return (*self.pieces, *by_cost)

    def is_whole(self, count: int) -> bool:
        """Whether a search of all pieces has ended: one is left, or the cost is too high."""
        return len(self.pieces) >= count - 1 or self.costs[-1:] > [MOST_COST]


def order_words(kind: str, search: str) -> str:
    """Whose order it is and how it was found, in words: `the model's order, lazy`."""
    return f"{_KINDS[kind]}, {search}"


def drawn_orders(count: int) -> Orders:
    """Two orders that are drawn: how far pieces can go without any search."""
    return tuple(tuple(random.Random(seed).sample(range(count), count)) for seed in _RANDOM)


def staying_layers(order: Sequence[int], n_layers: int, count: int) -> tuple[int, ...]:
    """The `count` of L layers that stay where the first ones of an order are left out."""
    left_out = order[: n_layers - count]
    return tuple(layer for layer in range(n_layers) if layer not in left_out)


def block_numbers(n_tokens: int) -> np.ndarray:
    """The block of each token, `[T]`; -1 for token 0, which is not scored."""
    return np.concatenate([[-1], np.arange(max(0, n_tokens - 1)) // BLOCK])[:n_tokens]


def way_of(n_tokens: int, orders: Orders) -> np.ndarray:
    """The index of the order of each token, `[T]`; -1 for token 0, which is not scored.

    Of two orders the first was found on the even blocks: tokens of the odd ones are read with it.
    """
    blocks = block_numbers(n_tokens)
    way = np.minimum(blocks, 0).astype(np.int32)
    if len(orders) > 1:
        way[1:] = 1 - blocks[1:] % 2
    return way


def has_own_order(n_tokens: int) -> bool:
    """Whether a prompt has enough blocks to find an order on one half and read it on the other."""
    return n_tokens - 1 > BLOCK


def block_weights(n_tokens: int, blocks: Sequence[int] | np.ndarray) -> np.ndarray:
    """The weight of each token in the mean over some blocks, `[T]`: each block counts once."""
    numbers = block_numbers(n_tokens)
    weights = np.zeros(n_tokens)
    for block in blocks:
        in_block = numbers == block
        weights[in_block] = 1 / in_block.sum() / len(blocks)
    return weights


def expected_trials(count: int, search: str) -> float:
    """About how many pieces a search tries: all, and some more in each round (measured)."""
    return count * {"ranked": 1, "lazy": 2, "greedy": 5.2}[search]
