"""How sure an effective depth is: bootstrap over prompts.

The pooled depth is a layer index from few prompts, so plain percentile intervals
are too narrow: of simulated samples of five prompts, they often hold the true
layer in fewer than 90 of 100. The expanded percentile interval (Hesterberg, "What
Teachers Should Know About the Bootstrap", 2015) widens the tails as Student's t
does, and comes to 93 or more; BCa is no better on so few values. It errs to the
wide side where prompts are alike, because layers are whole numbers, and holds
less (about 88 with five or ten prompts) for the KL rule on curves so rough that
they cross the threshold several times: the rule itself is then biased. Where longer
prompts are deeper, intervals of the mean over tokens hold much less (about 65 by the
KL rule with five or ten prompts whose lengths vary threefold), those of the mean in
which each prompt counts once as much as ever.
`python -m tests.benchmarks.coverage` measures this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from depthtui.data.depth import PromptCurves
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.rules.rule import Rule
from depthtui.depth.weights import Weighting, pool_weights, task_numbers

FEWEST_PROMPTS = 5
"""With fewer prompts an interval would say nothing."""

LEVEL = 0.95
RESAMPLES = 2000

_ROUNDING = 1e-9
"""The largest difference of numbers that rounding alone explains."""


def depth_interval(
    parts: Sequence[PromptCurves],
    rule: Rule,
    settings: SummarySettings,
    counts: np.ndarray,
    weighting: Weighting = "tokens",
) -> tuple[float, float] | None:
    """Expanded percentile interval of the pooled layer; None where curves are not finite.

    Arguments as of `resampled_curves`.
    """
    layers = resampled_layers(parts, rule, settings, counts, weighting)
    return expanded_interval(layers, LEVEL, *freedom_of(task_numbers(parts)))


def too_few(parts: Sequence[PromptCurves]) -> bool:
    """Whether an interval would say nothing: below `FEWEST_PROMPTS`, or one prompt of a task."""
    return len(parts) < FEWEST_PROMPTS or bool(np.bincount(task_numbers(parts)).min() < 2)


def freedom_of(tasks: np.ndarray) -> tuple[float, float]:
    """Degrees of freedom of a mean over tasks, and how much a resample's variance is too small.

    n - 1 and n / (n - 1) for one task; for several, those of Welch and Satterthwaite where the
    prompts of all tasks vary alike.

    Args:
        tasks: from `task_numbers`; two or more prompts of each.
    """
    sizes = np.bincount(tasks).astype(np.float64)
    freedom = (1 / sizes).sum() ** 2 / (1 / sizes**2 / (sizes - 1)).sum()
    return float(freedom), float((1 / sizes).sum() / ((sizes - 1) / sizes**2).sum())


def curves_of(parts: Sequence[PromptCurves], rule: Rule) -> np.ndarray:
    """The curve that a rule reads of every prompt, `[prompts, …]`; every prompt has it."""
    return np.stack([part.curves[rule.curve] for part in parts])


def draw(tasks: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """How often each prompt is drawn, `[resamples, prompts]`: of each task as many as it has.

    Args:
        tasks: from `task_numbers`.
        resamples: how often.
        seed: of the draws.
    """
    return _drawn(tuple(tasks.tolist()), resamples, seed)


@lru_cache(maxsize=32)
def _drawn(numbers: tuple[int, ...], resamples: int, seed: int) -> np.ndarray:
    """The same, drawn once for all counts of the same prompts; not to be written to."""
    rng, tasks = np.random.default_rng(seed), np.array(numbers)
    counts = np.empty((resamples, len(tasks)), int)
    for task, n in enumerate(np.bincount(tasks)):
        counts[:, tasks == task] = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
    counts.setflags(write=False)
    return counts


def resampled_layers(
    parts: Sequence[PromptCurves],
    rule: Rule,
    settings: SummarySettings,
    counts: np.ndarray,
    weighting: Weighting = "tokens",
) -> np.ndarray:
    """The pooled layer of every resample as `Rule.ranked_layers` has it, `[resamples]`.

    NaN where curves are not finite. Arguments as of `resampled_curves`.
    """
    return rule.ranked_layers(resampled_curves(parts, rule, settings, counts, weighting), settings)


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
        counts: from `draw`.
        weighting: what counts once in the pooled mean.
    """
    curves = curves_of(parts, rule)
    if not np.isfinite(rule.over_gaps(curves, settings)).all():
        return np.full((len(counts), curves.shape[1]), np.nan)
    weights = pool_weights(parts, "prompts" if rule.of_prompt else weighting, counts)
    return np.asarray(weights @ curves / weights.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Bootstrap:
    """A number as resampled prompts give it: intervals at any level come from it.

    Attributes:
        value: the number.
        values: that of every resample, `[resamples]`.
        freedom, inflation: see `expanded_interval`.
        resolution: how closely the number can be told at all.
    """

    value: float
    values: np.ndarray
    freedom: float
    inflation: float
    resolution: float = 0.0

    def interval(self, level: float = LEVEL) -> tuple[float, float] | None:
        """The expanded percentile interval; None where a value is not finite.

        Where all resamples agree, it reaches as far as the resolution to either side.
        """
        found = expanded_interval(self.values, level, self.freedom, self.inflation)
        return None if found is None else with_width(found, self.resolution)


def with_width(interval: tuple[float, float], resolution: float) -> tuple[float, float]:
    """The interval; one of no width reaches as far as the resolution to either side."""
    low, high = interval
    return interval if high - low > _ROUNDING else (low - resolution, high + resolution)


def expanded_interval(
    values: np.ndarray, level: float, freedom: float, inflation: float
) -> tuple[float, float] | None:
    """Quantiles of a bootstrap distribution, widened for small samples.

    Each tail is `Phi(-sqrt(inflation) t)`, with t the quantile of Student's t
    (Hesterberg 2015). The ends are values that occur.

    Args:
        values: `[resamples]` of the statistic.
        level: nominal coverage.
        freedom: degrees of freedom; n - 1 for one sample.
        inflation: how much a resample's variance is too small; n / (n - 1) for one sample.

    Returns:
        None where a value is not finite.
    """
    from scipy.special import ndtr, stdtrit

    if not np.isfinite(values).all():
        return None
    tail = ndtr(np.sqrt(inflation) * stdtrit(freedom, (1 - level) / 2))
    # Counted from both ends, so that mirrored values give a mirrored interval.
    low = np.quantile(values, tail, method="inverted_cdf")
    high = -np.quantile(-values, tail, method="inverted_cdf")
    return float(low), float(high)
