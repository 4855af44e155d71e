"""The curve of what is kept with more and more layers left out, and the numbers read from it.

Layers stand for the M pieces that are left out, which may be parts of layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np

from depthtui.data.arrays import Shape
from depthtui.data.lazy import lazy_value
from depthtui.metrics.column import LeftOutColumn, crossing_above, rounded_up_count
from depthtui.metrics.evidence import CountInterval, widest
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import Reduced

Scored: TypeAlias = Literal["answer", "text"]
Guess: TypeAlias = Literal["text", "task"]

ByCount: TypeAlias = Annotated[np.ndarray, Shape("M+1", dtype=np.float64)]
"""A number for each number of pieces left out."""

SHARE, HALF = 0.9, 0.5
"""The shares of the gain at which layers are counted."""

LEAST_GAIN = 0.1
"""The least gain, as a share of the guess's own loss, for a count."""

CONTROLS = 4
"""The other orders that every token is read with: of both halves of the texts, and two that are
drawn."""


@dataclass(frozen=True, kw_only=True)
class ReducedLoss(Reduced):
    """The losses of some tokens of one prompt, means over them.

    Attributes:
        tokens: the number of tokens, each predicted from another one than token 0.
        loss: in nats, without the first 0, 1, 2, … layers.
        guess: by the guess without context.
        half_guess: by the guess of each half of the texts.
        control_loss: as `loss`, in each control.
        own_loss: as `loss`, in the prompt's own order beside the model's.
    """

    block_fields: ClassVar = {"loss": "loss_blocks", "guess": "guess_blocks"}

    loss: ByCount
    loss_blocks: Annotated[np.ndarray, Shape("B", "M+1", dtype=np.float64)] | None = None
    guess: float
    guess_blocks: Annotated[np.ndarray, Shape("B", dtype=np.float64)] | None = None
    half_guess: Annotated[np.ndarray, Shape("2", dtype=np.float64)]
    control_loss: Annotated[np.ndarray, Shape(str(CONTROLS), "M+1", dtype=np.float64)]
    own_loss: ByCount

    @property
    def is_known(self) -> bool:
        """Whether the losses in the first order, and the guess's, are known."""
        return bool(np.isfinite(self.loss).all() and np.isfinite(self.guess))


def share_kept(loss: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """The share of the gain that is kept without 0, 1, … layers, `[..., L + 1]`, from 0 to 1.

    0 where there is no gain; NaN where the loss is not known.

    Args:
        loss: the loss without so many layers, `[..., L + 1]`.
        guess: the loss by the guess, `[...]`.
    """
    whole = loss[..., :1]
    gain = np.asarray(guess)[..., None] - whole
    with np.errstate(invalid="ignore", divide="ignore"):
        share = 1 - (loss - whole) / gain
    return np.where(gain <= 0, 0.0, np.clip(share, 0, 1))


def layers_keeping(share: np.ndarray, least: float) -> np.ndarray:
    """The layers that stay where the share first falls below `least`, `[curves]`.

    A straight line lies between counts; 0 where the share never falls below.

    Args:
        share: the share kept without 0, 1, … layers, `[curves, L + 1]`.
        least: a share.
    """
    left_out = np.where(share[:, 0] < least, 0.0, crossing_above(-share, -least))
    return np.asarray(share.shape[1] - 1 - left_out)


def mean_depth(share: np.ndarray) -> np.ndarray:
    """The layers that a nat of the gain takes on average: the area above the curve, `[curves]`.

    The curve is made falling.
    """
    falling = np.minimum.accumulate(share, axis=1)
    return np.asarray(share.shape[1] - 1 - np.trapezoid(falling, axis=1))


@dataclass(frozen=True)
class KeptCurve:
    """The losses of some tokens by the number of layers left out, means over all prompts.

    Attributes:
        scored: the tokens: those of the `answer`, or all of the `text`.
        guess_of: the guess: of the `text`, without context, or of the `task`.
        parts: the losses of each prompt; None where a prompt has none.
        pooled: the prompts.
    """

    scored: Scored
    guess_of: Guess
    parts: Sequence[ReducedLoss | None]
    pooled: Pooled

    @lazy_value
    def mean(self) -> ReducedLoss:
        """The losses over the prompts that have the tokens; NaN in an order that is not read."""
        return ReducedLoss.pooled([part for part in self.parts if part is not None])

    @property
    def words(self) -> str:
        """The tokens and the guess in words, such as `answers beyond the task`."""
        if self.scored == "text":
            return "text"
        return "answers beyond the task" if self.guess_of == "task" else "answers"

    @property
    def n_tokens(self) -> int:
        """The number of tokens of all prompts."""
        return sum(part.tokens for part in self.parts if part is not None)

    @property
    def gain(self) -> float:
        """What the model knows of a token, in nats: the loss that context saves."""
        return float(self.mean.guess - self.mean.loss[0])

    @lazy_value
    def share(self) -> np.ndarray:
        """The share of the gain that is kept, `[L + 1]`."""
        return share_kept(self.mean.loss, np.array(self.mean.guess))

    @lazy_value
    def column(self) -> LeftOutColumn:
        """The share of the gain that is kept, on which layers are counted."""
        return LeftOutColumn(
            "known", self.share, ".2f", True, find_interval=lambda: self._by_count(share_kept)
        )

    @lazy_value
    def cost_column(self) -> LeftOutColumn:
        """How much the loss is above the whole model's, in nats a token."""
        cost = self.mean.loss - self.mean.loss[0]
        return LeftOutColumn(
            "nats",
            cost,
            "+z.2f",
            find_interval=lambda: self._by_count(lambda loss, guess: loss - loss[:, :1]),
        )

    def layers(self, least: float = SHARE) -> float:
        """The layers that keep a share of the gain, with decimals."""
        return self.column.crossing(least)

    def count(self, least: float = SHARE) -> int:
        """The layers that keep a share of the gain, a whole number."""
        return rounded_up_count(self.layers(least))

    @property
    def mean_depth(self) -> float:
        """The layers that a nat of the gain takes on average, 0 to L."""
        return float(mean_depth(self.share[None])[0])

    @lazy_value
    def control_shares(self) -> np.ndarray:
        """The share of the gain that is kept in each control, `[4, L + 1]`.

        With the order of a half of the texts goes the guess of this half.
        """
        guesses = np.array([*self.mean.half_guess, self.mean.guess, self.mean.guess])
        return share_kept(self.mean.control_loss, guesses)

    @property
    def random_shares(self) -> list[np.ndarray]:
        """The share of the gain that is kept in each random order that is read, `[L + 1]`."""
        return [share for share in self.control_shares[2:] if np.isfinite(share).all()]

    def in_random_orders(self) -> list[float]:
        """The layers that keep nine tenths in each random order that is read."""
        return [float(layers_keeping(share[None], SHARE)[0]) for share in self.random_shares]

    @property
    def is_read_with_halves(self) -> bool:
        """Whether the orders of both halves of the texts are read."""
        return bool(np.isfinite(self.mean.control_loss[:2]).all())

    def of_halves(self) -> list[float]:
        """The layers that keep nine tenths in the order and by the guess of each half of texts."""
        if not self.is_read_with_halves:
            return []
        return [float(layers) for layers in layers_keeping(self.control_shares[:2], SHARE)]

    def depths_of_halves(self) -> list[float]:
        """The mean depth in the order and by the guess of each half of the texts; NaN if unread."""
        return mean_depth(self.control_shares[:2]).tolist()

    @lazy_value
    def own_share(self) -> np.ndarray | None:
        """The share that is kept in the prompts' own orders, `[L + 1]`; None where not read."""
        share = share_kept(self.mean.own_loss, np.array(self.mean.guess))
        return share if np.isfinite(share).all() else None

    def in_own_order(self, least: float = SHARE) -> float | None:
        """The layers that keep a share in the prompts' own orders; None where not read."""
        share = self.own_share
        return None if share is None else float(layers_keeping(share[None], least)[0])

    @property
    def own_mean_depth(self) -> float | None:
        """The mean depth in the prompts' own orders; None where these are not read."""
        return None if self.own_share is None else float(mean_depth(self.own_share[None])[0])

    def in_better_own_order(self) -> tuple[int, int] | None:
        """The layers that keep nine tenths, and half, in the prompts' own orders.

        None unless these take fewer by more than a tenth of all, for nine tenths or on average.
        """
        layers, half, depth = self.in_own_order(), self.in_own_order(HALF), self.own_mean_depth
        if layers is None or half is None or depth is None:
            return None
        saved = max(self.layers() - layers, self.mean_depth - depth)
        if saved <= widest(len(self.mean.loss) - 1):
            return None
        return rounded_up_count(layers), rounded_up_count(half)

    @lazy_value
    def interval(self) -> CountInterval | None:
        """The interval of the layers that keep nine tenths."""
        return self._interval(lambda share: layers_keeping(share, SHARE))

    @property
    def range(self) -> tuple[int, int] | None:
        """The interval, widened to the counts in the orders of both halves of the texts.

        To that in the prompts' own order only where it is lower: an order of few tokens may be a
        bad one.
        """
        ends = _widened(self.interval, self.of_halves(), self.in_own_order())
        return None if ends is None else (rounded_up_count(ends[0]), rounded_up_count(ends[1]))

    def _by_count(self, of_losses: Callable[..., np.ndarray]) -> np.ndarray | None:
        """The interval of a curve at each number of layers left out, `[2, L + 1]`, or None."""
        intervals = [
            self.pooled.interval(
                self.parts,
                lambda loss, guess, n=n: of_losses(loss, guess)[:, n],
                "loss",
                "guess",
            )
            for n in range(len(self.mean.loss))
        ]
        ends = [(interval.low, interval.high) for interval in intervals if interval is not None]
        return np.array(ends).T if len(ends) == len(intervals) else None

    @lazy_value
    def depth_interval(self) -> CountInterval | None:
        """The interval of the mean depth."""
        return self._interval(mean_depth)

    @property
    def depth_range(self) -> tuple[float, float] | None:
        """The interval of the mean depth, widened as that of the count is."""
        of_halves = self.depths_of_halves() if self.is_read_with_halves else []
        return _widened(self.depth_interval, of_halves, self.own_mean_depth)

    @lazy_value
    def gain_interval(self) -> tuple[float, float] | None:
        """The interval of the gain, in nats."""
        interval = self.pooled.interval(
            self.parts, lambda loss, guess: np.asarray(guess - loss[:, 0]), "loss", "guess"
        )
        return None if interval is None else (interval.low, interval.high)

    def _interval(self, statistic: Any) -> CountInterval | None:
        interval = self.pooled.interval(
            self.parts, lambda loss, guess: statistic(share_kept(loss, guess)), "loss", "guess"
        )
        return None if interval is None else replace(interval, resolution=0, rounds_up=True)

    @lazy_value
    def why_too_little(self) -> str:
        """Why the model knows too little of the tokens for a count; empty where it does not."""
        loss, chance = self.mean.loss[0], math.log(self.pooled.model.vocab_size)
        better = f"{self.gain:.1f} nats a token better than a guess"
        if loss >= chance:
            return f"a loss of {loss:.1f} nats a token, a uniform guess has {chance:.1f}"
        if self.gain < LEAST_GAIN * self.mean.guess:
            return better
        if self.gain_interval is not None and self.gain_interval[0] <= 0:
            low, high = self.gain_interval
            return f"{better}, {low:.1f} to {high:.1f}"
        return ""


def _widened(
    interval: CountInterval | None, of_halves: Sequence[float], own: float | None
) -> tuple[float, float] | None:
    """An interval that reaches to the numbers of both halves, and down to that in the own order."""
    if interval is None:
        return None
    lower = [] if own is None else [own]
    return min([interval.low, *of_halves, *lower]), max([interval.high, *of_halves])
