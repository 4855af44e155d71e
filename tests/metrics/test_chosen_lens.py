"""A run read by a fitted lens is, in everything, a run whose logit lens read that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from depthtui.data.lens import LENS_CLASSES, AffineLens, FittedLens, JacobianLens, LogitLens
from depthtui.data.lens_view import LENS_METRICS, lens_of, reads_worse, why_unread
from depthtui.data.run import RunResult
from depthtui.data.run_settings import LENSES, RunSettings, SummarySettings
from depthtui.depth import rules
from depthtui.depth.reading import reading_of
from depthtui.metrics import token_depths
from depthtui.metrics.chosen_lens import measure_of_lens
from depthtui.metrics.early_exit import early_exit
from depthtui.metrics.lens_margin import lens_margin
from depthtui.metrics.needed_settings import with_lens_metric
from depthtui.metrics.prediction_depth import prediction_depth
from depthtui.metrics.registry import ALL_MEASURES, MEASURE_BY_NAME, MEASURES, METRICS
from depthtui.metrics.settling import Settling, divergence_of
from depthtui.report.findings import findings
from tests.builders.lenses import random_lens, smooth_lens
from tests.builders.readings import summary_of, verdict
from tests.builders.results import full_run, lacking, run

FITTED = LENSES[1:]


def with_lenses(seed: int = 0, **how: Any) -> RunResult:
    """A run that both fitted lenses have read."""
    result = full_run(f"prompt {seed}", seed=seed, **how)
    for name in FITTED:
        kind = LENS_CLASSES[name]
        assert issubclass(kind, FittedLens)
        rng = np.random.default_rng([seed, *name.encode()])
        result.put(LENS_METRICS[name], random_lens(kind, result, rng))
    return result


def replanted(result: RunResult, lens: str) -> RunResult:
    """A run without fitted lenses whose own logit lens and settling have a lens's arrays."""
    actual = result.get(LENS_CLASSES[lens])
    assert isinstance(actual, FittedLens)
    planted = replace(result)
    planted.drop([LENS_METRICS[name] for name in FITTED])
    arrays = {name: getattr(actual, name).copy() for name in LogitLens.shapes()}
    planted.put("logit_lens", LogitLens(**arrays, vocabulary=dict(actual.vocabulary)))
    planted.put("settling", Settling(actual.divergence.copy()))
    return planted


@pytest.mark.parametrize(("lens", "first"), [*zip(FITTED, (True, False), strict=True)])
def test_every_quantity_is_that_of_a_run_whose_logit_lens_read_it(lens: str, first: bool) -> None:
    results = [with_lenses(seed, tokens=20 + seed) for seed in range(6)]
    planted = [replanted(result, lens) for result in results]
    settings = SummarySettings(include_first_token=first, lens=lens)
    plain = replace(settings, lens="logit")

    # What a metric of a fitted lens finds itself, the planted runs lack.
    actual, missing = (
        {line.title for line in findings(reading_of(runs, plain))} for runs in (results, planted)
    )
    their_own = actual - missing

    ours, theirs = reading_of(results, settings), reading_of(planted, plain)
    assert ours.depths == theirs.depths
    np.testing.assert_equal(ours.curves, theirs.curves)
    assert not np.allclose(ours.curves["kl"], reading_of(results, plain).curves["kl"])

    assert [
        line for line in findings(reading_of(results, settings)) if line.title not in their_own
    ] == findings(reading_of(planted, plain))

    summary, expected = summary_of(results, settings=settings), summary_of(planted, settings=plain)
    assert summary["logit_lens"].pop("lens")["kind"] == lens
    for name in ("logit_lens", "lens_margin", "prediction_depth", "early_exit", "settling"):
        assert summary[name] == expected[name], name
        assert summary[name] != summary_of(results, settings=plain)[name], name
    assert summary["effective_depth"] == expected["effective_depth"]

    for result, other in zip(results, planted, strict=True):
        for measure in MEASURES:
            if measure.metric in ("logit_lens", "settling"):
                values = measure_of_lens(measure, lens).values(result)
                np.testing.assert_array_equal(values, measure.values(other))
        np.testing.assert_array_equal(divergence_of(result, lens), divergence_of(other, "logit"))
        seen, there = lens_of(result, lens), other.get(LogitLens)
        np.testing.assert_array_equal(lens_margin(seen), lens_margin(there))
        np.testing.assert_array_equal(prediction_depth(seen), prediction_depth(there))
        np.testing.assert_array_equal(early_exit(seen, 0.3).depths, early_exit(there, 0.3).depths)


@pytest.mark.parametrize("lens", FITTED)
def test_the_verdict_is_that_of_the_lens(lens: str) -> None:
    result = run(layers=12, tokens=12, seed=2)
    kind = LENS_CLASSES[lens]
    assert issubclass(kind, FittedLens)
    result.put(LENS_METRICS[lens], smooth_lens(kind, result))
    settings = SummarySettings(lens=lens)
    actual = {measure.measure: measure for measure in verdict([result], settings).evidence}
    planted = verdict([replanted(result, lens)], SummarySettings())
    for measure in planted.evidence:
        assert actual[measure.measure].count == measure.count
    # The logit lens, whose values are random, is what it is weighed against.
    logit = {measure.measure: measure for measure in verdict([result], SummarySettings()).evidence}
    low, high = sorted((logit["kl"].count, actual["kl"].count))
    assert actual["kl"].low <= low < high <= actual["kl"].high


@pytest.mark.parametrize("lens", FITTED)
@pytest.mark.parametrize("gap", [1, 4, 9, 11])
def test_every_rule_finds_its_layer_beside_a_depth_without_a_map(lens: str, gap: int) -> None:
    result, settings = run(layers=12), SummarySettings(lens=lens)
    read = smooth_lens(LENS_CLASSES[lens], result)
    result.put(LENS_METRICS[lens], read)
    before = reading_of([result], settings).depths
    read.forget([gap])
    read.divergence[gap] = np.nan
    for one, other in zip(before, reading_of([result], settings).depths, strict=True):
        moved = one.layer == gap and rules.named(one.rule).through_lens
        # The lens does not choose the answer at the output: it decides it nowhere.
        assert other.layer == (None if one.layer is None else one.layer + moved)


def test_a_verdict_where_a_depth_has_no_map() -> None:
    result = run(layers=12)
    lens = smooth_lens(JacobianLens, result)
    lens.kl[0] = lens.overlap[0] = np.nan
    result.put("jacobian_lens", lens)
    depths = {
        depth.rule: depth.count
        for depth in reading_of([result], SummarySettings(lens="jacobian")).depths
    }
    for settings in (SummarySettings(), SummarySettings(lens="jacobian")):
        for measure in verdict([result], settings).evidence:
            if measure.kind == "readable":
                assert measure.low <= depths[measure.measure] <= measure.high


def test_the_values_of_a_lens_are_those_that_it_read() -> None:
    result = with_lenses()
    assert [type(lens_of(result, lens)) for lens in LENSES] == [LogitLens, AffineLens, JacobianLens]
    assert divergence_of(result, "logit") is result.get(Settling).divergence
    assert divergence_of(result, "affine") is result.get(AffineLens).divergence


def unread(text: str = "unread", seed: int = 0) -> RunResult:
    """A run that no fitted lens has read."""
    return lacking(full_run(text, seed), *(LENS_METRICS[lens] for lens in FITTED))


def test_a_run_that_the_lens_has_not_read_says_so() -> None:
    result = unread()
    assert lens_of(result, "affine") is None
    assert divergence_of(result, "affine") is None
    assert measure_of_lens(MEASURE_BY_NAME["kl"], "affine").values(result) is None
    assert (
        why_unread(result.unavailable, result.model, "affine")
        == "the affine lens has not read this run"
    )
    summary = reading_of([result], SummarySettings(lens="affine"))
    assert [estimate.rule for estimate in summary.depths] == ["cosine"]
    result.unavailable = {"affine_lens": "the memory ran out"}
    assert why_unread(result.unavailable, result.model, "affine") == "the memory ran out"
    lines = findings(reading_of([result], SummarySettings(lens="affine")))
    assert "the memory ran out" in [line.remark for line in lines if line.title == "Logit lens"]


def test_prompts_that_the_lens_has_not_read_are_left_out() -> None:
    results = [with_lenses(seed) for seed in range(2)]
    other = unread("lacks it", seed=9)
    settings = SummarySettings(lens="jacobian")
    assert reading_of([*results, other], settings).depths == reading_of(results, settings).depths


def test_a_depth_without_a_map_is_never_where_a_rule_crosses() -> None:
    layers = 12
    result = run(layers=layers)
    lens = smooth_lens(JacobianLens, result)
    result.put("jacobian_lens", lens)
    settings = SummarySettings(lens="jacobian")
    whole = {depth.rule: depth.layer for depth in reading_of([result], settings).depths}
    for depth in (0, 1):
        lens.kl[depth] = lens.overlap[depth] = lens.entropy[depth] = np.nan
        lens.top_ids[depth] = -1
    actual = {depth.rule: depth.layer for depth in reading_of([result], settings).depths}
    assert actual["overlap"] == max(2, whole["overlap"])
    # Of the values that are left the largest is smaller.
    kl = lens.kl[2:layers, 0]
    assert whole["kl"] < actual["kl"] == 2 + int(np.argmax(kl < 0.5 * kl.max()))
    assert "prediction_depth" in summary_of([result], settings=settings)
    lens.kl[-1] = np.nan
    assert reading_of([result], settings).depth("kl").layer is None


def test_intervals_are_there_where_a_depth_has_no_map() -> None:
    results = [with_lenses(seed) for seed in range(6)]
    for result in results:
        lens = result.get(JacobianLens)
        lens.kl[0] = lens.overlap[0] = np.nan
    depths = reading_of(results, SummarySettings(lens="jacobian", overlap_threshold=0.2)).depths
    overlap = next(depth for depth in depths if depth.rule == "overlap")
    assert overlap.layer == 1
    assert overlap.interval is not None


def test_measures_say_which_lens_reads() -> None:
    titles = {measure.name: measure_of_lens(measure, "jacobian").title for measure in ALL_MEASURES}
    changed = {name for name in titles if titles[name] != MEASURE_BY_NAME[name].title}
    of_tokens = {measure.name for measure in token_depths.METRIC.measures}
    assert changed == {"kl", "overlap", "entropy", "says_final", "settling"} | of_tokens
    assert titles["kl"] == "Lens KL, Jacobian"
    assert titles["settling"] == "Settling, Jacobian"
    assert all(measure_of_lens(measure, "logit") is measure for measure in ALL_MEASURES)


def test_a_measure_read_by_another_lens_keeps_all_but_title_and_values() -> None:
    for measure in ALL_MEASURES:
        read = measure_of_lens(measure, "affine")
        assert replace(read, title=measure.title, values=measure.values) == measure


@pytest.mark.parametrize("lens", FITTED)
def test_every_lens_has_the_same_measures(lens: str) -> None:
    """What a fitted lens's own measures say of values is what the logit lens's do."""
    for name in ("kl", "overlap", "entropy", "says_final", "settling"):
        measure = MEASURE_BY_NAME[name]
        own = MEASURE_BY_NAME[f"{lens}_{'divergence' if name == 'settling' else name}"]
        assert (own.formula, own.limits, own.reads_residual) == (
            measure.formula,
            measure.limits,
            measure.reads_residual,
        )
        # The rules and the mark of a depth are the chosen lens's.
        assert not own.rule
        assert not own.leading


def test_worse_than_the_logit_lens() -> None:
    lens = smooth_lens(AffineLens, full_run())
    assert not reads_worse(lens, 0)
    lens.held_out_kl[1] = lens.logit_held_out_kl[1] + 1
    assert [reads_worse(lens, depth) for depth in (0, 1, 2)] == [False, True, False]
    assert not reads_worse(lens, len(lens.held_out_kl))
    assert not reads_worse(full_run().get(LogitLens), 1)


def test_a_fitted_lens_is_computed_where_it_is_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = RunSettings()
    assert with_lens_metric(settings, "logit") == settings
    names = {metric.name: metric for metric in METRICS}
    monkeypatch.setattr(
        "depthtui.metrics.needed_settings.METRIC_BY_NAME", names | {"affine_lens": METRICS[0]}
    )
    reading = with_lens_metric(settings, "affine")
    assert reading.metrics == (*settings.metrics, "affine_lens")
    assert with_lens_metric(reading, "affine") == reading
