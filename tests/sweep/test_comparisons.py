"""Comparisons of numbers: planted changes are found, their absence is said, naive loops agree."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import stats

from depthtui.data.depth import PromptCurves
from depthtui.data.run_settings import SummarySettings
from depthtui.data.sentence import Sentence
from depthtui.depth import rules
from depthtui.depth.effective_depth import pool
from depthtui.depth.intervals import Bootstrap, resampled_curves
from depthtui.depth.rules import overlap
from depthtui.depth.weights import task_numbers
from depthtui.metrics.resampling import (
    RESAMPLES,
    draw,
    expanded_interval,
    student_interval,
)
from depthtui.sweep.answers import p_words
from depthtui.sweep.comparisons import (
    Comparison,
    Resampled,
    as_one_family,
    compare,
    holm,
)
from depthtui.sweep.numbers import (
    NINE_TENTHS,
    GroupNumber,
    by_rule,
    crossing_of,
    signed_text,
    signed_with_ends,
)
from depthtui.sweep.rank_tests import RankTest
from tests.simulated_prompts import simulated_prompts

SETTINGS = SummarySettings()
RULES = [rule.name for rule in rules.ALL]
LEVELS = (0.95, 1 - 0.05 / 3, 1 - 0.05 / 6)
L = 30


def prompts(seed: int, n: int, depth: float, **how: float) -> list[PromptCurves]:
    return simulated_prompts(np.random.default_rng(seed), n, depth, **how)  # type: ignore[arg-type]


def moved(parts: list[PromptCurves], layers: int) -> list[PromptCurves]:
    """The same prompts with every overlap curve `layers` later."""
    late = []
    for part in parts:
        overlap = part.curves["overlap"]
        later = np.concatenate([np.zeros(layers), overlap[: len(overlap) - layers - 1], [1.0]])
        late.append(PromptCurves(part.n_tokens, {**part.curves, "overlap": later}))
    return late


def crossing(parts: list[PromptCurves], rule: str) -> float:
    """Where the mean curve crosses; each prompt counts once."""
    of_rule = rules.named(rule)
    curve = pool(parts, "prompts")[of_rule.curve]
    return float(of_rule.ranked_crossings(curve[None], SETTINGS)[0])


def compared(
    *groups: list[PromptCurves],
    rule: str = "kl",
    paired: bool = False,
    settings: SummarySettings = SETTINGS,
    **how: object,
) -> Comparison:
    found = [crossing_of(parts, rules.named(rule), settings) for parts in groups]
    return compare(by_rule(rule), found, paired=paired, seed=settings.seed, **how)  # type: ignore[arg-type]


def ends(comparison: Comparison, layers: int = L) -> list[float]:
    """The interval in layers."""
    assert comparison.interval is not None
    return [layers * end for end in comparison.interval]


def change(comparison: Comparison, layers: int = L) -> float:
    """The change in layers."""
    assert comparison.change is not None
    return layers * comparison.change


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("paired", [True, False])
def test_the_change_is_that_of_the_pooled_crossings(rule: str, paired: bool) -> None:
    a, b = prompts(0, 8, 10), prompts(1, 8, 14)
    result = compared(a, b, rule=rule, paired=paired)
    assert change(result) == pytest.approx(crossing(b, rule) - crossing(a, rule))
    assert ends(result)[0] > 0
    assert result.direction == "more"
    for group, side, interval in zip(result.groups, (a, b), result.ranges, strict=True):
        assert L * group.value == pytest.approx(crossing(side, rule) + 1)
        assert interval is not None
        assert interval[0] < group.value < interval[1]


@pytest.mark.parametrize("rule", RULES)
def test_identical_samples_do_not_differ(rule: str) -> None:
    a = prompts(0, 7, 12)
    result = compared(a, a, rule=rule, paired=True)
    # All resamples agree, and still no interval is without a width.
    assert change(result) == 0
    assert ends(result) == pytest.approx([-0.5, 0.5])
    assert result.test == RankTest(1, 0)
    assert result.direction == "as many"
    apart = compared(a, a, rule=rule)
    assert change(apart) == apart.test.effect == 0
    assert ends(apart)[0] < 0 < ends(apart)[1]
    assert apart.direction in ("", "as many")


def test_pairing_removes_what_prompts_have_in_common() -> None:
    a = prompts(3, 8, 12, spread=4)
    b = moved(a, 2)
    paired, apart = (compared(a, b, rule="overlap", paired=both) for both in (True, False))
    assert ends(paired) == pytest.approx([1.5, 2.5])
    assert ends(apart)[0] < 0 < ends(apart)[1]
    assert paired.test == RankTest(pytest.approx(2 / 2**8), 1, True)
    assert (paired.test_name, apart.test_name) == ("signed rank", "Mann-Whitney")
    assert p_words(paired) == "<= 0.0078"
    assert paired.change_in_words == ("+2.0 layers", "+1.5 … +2.5")


def test_exchanging_the_sides_changes_the_sign() -> None:
    a, b = prompts(0, 9, 11, spread=3), prompts(1, 9, 13, spread=3)
    forth, back = compared(a, b, paired=True), compared(b, a, paired=True)
    assert ends(back) == pytest.approx([-end for end in ends(forth)[::-1]])
    assert (change(back), back.test.effect) == (-change(forth), -forth.test.effect)
    assert back.test.p == pytest.approx(forth.test.p)


def test_models_of_other_sizes_are_compared_by_ratio() -> None:
    a, b = prompts(0, 12, 12, layers=30), prompts(1, 12, 24, layers=60)
    result = compared(a, b, rule="overlap")
    ratios = (crossing(b, "overlap") + 1) / 60 - (crossing(a, "overlap") + 1) / 30
    assert result.change == pytest.approx(ratios)
    # Twelve layers more, of twice as many.
    assert result.direction == "as many"
    assert result.change_in_words[0] == f"{signed_text(100 * ratios, 0)} points"
    # Nor do single prompts lie deeper, as shares of L.
    assert abs(result.test.effect) < 0.5


def test_the_direction_between_models_of_other_sizes_is_the_ratio_s() -> None:
    """Ten layers fewer of a fifth as many: a far larger share."""
    a, b = prompts(0, 12, 20, layers=60), prompts(0, 12, 9, layers=12)
    result = compared(a, b, rule="overlap", paired=True)
    assert result.direction == "more"
    assert (result.test.effect, result.test.p) == (1, pytest.approx(2 / 2**12))
    assert compared(b, a, rule="overlap", paired=True).direction == "fewer"


def test_no_interval_is_without_a_width() -> None:
    a, b = prompts(0, 6, 12), prompts(1, 6, 14)
    for rule in RULES:
        for result in (
            compared(a, b, rule=rule, paired=True),
            compared(a, moved(a, 3), rule=rule, paired=True),
            compared(a[:1] * 6, b[:1] * 6, rule=rule),
            compared(*[a[:1] * 6] * 2, b[:1] * 6, rule=rule, is_trend=True),
        ):
            assert ends(result)[0] < change(result) < ends(result)[1]


def test_ends_that_look_alike_get_more_digits() -> None:
    assert signed_with_ends(2.04, (1.31, 2.66), 1) == ("+2.0", "+1.3 … +2.7")
    assert signed_with_ends(0.02, (0.01, 0.04), 1) == ("+0.02", "+0.01 … +0.04")
    assert signed_with_ends(0.002, (0.001, 0.004), 1) == ("+0.002", "+0.001 … +0.004")
    # Zero is never negative.
    assert signed_with_ends(-0.04, (-0.3, 0.0), 1) == ("+0.0", "-0.3 … +0.0")


def test_a_paired_resample_draws_the_same_prompts_of_both() -> None:
    a, b = prompts(0, 6, 11, spread=4), prompts(1, 6, 13, spread=4)
    result = compared(a, b, rule="overlap", paired=True, resamples=200)
    changes = []
    for row in draw(np.zeros(6, int), 200, SETTINGS.seed):
        sides = [[x for x, k in zip(side, row, strict=True) for _ in range(k)] for side in (a, b)]
        changes.append(crossing(sides[1], "overlap") - crossing(sides[0], "overlap"))
    assert result.resamples is not None
    assert L * result.resamples.values == pytest.approx(changes)
    reach = stats.t.ppf(0.975, 5) * np.sqrt(6 / 5) * np.std(changes)
    moved_by = crossing(b, "overlap") - crossing(a, "overlap")
    low, high = expanded_interval(np.array(changes), 0.95, 5, 6 / 5)
    assert ends(result) == pytest.approx((min(moved_by - reach, low), max(moved_by + reach, high)))


@pytest.mark.parametrize("sizes", [(8, 13), (5, 9)])
def test_unpaired_intervals_have_welchs_degrees_of_freedom(sizes: tuple[int, int]) -> None:
    a, b = prompts(0, sizes[0], 11, spread=5), prompts(1, sizes[1], 13, spread=4)
    result = compared(a, b, rule="overlap")
    drawn = []
    for number, side in enumerate((a, b)):
        counts = draw(task_numbers(side), RESAMPLES, SETTINGS.seed + number)
        curves = resampled_curves(side, overlap.RULE, SETTINGS, counts, "prompts")
        drawn.append(overlap.RULE.ranked_crossings(curves, SETTINGS))
    (n, m), (first, second) = sizes, (column.var() for column in drawn)
    errors = first * n / (n - 1), second * m / (m - 1)
    freedom = sum(errors) ** 2 / (errors[0] ** 2 / (n - 1) + errors[1] ** 2 / (m - 1))
    changes, inflation = drawn[1] - drawn[0], sum(errors) / (first + second)
    assert n - 1 < freedom < n + m - 2
    low, high = expanded_interval(changes, 0.95, freedom, inflation)
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(inflation * changes.var())
    expected = min(low, change(result) - reach), max(high, change(result) + reach)
    assert ends(result) == pytest.approx(expected)


def test_paired_prompts_may_not_differ_in_number() -> None:
    a, b = prompts(0, 6, 12), prompts(1, 9, 12)
    assert [len(group.tasks) for group in compared(a, b).groups] == [6, 9]
    with pytest.raises(ValueError, match="6 and 9 prompts cannot be paired"):
        compared(a, b, paired=True)
    with pytest.raises(ValueError, match="two or more"):
        compared(a)


def test_what_cannot_be_said_is_said() -> None:
    a = prompts(0, 6, 12)
    for groups in ((a[:4], a), (a, a[:4], a)):
        few = compared(*groups)
        assert str(few.reason) == "too few prompts (4; 5 are needed)"
        assert (few.change, few.direction) == (None, "")
    of_each = [replace(part, task=f"{number}") for number, part in enumerate(a)]
    assert "two of each task" in str(compared(of_each, of_each, paired=True).reason)
    never = replace(SETTINGS, overlap_threshold=1.0)
    assert "no layer by this rule" in str(compared(a, a, rule="overlap", settings=never).reason)


def test_prompts_that_never_cross_are_the_deepest() -> None:
    a = prompts(0, 6, 12)
    flat = {"overlap": np.append(np.full(L, 0.0), 1)}
    mixed = [*a[:3], *(PromptCurves(9, flat) for _ in range(3))]
    how = {"rule": "overlap", "settings": replace(SETTINGS, overlap_threshold=0.2)}
    paired, apart = (compared(a, mixed, paired=both, **how) for both in (True, False))
    assert paired.test == RankTest(pytest.approx(2 / 2**3), 1, True)
    assert apart.test.effect > 0.4
    # In some resamples most prompts never cross: the pooled one does not either.
    assert ends(apart)[1] > 15


def test_a_planted_trend_is_found() -> None:
    levels = [prompts(seed, 8, 10 + 2 * seed) for seed in range(4)]
    for rule in RULES:
        result = compared(*levels, rule=rule, is_trend=True)
        crossings = [crossing(text, rule) for text in levels]
        assert change(result) == pytest.approx(3 * np.polyfit(range(4), crossings, 1)[0])
        assert 2 < ends(result)[0] < change(result) < ends(result)[1] < 10
        assert (result.direction, result.test_name) == ("more", "Kendall")
        assert result.test.p < 0.001
        assert p_words(result) == "< 0.001"
    assert compared(*levels[::-1], rule="overlap", is_trend=True).direction == "fewer"


def test_levels_that_do_not_go_one_way_have_no_direction() -> None:
    levels = [moved(prompts(0, 8, 6.0), layers) for layers in (9, 13, 0)]
    result = compared(*levels, rule="overlap", is_trend=True, resamples=200)
    assert ends(result)[1] < 0
    assert (str(result.reason), result.direction) == ("up and down", "")
    # A step back of less than a tenth is none.
    for one_way in ((0, 9, 12), (0, 0, 12), (0, 12, 10)):
        levels = [moved(prompts(0, 8, 6.0), layers) for layers in one_way]
        steady = compared(*levels, rule="overlap", is_trend=True, resamples=200)
        assert steady.direction == "more"


def group(value: float) -> GroupNumber:
    return GroupNumber(lambda counts: np.full(len(counts), value), np.zeros(9, int), 20)


def claimed(layers: float, *interval: float, **fields: object) -> Comparison:
    """A comparison of two groups of models of 20 layers, with its change and interval in layers."""
    low, high = (end / 20 for end in interval)
    return Comparison(
        number=by_rule("kl"),
        groups=[group(0.5), group(0.5 + layers / 20)],
        change=layers / 20,
        interval=(low, high),
        **fields,  # type: ignore[arg-type]
    )


def test_there_is_no_direction_where_a_count_moves_as_far() -> None:
    falling = claimed(-8.0, -9.0, -7.0, test=RankTest(0.0004, -0.3))
    assert falling.direction == "fewer"
    assert replace(falling, doubt=(7 / 20, "b is fragile")).direction == "fewer"
    fragile = replace(falling, doubt=(12 / 20, "c is fragile"))
    assert str(fragile.reason) == "no direction holds: c is fragile"
    assert fragile.disagrees
    # Between models of other sizes it is the share that moves.
    assert replace(falling, doubt=(20 / 64, "a is fragile")).direction == "fewer"
    assert replace(falling, doubt=(26 / 64, "a is fragile")).direction == ""
    # Where the interval includes 0, that is the one reason.
    unclear = claimed(-8.0, -17.0, 1.0, doubt=(12 / 20, "c is fragile"))
    assert unclear.reason == Sentence("not clear")


def test_within_a_tenth_of_all_there_are_as_many() -> None:
    assert claimed(0.4, -1.0, 1.9).direction == "as many"
    assert str(claimed(0.4, -1.0, 2.1).reason) == "not clear"


def test_whole_layers_are_known_to_half_a_layer() -> None:
    result = compare(NINE_TENTHS, [group(0.5), group(0.6)], paired=True)
    assert 20 * np.array(result.interval) == pytest.approx([1.5, 2.5])
    assert result.change_in_words[0] == "+2.0 layers"


def test_groups_and_single_prompts_may_disagree() -> None:
    result = claimed(3.0, 1.0, 5.0, test=RankTest(0.0625, 0.8))
    assert result.disagrees
    assert not replace(result, test=RankTest(0.0625, 1.0, True)).disagrees
    assert not replace(result, test=RankTest()).disagrees
    assert claimed(1.0, 0.0, 2.0, test=RankTest(0.0004, 0.3)).disagrees
    assert not claimed(1.0, 0.0, 2.0, test=RankTest(0.06, 0.3)).disagrees


def test_each_prompt_counts_once() -> None:
    # The one long prompt is as deep on both sides, the short ones are not.
    long = replace(prompts(0, 1, 12)[0], n_tokens=9000)
    a, b = [long, *prompts(1, 8, 10)], [long, *prompts(1, 8, 16)]
    result = compared(a, b, paired=True)
    once = compared(*([replace(part, n_tokens=1) for part in side] for side in (a, b)), paired=True)
    assert (result.change, result.interval, result.test) == (once.change, once.interval, once.test)
    assert change(result) >= 4


def test_tasks_count_the_same() -> None:
    def side(depth: float) -> list[PromptCurves]:
        short, long = prompts(2, 6, depth), prompts(3, 6, 12)
        return [
            *(replace(part, n_tokens=20, task="short") for part in short),
            *(replace(part, n_tokens=300, task="long") for part in long * 5),
        ]

    # Half of a change of 6 layers, and not a sixteenth or a sixth of it.
    assert 2 <= change(compared(side(10), side(16), paired=True)) <= 4


def test_a_family_has_one_level() -> None:
    a, b = prompts(0, 12, 12, spread=3), prompts(5, 12, 14, spread=3)
    every = [compared(a, b, rule=rule) for rule in RULES]
    unknown = Comparison(number=by_rule("kl"), problem=Sentence("too few"))
    assert as_one_family(every[:1]) == every[:1]
    family = as_one_family([*every, unknown])
    assert family[-1] == unknown
    for in_family, single in zip(family, every, strict=False):
        assert in_family.level == pytest.approx(1 - 0.05 / len(RULES))
        assert single.resamples is not None
        assert in_family.interval == single.resamples.interval(in_family.level)
        assert ends(in_family)[0] <= ends(single)[0]
        # What stands beside the change stays at 95 %.
        assert in_family.ranges == single.ranges
    ps = holm([one.test.p for one in every])
    assert [one.test.p for one in family[:-1]] == pytest.approx(list(ps))


def test_levels_of_the_same_prompts_are_drawn_together() -> None:
    first = prompts(0, 8, 12, spread=4)
    steps = [first, moved(first, 1), moved(first, 3)]
    apart, result = (
        compared(*steps, rule="overlap", paired=both, is_trend=True) for both in (False, True)
    )
    assert ends(result) == pytest.approx([2.5, 3.5])
    assert change(result) == pytest.approx(3)
    assert ends(apart)[0] <= 0
    assert result.test == RankTest(pytest.approx(2 / 2**8), 1, True)


def test_holm_by_hand() -> None:
    # Sorted: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 0.04 raised to what came before.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([0.7, 0.6]).tolist() == [1, 1]
    assert holm([]).tolist() == []


def test_a_comparison_without_an_interval_at_its_level_has_too_few_prompts() -> None:
    result = compared(prompts(0, 5, 12), prompts(1, 5, 14), paired=True)
    assert result.resamples is not None
    unknown = replace(result.resamples, values=np.array([1.0, np.nan]))
    (one, *_) = as_one_family([replace(result, resamples=unknown)] * 3)
    assert one.change is None
    assert str(one.reason) == "too few prompts (for a 98.33 % interval)"


# Intervals of sums over groups, against textbooks and naive resamples -----------------------------


def means_of_every_resample(sample: np.ndarray) -> np.ndarray:
    n = len(sample)
    return sample[np.array(list(product(range(n), repeat=n)))].mean(axis=1)


@pytest.mark.parametrize("level", LEVELS)
def test_the_interval_of_a_mean_is_the_textbook_s(level: float) -> None:
    sample = np.random.default_rng(0).exponential(size=5)
    means = means_of_every_resample(sample)
    found = student_interval(sample.mean(), means, level, 4, 5 / 4)
    assert found == pytest.approx(stats.t.interval(level, 4, sample.mean(), stats.sem(sample)))


@pytest.mark.parametrize("level", LEVELS)
def test_the_interval_of_two_means_is_welchs(level: float) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(10, 1, 3), rng.normal(11, 4, 4)
    drawn = np.array(list(product(means_of_every_resample(a), means_of_every_resample(b))))
    tasks = [np.zeros(len(side), int) for side in (a, b)]
    found = Resampled(np.array([a.mean(), b.mean()]), drawn, tasks, False, 0).sum(
        np.array([-1.0, 1.0])
    )
    welch = stats.ttest_ind(b, a, equal_var=False).confidence_interval(level)
    of = level, found.freedom, found.inflation
    assert student_interval(found.value, found.values, *of) == pytest.approx(
        (welch.low, welch.high)
    )


@pytest.mark.parametrize("level", LEVELS)
def test_an_interval_reaches_as_far_as_percentiles_and_student_s_t(level: float) -> None:
    """Of a skewed number, percentiles reach further up, and t further down."""
    values = np.random.default_rng(2).exponential(size=2000)
    of = level, 9.0, 10 / 9
    (_, high), (low, _) = expanded_interval(values, *of), student_interval(1.0, values, *of)
    assert Bootstrap(1.0, values, *of[1:]).interval(level) == (low, high)


def test_draws_that_agree_or_are_not_finite() -> None:
    same = np.full(100, 3.0)
    assert Bootstrap(3.0, same, 4, 1.25, resolution=0.5).interval() == (2.5, 3.5)
    assert Bootstrap(3.0, np.append(same, np.nan), 4, 1.25).interval() is None


@pytest.mark.parametrize("together", [True, False])
def test_any_statistic_of_groups_of_prompts(together: bool) -> None:
    values, tasks = np.random.default_rng(3).uniform(1, 2, (2, 6, 2)), np.array([0, 0, 1, 1, 1, 0])

    def ratio(of: np.ndarray) -> GroupNumber:
        return GroupNumber(lambda counts: (counts @ of[:, 0]) / (counts @ of[:, 1]), tasks, 20)

    resampled = Resampled.of(list(map(ratio, values)), 7, together, resamples=30)
    totals = values.sum(axis=1)
    assert resampled.values == pytest.approx(totals[:, 0] / totals[:, 1])
    for number, of_group in enumerate(values):
        counts = draw(tasks, 30, 7 if together else 7 + number)
        for row, value in zip(counts, resampled.drawn[:, number], strict=True):
            drawn = np.repeat(of_group, row, axis=0).sum(axis=0)
            assert value == pytest.approx(drawn[0] / drawn[1])
    of_one = resampled.sum(np.array([0.0, 1.0]))
    assert of_one.value == pytest.approx(resampled.values[1])
    assert of_one.values == pytest.approx(resampled.drawn[:, 1])
