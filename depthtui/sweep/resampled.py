"""Any number of some groups of prompts, with its resamples: for intervals of sums over groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from depthtui.depth.intervals import Bootstrap
from depthtui.metrics.resampling import RESAMPLES, draw, freedom_of

Statistic: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""A number of one group of prompts, such as the crossing of their mean curve.

Returns its values, `[samples]`, by how often each prompt is drawn, `[samples, prompts]`.
"""


def trend_weights(count: int) -> np.ndarray:
    """The weight of each of `count` groups in a trend, `[groups]`.

    The sum is the least-squares change from the first group to the last, evenly spaced.
    """
    ranks = np.arange(count) - (count - 1) / 2
    return np.asarray(ranks / (ranks**2).sum() * (count - 1))


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
        statistics: Sequence[Statistic],
        tasks: Sequence[np.ndarray],
        seed: int,
        together: bool,
        resolution: float = 0.0,
        resamples: int = RESAMPLES,
    ) -> Resampled:
        """The number of each group by its statistic.

        Args:
            statistics: the statistic of each group.
            tasks: the tasks of each group's prompts, from `task_numbers`; two or more prompts of
                each task, which are drawn within it.
            seed: seed of the draws.
            together: whether prompt i of every group is the same text.
            resolution: how closely the number of a group can be known at all.
            resamples: how often the prompts are drawn again.
        """
        values, drawn = [], []
        for group, (statistic, group_tasks) in enumerate(zip(statistics, tasks, strict=True)):
            counts = draw(group_tasks, resamples, seed + (0 if together else group))
            of_group = statistic(np.vstack([np.ones_like(group_tasks), counts]))
            values.append(of_group[0])
            drawn.append(of_group[1:])
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
