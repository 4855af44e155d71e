"""Comparisons of depths: planted shifts are found, their absence is said, naive loops agree."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from depthtui.data.depth import PromptCurves
from depthtui.data.run_settings import SummarySettings
from depthtui.data.sentence import Sentence
from depthtui.depth import rules
from depthtui.depth.effective_depth import depths, pool
from depthtui.depth.intervals import resampled_curves
from depthtui.depth.rules import overlap
from depthtui.depth.weights import task_numbers
from depthtui.metrics.resampling import RESAMPLES, draw, expanded_interval
from depthtui.sweep.comparisons import (
    TRAINED,
    Claim,
    Difference,
    FragileCount,
    Trend,
    as_one_family,
    difference,
    disagree,
    holm,
    numbers,
    signed_text,
    signed_with_ends,
    trend,
)
from tests.simulated_prompts import simulated_prompts

SETTINGS = SummarySettings()
RULES = [rule.name for rule in rules.ALL]


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


def layer(parts: list[PromptCurves], rule: str) -> int:
    last_layer = {depth.rule: depth.layer for depth in depths(pool(parts), SETTINGS)}[rule]
    assert last_layer is not None
    return last_layer


def crossing(parts: list[PromptCurves], rule: str) -> float:
    at_layer = {depth.rule: depth.crossing for depth in depths(pool(parts), SETTINGS)}[rule]
    assert at_layer is not None
    return at_layer


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("paired", [True, False])
def test_the_difference_is_that_of_the_pooled_crossings(rule: str, paired: bool) -> None:
    a, b = prompts(0, 8, 10), prompts(1, 8, 14)
    result = difference(a, b, SETTINGS, paired, rule)
    assert result.layers == pytest.approx(crossing(b, rule) - crossing(a, rule))
    assert result.ratio == pytest.approx(result.layers / 30)
    assert result.layers_interval is not None
    assert result.layers_interval[0] > 0
    assert result.ratio_interval == pytest.approx([end / 30 for end in result.layers_interval])


@pytest.mark.parametrize("rule", RULES)
def test_identical_samples_do_not_differ(rule: str) -> None:
    a = prompts(0, 7, 12)
    result = difference(a, a, SETTINGS, paired=True, rule=rule)
    # All resamples agree, and still no interval is without a width.
    assert (result.layers, result.layers_interval, result.ratio) == (0, (-0.5, 0.5), 0)
    assert result.ratio_interval == pytest.approx((-0.5 / 30, 0.5 / 30))
    assert (result.p, result.effect) == (1, 0)
    assert str(result.words).startswith(
        "no clear difference: +0.0 layers (95 % interval -0.5 … +0.5)"
    )
    apart = difference(a, a, SETTINGS, paired=False, rule=rule)
    assert apart.layers == apart.effect == 0
    assert apart.layers_interval is not None
    assert apart.layers_interval[0] < 0 < apart.layers_interval[1]


def test_pairing_removes_what_prompts_have_in_common() -> None:
    a = prompts(3, 8, 12, spread=4)
    b = moved(a, 2)
    paired = difference(a, b, SETTINGS, paired=True, rule="overlap")
    apart = difference(a, b, SETTINGS, paired=False, rule="overlap")
    assert paired.layers_interval == pytest.approx((1.5, 2.5))
    assert apart.layers_interval is not None
    assert apart.layers_interval[0] < 0 < apart.layers_interval[1]
    assert paired.effect == 1
    assert paired.p == pytest.approx(2 / 2**8)
    assert str(paired.words) == (
        "more layers: +2.0 layers (95 % interval +1.5 … +2.5) where each prompt counts once; "
        "single prompts: rank-biserial +1.00, p <= 0.0078"
    )


def test_exchanging_the_sides_changes_the_sign() -> None:
    a, b = prompts(0, 9, 11, spread=3), prompts(1, 9, 13, spread=3)
    forth = difference(a, b, SETTINGS, paired=True)
    back = difference(b, a, SETTINGS, paired=True)
    assert forth.layers_interval is not None
    assert back.layers_interval == (-forth.layers_interval[1], -forth.layers_interval[0])
    assert (back.layers, back.effect) == (-(forth.layers or 0), -(forth.effect or 0))
    assert back.p == pytest.approx(forth.p)


def test_models_of_other_sizes_are_compared_by_ratio() -> None:
    a, b = prompts(0, 12, 12, layers=30), prompts(1, 12, 24, layers=60)
    result = difference(a, b, SETTINGS, paired=False, rule="overlap")
    ratios = (crossing(b, "overlap") + 1) / 60 - (crossing(a, "overlap") + 1) / 30
    assert result.ratio == pytest.approx(ratios)
    assert result.layers_interval is not None
    assert result.layers_interval[0] > 8
    assert result.ratio_interval is not None
    assert result.ratio_interval[0] < 0.02 < 0.05 + result.ratio_interval[1]
    assert result.claim is not None
    # Twelve layers more, of twice as many: the claim is the ratio's, which is no larger.
    assert not result.claim.changes
    assert str(result.words).startswith(
        f"no clear difference: ratio {signed_text(result.claim.ratio or 0, 2)} (95 % interval "
    )
    assert f", {signed_text(result.claim.layers, 1)} layers (" in str(result.words)
    # Nor do single prompts lie deeper, as shares of L.
    assert result.effect is not None
    assert abs(result.effect) < 0.5


def test_the_direction_between_models_of_other_sizes_is_the_ratio_s() -> None:
    """Ten layers fewer of a fifth as many: a far larger share."""
    a, b = prompts(0, 12, 20, layers=60), prompts(0, 12, 9, layers=12)
    result = difference(a, b, SETTINGS, paired=True, rule="overlap")
    assert result.claim is not None
    assert result.claim.layers < -8
    assert str(result.words).startswith("a larger share of its layers: ratio +0.")
    assert (result.effect, result.p) == (1, pytest.approx(2 / 2**12))
    back = difference(b, a, SETTINGS, paired=True, rule="overlap")
    assert str(back.words).startswith("a smaller share of its layers: ratio -0.")


def test_no_interval_is_without_a_width() -> None:
    a, b = prompts(0, 6, 12), prompts(1, 6, 14)
    for rule in RULES:
        for result in (
            difference(a, b, SETTINGS, True, rule),
            difference(a, moved(a, 3), SETTINGS, True, rule),
            difference(a[:1] * 6, b[:1] * 6, SETTINGS, False, rule),
        ):
            assert result.claim is not None
            assert result.claim.interval[0] < result.claim.layers < result.claim.interval[1]
            low, high = result.layers_interval or (0, 0)
            assert low < high
        levels = trend([a[:1] * 6, a[:1] * 6, b[:1] * 6], SETTINGS, rule)
        assert levels.claim is not None
        assert levels.claim.interval[0] < levels.claim.interval[1]


def test_ends_that_look_alike_get_more_digits() -> None:
    assert signed_with_ends(2.04, (1.31, 2.66), 1) == ("+2.0", "+1.3 … +2.7")
    assert signed_with_ends(0.02, (0.01, 0.04), 1, "…") == ("+0.02", "+0.01…+0.04")
    assert signed_with_ends(0.002, (0.001, 0.004), 1) == ("+0.002", "+0.001 … +0.004")


def test_a_paired_resample_draws_the_same_prompts_of_both() -> None:
    a, b = prompts(0, 6, 11, spread=4), prompts(1, 6, 13, spread=4)
    a, b = ([replace(part, n_tokens=9) for part in side] for side in (a, b))
    result = difference(a, b, SETTINGS, paired=True, rule="overlap", resamples=200)
    changes = []
    for row in draw(np.zeros(6, int), 200, SETTINGS.seed):
        sides = [[x for x, k in zip(side, row, strict=True) for _ in range(k)] for side in (a, b)]
        changes.append(crossing(sides[1], "overlap") - crossing(sides[0], "overlap"))
    assert result.resamples is not None
    assert result.resamples.layers.values == pytest.approx(changes)
    reach = stats.t.ppf(0.975, 5) * np.sqrt(6 / 5) * np.std(changes)
    change = crossing(b, "overlap") - crossing(a, "overlap")
    assert result.layers_interval == pytest.approx((change - reach, change + reach))


@pytest.mark.parametrize("sizes", [(8, 13), (5, 9)])
def test_unpaired_intervals_have_welchs_degrees_of_freedom(sizes: tuple[int, int]) -> None:
    a, b = prompts(0, sizes[0], 11, spread=5), prompts(1, sizes[1], 13, spread=4)
    result = difference(a, b, SETTINGS, paired=False, rule="overlap")
    drawn = []
    for number, side in enumerate((a, b)):
        counts = draw(task_numbers(side), RESAMPLES, SETTINGS.seed + number)
        curves = resampled_curves(side, overlap.RULE, SETTINGS, counts)
        drawn.append(overlap.RULE.ranked_crossings(curves, SETTINGS))
    (n, m), (first, second) = sizes, (column.var() for column in drawn)
    errors = first * n / (n - 1), second * m / (m - 1)
    freedom = sum(errors) ** 2 / (errors[0] ** 2 / (n - 1) + errors[1] ** 2 / (m - 1))
    changes, inflation = drawn[1] - drawn[0], sum(errors) / (first + second)
    assert n - 1 < freedom < n + m - 2
    if n == 8:
        expected = expanded_interval(changes, 0.95, freedom, inflation)
        assert expected != expanded_interval(changes, 0.95, n - 1, n / (n - 1))
    else:
        reach = stats.t.ppf(0.975, freedom) * np.sqrt(inflation * changes.var())
        assert result.layers is not None
        expected = result.layers - reach, result.layers + reach
    assert result.layers_interval == pytest.approx(expected)


def test_unpaired_prompts_may_differ_in_number_and_paired_ones_may_not() -> None:
    a, b = prompts(0, 6, 12), prompts(1, 9, 12)
    assert difference(a, b, SETTINGS, paired=False).n_prompts == (6, 9)
    with pytest.raises(ValueError, match="6 and 9"):
        difference(a, b, SETTINGS, paired=True)


def test_what_cannot_be_said_is_said() -> None:
    a = prompts(0, 6, 12)
    few = "too few prompts to say (4; 5 are needed)"
    unknown = difference(a[:4], a, SETTINGS, paired=False)
    assert str(unknown.words) == numbers(unknown)["problem"] == few
    assert unknown.words.headline == "too few prompts to say"
    levels = [a, a[:4], a]
    few_a_level = "too few prompts to say (4 a level; 5 are needed)"
    assert str(trend(levels, SETTINGS).words) == few_a_level
    without = [PromptCurves(5, {"kl": item.curves["kl"]}) for item in a]
    for result in (
        difference(a, without, SETTINGS, paired=True, rule="cosine"),
        trend([a, without], SETTINGS, rule="cosine"),
    ):
        assert "not measured" in str(result.words)
    never = replace(SETTINGS, overlap_threshold=1.0)
    for result in (
        difference(a, a, never, paired=True, rule="overlap"),
        trend([a, a], never, rule="overlap"),
    ):
        assert "no layer by this rule" in str(result.words)
        assert result.p in (None, 1)


def test_prompts_that_never_cross_are_the_deepest() -> None:
    a = prompts(0, 6, 12)
    flat = {"overlap": np.append(np.full(30, 0.0), 1)}
    mixed = [*a[:3], *(PromptCurves(9, flat) for _ in range(3))]
    settings = replace(SETTINGS, overlap_threshold=0.2)
    paired = difference(a, mixed, settings, True, "overlap")
    assert (paired.effect, paired.p) == (1, pytest.approx(2 / 2**3))
    apart = difference(a, mixed, settings, False, "overlap")
    levels = trend([a, mixed], settings, "overlap")
    assert apart.effect is not None
    assert apart.effect > 0.4
    assert levels.effect is not None
    assert levels.effect > 0
    assert apart.claim is not None
    # In some resamples most prompts never cross: the pooled one does not either.
    assert apart.claim.interval[1] > 15


def test_a_planted_trend_is_found() -> None:
    levels = [prompts(seed, 8, 10 + 2 * seed) for seed in range(4)]
    for rule in RULES:
        result = trend(levels, SETTINGS, rule)
        pooled = [layer(text, rule) for text in levels]
        assert result.layers == tuple(pooled)
        crossings = [crossing(text, rule) for text in levels]
        assert result.slope == pytest.approx(3 * np.polyfit(range(4), crossings, 1)[0])
        assert result.slope_interval is not None
        assert 2 < result.slope_interval[0] < result.slope < result.slope_interval[1] < 10
        assert result.p is not None
        assert result.p < 0.001
        assert str(result.words).startswith("more layers at harder levels: +")
    backwards = trend(levels[::-1], SETTINGS, "overlap")
    assert str(backwards.words).startswith("fewer layers at harder levels: -")


def test_levels_that_do_not_go_one_way_have_no_direction() -> None:
    levels = [moved(prompts(0, 8, 6.0), layers) for layers in (9, 12, 0)]
    result = trend(levels, SETTINGS, "overlap", 200)
    assert result.claim is not None
    assert result.claim.changes
    counts = ", ".join(str(layer(part, "overlap") + 1) for part in levels)
    assert str(result.words).startswith(
        f"goes up and down: {counts}; {signed_text(result.claim.layers, 1)} layers (95 % interval "
    )
    assert not disagree(replace(result, p=0.38, effect=-0.2))
    assert "no clear change" not in str(replace(result, p=0.38, effect=-0.2).words)
    assert numbers(result)["doubt"] == f"goes up and down: {counts}"
    assert result.words.headline == "goes up and down"
    for one_way in ((0, 9, 12), (0, 0, 12)):
        levels = [moved(prompts(0, 8, 6.0), layers) for layers in one_way]
        steady = trend(levels, SETTINGS, "overlap", 200)
        assert not steady.doubt
        assert str(steady.words).startswith("more layers at harder levels: +")


def test_a_trend_has_no_direction_where_a_count_moves_as_far() -> None:
    falling = Trend("kl", (9, 9), p=0.0004, effect=-0.3, claim=Claim(-8.0, (-9.0, -7.0)))
    narrow, wide, wider = (
        FragileCount("b", 10, 17, 20),
        FragileCount("a", 3, 11, 20),
        FragileCount("c", 1, 13, 20),
    )
    assert falling.with_doubt_from([narrow]) == falling
    assert str(falling.with_doubt_from([narrow, wide]).doubt) == (
        "no direction holds: the count of a is fragile (3 to 11 layers)"
    )
    fragile = falling.with_doubt_from([wide, wider])
    assert str(fragile.words) == (
        "no direction holds: the count of c is fragile (1 to 13 layers); -8.0 layers (95 % "
        "interval -9.0 … -7.0) where each prompt counts once; single prompts: tau "
        "-0.30, p < 0.001, a change"
    )
    assert disagree(fragile)
    assert fragile.words.headline == "no direction holds"
    unclear = replace(fragile, claim=Claim(-8.0, (-17.0, 1.0)))
    assert str(unclear.words).startswith("no clear trend: -8.0 layers")
    assert unclear.words.headline == "no clear trend"
    assert replace(falling, doubt=Sentence("x")).with_doubt_from([wide]).doubt == Sentence("x")


def test_a_difference_has_no_direction_where_a_count_moves_as_far() -> None:
    shallower = Difference(
        "kl", True, (9, 9), p=0.0004, effect=-1.0, claim=Claim(-5.0, (-9.0, -1.0))
    )
    assert shallower.with_doubt_from([FragileCount("a", 3, 7, 18)]) == shallower
    fragile = shallower.with_doubt_from([FragileCount("a", 1, 13, 18)])
    assert str(fragile.words) == (
        "no direction holds: the count of a is fragile (1 to 13 layers); -5.0 layers (95 % "
        "interval -9.0 … -1.0) where each prompt counts once; single prompts: rank-biserial "
        "-1.00, p < 0.001, a change"
    )
    # Between models of other sizes it is the share that moves.
    ratio = replace(
        shallower, claim=Claim(-5.0, (-9.0, -1.0), ratio=0.2, ratio_interval=(0.1, 0.3))
    )
    deep = FragileCount("a", 20, 32, 64)
    assert ratio.with_doubt_from([deep]) == ratio
    assert str(ratio.with_doubt_from([deep, FragileCount("b", 9, 14, 24)]).words) == (
        "no direction holds: the count of b is fragile (9 to 14 of 24 layers); ratio +0.20 (95 % "
        "interval +0.10 … +0.30), -5.0 layers (-9.0 … -1.0) where each prompt counts once; single "
        "prompts: rank-biserial -1.00, p < 0.001, a change"
    )


def test_the_population_is_named() -> None:
    result = Difference("kl", True, (9, 9), p=0.5, effect=0.1, claim=Claim(1.0, (-1.0, 3.0)))
    of_generator = replace(result, population="draws of this generator")
    assert str(of_generator.words) == f"{result.words}; over draws of this generator"


def test_levels_that_do_not_differ_have_no_trend() -> None:
    result = trend([prompts(seed, 8, 12) for seed in (5, 6, 7)], SETTINGS, "overlap")
    assert result.slope_interval is not None
    assert result.slope_interval[0] <= 0 <= result.slope_interval[1]
    assert str(result.words).startswith("no clear trend: ")


def test_two_levels_have_the_slope_of_their_difference() -> None:
    a, b = prompts(0, 7, 11), prompts(1, 9, 13)
    slope, change = trend([a, b], SETTINGS), difference(a, b, SETTINGS, paired=False)
    assert slope.slope == change.layers
    assert slope.slope_interval == change.layers_interval
    with pytest.raises(ValueError, match="two or more"):
        trend([a], SETTINGS)


def test_where_mean_curve_and_single_prompts_disagree_the_sentence_says_so() -> None:
    claim = Claim(3.0, (1.0, 5.0))
    result = Difference("kl", True, (5, 5), p=0.0625, effect=0.8, claim=claim)
    assert disagree(result)
    assert str(result.words) == (
        "more layers: +3.0 layers (95 % interval +1.0 … +5.0) where each prompt counts once; "
        "single prompts: rank-biserial +0.80, p 0.062, no clear change"
    )
    least = replace(result, effect=1.0, p_is_least=True)
    assert not disagree(least)
    assert str(least.words).endswith("+1.00, p <= 0.062, the least that so few prompts allow")
    unclear = replace(claim, layers=1.0, interval=(0.0, 2.0), level=1 - 0.05 / 3, n_tasks=2)
    slope = Trend("kl", (9, 9), p=0.0004, effect=0.3, claim=unclear)
    assert str(slope.words) == (
        "no clear trend: +1.0 layers (98.33 % interval +0.0 … +2.0) where each task counts once; "
        "single prompts: tau +0.30, p < 0.001, a change"
    )
    assert str(replace(slope, p_holm=0.06).words).endswith("tau +0.30, p 0.06 (Holm)")


def test_zero_is_never_negative() -> None:
    slope = Trend("kl", (9, 9), p=1.0, claim=Claim(-0.04, (-0.3, 0.0)))
    assert str(slope.words).startswith("no clear trend: +0.0 layers (95 % interval -0.3 … +0.0)")
    assert signed_text(-0.5, 1) == "-0.5"


def test_a_claim_counts_each_prompt_once() -> None:
    # The one long prompt is as deep on both sides, the short ones are not.
    long = replace(prompts(0, 1, 12)[0], n_tokens=9000)
    a, b = prompts(1, 8, 10), prompts(1, 8, 16)
    result = difference([long, *a], [long, *b], SETTINGS, paired=True)
    once = difference(
        *([replace(part, n_tokens=1) for part in [long, *side]] for side in (a, b)), SETTINGS, True
    )
    assert result.layers is not None
    assert abs(result.layers) < 1
    assert result.claim is not None
    assert once.claim is not None
    assert result.claim == once.claim
    assert result.claim.layers == once.layers
    assert result.claim.interval == once.layers_interval
    assert result.claim.layers >= 4
    assert (result.p, result.effect) == (once.p, once.effect)


def test_tasks_count_the_same() -> None:
    def side(depth: float) -> list[PromptCurves]:
        short, long = prompts(2, 6, depth), prompts(3, 6, 12)
        return [
            *(replace(part, n_tokens=20, task="short") for part in short),
            *(replace(part, n_tokens=300, task="long") for part in long * 5),
        ]

    result = difference(side(10), side(16), SETTINGS, paired=True)
    assert result.claim is not None
    assert result.claim.n_tasks == 2
    # Half of a change of 6 layers, and not a sixteenth or a sixth of it.
    assert 2 <= result.claim.layers <= 4
    assert 2 <= (result.layers or 0) <= 4
    few = [replace(part, task=f"{number}") for number, part in enumerate(prompts(4, 6, 12))]
    assert "two of each task" in str(difference(few, few, SETTINGS, paired=True).words)


def test_claims_are_at_the_level_of_their_family() -> None:
    a, b = prompts(0, 12, 12, spread=3), prompts(5, 12, 14, spread=3)
    rules = [difference(a, b, SETTINGS, paired=False, rule=rule) for rule in RULES]
    unknown = Difference("kl", True, (3, 3), problem=Sentence("too few"))
    alone, family = as_one_family(rules[:1]), as_one_family([*rules, unknown])
    assert family[-1] == unknown
    assert alone[0].claim == rules[0].claim
    for in_family, single in zip(family, rules, strict=False):
        assert in_family.claim is not None
        assert single.claim is not None
        assert single.resamples is not None
        assert in_family.claim.level == pytest.approx(1 - 0.05 / len(RULES))
        drawn = single.resamples.layers
        assert in_family.claim.interval == drawn.interval(1 - 0.05 / len(RULES))
        assert in_family.claim.interval[0] <= single.claim.interval[0]
        # What stands beside the claim stays at 95 %.
        assert in_family.layers_interval == single.layers_interval
    values = json.loads(json.dumps(numbers(family[0])))
    assert values["claim"]["level"] == pytest.approx(1 - 0.05 / len(RULES))
    assert not {"drawn", "resamples", "p_is_least"} & values.keys()


def test_levels_of_the_same_prompts_are_drawn_together() -> None:
    first = prompts(0, 8, 12, spread=4)
    steps = [first, moved(first, 1), moved(first, 3)]
    apart = trend(steps, SETTINGS, "overlap")
    result = trend(steps, SETTINGS, "overlap", paired=True, wording=TRAINED)
    assert result.claim is not None
    assert apart.claim is not None
    assert result.claim.interval == pytest.approx((2.5, 3.5))
    assert result.claim.layers == pytest.approx(3)
    assert apart.claim.interval[0] <= 0
    assert str(result.words).startswith("more layers with more training: +3.0 layers")
    assert (result.effect, result.p) == (1, pytest.approx(2 / 2**8))
    with pytest.raises(ValueError, match="cannot be paired"):
        trend([first, first[:7]], SETTINGS, paired=True)


def test_holm_by_hand() -> None:
    # Sorted: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 0.04 raised to what came before.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([0.7, 0.6]).tolist() == [1, 1]
    assert holm([]).tolist() == []


def test_the_least_p_is_an_upper_bound_after_its_correction_too() -> None:
    levels = [prompts(seed, 8, 10 + 4 * seed) for seed in range(3)]
    least, above = (trend(of, SETTINGS, "overlap") for of in (levels, [levels[0], *levels[:2]]))
    assert (least.p, least.p_is_least) == (2 / 5000, True)
    assert not above.p_is_least
    family = as_one_family([least, replace(above, p=0.0012), *[replace(least, p=0.5)] * 2])
    assert str(family[0].words).endswith(", p <= 0.0016 (Holm)")
    assert str(family[1].words).endswith(", p 0.0036 (Holm)")
    assert numbers(family[0])["p_holm"] == pytest.approx(0.0016)


def test_a_comparison_without_an_interval_at_its_level_has_too_few_prompts() -> None:
    a, b = prompts(0, 5, 12), prompts(1, 5, 14)
    result = difference(a, b, SETTINGS, paired=True)
    assert result.resamples is not None
    unknown = replace(result.resamples.layers, values=np.array([1.0, np.nan]))
    resamples = replace(result.resamples, layers=unknown)
    (one, *_) = as_one_family([replace(result, resamples=resamples)] * 3)
    assert one.claim is None
    assert str(one.words) == "too few prompts to say (for a 98.33 % interval)"


def test_correction_passes_over_what_has_no_p() -> None:
    with_p = Difference("kl", True, (5, 5), p=0.02)
    without_p = Difference("kl", True, (3, 3), problem=Sentence("too few"))
    assert [
        item.p_holm for item in as_one_family([with_p, without_p, replace(with_p, p=0.03)])
    ] == [
        0.04,
        None,
        0.04,
    ]
