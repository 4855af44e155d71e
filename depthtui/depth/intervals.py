"""The uncertainty of an effective depth: bootstrap over prompts.

The pooled depth is a layer index from few prompts, so plain percentile intervals
are too narrow: for simulated samples of five prompts, they often cover the true
layer in fewer than 90 of 100. The expanded percentile interval (Hesterberg, "What
Teachers Should Know About the Bootstrap", 2015) widens the tails as Student's t
does, and covers 93 or more; BCa is no better on so few values. The interval is too
wide where prompts are alike, because layers are whole numbers, and covers less
(about 88 with five or ten prompts) for the KL rule on curves so rough that they
cross the threshold several times: the rule itself is then biased. Where longer
prompts are deeper, intervals of the mean over tokens cover much less (about 65 by
the KL rule with five or ten prompts whose lengths vary threefold). Intervals of the
mean in which each prompt counts once cover as much as ever.

Comparisons are of smooth numbers, such as crossings, and corrected for their number: the end of an
interval may lie beyond nearly all resamples. `Bootstrap` takes the further of both ends, of the
percentile interval and of Student's t with the standard error of the resamples. Each alone claims
too much of some numbers: of halves of one cell of 48 prompts, at 98.33 %, t tells the crossing of
the KL apart in 6 of 100 and a mean depth in 5, percentiles the cosine in 2.5; both together tell
none apart in more than 1.5. `python -m tests.tools.benchmarks.coverage` measures the coverage, and
`python -m tests.tools.benchmarks.halves` the claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from depthtui.data.depth import PromptCurves
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.rule import Rule
from depthtui.depth.weights import OfTask, Weighting, pool_weights, task_numbers
from depthtui.metrics.resampling import (
    FEWEST_UNITS,
    LEVEL,
    expanded_interval,
    freedom_of,
    student_interval,
)

_ROUNDING = 1e-9
"""The largest difference of numbers by rounding alone."""


def depth_interval(
    parts: Sequence[PromptCurves],
    rule: Rule,
    settings: SummarySettings,
    counts: np.ndarray,
    weighting: Weighting = "tokens",
) -> tuple[float, float] | None:
    """Expanded percentile interval of the pooled layer; None where curves are not finite.

    Arguments as in `resampled_curves`.
    """
    curves = resampled_curves(parts, rule, settings, counts, weighting)
    layers = rule.ranked_layers(curves, settings)
    return expanded_interval(layers, LEVEL, *freedom_of(task_numbers(parts)))


def too_few(parts: Sequence[OfTask]) -> bool:
    """Whether there are too few prompts for an interval: below `FEWEST_UNITS`, or one of a task."""
    return len(parts) < FEWEST_UNITS or bool(np.bincount(task_numbers(parts)).min() < 2)


def curves_of(parts: Sequence[PromptCurves], rule: Rule) -> np.ndarray:
    """The curve of every prompt that a rule reads, `[prompts, …]`; every prompt must have it."""
    return np.stack([part.curves[rule.curve] for part in parts])


def resampled_curves(
    parts: Sequence[PromptCurves],
    rule: Rule,
    settings: SummarySettings,
    counts: np.ndarray,
    weighting: Weighting = "tokens",
) -> np.ndarray:
    """The pooled curve of every resample, `[resamples, …]`; NaN where a prompt's is not finite.

    Args:
        parts: prompts that all have the rule's curve.
        rule: the rule.
        settings: the thresholds.
        counts: how often each prompt is drawn, from `draw`.
        weighting: the unit that counts once in the pooled mean.
    """
    curves = curves_of(parts, rule)
    if not np.isfinite(rule.over_gaps(curves, settings)).all():
        return np.full((len(counts), curves.shape[1]), np.nan)
    weights = pool_weights(parts, "prompts" if rule.of_prompt else weighting, counts)
    return np.asarray(weights @ curves / weights.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Bootstrap:
    """A number and its values on resampled prompts, for intervals at any level.

    Attributes:
        value: the number.
        values: the number for every resample, `[resamples]`.
        freedom, inflation: see `expanded_interval`.
        resolution: how closely the number can be known at all.
    """

    value: float
    values: np.ndarray
    freedom: float
    inflation: float
    resolution: float = 0.0

    def interval(self, level: float = LEVEL) -> tuple[float, float] | None:
        """The expanded percentile interval and Student's t, the further end of both on each side.

        Where all resamples agree, the interval extends by the resolution to either side.

        Returns:
            None where a value is not finite.
        """
        distribution = level, self.freedom, self.inflation
        percentiles = expanded_interval(self.values, *distribution)
        if percentiles is None:
            return None
        low, high = student_interval(self.value, self.values, *distribution)
        interval = min(low, percentiles[0]), max(high, percentiles[1])
        return with_width(interval, self.resolution)


def with_width(interval: tuple[float, float], resolution: float) -> tuple[float, float]:
    """The interval; one without width is extended by the resolution to either side."""
    low, high = interval
    return interval if high - low > _ROUNDING else (low - resolution, high + resolution)
