"""Rank tests on the depths of single prompts, with effect sizes.

All are two-sided. Prompts that never cross tie, so with few prompts p comes
from permutations (all of them where they can be listed), otherwise from
the normal approximation. NaN, a prompt whose depth is unknown, is left
out; with fewer than `FEWEST_UNITS` left, there is no p. A prompt that never
crosses is not unknown: `Rule.ranked_crossings` ranks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from depthtui.metrics.resampling import FEWEST_UNITS

_PERMUTATIONS = 4999

_LEAST_TAIL = 1 / (_PERMUTATIONS + 1)
"""The share of the prompts as they are, where no permutation that is drawn is as far."""

_MOST_PERMUTED = 80
"""Most prompts for permutations; with more, the normal approximations are as good."""


class RankTest(NamedTuple):
    """A rank test of single prompts.

    Attributes:
        p: two-sided p; None with too few prompts.
        effect: the effect size, from -1 to 1; None where there is none.
        p_is_least: whether p is the least possible: the prompts are as far from no effect as they
            can be, or no permutation that is drawn is as far.
    """

    p: float | None = None
    effect: float | None = None
    p_is_least: bool = False


def signed_rank(a: np.ndarray, b: np.ndarray, seed: int) -> RankTest:
    """p of Wilcoxon's signed-rank test, and the matched-pairs rank-biserial correlation.

    Equal pairs get the lowest ranks and then count for neither side (Pratt 1959), so that their
    number matters. The correlation is (W+ - W-) / (W+ + W-) (Kerby 2014), positive where b is
    larger.
    """
    from scipy import stats

    changes = b - a
    changes = changes[np.isfinite(changes)]
    if len(changes) < FEWEST_UNITS:
        return RankTest()
    if not changes.any():
        return RankTest(1.0, 0.0)
    signed = (stats.rankdata(abs(changes)) * np.sign(changes))[changes != 0]
    effect = float(signed.sum() / abs(signed).sum())
    if len(signed) > _MOST_PERMUTED:
        test = stats.wilcoxon(changes, zero_method="pratt", method="asymptotic")
        return RankTest(float(test.pvalue), effect)
    p = _permuted_signs(signed, seed)
    return RankTest(p, effect, abs(effect) == 1 or p <= _LEAST_TAIL)


def mann_whitney(a: np.ndarray, b: np.ndarray, seed: int) -> RankTest:
    """p of the Mann-Whitney test, and Cliff's delta: P(b > a) - P(b < a)."""
    from scipy import stats

    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    if min(len(a), len(b)) < FEWEST_UNITS:
        return RankTest()
    effect = float(np.sign(b[:, None] - a).mean())
    if len(np.unique([*a, *b])) == 1:
        return RankTest(1.0, effect)
    if len(a) + len(b) > _MOST_PERMUTED:
        return RankTest(float(stats.mannwhitneyu(b, a, method="auto").pvalue), effect)
    method = stats.PermutationMethod(n_resamples=_PERMUTATIONS, rng=np.random.default_rng(seed))
    p = float(stats.mannwhitneyu(b, a, method=method).pvalue)
    return RankTest(p, effect, abs(effect) == 1 or p <= 2 * _LEAST_TAIL)


def kendall(levels: Sequence[np.ndarray], seed: int) -> RankTest:
    """p and tau-b of depths against the rank of their level; tau is None where all are equal."""
    from scipy import stats

    depths = [text[np.isfinite(text)] for text in levels]
    if min(len(group) for group in depths) < FEWEST_UNITS:
        return RankTest()
    layers = np.concatenate(depths)
    ranks = np.repeat(np.arange(len(depths)), [len(group) for group in depths])
    if len(np.unique(layers)) == 1:
        return RankTest(1.0)
    tau, p = stats.kendalltau(ranks, layers, method="auto")
    if len(layers) > _MOST_PERMUTED:
        return RankTest(float(p), float(tau))
    p = _permuted_kendall(ranks, layers, seed)
    utmost, _ = stats.kendalltau(ranks, np.sort(layers))
    return RankTest(p, float(tau), bool(abs(tau) == utmost or p <= 2 * _LEAST_TAIL))


def _permuted_signs(signed_ranks: np.ndarray, seed: int) -> float:
    """Share of redrawn signs whose sum of signed ranks is as far from 0.

    Equal to scipy's permutations, which call Python for each permutation: too slow for the
    hundreds of calls of a sweep.
    """
    n = len(signed_ranks)
    if 2**n <= _PERMUTATIONS:
        signs = 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1) - 1
    else:
        rng = np.random.default_rng(seed)
        drawn = rng.choice((-1.0, 1.0), size=(_PERMUTATIONS, n))
        signs = np.vstack([np.sign(signed_ranks), drawn])
    sums = abs(signs @ abs(signed_ranks))
    # Ranks are multiples of a half: the tolerance covers rounding alone.
    return float(np.mean(sums >= abs(signed_ranks.sum()) - 1e-9))


def _permuted_kendall(ranks: np.ndarray, layers: np.ndarray, seed: int) -> float:
    """Twice the smaller tail of concordant minus discordant pairs under permuted layers."""
    first, second = np.triu_indices(len(layers), k=1)
    order = np.sign(ranks[second] - ranks[first])
    rng = np.random.default_rng(seed)
    dealt = rng.permuted(np.tile(layers, (_PERMUTATIONS, 1)), axis=1)
    dealt = np.vstack([layers, dealt])
    between = order != 0
    first, second = first[between], second[between]
    scores = np.array([order[between] @ np.sign(row[second] - row[first]) for row in dealt])
    tails = np.mean(scores >= scores[0]), np.mean(scores <= scores[0])
    return min(1.0, 2 * float(min(tails)))
