"""Statistics of right answers: intervals of a share, pairs of models, layers that raise a share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from depthtui.data.sentence import plural

LEVEL = 0.95
"""Coverage of an interval, and one less the size of a test."""

FLIPS = 5_000
"""Draws of the null distribution of `raising_layers`."""

MOST_QUESTIONS = 100_000
"""The most questions that are named as enough."""

_HALVINGS = 40
_LEAST_VARIANCE = 1e-12


def wilson(right: float, questions: float, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's score interval of a share of right answers (Wilson 1927), each end in 0 … 1."""
    z, share = _quantile((1 + level) / 2), right / questions
    middle = share + z * z / (2 * questions)
    reach = z * math.sqrt(share * (1 - share) / questions + (z / (2 * questions)) ** 2)
    scale = 1 + z * z / questions
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)


def share_range(ends: tuple[float, float]) -> str:
    """The ends of an interval of a share, such as `67% to 89%`."""
    low, high = ends
    return f"{low:.0%} to {high:.0%}"


def is_above_chance(right: int, chances: Sequence[float]) -> bool:
    """Whether more answers are right than guesses would be, by an exact binomial test.

    Args:
        right: number of right answers.
        chances: the chance of a right guess at each question.
    """
    # Not from scipy.stats, which takes 48 MB of the explorer.
    from scipy.special import bdtrc

    # The mean chance: a sum of unequal chances varies less than a binomial count.
    tail = float(bdtrc(right - 1, len(chances), float(np.mean(chances))))
    return tail < 1 - LEVEL


@dataclass(frozen=True)
class PairedAnswers:
    """The right answers of two models to the same questions.

    Numbers are whole, but for those of an imagined larger set.

    Attributes:
        both: right before and after.
        lost: right before, wrong after.
        gained: wrong before, right after.
        neither: wrong before and after.
    """

    both: float
    lost: float
    gained: float
    neither: float

    @classmethod
    def of(cls, before: np.ndarray, after: np.ndarray) -> PairedAnswers:
        """Pair two `[questions]` of right answers, 1 or 0."""
        before, after = before.astype(bool), after.astype(bool)
        pairs = (before & after, before & ~after, ~before & after, ~before & ~after)
        return cls(*(int(pair.sum()) for pair in pairs))

    @property
    def questions(self) -> float:
        """The number of questions, N."""
        return self.both + self.lost + self.gained + self.neither

    @property
    def change(self) -> float:
        """The change of the share of right answers, -1 … 1."""
        return (self.gained - self.lost) / self.questions

    @cached_property
    def p_value(self) -> float:
        """The p-value of McNemar's exact test: `min(1, 2 P(X <= min(lost, gained)))`."""
        from scipy.special import bdtr

        lost, gained = int(self.lost), int(self.gained)
        return float(min(1.0, 2 * bdtr(min(lost, gained), lost + gained, 0.5)))

    @property
    def is_worse(self) -> bool:
        """Whether fewer answers are right after, beyond chance."""
        return self.lost > self.gained and self.p_value < 1 - LEVEL

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The interval of `change` by Newcombe's method 10 for paired shares (Newcombe 1998)."""
        questions = self.questions
        before, after = self.both + self.lost, self.both + self.gained
        share, changed_share = before / questions, after / questions
        low, high = wilson(before, questions, level)
        changed_low, changed_high = wilson(after, questions, level)
        # Rounding alone can make a root's argument negative.
        down = self._reach(changed_share - changed_low, high - share)
        up = self._reach(changed_high - changed_share, share - low)
        return self.change - down, self.change + up

    def _reach(self, of_after: float, of_before: float) -> float:
        square = of_after**2 - 2 * self._correlation * of_after * of_before + of_before**2
        return math.sqrt(max(0.0, square))

    @property
    def _correlation(self) -> float:
        """The correlation of both models' answers, corrected for continuity."""
        margins = (
            (self.both + self.lost)
            * (self.gained + self.neither)
            * (self.both + self.gained)
            * (self.lost + self.neither)
        )
        if not margins:
            return 0.0
        excess = self.both * self.neither - self.lost * self.gained
        if excess > 0:
            excess = max(0.0, excess - self.questions / 2)
        return excess / math.sqrt(margins)

    @cached_property
    def least_change(self) -> float:
        """The lower one-sided bound of `change`, by Tango's score.

        Newcombe's interval is too narrow on this side where answers are lost alone.
        """
        return self._crossing(_quantile(LEVEL))

    @cached_property
    def most_change(self) -> float:
        """The upper one-sided bound of `change`, by Tango's score."""
        return self._crossing(-_quantile(LEVEL))

    def _crossing(self, height: float) -> float:
        """The change at which the score, which falls, has a height."""
        low, high = -1.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.score(middle) > height else (low, middle)
        return (low + high) / 2

    def score(self, change: float) -> float:
        """The score of the hypothesis that the change is so large (Tango 1998), standard normal.

        Its variance is that of the likeliest shares with such a change.
        """
        n, lost, gained = self.questions, self.lost, self.gained
        linear = (2 * n - gained + lost) * change - gained - lost
        square = max(0.0, linear**2 + 8 * n * lost * change * (1 - change))
        share_lost = (math.sqrt(square) - linear) / (4 * n)
        variance = n * (2 * share_lost + change * (1 - change))
        return (gained - lost - n * change) / math.sqrt(max(variance, _LEAST_VARIANCE))

    def questions_for(self, margin: float) -> int | None:
        """How many questions would show that `change` is above `-margin`, were all shares the same.

        None where no number would, or more than `MOST_QUESTIONS`.
        """
        if self.change <= -margin:
            return None

        def is_enough(questions: int) -> bool:
            return self._scaled(questions / self.questions).least_change > -margin

        enough = max(1, int(self.questions))
        while not is_enough(enough):
            enough *= 2
            if enough > MOST_QUESTIONS:
                return None
        few = 0
        while enough - few > 1:
            middle = (few + enough) // 2
            few, enough = (few, middle) if is_enough(middle) else (middle, enough)
        return enough

    def _scaled(self, factor: float) -> PairedAnswers:
        numbers = (self.both, self.lost, self.gained, self.neither)
        return PairedAnswers(*(number * factor for number in numbers))

    def words(self) -> str:
        """Both numbers, the change in points and its interval.

        Such as `lost 4, gained 1 of 50: 6 points fewer (-14 to +1)`.
        """
        low, high = (f"{round(100 * end):+d}".replace("+0", "0") for end in self.interval())
        points = round(100 * abs(self.change))
        size = plural(points, "point") if points else "less than a point"
        change = f"{size} {'more' if self.change > 0 else 'fewer'}" if self.change else "as many"
        counts = f"lost {self.lost:.0f}, gained {self.gained:.0f} of {self.questions:.0f}"
        return f"{counts}: {change} ({low} to {high})"


@dataclass(frozen=True)
class FewestLayers:
    """How many layers of an order may go before right answers are worse by more than a margin.

    Attributes:
        left_out: the most layers that may go; None where the questions are too few to tell.
        failed: the answers without one layer more; None where every number passed.
        questions: how many questions would tell of one layer more, at the shares seen; None where
            no number would.
    """

    left_out: int | None
    failed: PairedAnswers | None
    questions: int | None


def fewest_layers(along: np.ndarray, margin: float) -> FewestLayers:
    """How many layers of an order may go, tested one after the other until a test fails.

    Each test is one-sided at 95 %: the share of right answers is not lower by more than the margin.
    A fixed sequence of tests needs no correction.

    Args:
        along: 1 for a right answer without the first 0, 1, 2, … layers, `[questions, n + 1]`.
        margin: the margin, as a share of all questions.
    """
    before, left_out = along[:, 0], 0
    for count in range(1, along.shape[1]):
        pair = PairedAnswers.of(before, along[:, count])
        if pair.least_change <= -margin:
            # Without a layer that may go, it must be shown that the first one may not.
            is_unknown = not left_out and pair.most_change > -margin
            fewest = None if is_unknown else left_out
            return FewestLayers(fewest, pair, pair.questions_for(margin))
        left_out = count
    return FewestLayers(left_out, None, None)


@dataclass(frozen=True)
class RaisingLayers:
    """Layers without which more answers are right, by a test over all layers at once.

    Attributes:
        p_value: the chance that some layer raises the answers so much where none matters.
        layers: the layers beyond the null's 95 %; empty where the test fails.
        gain: the gain in right answers, as a share, by a layer that is chosen on one half of the
            questions and measured on the other; None where the test fails.
    """

    p_value: float
    layers: tuple[int, ...] = ()
    gain: float | None = None

    @property
    def words(self) -> str:
        """The result of the test in a clause, with its probability."""
        if not self.layers:
            return f"no layer raises the answers beyond chance (p = {self.p_value:.2g})"
        words = f"more answers are right without one (p = {self.p_value:.2g}, all layers at once)"
        if self.gain is None:
            return words
        gain = f"{100 * self.gain:+.0f} points on one half of the questions"
        return f"{words}; {gain} where it is chosen on the other"


def raising_layers(before: np.ndarray, without: np.ndarray, seed: int) -> RaisingLayers | None:
    """Find the layers without which more answers are right.

    The statistic is the largest mean change of any layer; its null flips the signs of a question's
    changes by all layers together. So it pays for a look at every layer.

    Args:
        before: 1 for a right answer of the whole model, `[questions]`.
        without: the same without each layer, `[questions, L]`; NaN for a layer not measured.
        seed: seed of the flips and of the halves.

    Returns:
        None with fewer than two questions, or without a measured layer.
    """
    measured = np.flatnonzero(np.isfinite(without).all(axis=0))
    if len(before) < 2 or not len(measured):
        return None
    changes = without[:, measured] - before[:, None]
    means = changes.mean(axis=0)
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], size=(FLIPS, len(before)))
    null = (signs @ changes).max(axis=1) / len(before)
    slack = 1e-12
    p_value = (1 + int((null >= means.max() - slack).sum())) / (FLIPS + 1)
    if p_value >= 1 - LEVEL:
        return RaisingLayers(p_value)
    limit = np.quantile(null, LEVEL, method="inverted_cdf")
    layers = tuple(measured[means > limit + slack].tolist())
    return RaisingLayers(p_value, layers, _gain_on_others(changes, rng))


def _gain_on_others(changes: np.ndarray, rng: np.random.Generator) -> float:
    """The mean change on each half by the layer that is best on the other, `[questions, L]`."""
    halves = np.array_split(rng.permutation(len(changes)), 2)
    gains = [
        changes[there, changes[here].mean(axis=0).argmax()].mean()
        for here, there in (halves, halves[::-1])
    ]
    return float(np.mean(gains))


def _quantile(probability: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(probability))
