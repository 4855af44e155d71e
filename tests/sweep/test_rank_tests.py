"""Rank tests against enumeration of every permutation, and plain loops."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from depthtui.sweep.rank_tests import RankTest, kendall, mann_whitney, signed_rank


@pytest.mark.parametrize("seed", range(6))
def test_signed_rank_enumerates_signs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(10, 16, (2, 8)).astype(float)
    p, effect, _ = signed_rank(a, b, 0)
    changes = b - a
    # Mean rank of a change among all of them, zeros too; then zeros are left out (Pratt 1959).
    ranked = [
        (np.sum(abs(changes) < abs(change)) + np.sum(abs(changes) <= abs(change)) + 1) / 2
        for change in changes
    ]
    ranks = np.array(ranked)[changes != 0]
    total = ranks @ np.sign(changes[changes != 0])
    assert effect == pytest.approx(total / ranks.sum())
    flips = [ranks @ np.array(signs) for signs in product([-1, 1], repeat=len(ranks))]
    assert p == pytest.approx(np.mean(np.abs(flips) >= abs(total) - 1e-9))


def test_pairs_that_do_not_differ_raise_the_ranks_of_those_that_do() -> None:
    # Changes 0, 0, 1, -2, 3, 4 have ranks 3, 4, 5, 6: W+ - W- is 10, and as far from 0 with 6 of
    # 16 choices of signs. Without the zeros the ranks are 1, 2, 3, 4.
    a = np.zeros(6)
    p, effect, _ = signed_rank(a, np.array([0.0, 0, 1, -2, 3, 4]), 0)
    assert effect == pytest.approx(10 / 18)
    assert p == pytest.approx(6 / 16)


def test_many_pairs_have_pratts_normal_approximation() -> None:
    # Pratt 1959: W+ has mean sum(r) / 2 and variance sum(r^2) / 4 over the changes' ranks.
    rng = np.random.default_rng(1)
    changes = rng.integers(-3, 5, 150).astype(float)
    ranks = stats.rankdata(abs(changes))[changes != 0]
    signs = np.sign(changes[changes != 0])
    z = ranks @ signs / np.sqrt((ranks**2).sum())
    p, _, _ = signed_rank(np.zeros(150), changes, 0)
    assert p == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_mann_whitney_enumerates_groups(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(10, 15, 5).astype(float), rng.integers(11, 16, 6).astype(float)
    p, delta, _ = mann_whitney(a, b, 0)
    assert delta == pytest.approx(sum(np.sign(y - x) for x in a for y in b) / 30)
    everyone = np.concatenate([a, b])
    deltas = []
    for chosen in combinations(range(11), 5):
        one, other = everyone[list(chosen)], np.delete(everyone, chosen)
        deltas.append(np.sign(other[:, None] - one).mean())
    tails = np.mean(np.array(deltas) >= delta - 1e-9), np.mean(np.array(deltas) <= delta + 1e-9)
    assert p == pytest.approx(min(1, 2 * min(tails)))


@pytest.mark.parametrize("seed", range(3))
def test_kendall_of_two_levels_is_mann_whitney(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(10, 15, 5).astype(float), rng.integers(11, 16, 6).astype(float)
    p, tau, _ = kendall([a, b], 0)
    exact, delta, _ = mann_whitney(a, b, 0)
    assert p == pytest.approx(exact, abs=0.03)
    assert tau is not None
    assert delta is not None
    assert np.sign(tau) == np.sign(delta)


def test_kendall_is_tau_b() -> None:
    rng = np.random.default_rng(0)
    levels = [rng.integers(10, 14, 6) + float(shift) for shift in (0, 1, 2)]
    _, tau, _ = kendall(levels, 0)
    pairs = [(rank, layer) for rank, level in enumerate(levels) for layer in level]
    score = tied_ranks = tied_layers = 0
    for (rank_1, layer_1), (rank_2, layer_2) in combinations(pairs, 2):
        score += np.sign(rank_2 - rank_1) * np.sign(layer_2 - layer_1)
        tied_ranks += rank_1 == rank_2
        tied_layers += layer_1 == layer_2
    n = 18 * 17 / 2
    assert tau == pytest.approx(score / np.sqrt((n - tied_ranks) * (n - tied_layers)))


def test_many_prompts_agree_with_few_in_the_limit() -> None:
    rng = np.random.default_rng(2)
    levels = [rng.integers(10, 20, 26) + float(shift) for shift in (0, 0, 1)]
    few, _, _ = kendall([text[:25] for text in levels], 0)
    ranks = np.repeat([0, 1, 2], 25)
    limit = stats.kendalltau(ranks, np.concatenate([text[:25] for text in levels])).pvalue
    assert few == pytest.approx(limit, abs=0.02)


def test_prompts_without_a_layer_are_left_out() -> None:
    a, b = np.array([1.0, 2, 3, 4, 5, np.nan]), np.array([2.0, 4, 6, 8, 10, 3])
    assert signed_rank(a, b, 0) == signed_rank(a[:5], b[:5], 0)
    assert mann_whitney(a, b, 0) == mann_whitney(a[:5], b, 0)
    assert kendall([a, b], 0) == kendall([a[:5], b], 0)
    few = np.append(a[:4], [np.nan] * 2)
    for test in (signed_rank(few, b, 0), mann_whitney(few, b, 0), kendall([few, b], 0)):
        assert test == RankTest(None, None)


def test_equal_layers_say_nothing() -> None:
    same = np.full(6, 7.0)
    assert signed_rank(same, same, 0) == RankTest(1, 0)
    assert mann_whitney(same, same, 0) == RankTest(1, 0)
    assert kendall([same, same, same], 0) == RankTest(1, None)


def test_one_pair_that_differs_says_nothing() -> None:
    a = np.arange(6.0)
    b = a.copy()
    b[2] += 3
    assert signed_rank(a, b, 0) == RankTest(1, 1, p_is_least=True)


def test_many_pairs_have_the_p_of_a_long_draw() -> None:
    rng = np.random.default_rng(3)
    a = rng.integers(0, 8, 30).astype(float)
    b = a + rng.integers(-2, 4, 30)
    p, _, _ = signed_rank(a, b, 0)
    changes = b - a
    ranks = stats.rankdata(abs(changes))[changes != 0]
    sums = rng.choice((-1.0, 1.0), (100_000, len(ranks))) @ ranks
    total = abs(ranks @ np.sign(changes[changes != 0]))
    assert p == pytest.approx(np.mean(abs(sums) >= total), abs=0.015)


def apart(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Two groups of which every value of the second is larger."""
    return np.arange(float(n)), 100 + np.arange(float(n))


def exchanged(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The same but for one value of each group, the last and the first."""
    a, b = apart(n)
    a[-1], b[0] = b[0], a[-1]
    return a, b


@pytest.mark.parametrize(("n", "least"), [(7, 2 / 3432), (12, 2 / 5000)])
def test_the_least_p_of_two_groups(n: int, least: float) -> None:
    # Seven of fourteen can be chosen in 3,432 ways; of 12 of 24 only 4,999 are drawn.
    assert mann_whitney(*apart(n), 0) == RankTest(pytest.approx(least), 1, True)
    assert kendall(apart(n), 0).p_is_least
    assert kendall(apart(n)[::-1], 0).p_is_least
    above, of_levels = mann_whitney(*exchanged(6), 0), kendall(exchanged(6), 0)
    assert above.p == pytest.approx(4 / 924)
    assert not above.p_is_least
    assert not of_levels.p_is_least


@pytest.mark.parametrize(("n", "least"), [(8, 2 / 2**8), (20, 1 / 5000)])
def test_the_least_p_of_pairs(n: int, least: float) -> None:
    changes = np.arange(1.0, n + 1)
    assert signed_rank(np.zeros(n), changes, 0) == RankTest(pytest.approx(least), 1, True)
    changes[n // 2] *= -1
    above = signed_rank(np.zeros(n), changes, 0)
    assert above.p is not None
    assert above.p > 1.5 * least
    assert not above.p_is_least


def test_p_is_the_least_where_no_permutation_that_is_drawn_is_as_far() -> None:
    changes = np.arange(1.0, 21)
    changes[0] = -1
    of_pairs = signed_rank(np.zeros(20), changes, 0)
    of_groups, of_levels = mann_whitney(*exchanged(12), 0), kendall(exchanged(12), 0)
    assert [of_pairs.p, of_groups.p, of_levels.p] == pytest.approx([0.0002, 0.0004, 0.0004])
    for test in (of_pairs, of_groups, of_levels):
        assert abs(test.effect or 0) < 1
        assert test.p_is_least


def test_a_normal_approximation_has_no_least_p() -> None:
    a, b = apart(100)
    b[0] = -1
    for test in (signed_rank(a, b, 0), mann_whitney(a, b, 0), kendall([a, b], 0)):
        assert test.p is not None
        assert test.p < 1e-15
        assert not test.p_is_least
