"""The output and the losses of a run with more and more layers, or parts of them, left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.pieces import Piece
from depthtui.data.run import RunResult
from depthtui.metrics.kept.curve import CONTROLS
from depthtui.metrics.layer_order import LENGTH, TEXTS, Orders, has_own_order, way_of


@dataclass
class Kept(MetricResult):
    """The output with more and more layers left out together, until none is left.

    Attributes:
        piece: the kind of the M pieces that are left out.
        kind: where the orders come from: `model`, or `own` for the prompts themselves.
        search: how they were found: `ranked` or `greedy`.
        orders: the orders in which pieces are left out.
        search_lengths: how many pieces of each order the search found; the others follow by their
            last cost.
        controls: the orders of both halves of the texts, and two that are drawn; empty for an order
            that is not read.
        own_orders: beside the model's order, the prompt's own: that of the prompts of the other
            half, or those of the even blocks of its tokens and of the odd ones; empty where they
            are not read.
        untrained: what an untrained model of this shape knows of a token of the texts of the
            model's order, in nats; None where it is not known.
        way: the index of the order that a token is read with; -1 for a token that is not scored.
        kl: KL(p || p~), in nats, without the first 0, 1, 2, … pieces of a token's order; NaN
            where not known, or not scored.
        choices: 1 where the most probable token stays the same, else 0.
        loss: the loss of the token after each, in nats, in the order of that token.
        control_loss: the same in each of the `controls`.
        own_loss: the same in the one of the `own_orders` that was not found on the token.
        guess: the loss by the guess without context: the mean output on the model's own texts.
        half_guess: the same by the mean output on each half of the texts.
    """

    piece: ClassVar[Piece] = "layer"

    kind: str
    search: str
    orders: Orders
    search_lengths: tuple[int, ...]
    controls: Orders
    own_orders: Orders
    untrained: float | None
    way: Annotated[np.ndarray, Shape("T", dtype=np.int32)]
    kl: Annotated[np.ndarray, Shape("M+1", "T")]
    choices: Annotated[np.ndarray, Shape("M+1", "T")]
    loss: Annotated[np.ndarray, Shape("M+1", "T-1")]
    control_loss: Annotated[np.ndarray, Shape(str(CONTROLS), "M+1", "T-1")]
    own_loss: Annotated[np.ndarray, Shape("M+1", "T-1")]
    guess: Annotated[np.ndarray, Shape("T-1")]
    half_guess: Annotated[np.ndarray, Shape("2", "T-1")]

    @property
    def is_known(self) -> np.ndarray:
        """Whether each row of each order is known; those of the controls follow, then the own."""
        is_known = [
            np.isfinite(self.kl[: len(order) + 1, self.way == way]).all(axis=1)
            for way, order in enumerate(self.orders)
        ]
        is_known += [
            np.isfinite(self.control_loss[place, : len(order) + 1, 1:]).all(axis=1)
            for place, order in enumerate(self.controls)
            if order
        ]
        ways = way_of(len(self.way), self.own_orders)[:-1]
        is_known += [
            np.isfinite(self.own_loss[:, ways == place]).all(axis=1)
            for place in range(len(self.own_orders))
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


def reads_own(run: RunResult) -> bool:
    """Whether a run is read in its own order too, beside the model's."""
    settings, n_tokens = run.settings, len(run.tokens)
    is_found = bool(settings.order_texts) or has_own_order(n_tokens)
    return settings.order_source == "model" and is_found and is_short(n_tokens)
