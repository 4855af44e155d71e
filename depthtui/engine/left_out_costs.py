"""What some prompts show of a model without the first pieces of an order, by their number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from depthtui.data.lazy import lazy_value
from depthtui.metrics.accuracy.answer_statistics import PairedAnswers
from depthtui.metrics.kept.curve import LEAST_GAIN, share_kept
from depthtui.metrics.resampling import drawn_interval


@dataclass(frozen=True)
class Column:
    """Values by the number of pieces left out.

    Attributes:
        values: without 0, 1, 2, … pieces, `[n + 1]`; NaN where not known.
        interval: the ends of each value's 95 % interval, `[2, n + 1]`; None without any.
    """

    values: np.ndarray
    interval: np.ndarray | None = None


@dataclass(frozen=True)
class LeftOutCosts:
    """What prompts show of a model without the first 0, 1, 2, … pieces of an order.

    Each prompt counts once. A model that is written or healed has two columns: the whole model, and
    itself.

    Attributes:
        kl: KL(p || p~), p the whole model's output, a mean over the tokens of each prompt, in nats,
            `[prompts, n + 1]`.
        choices: the share of first choices that stay.
        loss: in nats a token: of the answers where every prompt has one, else of all tokens.
        right: 1 for a right answer, 0 for a wrong one, NaN where none was asked for.
        guess: the loss of the same tokens by the guess without context, `[prompts]`; NaN where
            there is none.
    """

    kl: np.ndarray
    choices: np.ndarray
    loss: np.ndarray
    right: np.ndarray
    guess: np.ndarray

    def __len__(self) -> int:
        return len(self.kl)

    @property
    def most_left_out(self) -> int:
        """The largest number of pieces that are left out, n."""
        return self.kl.shape[1] - 1

    def at(self, count: int) -> LeftOutCosts:
        """The whole model and the one without so many pieces."""
        kl, choices, loss, right = (
            values[:, [0, count]] for values in (self.kl, self.choices, self.loss, self.right)
        )
        return LeftOutCosts(kl, choices, loss, right, self.guess)

    @lazy_value
    def columns(self) -> Mapping[str, Column]:
        """The means over the prompts, by the name of a `Gate`'s column."""
        whole = self.loss[:, :1]
        return {
            "knowledge": self._column(self._knowledge),
            "loss": self._column(lambda weights: weights @ (self.loss - whole)),
            "kl": self._column(lambda weights: weights @ self.kl),
            "choices": self._column(lambda weights: weights @ self.choices),
            "answers": Column(self._share_of_answers),
        }

    @property
    def gain(self) -> float:
        """What the whole model knows of a token, in nats: the loss that context saves."""
        return float(np.mean(self.guess - self.loss[:, 0]))

    @property
    def knows_too_little(self) -> bool:
        """Whether the whole model knows too little of these prompts for a share of it to count."""
        return not self.gain >= LEAST_GAIN * float(np.mean(self.guess))

    def answers(self, count: int) -> PairedAnswers | None:
        """The right answers of the whole model and without so many pieces; None without any."""
        asked = np.isfinite(self.right[:, [0, count]]).all(axis=1)
        if not asked.any():
            return None
        return PairedAnswers.of(self.right[asked, 0], self.right[asked, count])

    def _knowledge(self, weights: np.ndarray) -> np.ndarray:
        """The share of the gain that is kept in means with these weights, `[means, n + 1]`."""
        if self.knows_too_little:
            return np.full((len(weights), self.loss.shape[1]), np.nan)
        return share_kept(weights @ self.loss, weights @ self.guess)

    @property
    def _share_of_answers(self) -> np.ndarray:
        """The right answers as a share of the whole model's, `[n + 1]`."""
        pairs = map(self.answers, range(self.right.shape[1]))
        return np.array(
            [
                (pair.both + pair.gained) / (pair.both + pair.lost)
                if pair is not None and pair.both + pair.lost
                else np.nan
                for pair in pairs
            ]
        )

    def _column(self, means: Callable[[np.ndarray], np.ndarray]) -> Column:
        """The column of a mean, a function of the weights of the prompts, `[means, prompts]`."""
        n_prompts = len(self)
        values = means(np.full((1, n_prompts), 1 / n_prompts))[0]

        def ends(number: int) -> tuple[float, float] | None:
            return drawn_interval(
                [n_prompts], lambda counts: means(counts[0] / n_prompts)[:, number], seed=0
            )

        intervals = [ends(number) for number in range(len(values))]
        known = [interval for interval in intervals if interval is not None]
        return Column(values, np.array(known).T if len(known) == len(values) else None)
