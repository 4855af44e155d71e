"""The curve of what is kept with more and more layers left out, and the numbers read from it.

Layers stand for the M pieces that are left out, which may be parts of layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, TypeAlias

import numpy as np

from depthtui.data.arrays import Shape
from depthtui.data.lazy import lazy_value
from depthtui.data.run_settings import SummarySettings
from depthtui.metrics.column import LeftOutColumn, crossing_above, rounded_up_count
from depthtui.metrics.evidence import CountInterval
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import Reduced
from depthtui.metrics.resampling import FEWEST_UNITS

Scored: TypeAlias = Literal["answer", "text"]
Guess: TypeAlias = Literal["text", "task"]

SHARE, HALF = 0.9, 0.5
"""The shares of the gain at which layers are counted."""

LEAST_GAIN = 0.1
"""The least gain, as a share of the guess's own loss, for a count."""

CANDIDATES = 3
"""The orders that are found on other tokens than those that are read in them: the first one, which
is the model's where it is known, and the prompts' own, ranked and by a lazy queue."""

ORDERS = CANDIDATES + 2
"""All orders: the candidates, then two that are drawn."""

LOST = 1e6
"""The loss, in nats, of what was not read since nothing of the prompt is kept before: a pool with
such a prompt keeps nothing there, so that a count of it is enough."""

HARDLY = 0.1
"""The share of the gain by which a loss with fewer layers is hardly less."""

LITTLE_BETTER = 0.5
"""Layers by which the best order is to take fewer than a drawn one."""


ByOrder: TypeAlias = Annotated[np.ndarray, Shape(str(ORDERS), "M+1", dtype=np.float64)]
"""A number for each order, by the number of pieces left out; NaN for an order that is not read."""


@dataclass(frozen=True, kw_only=True)
class ReducedLoss(Reduced):
    """The losses of some tokens of one prompt, means over them.

    Attributes:
        tokens: the number of tokens, each predicted from another one than token 0.
        loss: in nats, without the first 0, 1, 2, … layers of each order.
        choices: the share of them whose first choice stays, in the same orders.
        guess: by the guess without context.
        half_guess: by the guess of each half of the texts.
    """

    block_fields: ClassVar = {"loss": "loss_blocks", "guess": "guess_blocks"}

    loss: ByOrder
    loss_blocks: Annotated[np.ndarray, Shape("B", str(ORDERS), "M+1", dtype=np.float64)] | None = (
        None
    )
    choices: ByOrder
    guess: float
    guess_blocks: Annotated[np.ndarray, Shape("B", dtype=np.float64)] | None = None
    half_guess: Annotated[np.ndarray, Shape("2", dtype=np.float64)]

    @property
    def is_known(self) -> bool:
        """Whether the losses in the first order, and the guess's, are known."""
        return bool(np.isfinite(self.loss[0]).all() and np.isfinite(self.guess))


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
class KeptLimit:
    """The limit at which layers are counted.

    Attributes:
        value: a share of the gain, or nats a token above the whole model's loss.
        is_share: whether it is a share.
    """

    value: float
    is_share: bool = True

    def layers(self, loss: np.ndarray, guess: np.ndarray) -> np.ndarray:
        """The layers that stay where losses `[curves, L + 1]` first pass it, `[curves]`."""
        if self.is_share:
            return layers_keeping(share_kept(loss, guess), self.value)
        cost = loss - loss[:, :1]
        return np.asarray(loss.shape[1] - 1 - crossing_above(cost, self.value))

    def share_of(self, gain: float) -> float:
        """The share of a gain, in nats, at which it lies."""
        return self.value if self.is_share else 1 - self.value / gain if gain else SHARE

    @property
    def words(self) -> str:
        """The limit in a few words, such as `90%` or `0.1 nats`."""
        return f"{100 * self.value:g}%" if self.is_share else f"{self.value:g} nats"

    @property
    def kept_words(self) -> str:
        """The limit in a sentence: `nine tenths`, `80%` or `0.1 nats`."""
        return "nine tenths" if self == AT_NINE_TENTHS else self.words


AT_NINE_TENTHS, AT_HALF = KeptLimit(SHARE), KeptLimit(HALF)


def stop_of(settings: SummarySettings) -> KeptLimit:
    """The limit of the headline."""
    return KeptLimit(settings.within, False) if settings.within else KeptLimit(settings.share)


def depth_of(loss: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """The mean depth by losses `[curves, L + 1]`, `[curves]`."""
    return mean_depth(share_kept(loss, guess))


OfLosses: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A number of layers, `[curves]`, by losses `[curves, L + 1]` and the guess's `[curves]`."""


@dataclass(frozen=True)
class KeptCurve:
    """The losses of some tokens by the number of layers left out, means over all prompts.

    A number of layers is the least among the candidates that are read.

    Attributes:
        scored: the tokens: those of the `answer`, or all of the `text`.
        guess_of: the guess: of the `text`, without context, or of the `task`.
        parts: the losses of each prompt; None where a prompt has none.
        pooled: the prompts.
        halves: the half of each prompt, in the own order of which the other half is read; -1 where
            there are no halves.
    """

    scored: Scored
    guess_of: Guess
    parts: Sequence[ReducedLoss | None]
    pooled: Pooled
    halves: Sequence[int] = ()

    @lazy_value
    def mean(self) -> ReducedLoss:
        """The losses over the prompts that have the tokens; NaN in an order that is not read."""
        return ReducedLoss.pooled([part for part in self.parts if part is not None])

    @lazy_value
    def stop(self) -> KeptLimit:
        """The limit of the headline."""
        return stop_of(self.pooled.settings)

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
    def n_pieces(self) -> int:
        """The number of pieces, M."""
        return self.mean.loss.shape[1] - 1

    @property
    def gain(self) -> float:
        """What the model knows of a token, in nats: the loss that context saves."""
        return float(self.mean.guess - self.mean.loss[0, 0])

    @lazy_value
    def read(self) -> list[int]:
        """The candidates that are read in every prompt."""
        return [place for place in self._finite if place < CANDIDATES]

    @property
    def drawn(self) -> list[int]:
        """The drawn orders that are read in every prompt; of several prompts, to their end."""
        parts = [part for part in self.parts if part is not None]
        return [
            place
            for place in self._finite
            if place >= CANDIDATES
            and (len(parts) == 1 or all(part.loss[place].max() < LOST for part in parts))
        ]

    @property
    def _finite(self) -> list[int]:
        return np.flatnonzero(np.isfinite(self.mean.loss).all(axis=1)).tolist()

    @lazy_value
    def shares(self) -> np.ndarray:
        """The share of the gain that is kept in each order, `[5, L + 1]`; NaN if not read."""
        return share_kept(self.mean.loss, np.full(ORDERS, self.mean.guess))

    def by_order(self, number: OfLosses) -> dict[int, float]:
        """A number of layers by each candidate that is read."""
        values = self._in_orders(self.read, number, self.mean.guess)
        return dict(zip(self.read, values, strict=True))

    def best(self, stop: KeptLimit | None = None) -> int:
        """The candidate that takes the fewest layers, the first of several."""
        counts = self.by_order((stop or self.stop).layers)
        return min(counts, key=lambda place: counts[place])

    def layers(self, stop: KeptLimit | None = None) -> float:
        """The layers that keep a limit, with decimals."""
        return self.least((stop or self.stop).layers, self.mean.guess)

    def count(self, stop: KeptLimit | None = None) -> int:
        """The layers that keep a limit, a whole number."""
        return rounded_up_count(self.layers(stop))

    def cost(self, stop: KeptLimit | None = None) -> float:
        """The nats a token above the whole model's loss with this whole number of layers."""
        losses = self.mean.loss[self.best(stop)]
        return float(losses[self.n_pieces - self.count(stop)] - losses[0])

    @property
    def better_without(self) -> tuple[int, float] | None:
        """The layers with which the loss is least in the best order, and by how many nats a token.

        None where it is hardly less than the whole model's.
        """
        losses = self.mean.loss[self.best()]
        gains = losses[0] - losses
        layers, gain = self.n_pieces - int(gains.argmax()), float(gains.max())
        return (layers, gain) if gain > HARDLY * self.gain else None

    @property
    def share(self) -> np.ndarray:
        """The share of the gain that is kept in the best order, `[L + 1]`."""
        return np.asarray(self.shares[self.best()])

    @lazy_value
    def column(self) -> LeftOutColumn:
        """The share of the gain that is kept along the first order."""
        return LeftOutColumn(
            "known", self.shares[0], ".2f", True, find_interval=lambda: self._by_count(share_kept)
        )

    @lazy_value
    def cost_column(self) -> LeftOutColumn:
        """How much the loss is above the whole model's along the first order, in nats a token."""
        cost = self.mean.loss[0] - self.mean.loss[0, 0]
        return LeftOutColumn(
            "nats",
            cost,
            "+z.2f",
            find_interval=lambda: self._by_count(lambda loss, guess: loss - loss[:, :1]),
        )

    @property
    def mean_depth(self) -> float:
        """The layers that a nat of the gain takes on average, 0 to L."""
        return self.least(depth_of, self.mean.guess)

    @property
    def random_shares(self) -> list[np.ndarray]:
        """The share of the gain that is kept in each drawn order that is read, `[L + 1]`."""
        return [self.shares[place] for place in self.drawn]

    def at_random(self, number: OfLosses) -> list[float]:
        """A number of layers in each drawn order that is read."""
        return self._in_orders(self.drawn, number, self.mean.guess)

    def in_random_orders(self) -> list[float]:
        """The layers that keep the limit in each drawn order that is read."""
        return self.at_random(self.stop.layers)

    @property
    def is_no_better_than_random(self) -> bool:
        """Whether a drawn order takes at most half a layer more than the best one."""
        return min(self.in_random_orders(), default=np.inf) - self.layers() <= LITTLE_BETTER

    @property
    def interval(self) -> CountInterval | None:
        """The interval of the layers that keep the limit."""
        return self._interval(self.stop.layers)

    def range(self, stop: KeptLimit | None = None) -> tuple[int, int] | None:
        """The interval of the layers that keep a limit, widened.

        To those by half of the guess, and to those of half of the prompts.
        """
        ends = self._widened((stop or self.stop).layers)
        if ends is None:
            return None
        counts = [*ends, *self.of_halves(stop)]
        return rounded_up_count(min(counts)), rounded_up_count(max(counts))

    @property
    def depth_range(self) -> tuple[float, float] | None:
        """The interval of the mean depth, widened as that of the count is."""
        return self._widened(depth_of)

    @lazy_value
    def gain_interval(self) -> tuple[float, float] | None:
        """The interval of the gain, in nats."""
        interval = self.pooled.interval(
            self.parts, lambda loss, guess: np.asarray(guess - loss[:, 0, 0]), "loss", "guess"
        )
        return None if interval is None else (interval.low, interval.high)

    @property
    def gain_range(self) -> tuple[float, float] | None:
        """The interval of the gain, widened to that over the guess of each half of the texts."""
        if self.gain_interval is None:
            return None
        gains = [*self.gain_interval, *(self.half_guesses - self.mean.loss[0, 0])]
        return float(min(gains)), float(max(gains))

    def by_half_guesses(self) -> list[float]:
        """The layers that keep the limit by the guess of each half of the texts."""
        return [self.least(self.stop.layers, guess) for guess in self.half_guesses]

    def of_halves(self, stop: KeptLimit | None = None) -> list[float]:
        """The layers that keep a limit of each half of the prompts; empty where there is none."""
        if len(self.parts) < FEWEST_UNITS or set(self.halves) != {0, 1}:
            return []
        by_half = list(zip(self.parts, self.halves, strict=True))
        parts = ([part if half == at else None for part, at in by_half] for half in (0, 1))
        return [replace(self, parts=of_half).layers(stop) for of_half in parts]

    @property
    def half_guesses(self) -> np.ndarray:
        """The loss by the guess of each half of the model's texts, `[2]`; empty where unknown."""
        guesses = self.mean.half_guess
        return np.asarray(guesses if np.isfinite(guesses).all() else guesses[:0])

    def least(self, number: OfLosses, guess: float) -> float:
        """A number of layers by a guess: the least among the candidates that are read."""
        return min(self._in_orders(self.read, number, guess))

    def _in_orders(self, places: Sequence[int], number: OfLosses, guess: float) -> list[float]:
        """A number of layers in some orders by a guess."""
        losses = self.mean.loss[list(places)]
        return list(map(float, number(losses, np.full(len(losses), guess))))

    def _widened(self, number: OfLosses) -> tuple[float, float] | None:
        """The interval of a number of layers, widened to those by half of the guess."""
        if (interval := self._interval(number)) is None:
            return None
        by_half = [self.least(number, guess) for guess in self.half_guesses]
        return min([interval.low, *by_half]), max([interval.high, *by_half])

    def _by_count(self, of_losses: Callable[..., np.ndarray]) -> np.ndarray | None:
        """The interval of the first order's curve at each number of layers left out, or None."""
        intervals = [
            self.pooled.interval(
                self.parts,
                lambda loss, guess, n=n: of_losses(loss[:, 0], guess)[:, n],
                "loss",
                "guess",
            )
            for n in range(self.n_pieces + 1)
        ]
        ends = [(interval.low, interval.high) for interval in intervals if interval is not None]
        return np.array(ends).T if len(ends) == len(intervals) else None

    @lazy_value
    def _intervals(self) -> dict[OfLosses, CountInterval | None]:
        """Intervals by the number that they are of: drawing one takes longer than all else here."""
        return {}

    def _interval(self, number: OfLosses) -> CountInterval | None:
        """The interval of the least number of layers among the candidates, drawn once."""

        def least(loss: np.ndarray, guess: np.ndarray) -> np.ndarray:
            by_order = [number(loss[:, place], guess) for place in self.read]
            return np.asarray(np.min(by_order, axis=0))

        if number not in self._intervals:
            drawn = self.pooled.interval(self.parts, least, "loss", "guess")
            rounded = None if drawn is None else replace(drawn, resolution=0, rounds_up=True)
            self._intervals[number] = rounded
        return self._intervals[number]

    @lazy_value
    def why_too_little(self) -> str:
        """Why the model knows too little of the tokens for a count; empty where it does not."""
        loss, chance = self.mean.loss[0, 0], math.log(self.pooled.model.vocab_size)
        better = f"{self.gain:.1f} nats a token better than a guess"
        if self.gain < 0:
            better = f"{-self.gain:.1f} nats a token worse than a guess"
        least = LEAST_GAIN * self.mean.guess
        if loss >= chance:
            return f"a loss of {loss:.1f} nats a token, a uniform guess has {chance:.1f}"
        if self.gain < least:
            return better
        if self.gain_interval is not None:
            low, high = self.gain_interval
            # Blocks of one prompt are alike: its interval is too narrow to stop at 0.
            if low <= (least if len(self.parts) == 1 else 0):
                return f"{better}, {low:.1f} to {high:.1f}"
        return ""
