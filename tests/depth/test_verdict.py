"""The verdict: counts by an independent reading, planted truth, every case of the sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from depthtui.data.depth import Curves
from depthtui.data.lens import AffineLens, LogitLens
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.data.verdict import KINDS, RELIABILITIES, Evidence
from depthtui.depth import certainty, rules
from depthtui.depth.effective_depth import depths
from depthtui.depth.reading import reading_of
from depthtui.depth.rule_evidence import rule_evidence
from depthtui.metrics.ablation import Ablation
from depthtui.metrics.evidence import CountInterval, CountMeasure
from depthtui.metrics.order import Order
from depthtui.metrics.similarity import Similarity
from depthtui.report.summary_json import verdict_dict
from depthtui.tui.state.next_measures import next_measures
from tests.builders.lenses import smooth_lens
from tests.builders.metrics import ablation
from tests.builders.readings import verdict
from tests.builders.results import full_run, half_run, lacking, make_result, random_result

SETTINGS = SummarySettings()


def evidence_of(
    without_first: Curves | None = None,
    settings: SummarySettings = SETTINGS,
    interval: CountInterval | None = None,
    lenses: dict[str, Curves] | None = None,
    **curves: Sequence[float],
) -> Evidence:
    """What the one rule says whose curve is given."""
    pooled = {name: np.array(values, float) for name, values in curves.items()}
    (result,) = depths(pooled, settings)
    (found,) = rule_evidence(
        [result], pooled, settings, without_first or {}, lenses or {}, {result.rule: interval}
    )
    return certainty.evidence_of(found, 20, (5, 5))


def steps(*values: tuple[float, int]) -> list[float]:
    """A curve of values that last for so many layers."""
    return [value for value, length in values for _ in range(length)]


# The rules' ranges ------------------------------------------------------------


def test_a_curve_that_falls_once_and_steeply_is_firm() -> None:
    row = evidence_of(kl=steps((10.0, 12), (1.0, 8), (0.0, 1)))
    assert (row.kind, row.count, row.low, row.high) == ("readable", 13, 13, 13)
    # Without an interval, nothing follows for other prompts.
    assert row.holds_here


def test_a_curve_that_is_flat_behind_its_threshold_is_fragile_and_says_which_number_it_is() -> None:
    row = evidence_of(kl=steps((10.0, 2), (4.8, 10), (1.0, 8), (0.0, 1)))
    assert (row.count, row.low, row.high, row.firm) == (3, 3, 13, False)
    assert row.reason == (
        "KL is 4.8 at layer 2 beside a threshold of 5, and below 4 only from layer 12 on"
    )


def test_an_overlap_that_nearly_reaches_its_threshold_early_is_fragile() -> None:
    row = evidence_of(overlap=steps((0.0, 3), (0.27, 12), (0.9, 5), (1.0, 1)))
    assert (row.count, row.low, row.high, row.firm) == (16, 4, 16, False)
    assert row.reason == "with a threshold a fifth lower (0.24) it is layer 3"


def test_a_kl_that_nearly_falls_below_its_threshold_early_is_not_said_to_be_below() -> None:
    row = evidence_of(kl=steps((10.0, 2), (5.8, 10), (1.0, 8), (0.0, 1)))
    assert (row.count, row.low, row.high, row.firm) == (13, 3, 13, False)
    assert row.reason == "with a threshold a fifth higher (6) it is layer 2"


def test_a_threshold_that_is_never_met_takes_all_layers() -> None:
    row = evidence_of(overlap=steps((0.0, 3), (0.33, 17), (1.0, 1)))
    assert (row.count, row.high) == (4, 20)
    assert row.reason.endswith("beside a threshold of 0.3, and never above 0.36")


def test_what_a_lens_reads_is_said_with_its_nats_and_its_first_choices() -> None:
    kl, agreement = steps((10.0, 12), (4.5, 8), (0.0, 1)), steps((0.0, 12), (0.29, 8), (1.0, 1))
    crossing = "until the lens's KL first falls below 0.5 of its largest"
    meaning = evidence_of(kl=kl, agreement=agreement).meaning
    assert meaning == f"{crossing} (KL 4.5 nats, 29% of choices agree)"
    # Older records did not keep the first choices, and a lens has no map of some depths.
    unread = steps((0.0, 12), (np.nan, 1), (0.29, 7), (1.0, 1))
    known = f"{crossing} (KL 4.5 nats)"
    assert evidence_of(kl=kl).meaning == evidence_of(kl=kl, agreement=unread).meaning == known
    never = evidence_of(overlap=steps((0.0, 20), (1.0, 1)), agreement=agreement)
    assert never.meaning == "until the lens first shares over 0.3 of the output's top five"
    other = SummarySettings(kl_threshold=0.25)
    assert (
        "below 0.25 of its largest" in evidence_of(kl=[*kl[:-2], 1.0, 0.0], settings=other).meaning
    )


def test_a_curve_that_comes_back_counts_until_it_stays() -> None:
    row = evidence_of(kl=steps((10.0, 2), (1.0, 2), (9.0, 12), (1.0, 4), (0.0, 1)))
    assert (row.count, row.high) == (3, 17)
    assert row.reason == "KL stays below its threshold only from layer 16 on"
    at_the_end = evidence_of(overlap=steps((0.0, 2), (1.0, 2), (0.1, 16), (1.0, 1)))
    assert at_the_end.high == 20
    assert at_the_end.reason == "the overlap stays above its threshold at the output only"


def test_a_cosine_that_hangs_on_a_value_near_zero_names_it() -> None:
    row = evidence_of(
        mean_cosine=steps((-0.2, 5), (0.2, 10), (-0.003, 1), (0.2, 4)),
    )
    assert (row.kind, row.count, row.low) == ("geometric", 16, 5)
    assert row.reason == "it depends on a mean cosine of -0.003 at layer 15"
    # The other way round: the last turn would be later but for a value that is nearly negative.
    row = evidence_of(mean_cosine=steps((-0.2, 5), (0.2, 10), (0.004, 1), (0.2, 4)))
    assert (row.count, row.high, row.firm) == (5, 16, False)
    assert row.reason == "it depends on a mean cosine of 0.004 at layer 15"


def test_token_zero_may_be_all_that_a_count_hangs_on() -> None:
    without = {"mean_cosine": np.array(steps((-0.2, 5), (0.2, 15)))}
    row = evidence_of(without, mean_cosine=steps((-0.2, 12), (0.2, 8)))
    assert (row.count, row.low, row.high) == (12, 5, 12)
    assert row.reason == "token 0 alone moves it from 12 to 5 layers"
    never = {"mean_cosine": np.full(20, 0.2)}
    row = evidence_of(never, mean_cosine=steps((-0.2, 12), (0.2, 8)))
    assert (row.low, row.high, row.firm) == (12, 12, False)
    assert row.reason.startswith("without token 0 there is none: ")


def test_another_lens_and_other_prompts_widen_the_range() -> None:
    kl = steps((10.0, 12), (1.0, 8), (0.0, 1))
    affine = {"kl": np.array(steps((10.0, 4), (1.0, 16), (0.0, 1)))}
    row = evidence_of(kl=kl, lenses={"affine": affine})
    assert (row.low, row.high, row.reason) == (5, 13, "the affine lens gives 5 layers")
    row = evidence_of(kl=kl, interval=CountInterval(11, 19, 0.95, "prompts"))
    assert (row.low, row.high, row.interval) == (11, 19, (10.5, 19.5))
    assert row.reason == "the 95% interval over prompts is 10.5 to 19.5 layers"
    assert evidence_of(kl=kl, interval=CountInterval(13, 14, 0.95, "prompts")).firm


def test_a_rule_without_a_layer_says_why() -> None:
    row = evidence_of(overlap=steps((0.0, 20), (1.0, 1)))
    assert (row.count, row.low, row.high, row.firm) == (None, None, None, False)
    assert row.reason == "the overlap never exceeds 0.3"


def slow_counts(curve: np.ndarray, rule: str, thresholds: Sequence[float]) -> list[int]:
    """The counts of some thresholds, layer by layer."""
    n_layers, counts = len(curve) - 1, []
    for threshold in thresholds:
        count = n_layers
        for layer in range(n_layers - 1):
            largest = max(curve[:n_layers])
            if curve[layer] < threshold * largest if rule == "kl" else curve[layer] > threshold:
                count = layer + 1
                break
        counts.append(count)
    return counts


@pytest.mark.parametrize("rule", ["kl", "overlap"])
def test_the_range_is_that_of_the_thresholds_and_of_where_the_curve_stays(rule: str) -> None:
    for seed in range(100):
        rng = np.random.default_rng(seed)
        fall = np.linspace(1, 0, 13)
        curve = np.abs((fall if rule == "kl" else 1 - fall) + rng.normal(0, 0.2, 13))
        row = evidence_of(**{rule: curve.tolist()})
        if row.count is None:
            continue
        threshold = SETTINGS.kl_threshold if rule == "kl" else SETTINGS.overlap_threshold
        counts = slow_counts(curve, rule, [threshold, 0.8 * threshold, 1.2 * threshold])
        assert row.count == counts[0]
        limit = threshold * max(curve[:12]) if rule == "kl" else threshold
        far = [value < limit if rule == "kl" else value > limit for value in curve[:12]]
        stays = next((layer for layer in range(12) if all(far[layer:])), 11)
        counts.append(max(stays + 1, counts[0]))
        assert (row.low, row.high) == (min(counts), max(counts))


# Whole runs -------------------------------------------------------------------


def test_a_run_gets_every_kind_that_was_measured() -> None:
    result = full_run()
    found_without = result.get(Ablation)
    assert found_without is not None
    result.put("ablation", replace(found_without, part="layer"))
    actual = verdict([result], SETTINGS)
    assert actual is not None
    measures = [evidence.measure for evidence in actual.evidence]
    assert {*(rule.name for rule in rules.ALL), "similarity", "ablation"} <= set(measures)
    assert measures[0] == "kept"
    places = [
        (KINDS.index(row.kind), RELIABILITIES.index(row.reliability)) for row in actual.evidence[1:]
    ]
    assert places == sorted(places)
    assert {kind for kind, _ in places} == {0, 1, 2}
    assert not {"ablation", "similarity"} & set(actual.missing_metrics)


def test_a_lens_that_is_not_compared_with_the_output_yet_is_no_sign_of_nan() -> None:
    halted = make_result()
    lens = halted.get(LogitLens)
    assert lens is not None
    lens.kl[:], lens.overlap[:] = np.nan, np.nan
    actual = verdict([halted], SETTINGS)
    assert actual is not None
    assert "not finite" not in actual.text
    lens.entropy[:] = np.nan
    broken = verdict([halted], SETTINGS)
    assert broken is not None
    assert "not finite" in broken.text


def test_what_was_not_measured_is_missing_unless_no_run_can_have_it() -> None:
    assert {"similarity", "ablation"} <= set(
        reading_of([make_result()], SummarySettings()).missing_metrics
    )
    without_lens = make_result(lens_missing="no final norm")
    assert "ablation" not in reading_of([without_lens], SummarySettings()).missing_metrics
    assert (
        "ablation" not in reading_of([make_result(), full_run()], SummarySettings()).missing_metrics
    )


def test_a_count_of_some_prompts_says_so_and_is_not_firm() -> None:
    whole = [ablated(f"text {number}") for number in range(5)]
    for results, firm in (
        (whole, True),
        ([whole[0], *(lacking(r, "ablation") for r in whole)], False),
    ):
        result = verdict(results, SETTINGS)
        assert result is not None
        row = next(evidence for evidence in result.evidence if evidence.measure == "ablation")
        assert (row.count, row.low, row.high, row.firm) == (4, 4, 4, firm)
        assert row.prompts == (None if firm else (1, 6))
        assert row.reason == ("" if firm else "it rests on 1 of 6 prompts")
        assert row.reliability == ("firm" if firm else "fragile")
        stored = verdict_dict(result)["evidence"]
        assert [row["prompts"] for row in stored if "prompts" in row] == [[1, 6]] * (not firm)


@pytest.mark.parametrize("prompts", [1, 2, 4, 5])
def test_firm_is_a_claim_about_other_prompts(prompts: int) -> None:
    result = verdict([ablated(f"text {number}") for number in range(prompts)], SETTINGS)
    assert result is not None
    row = next(evidence for evidence in result.evidence if evidence.measure == "ablation")
    # Four layers that all prompts miss alike: whatever is drawn again, all four count.
    assert (row.count, row.low, row.high, row.interval) == (4, 4, 4, (3.5, 4.0))
    assert (row.firm, row.holds_here) == (prompts == 5, prompts < 5)
    few = {1: "one prompt alone was read", 2: "2 prompts alone were read"}
    assert row.reason == few.get(prompts, "4 prompts alone were read" * (prompts < 5))


def test_a_whole_number_is_as_wide_as_a_layer() -> None:
    def evidence(count: int, low: int, high: int, n_layers: int) -> Evidence:
        interval = CountInterval(low, high, 0.95, "prompts")
        found = CountMeasure("causal", "x", "x").counted(count, interval=interval)
        return certainty.evidence_of(found, n_layers, (5, 5))

    wide = evidence(10, 9, 11, 20)
    # From 8.5 to 11.5 is more than a tenth of 20 layers.
    assert (wide.low, wide.high, wide.interval, wide.firm) == (9, 11, (8.5, 11.5), False)
    assert wide.reason == "the 95% interval over prompts is 8.5 to 11.5 layers"
    at_the_end = evidence(20, 18, 20, 20)
    assert (at_the_end.interval, at_the_end.firm) == ((17.5, 20.0), False)
    assert evidence(20, 19, 20, 20).firm
    assert evidence(0, 0, 0, 20).interval == (0.0, 0.5)
    # Of few layers a tenth is less than one.
    assert evidence(3, 3, 3, 6).firm
    assert not evidence(3, 3, 4, 6).firm


def test_a_rule_of_some_prompts_is_not_firm() -> None:
    results = [make_result() for _ in range(3)]
    results[0].fail("logit_lens", "The memory ran out.")
    result = verdict(results, SETTINGS)
    assert result is not None
    assert {evidence.prompts for evidence in result.evidence} == {(2, 3)}
    assert not any(evidence.firm for evidence in result.evidence)


def test_tasks_that_are_pooled_are_named() -> None:
    result = make_result()
    tasks = ("addition", "addition", "typed")
    results = [replace(result, prompt=replace(result.prompt, task=task)) for task in tasks]
    actual, of_one = verdict(results, SETTINGS), verdict(results[:2], SETTINGS)
    assert actual is not None
    assert of_one is not None
    assert " over the tasks addition and typed together" in actual.sentence
    assert "task" not in of_one.sentence


def ablated(text: str) -> RunResult:
    """A run of 4 layers, each of which is missed when it is left out; nothing else is causal."""
    others = ("context_depth", "order", "accuracy", "residual_erasure", "similarity")
    result = lacking(full_run(text), *others)
    result.put("ablation", ablation(np.ones((4, len(result.tokens) - 1))))
    return result


def partly_ordered() -> RunResult:
    """A run of 8 layers of which two pairs of layers have been reordered."""
    result = make_result(layers=8, tokens=10)
    order = Order.unknown(8, 10)
    order.unchanged[:] = 0.0
    order.parallel[-2:], order.swapped[-2:] = 1.0, 1.0
    result.put("order", order)
    return result


def test_what_fills_in_has_a_row_so_far_and_is_missing_yet() -> None:
    result = verdict([partly_ordered()], SETTINGS)
    assert result is not None
    row = next(evidence for evidence in result.evidence if evidence.measure == "order")
    assert (row.count, row.reason) == (None, "2 of 7 pairs of layers so far")
    assert "order" in result.missing_metrics


def test_what_is_half_done_is_computed_next_with_the_quick_ones() -> None:
    result = full_run()
    quick = next_measures(lacking(result, "order"))
    assert "order" in quick
    part = Order.unknown(result.model.n_layers, len(result.tokens))
    result.put("order", part)
    assert next_measures(result) == quick


def test_without_runs_or_anything_measured_there_is_no_verdict() -> None:
    assert verdict([], SETTINGS) is None
    assert verdict([lacking(make_result(), "contributions", "logit_lens")], SETTINGS) is None


def test_a_run_that_goes_on_says_so() -> None:
    result = verdict([half_run(random_result(layers=8, tokens=12), 3)], SETTINGS)
    assert result is not None
    assert result.sentence == (
        "How many of its 8 layers this text takes is not counted (--metrics kept)."
    )


def test_a_second_lens_of_all_runs_is_another_reading() -> None:
    result = make_result(layers=20, tokens=12)
    lens = result.get(LogitLens)
    assert lens is not None
    lens.kl[:] = np.array(steps((10.0, 12), (1.0, 8), (0.0, 1)))[:, None]
    other = smooth_lens(AffineLens, result)
    other.overlap[:] = lens.overlap
    other.kl = np.array(steps((10.0, 4), (1.0, 16), (0.0, 1)))[:, None].repeat(12, axis=1)
    before = verdict([result], SETTINGS)
    result.put("affine_lens", other)
    after = verdict([result], SETTINGS)
    for actual, low in ((before, 13), (after, 5)):
        assert actual is not None
        kl = next(evidence for evidence in actual.evidence if evidence.measure == "kl")
        assert (kl.low, kl.count, kl.high) == (low, 13, 13)


def test_nothing_makes_it_fail_and_counts_lie_in_their_ranges() -> None:
    for layers, tokens, seed, first in product((1, 2, 5), (1, 2, 9), range(4), (True, False)):
        results = [random_result(layers, tokens, seed + 10 * number) for number in range(1 + seed)]
        if seed == 3:
            lens = results[0].get(LogitLens)
            assert lens is not None
            lens.kl[0, 0] = np.nan
        check(results, replace(SETTINGS, include_first_token=first))


def check(results: Sequence[RunResult], settings: SummarySettings) -> None:
    result = verdict(results, settings)
    if result is None:
        return
    assert result.sentence.endswith(".")
    for evidence in result.evidence:
        if evidence.count is None:
            assert evidence.low is evidence.high is None
            assert evidence.reason
        else:
            assert evidence.low is not None
            assert evidence.high is not None
            assert 0 <= evidence.low <= evidence.count <= evidence.high <= result.n_layers
            assert evidence.firm == (not evidence.reason)


@pytest.mark.parametrize(("include_first", "known"), [(True, None), (False, (1, 2))])
def test_a_prompt_without_a_token_that_counts_is_none_that_a_count_rests_on(
    include_first: bool, known: tuple[int, int] | None
) -> None:
    """Without token 0 a single token leaves nothing: for the rules, and for metrics alike."""
    runs = [full_run(), random_result(tokens=1)]
    runs[1].put("similarity", Similarity.unknown(4, 1))
    for array in ("block_influence", "angular_distance"):
        getattr(runs[1].measured["similarity"], array)[:] = 0.5
    reading = reading_of(runs, SummarySettings(include_first_token=include_first))
    result = {evidence.measure: evidence.prompts for evidence in reading.evidence}
    assert (result["cosine"], result["similarity"]) == (known, known)
