"""Bootstrap over units: prompts, or blocks of their tokens. NumPy only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

FEWEST_UNITS = 5
"""The fewest units for an interval, and for a firm count."""

LEVEL = 0.95
RESAMPLES = 2000


def drawn_interval(
    sizes: Sequence[int],
    statistic: Callable[[Sequence[np.ndarray]], np.ndarray],
    seed: int | None,
) -> tuple[float, float] | None:
    """The expanded bootstrap interval of a statistic over groups of units.

    Args:
        sizes: how many units each group has.
        statistic: returns the values `[resamples]` for how often each unit is drawn, by group
            `[resamples, units]`.
        seed: seed of the draws; None to draw nothing.

    Returns:
        None for fewer than `FEWEST_UNITS` units, or one unit of a group, or without a seed.
    """
    if seed is None or sum(sizes) < FEWEST_UNITS or min(sizes) < 2:
        return None
    groups = np.repeat(np.arange(len(sizes)), sizes)
    counts = draw(groups, RESAMPLES, seed)
    values = statistic([counts[:, groups == group] for group in range(len(sizes))])
    return expanded_interval(values, LEVEL, *freedom_of(groups))


def mean_interval(sums: np.ndarray, tokens: np.ndarray) -> tuple[float, float] | None:
    """The interval of a mean over tokens, from the sums and numbers of tokens of texts `[N]`."""

    def mean(counts: Sequence[np.ndarray]) -> np.ndarray:
        return np.asarray(counts[0] @ sums / (counts[0] @ tokens))

    return drawn_interval([len(tokens)], mean, seed=0)


def freedom_of(groups: np.ndarray) -> tuple[float, float]:
    """Degrees of freedom of a mean over groups, and the inflation of a resample's variance.

    n - 1 and n / (n - 1) for one group; for several, those of Welch and Satterthwaite where the
    units of all groups vary alike.

    Args:
        groups: the group of each unit, from 0 on; two or more units of each.
    """
    sizes = np.bincount(groups).astype(np.float64)
    freedom = (1 / sizes).sum() ** 2 / (1 / sizes**2 / (sizes - 1)).sum()
    return float(freedom), float((1 / sizes).sum() / ((sizes - 1) / sizes**2).sum())


def draw(groups: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """How often each unit is drawn, `[resamples, units]`; each group draws as many as its units.

    Args:
        groups: the group of each unit, from 0 on.
        resamples: the number of resamples.
        seed: seed of the draws.
    """
    return _drawn(tuple(groups.tolist()), resamples, seed)


@lru_cache(maxsize=32)
def _drawn(numbers: tuple[int, ...], resamples: int, seed: int) -> np.ndarray:
    """The draws, cached for all counts of the same units; read-only."""
    rng, groups = np.random.default_rng(seed), np.array(numbers)
    counts = np.empty((resamples, len(groups)), int)
    for group, n in enumerate(np.bincount(groups)):
        counts[:, groups == group] = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
    counts.setflags(write=False)
    return counts


def expanded_interval(
    values: np.ndarray, level: float, freedom: float, inflation: float
) -> tuple[float, float] | None:
    """Quantiles of a bootstrap distribution, widened for small samples (see `expanded_tail`).

    The ends are values that occur.

    Args:
        values: values of the statistic, `[resamples]`.
        level: nominal coverage.
        freedom: degrees of freedom; n - 1 for one sample.
        inflation: the factor by which a resample's variance is too small; n / (n - 1) for one
            sample.

    Returns:
        None where a value is not finite.
    """
    if not np.isfinite(values).all():
        return None
    tail = expanded_tail(level, freedom, inflation)
    # Indexed from both ends, so that mirrored values give a mirrored interval.
    low = np.quantile(values, tail, method="inverted_cdf")
    high = -np.quantile(-values, tail, method="inverted_cdf")
    return float(low), float(high)


def expanded_tail(level: float, freedom: float, inflation: float) -> float:
    """The share of resamples beyond each end of an interval that is widened for small samples.

    `Phi(-sqrt(inflation) t)`, with t the quantile of Student's t (Hesterberg 2015). Arguments as
    in `expanded_interval`.
    """
    from scipy.special import ndtr, stdtrit

    return float(ndtr(np.sqrt(inflation) * stdtrit(freedom, (1 - level) / 2)))


def student_interval(
    value: float, values: np.ndarray, level: float, freedom: float, inflation: float
) -> tuple[float, float]:
    """Student's t interval of a statistic whose standard error is that of its resamples.

    For a mean it is the textbook's, but for the chance of the draws. The standard error by the
    jackknife is the same there, but misses jumps that no single unit makes: a crossing beyond the
    last layer in some resamples, for example.

    Args:
        value: the statistic.
        values, level, freedom, inflation: see `expanded_interval`.
    """
    from scipy.special import stdtrit

    reach = float(stdtrit(freedom, (1 + level) / 2) * np.sqrt(inflation) * values.std())
    return value - reach, value + reach
