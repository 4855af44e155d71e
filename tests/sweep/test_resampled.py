"""Sums over groups of prompts on resamples: against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest

from depthtui.metrics.resampling import draw
from depthtui.sweep.resampled import Resampled, Statistic


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
