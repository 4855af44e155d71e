"""Whether a number differs between groups of prompts, or grows over them.

A number of a group is a share (see `sweep.numbers`), and so is its change, from the first group to
the last; for a trend, by a straight line. The interval of the change is bootstrapped over prompts,
at the level of the question's whole family of comparisons. Where single prompts have the number,
there is a rank test of them beside it, its p Holm-corrected over the same family: a number of a
group is not the mean of its prompts' numbers, so that the two may differ. A change has a direction,
or one reason why it has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np

from depthtui.data.depth import HALF_A_LAYER
from depthtui.data.sentence import Sentence, listed
from depthtui.depth.intervals import Bootstrap
from depthtui.metrics.resampling import FEWEST_UNITS, LEVEL, RESAMPLES, draw, freedom_of
from depthtui.report.phrases import by_statement
from depthtui.sweep.numbers import GroupNumber, Interval, Number
from depthtui.sweep.rank_tests import RankTest, kendall, mann_whitney, signed_rank

Direction: TypeAlias = Literal["more", "fewer", "as many", ""]

ALIKE = 0.1
"""Groups have as many where the interval of the change is within so much of all."""

SIGNIFICANT = 0.05
"""Single prompts differ where p is below this."""

_TOO_FEW = "too few prompts"
_UNCLEAR, _BOTH_WAYS = Sentence("not clear"), Sentence("up and down")
_NOT_TOLD = Sentence("not told", (": any order of layers costs as much",))


@dataclass(frozen=True)
class Resampled:
    """A number of each of some groups of prompts, and the same on resamples of the prompts.

    Attributes:
        values: the number of each group, `[groups]`.
        drawn: the number of every resample, `[resamples, groups]`.
        tasks: the tasks of each group's prompts, from `task_numbers`.
        together: whether the groups have the same prompts, drawn together.
        resolution: how closely the number of a group can be known at all.
    """

    values: np.ndarray
    drawn: np.ndarray
    tasks: Sequence[np.ndarray]
    together: bool
    resolution: float

    @classmethod
    def of(
        cls,
        groups: Sequence[GroupNumber],
        seed: int,
        together: bool,
        resamples: int = RESAMPLES,
    ) -> Resampled:
        """Draw the prompts again, within their tasks.

        Args:
            groups: the number of each group, of two or more prompts of each task.
            seed: seed of the draws.
            together: whether prompt i of every group is the same text.
            resamples: how often the prompts are drawn again.
        """
        values, drawn = [], []
        for number, group in enumerate(groups):
            counts = draw(group.tasks, resamples, seed + (0 if together else number))
            of_group = group.statistic(np.vstack([np.ones_like(group.tasks), counts]))
            values.append(of_group[0])
            drawn.append(of_group[1:])
        tasks, resolution = [one.tasks for one in groups], max(one.resolution for one in groups)
        return cls(np.array(values), np.stack(drawn, axis=1), tasks, together, resolution)

    def sum(self, factors: np.ndarray) -> Bootstrap:
        """The sum over the groups, each times its factor.

        Independent groups have the degrees of freedom of Welch and Satterthwaite.
        """
        freedoms, inflations = np.array([freedom_of(tasks) for tasks in self.tasks]).T
        freedom, inflation = freedoms.min(), inflations.max()
        variances = self.drawn.var(axis=0) * factors**2
        if not self.together and variances.sum() > 0:
            unbiased = variances * inflations
            freedom = unbiased.sum() ** 2 / (unbiased**2 / freedoms).sum()
            inflation = unbiased.sum() / variances.sum()
        # A matrix product would at times make equal counts differ by a rounding.
        value = float((self.values * factors).sum())
        drawn = (self.drawn * factors).sum(axis=-1)
        resolution = self.resolution * float(abs(factors).max())
        return Bootstrap(value, drawn, float(freedom), float(inflation), resolution)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The change of a number from the first group to the last.

    Attributes:
        number: the number.
        groups: the number of each group; empty where one has too few prompts.
        change: the change, as a share; None where it is unknown, like all that follow.
        ranges: the interval of each group's number, at 95 %.
        level: level of the interval of the change: 1 - 0.05 / m in a family of m comparisons.
        interval: the interval of the change; it reaches as far as the change by half of the guess,
            and half a layer further for whole layers.
        test: the rank test of single prompts, with Holm's p; None where these lack the number.
        test_name: its name.
        by_half_guesses: the change by the guess of each half of the model's texts.
        resamples: the change on resamples.
        steps: in a trend, the change on resamples from each group to the next.
        doubt: how far the widest fragile count moves, as a share of L, and a clause on it.
        problem: why there is no change; None where there is one.
    """

    number: Number
    groups: Sequence[GroupNumber] = ()
    change: float | None = None
    ranges: Sequence[Interval | None] = ()
    level: float = LEVEL
    interval: Interval | None = None
    test: RankTest | None = None
    test_name: str = ""
    by_half_guesses: tuple[float, ...] = ()
    resamples: Bootstrap | None = field(default=None, repr=False, compare=False)
    steps: Sequence[Bootstrap] = field(default=(), repr=False, compare=False)
    doubt: tuple[float, str] = (0.0, "")
    problem: Sentence | None = None

    def at_level(self, level: float) -> Comparison:
        """A copy with the interval at a level, or the problem that there is none."""
        drawn = None if self.resamples is None else self.resamples.interval(level)
        if drawn is None:
            few = Sentence(_TOO_FEW, (f" (for a {100 * level:.4g} % interval)",))
            return replace(self, change=None, problem=self.problem or few)
        # A whole number of layers is known to half a layer on either side.
        half_a_layer = max(HALF_A_LAYER / group.n_layers for group in self.groups)
        whole = half_a_layer if self.number.rounds_up else 0.0
        ends = (drawn[0] - whole, drawn[1] + whole, *self.by_half_guesses)
        return replace(self, level=level, interval=(min(ends), max(ends)))

    @property
    def reason(self) -> Sentence | None:
        """Why there is no direction; None where there is one."""
        if self.problem or self.change is None or self.interval is None:
            return self.problem or _UNCLEAR
        low, high = self.interval
        if all(group.is_no_better_than_random for group in self.groups):
            return _NOT_TOLD
        if _goes_both_ways([group.value for group in self.groups]):
            return _BOTH_WAYS
        if low > 0 or high < 0:
            width, words = self.doubt
            is_wide = width >= abs(self.change)
            return Sentence("no direction holds", (f": {words}",)) if is_wide else None
        return None if low >= -ALIKE and high <= ALIKE else _UNCLEAR

    @property
    def direction(self) -> Direction:
        """Whether the last has more than the first, or fewer; empty where there is a reason."""
        if self.reason or self.interval is None:
            return ""
        low, high = self.interval
        if low > 0:
            return "more"
        return "fewer" if high < 0 else "as many"

    @property
    def step_directions(self) -> list[Direction]:
        """Whether each next group has more, or fewer; empty where they cannot be told apart."""
        level = 1 - (1 - self.level) / max(1, len(self.steps))
        ends = [step.interval(level) or (0.0, 0.0) for step in self.steps]
        return ["more" if low > 0 else "fewer" if high < 0 else "" for low, high in ends]

    @property
    def disagrees(self) -> bool:
        """Whether groups and single prompts disagree on there being a change.

        False for a direction whose p is the least that the test allows.
        """
        if self.change is None or self.test is None or self.test.p is None:
            return False
        changes = self.direction in ("more", "fewer")
        is_least = changes and self.test.p_is_least
        return changes != (self.test.p < SIGNIFICANT) and not is_least

    @property
    def change_in_words(self) -> tuple[str, str]:
        """The change with its unit, such as `+4.0 layers`, and the ends of its interval."""
        assert self.change is not None
        assert self.interval is not None
        return self.number.change_in_words(self.groups, self.change, self.interval)


def compare(
    number: Number,
    groups: Sequence[GroupNumber],
    *,
    paired: bool,
    is_trend: bool = False,
    names: Sequence[str] = (),
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare the groups by a number, at the level of a single comparison.

    Args:
        number: the number.
        groups: the number of two or more groups, in their order.
        paired: whether prompt i of every group is the same text; these are resampled together.
        is_trend: whether all groups count, by a straight line, not the last and the first alone.
        names: the groups' names, for reasons.
        seed: seed of resamples and tests.
        resamples: how often the prompts are drawn again.

    Raises:
        ValueError: there are fewer than two groups, or paired ones differ in number.
    """
    sizes = [len(group.tasks) for group in groups]
    if len(groups) < 2:
        raise ValueError("a comparison needs two or more groups")
    if paired and len(set(sizes)) > 1:
        raise ValueError(f"{listed(list(map(str, sizes)))} prompts cannot be paired")
    comparison = Comparison(number=number, groups=groups)
    if problem := too_few_words([group.tasks for group in groups]) or _unknown(groups, names):
        return replace(comparison, problem=problem)
    factors = trend_weights(len(groups)) if is_trend else _first_to_last(len(groups))
    resampled = Resampled.of(groups, seed, paired, resamples)
    change = resampled.sum(factors)
    by_half = factors @ np.stack([group.by_half_guesses for group in groups])
    alone = np.eye(len(groups))
    ranges = [
        group.range or resampled.sum(only).interval()
        for group, only in zip(groups, alone, strict=True)
    ]
    steps = np.eye(len(groups))[1:] - np.eye(len(groups))[:-1]
    test, name = _rank_test(groups, factors, paired, seed)
    return replace(
        comparison,
        change=change.value,
        ranges=ranges,
        test=test,
        test_name=name,
        by_half_guesses=tuple(by_half[np.isfinite(by_half)].tolist()),
        resamples=change,
        steps=[resampled.sum(step) for step in steps] if is_trend and len(groups) > 2 else (),
    ).at_level(LEVEL)


def _unknown(groups: Sequence[GroupNumber], names: Sequence[str]) -> Sentence | None:
    """Why groups have no number, named if others have one; None where every group has one."""
    whys = by_statement(
        (group.why_unknown, name)
        for group, name in zip(groups, names or ["a group"] * len(groups), strict=True)
        if group.why_unknown
    )
    each = [
        why if len(of_why) == len(groups) else f"{why} for {listed(of_why)}"
        for why, of_why in whys.items()
    ]
    return Sentence("; ".join(each)) if each else None


def too_few_words(tasks: Sequence[np.ndarray]) -> Sentence | None:
    """Why there are too few prompts; None where there are enough.

    Args:
        tasks: the tasks of each group's prompts, from `task_numbers`.
    """
    fewest = min(map(len, tasks))
    if fewest < FEWEST_UNITS:
        return Sentence(_TOO_FEW, (f" ({fewest}; {FEWEST_UNITS} are needed)",))
    if min(np.bincount(of_group).min() for of_group in tasks) < 2:
        return Sentence(_TOO_FEW, (" (two of each task are needed)",))
    return None


def trend_weights(count: int) -> np.ndarray:
    """The weight of each of `count` groups in a trend, `[groups]`.

    The sum is the least-squares change from the first group to the last, evenly spaced.
    """
    ranks = np.arange(count) - (count - 1) / 2
    return np.asarray(ranks / (ranks**2).sum() * (count - 1))


def _first_to_last(count: int) -> np.ndarray:
    factors = np.zeros(count)
    factors[[0, -1]] = -1, 1
    return factors


def _rank_test(
    groups: Sequence[GroupNumber], factors: np.ndarray, paired: bool, seed: int
) -> tuple[RankTest | None, str]:
    """The rank test of single prompts, and its name; None where these lack the number.

    Numbers are rounded, so that those which differ by a rounding error tie.
    """
    singles = [group.singles for group in groups if group.singles is not None]
    if not singles:
        return None, ""
    if paired:
        changes = np.round(factors @ np.stack(singles), 9)
        return signed_rank(np.zeros(len(changes)), changes, seed), "signed rank"
    singles = [np.round(of_group, 9) for of_group in singles]
    if len(singles) == 2:
        return mann_whitney(singles[0], singles[1], seed), "Mann-Whitney"
    return kendall(singles, seed), "Kendall"


def _goes_both_ways(shares: Sequence[float]) -> bool:
    """Whether the shares rise, and fall, by more than `ALIKE` from one group to a later one."""
    steps = np.subtract.outer(shares, shares)[np.tril_indices(len(shares), -1)]
    return bool(steps.max() > ALIKE and steps.min() < -ALIKE)


def as_one_family(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with intervals and p corrected for their number.

    Those without a change do not count.
    """
    tested = [comparison for comparison in comparisons if comparison.change is not None]
    level = 1 - (1 - LEVEL) / max(1, len(tested))
    ps = [one.test.p for one in tested if one.test is not None and one.test.p is not None]
    adjusted = iter(holm(ps))

    def corrected(test: RankTest | None) -> RankTest | None:
        if test is None or test.p is None:
            return test
        return test._replace(p=float(next(adjusted)))

    return [
        comparison
        if comparison.change is None
        else replace(comparison.at_level(level), test=corrected(comparison.test))
        for comparison in comparisons
    ]


def holm(ps: Sequence[float]) -> np.ndarray:
    """p values after Holm's step-down correction (Holm 1979), in the order given."""
    values = np.asarray(ps, np.float64)
    order = np.argsort(values)
    steps = (len(values) - np.arange(len(values))) * values[order]
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(steps))
    return adjusted
