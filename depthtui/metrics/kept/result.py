"""The output and the losses of a run with more and more layers, or parts of them, left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.pieces import Piece
from depthtui.data.run import RunResult
from depthtui.metrics.kept.curve import ORDERS
from depthtui.metrics.layer_order import LENGTH, TEXTS, Orders, has_own_order, way_of


@dataclass
class Kept(MetricResult):
    """The output with more and more layers left out together, until none is left.

    Attributes:
        piece: the kind of the M pieces that are left out.
        kind: where the first orders come from: `model`, or `own` for the prompts themselves.
        search: how they were found: `lazy`, `ranked` or `greedy`.
        orders: the first orders in which pieces are left out.
        search_lengths: how many pieces of each of them the search found; the others follow by
            their last cost.
        own_orders: beside the model's order, the prompt's own, ranked: that of the prompts of the
            other half, or those of the even blocks of its tokens and of the odd ones; empty where
            they are not read.
        own_lazy_orders: the same by a lazy queue.
        drawn: two orders that are drawn; empty for one that is not read.
        untrained: what an untrained model of this shape knows of a token of the texts of the
            model's order, in nats; None where it is not known.
        kl: KL(p || p~), in nats, without the first 0, 1, 2, … pieces of a token's first order;
            NaN where not known, or not scored.
        choices: 1 where the most probable token stays the same, else 0, in each of `all_orders`;
            of two orders a token is read in the one that was not found on it.
        loss: the loss of the token after each, in nats, in the same orders. Beyond the pieces
            without which nothing of a single prompt is kept, `LOST`.
        are_first: 1 where the token after each is the whole model's first choice, else 0.
        guess: the loss by the guess without context: the mean output on the model's own texts.
        half_guess: the same by the mean output on each half of the texts.
    """

    piece: ClassVar[Piece] = "layer"

    kind: str
    search: str
    orders: Orders
    search_lengths: tuple[int, ...]
    own_orders: Orders
    own_lazy_orders: Orders
    drawn: Orders
    untrained: float | None
    kl: Annotated[np.ndarray, Shape("M+1", "T")]
    choices: Annotated[np.ndarray, Shape(str(ORDERS), "M+1", "T")]
    loss: Annotated[np.ndarray, Shape(str(ORDERS), "M+1", "T-1")]
    are_first: Annotated[np.ndarray, Shape("T-1")]
    guess: Annotated[np.ndarray, Shape("T-1")]
    half_guess: Annotated[np.ndarray, Shape("2", "T-1")]

    @property
    def all_orders(self) -> tuple[Orders, ...]:
        """The orders by their place: the candidates, then those that are drawn; empty if unread."""
        drawn = ((order,) if order else () for order in self.drawn)
        return (self.orders, self.own_orders, self.own_lazy_orders, *drawn)

    @property
    def way(self) -> np.ndarray:
        """The index of a token's first order, `[T]`; -1 where it is not scored."""
        return way_of(self.kl.shape[1], self.orders)

    @property
    def is_known(self) -> np.ndarray:
        """Whether each row of each order that is read is known."""
        is_known = [
            np.isfinite(loss[:, 1:]).all(axis=1)
            for loss, orders in zip(self.loss, self.all_orders, strict=True)
            if orders
        ]
        return np.concatenate(is_known) if is_known else np.zeros(1, np.bool_)

    @property
    def floor(self) -> float:
        """The largest KL with nothing left out."""
        return float(np.nanmax(np.abs(self.kl[0]), initial=0.0))


def answer_tokens(run: RunResult) -> slice | None:
    """The losses of the answer's tokens; None where there is no answer.

    The loss of token 1 is not scored: token 0 alone predicts it.
    """
    has_answer = 0 < run.answer_start < len(run.tokens)
    return slice(max(1, run.answer_start - 1), None) if has_answer else None


def is_short(n_tokens: int) -> bool:
    """Whether a prompt is read in other orders too: where one costs less than the model's did."""
    return n_tokens <= TEXTS * LENGTH


def has_draft(run: RunResult) -> bool:
    """Whether a run is first read in the order of its own tokens, before the model's is found."""
    return reads_own(run) and not run.settings.order_texts


def reads_own(run: RunResult) -> bool:
    """Whether a run is read in its own order too, beside the model's."""
    settings, n_tokens = run.settings, len(run.tokens)
    is_found = bool(settings.order_texts) or has_own_order(n_tokens)
    return settings.order_source == "model" and is_found and is_short(n_tokens)
