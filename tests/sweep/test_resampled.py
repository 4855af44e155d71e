"""Intervals of sums over groups of prompts: against textbooks, and naive resamples."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from depthtui.depth.intervals import FEWEST_DRAWS, Bootstrap
from depthtui.metrics.resampling import draw, expanded_interval, expanded_tail, student_interval
from depthtui.sweep.resampled import Resampled, Statistic

LEVELS = (0.95, 1 - 0.05 / 3, 1 - 0.05 / 6)


def means_of_every_resample(sample: np.ndarray) -> np.ndarray:
    n = len(sample)
    return sample[np.array(list(product(range(n), repeat=n)))].mean(axis=1)


@pytest.mark.parametrize("level", LEVELS)
def test_the_interval_of_a_mean_is_the_textbook_s(level: float) -> None:
    sample = np.random.default_rng(0).exponential(size=5)
    means = means_of_every_resample(sample)
    found = Bootstrap(sample.mean(), means, freedom=4, inflation=5 / 4).interval(level)
    assert found == pytest.approx(stats.t.interval(level, 4, sample.mean(), stats.sem(sample)))


@pytest.mark.parametrize("level", LEVELS)
def test_the_interval_of_two_means_is_welchs(level: float) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(10, 1, 3), rng.normal(11, 4, 4)
    drawn = np.array(list(product(means_of_every_resample(a), means_of_every_resample(b))))
    tasks = [np.zeros(len(side), int) for side in (a, b)]
    change = Resampled(np.array([a.mean(), b.mean()]), drawn, tasks, False, 0).sum(
        np.array([-1.0, 1.0])
    )
    welch = stats.ttest_ind(b, a, equal_var=False).confidence_interval(level)
    assert change.interval(level) == pytest.approx((welch.low, welch.high))


def test_percentiles_are_of_enough_draws() -> None:
    values = np.random.default_rng(2).exponential(size=2000)
    for n, level in product(range(5, 40), LEVELS):
        of = level, float(n - 1), n / (n - 1)
        found = Bootstrap(1.0, values, *of[1:]).interval(level)
        enough = expanded_tail(*of) * 2000 >= FEWEST_DRAWS
        assert enough == (n >= 12 and level == 0.95)
        assert found == (
            expanded_interval(values, *of) if enough else student_interval(1.0, values, *of)
        )


def test_draws_that_agree_or_are_not_finite() -> None:
    same = np.full(100, 3.0)
    assert Bootstrap(3.0, same, 4, 1.25, resolution=0.5).interval() == (2.5, 3.5)
    assert Bootstrap(3.0, np.append(same, np.nan), 4, 1.25).interval() is None


@pytest.mark.parametrize("together", [True, False])
def test_any_statistic_of_groups_of_prompts(together: bool) -> None:
    rng = np.random.default_rng(3)
    groups = rng.uniform(1, 2, (2, 6, 2))
    tasks = [np.array([0, 0, 1, 1, 1, 0])] * 2

    def ratio(group: np.ndarray) -> Statistic:
        return lambda counts: (counts @ group[:, 0]) / (counts @ group[:, 1])

    resampled = Resampled.of(list(map(ratio, groups)), tasks, 7, together, resamples=30)
    totals = groups.sum(axis=1)
    assert resampled.values == pytest.approx(totals[:, 0] / totals[:, 1])
    for number, group in enumerate(groups):
        counts = draw(tasks[number], 30, 7 if together else 7 + number)
        for row, value in zip(counts, resampled.drawn[:, number], strict=True):
            drawn = np.repeat(group, row, axis=0).sum(axis=0)
            assert value == pytest.approx(drawn[0] / drawn[1])
    of_one = resampled.sum(np.array([0.0, 1.0]))
    assert of_one.value == pytest.approx(resampled.values[1])
    assert of_one.values == pytest.approx(resampled.drawn[:, 1])
