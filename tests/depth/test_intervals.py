"""Bootstrap intervals of effective depths: against a plain loop, closed forms, planted depths."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr, stdtrit

from depthtui.data.depth import PromptCurves
from depthtui.data.run_settings import SummarySettings
from depthtui.depth import effective_depth, rules
from depthtui.depth.effective_depth import depths, estimate_depths, pool
from depthtui.depth.intervals import resampled_curves
from depthtui.depth.reading import reading_of
from depthtui.depth.rule import Rule
from depthtui.depth.weights import task_numbers
from depthtui.metrics.resampling import FEWEST_UNITS, draw, expanded_interval, freedom_of
from tests.builders.results import random_result
from tests.simulated_prompts import intervals, simulated_prompts

SETTINGS = SummarySettings()


EVERY_RULE = pytest.mark.parametrize("rule", rules.ALL, ids=lambda rule: rule.name)


@EVERY_RULE
@pytest.mark.parametrize("layers", [1, 2, 9])
def test_many_curves_at_once_agree_with_one_at_a_time(rule: Rule, layers: int) -> None:
    rng = np.random.default_rng(layers)
    low, extra = (0, 1) if rule.through_lens else (-1, 0)
    curves = rng.uniform(low, 1, (50, layers + extra))
    curves[3, 0] = np.nan
    finders = rule.layers, rule.ranked_layers, rule.ranked_crossings
    found = [find(curves, SETTINGS) for find in finders]
    for curve, layer, ranked, crossing in zip(curves, *found, strict=True):
        (one,) = depths({rule.curve: curve}, SETTINGS)
        assert one.layer == (None if np.isnan(layer) else layer)
        np.testing.assert_equal(crossing, ranked if one.crossing is None else one.crossing)
    assert np.isnan(found[-1]).sum() == 1
    rule.ranked_crossings(np.full((2, layers + extra), np.nan), SETTINGS)


@EVERY_RULE
def test_a_resample_is_the_pool_of_the_drawn_prompts(rule: Rule) -> None:
    parts = simulated_prompts(np.random.default_rng(0), 6, depth=12)
    counts = draw(np.zeros(6, int), 40, seed=1)
    assert (counts.sum(axis=1) == 6).all()
    layers = rule.ranked_layers(resampled_curves(parts, rule, SETTINGS, counts), SETTINGS)
    for row, layer in zip(counts, layers, strict=True):
        drawn = [part for part, count in zip(parts, row, strict=True) for _ in range(count)]
        estimates = {depth.rule: depth.layer for depth in depths(pool(drawn), SETTINGS)}
        assert estimates[rule.name] == layer


def test_the_expanded_tails_are_students() -> None:
    # Hesterberg 2015: a tail of Phi(-sqrt(n / (n - 1)) t); n = 10 gives 0.0086.
    values = np.random.default_rng(0).permutation(np.arange(100_000.0))
    interval = expanded_interval(values, 0.95, freedom=9, inflation=10 / 9)
    tail = ndtr(-np.sqrt(10 / 9) * stdtrit(9, 0.975))
    assert tail == pytest.approx(0.0086, abs=1e-4)
    assert interval is not None
    np.testing.assert_allclose(interval, [tail * 1e5, (1 - tail) * 1e5], atol=1.5)


def test_intervals_mirror() -> None:
    values = np.random.default_rng(0).integers(0, 9, 500).astype(float)
    low, high = expanded_interval(values, 0.95, 4, 1.25) or (0, 0)
    assert expanded_interval(-values, 0.95, 4, 1.25) == (-high, -low)


def test_resamples_that_never_cross_are_the_deepest() -> None:
    # One prompt of five reaches the threshold, and a third of the resamples leave it out.
    def part(height: float) -> PromptCurves:
        return PromptCurves(9, {"overlap": np.array([0, 0, 0, height, height, height, 1.0])})

    settings = SummarySettings(overlap_threshold=0.15)
    parts = [part(0.9), *[part(0.05)] * 4]
    (result,) = estimate_depths(parts, settings)
    assert result.interval == (3, 5)
    assert expanded_interval(np.array([1.0, np.nan]), 0.95, 4, 1.25) is None


def test_identical_prompts_leave_no_doubt() -> None:
    parts = simulated_prompts(np.random.default_rng(0), 1, depth=12) * 5
    layers = {depth.rule: depth.layer for depth in depths(pool(parts), SETTINGS)}
    for rule, interval in intervals(parts, SETTINGS).items():
        assert interval == (layers[rule], layers[rule])


def test_more_alike_prompts_give_narrower_intervals() -> None:
    def width(spread: float) -> float:
        parts = simulated_prompts(np.random.default_rng(3), 8, depth=12, spread=spread)
        return sum(high - low for low, high in filter(None, intervals(parts, SETTINGS).values()))

    assert width(0.2) < width(2) < width(5)


def test_the_seed_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effective_depth, "RESAMPLES", 20)
    parts = simulated_prompts(np.random.default_rng(0), 7, depth=12, spread=4)
    first, *others = (
        estimate_depths(parts, replace(SETTINGS, seed=seed)) for seed in (0, 0, 1, 2, 3)
    )
    assert others[0] == first
    assert any(other != first for other in others)


def test_prompts_with_values_that_are_not_finite_have_no_interval() -> None:
    parts = list(simulated_prompts(np.random.default_rng(0), 6, depth=12))
    curves = parts[2].curves
    broken = {**curves, "kl": np.full_like(curves["kl"], np.nan)}
    parts[2] = PromptCurves(parts[2].n_tokens, broken)
    result = intervals(parts, SETTINGS)
    assert result["kl"] is None
    assert result["overlap"] is not None


def test_a_mean_in_which_prompts_count_once_has_an_interval_of_its_own() -> None:
    parts = simulated_prompts(np.random.default_rng(4), 7, depth=12, spread=5)
    alike = [replace(part, n_tokens=9) for part in parts]
    once = intervals(parts, SETTINGS, weighting="prompts")
    assert once == intervals(alike, SETTINGS)
    assert once != intervals(parts, SETTINGS)
    result = {depth.rule: depth for depth in estimate_depths(parts, SETTINGS)}
    for rule, interval in once.items():
        assert result[rule].prompt_weighted is not None
        assert result[rule].prompt_weighted.interval == interval


def test_tasks_have_the_same_weight_and_are_resampled_within() -> None:
    rng = np.random.default_rng(5)
    early = [replace(part, task="early") for part in simulated_prompts(rng, 4, 8)]
    late = [replace(part, task="late") for part in simulated_prompts(rng, 12, 20)]
    parts = [*early[:2], *late, *early[2:]]
    tasks = task_numbers(parts)
    assert tasks.tolist() == [0, 0, *[1] * 12, 0, 0]
    counts = draw(tasks, 50, 3)
    assert (counts[:, tasks == 0].sum(axis=1) == 4).all()
    assert (counts[:, tasks == 1].sum(axis=1) == 12).all()
    sides = [pool(side)["kl"] for side in (early, late)]
    np.testing.assert_allclose(pool(parts)["kl"], sum(sides) / 2)
    # The same as with one prompt more often, where prompts count once.
    doubled = [*early, *late, *late]
    np.testing.assert_allclose(pool(doubled, "prompts")["kl"], pool(parts, "prompts")["kl"])
    for result in estimate_depths([*early, late[0]], SETTINGS):
        assert result.layer is not None
        assert result.interval is None


def test_the_freedom_of_a_mean_over_tasks() -> None:
    # One task: n - 1 and n / (n - 1). Two of 5 and 9 by hand: errors 1/5 and 1/9.
    assert freedom_of(np.zeros(6, int)) == pytest.approx((5, 6 / 5))
    freedom, inflation = freedom_of(np.array([0] * 5 + [1] * 9))
    assert freedom == pytest.approx((1 / 5 + 1 / 9) ** 2 / (1 / 25 / 4 + 1 / 81 / 8))
    assert inflation == pytest.approx((1 / 5 + 1 / 9) / (4 / 25 + 8 / 81))


def test_a_summary_has_intervals_from_five_prompts_on() -> None:
    settings = SummarySettings(kl_threshold=0.95)
    runs = [random_result(12, 40, seed=seed) for seed in range(FEWEST_UNITS)]
    few, enough = reading_of(runs[:-1], settings), reading_of(runs, settings)
    assert (few.n_prompts, enough.n_prompts) == (FEWEST_UNITS - 1, FEWEST_UNITS)
    assert all(depth.interval is None for depth in few.depths)
    known = [depth for depth in enough.depths if depth.layer is not None]
    assert any(item.interval for item in known)
    for item in known:
        if item.interval and item.layer is not None:
            assert item.interval[0] <= item.layer <= item.interval[1]


def test_it_is_quick() -> None:
    parts = simulated_prompts(np.random.default_rng(0), 12, depth=40, layers=64)
    intervals(parts, SETTINGS, resamples=5)
    start = time.process_time()
    intervals(parts, SETTINGS, resamples=2000)
    assert time.process_time() - start < 1


def test_the_true_layer_is_covered() -> None:
    truth = {
        depth.rule: depth.layer
        for depth in depths(
            pool(simulated_prompts(np.random.default_rng(99), 4000, depth=12.4)), SETTINGS
        )
    }
    hits = dict.fromkeys(truth, 0)
    for seed in range(150):
        parts = simulated_prompts(np.random.default_rng(seed), 8, depth=12.4)
        for rule, interval in intervals(parts, replace(SETTINGS, seed=seed), resamples=300).items():
            assert interval is not None
            hits[rule] += interval[0] <= (truth[rule] or -1) <= interval[1]
    assert all(130 <= count <= 150 for count in hits.values()), hits
