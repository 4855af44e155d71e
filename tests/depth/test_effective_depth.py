"""Effective depth: closed forms, edges of the rules, and pooling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from depthtui.data.arrays import arrays_of
from depthtui.data.depth import DepthEstimate
from depthtui.data.lens import LogitLens
from depthtui.data.run import RunResult, without
from depthtui.data.run_settings import SummarySettings
from depthtui.depth import rules
from depthtui.depth.effective_depth import (
    depths,
)
from depthtui.depth.reading import reading_of
from depthtui.depth.rules import cosine, kl, overlap
from depthtui.metrics.contributions import Contributions
from depthtui.metrics.registry import METRIC_BY_NAME
from tests.builders.lists import plant
from tests.builders.results import full_run, random_result

SETTINGS = SummarySettings()


def curve(*values: float) -> np.ndarray:
    return np.array(values, np.float64)


def cosine_depth(values: np.ndarray) -> DepthEstimate:
    return cosine.RULE.estimate(values, SETTINGS)


def kl_depth(values: np.ndarray, threshold: float = 0.5) -> DepthEstimate:
    return kl.RULE.estimate(values, SummarySettings(kl_threshold=threshold))


def overlap_depth(values: np.ndarray, threshold: float = 0.3) -> DepthEstimate:
    return overlap.RULE.estimate(values, SummarySettings(overlap_threshold=threshold))


# The rules once more, as plainly as they can be said.


def naive_cosine(values: list[float]) -> int | None:
    result = None
    for layer in range(len(values) - 1):
        if values[layer] < 0 and values[layer + 1] >= 0:
            result = layer
    return result


def naive_kl(values: list[float], threshold: float) -> int | None:
    layers = values[:-1]
    for layer in range(len(layers) - 1):
        if layers[layer] < threshold * max(layers):
            return layer
    return None


def naive_overlap(values: list[float], threshold: float) -> int | None:
    for layer in range(len(values) - 2):
        if values[layer] > threshold:
            return layer
    return None


def test_rules_agree_with_the_plain_ones() -> None:
    for seed in range(300):
        rng = np.random.default_rng(seed)
        layers = int(rng.integers(1, 40))
        threshold = float(rng.choice([0.1, 0.3, 0.5, 0.9]))
        # Rounded, so that values equal to a threshold occur.
        cosines = np.round(rng.normal(rng.normal(), 1, layers), 1)
        kl = np.append(np.round(rng.uniform(0, 3, layers), 1), 0)
        overlap = np.append(np.round(rng.uniform(0, rng.uniform(0.2, 1), layers), 1), 1)
        if rng.random() < 0.5:
            kl, overlap = np.sort(kl)[::-1], np.sort(overlap)
        for estimate, expected in (
            (cosine_depth(cosines), naive_cosine(list(cosines))),
            (kl_depth(kl, threshold), naive_kl(list(kl), threshold)),
            (overlap_depth(overlap, threshold), naive_overlap(list(overlap), threshold)),
        ):
            assert estimate.layer == expected, seed
            assert estimate.ratio == (None if expected is None else (expected + 1) / layers)
            assert bool(estimate.reason) == (expected is None)
            assert estimate.reason == "" or estimate.warning == ""


def test_cosine_takes_the_last_crossing() -> None:
    assert cosine_depth(curve(-1, 1, -1, -1, 0, 1, 2, 3)) == DepthEstimate(
        "cosine", 3, 0.5, None, crossing=4
    )


@pytest.mark.parametrize("values", [(1, 1), (-1, -1), (1, -1), (1,), (-1,), (1, 1, -1)])
def test_cosine_without_a_crossing(values: tuple[float, ...]) -> None:
    estimate = cosine_depth(curve(*values))
    assert (estimate.layer, estimate.ratio, estimate.threshold) == (None, None, None)
    assert "never turns" in estimate.reason


def test_kl_is_relative_to_the_largest_over_the_layers_alone() -> None:
    # The last entry is the output: were it counted, the limit would be 50.
    assert kl_depth(curve(4, 3, 1, 0.5, 100)) == DepthEstimate(
        "kl", 2, 0.75, 0.5, crossing=1.5, area=8.5 / 16
    )


def test_overlap_must_be_strictly_above() -> None:
    assert overlap_depth(curve(0.3, 0.31, 0.5, 1)) == DepthEstimate(
        "overlap", 1, 2 / 3, 0.3, crossing=0
    )


@pytest.mark.parametrize(
    ("estimate", "layer"),
    [
        # Zero is not negative.
        (cosine_depth(curve(-1, 0)), 0),
        (cosine_depth(curve(0, 0, 1)), None),
        (cosine_depth(curve(-0.0, 1)), None),
        (cosine_depth(curve(-1, -1, -1, 1)), 2),
        # The last layer's value counts for the maximum.
        (kl_depth(curve(4, 4, 10, 0)), 0),
        # It must be strictly below, or above.
        (kl_depth(curve(4, 2, 1.9, 1, 0)), 2),
        (kl_depth(curve(4, 2, 1.9, 1, 0), 0.25), None),
        (overlap_depth(curve(0.3, 0.31, 0.5, 0.9, 1), 0.31), 2),
        # The last layer is not eligible: one layer has no depth.
        (kl_depth(curve(4, 4, 4, 1, 0)), None),
        (overlap_depth(curve(0, 0, 0, 0.9, 1)), None),
        (kl_depth(curve(4, 4, 1, 1, 0)), 2),
        (overlap_depth(curve(0, 0, 0.9, 0.9, 1)), 2),
        (kl_depth(curve(4, 0)), None),
        (overlap_depth(curve(0.9, 1)), None),
        (kl_depth(curve(0, 0, 0)), None),
    ],
)
def test_edges_of_the_rules(estimate: DepthEstimate, layer: int | None) -> None:
    assert estimate.layer == layer


def test_reasons_name_the_threshold() -> None:
    assert kl_depth(curve(4, 4, 4, 0), 0.25).reason == "KL never falls below 0.25 of its maximum"
    assert overlap_depth(curve(0, 0, 0, 1), 0.35).reason == "the overlap never exceeds 0.35"


@pytest.mark.parametrize(
    ("values", "layer", "doubtful"),
    [
        ((9, 1, 8, 2, 1, 0), 1, True),
        ((9, 8, 2, 1, 1, 0), 2, False),
        # The rise is at the last layer, which is not eligible itself.
        ((9, 8, 2, 1, 7, 0), 2, True),
    ],
)
def test_a_crossing_that_does_not_last_is_flagged(
    values: tuple[float, ...], layer: int, doubtful: bool
) -> None:
    kl = kl_depth(curve(*values))
    overlap = overlap_depth(1 - curve(*values) / 10, 0.6)
    for estimate in (kl, overlap):
        assert estimate.layer == layer
        assert bool(estimate.warning) == doubtful
        assert not doubtful or f"after layer {layer}" in estimate.warning


# Pooling.


def depth_of(result: RunResult, rule: str, settings: SummarySettings = SETTINGS) -> DepthEstimate:
    summary = reading_of([result], settings)
    return next(estimate for estimate in summary.depths if estimate.rule == rule)


@pytest.mark.parametrize("include_first", [True, False])
def test_pooling_is_a_mean_over_tokens_not_over_prompts(include_first: bool) -> None:
    lengths = [1, 7, 3, 20]
    results = [random_result(6, tokens, seed=tokens) for tokens in lengths]
    first = 0 if include_first else 1
    weights = np.array([tokens - first for tokens in lengths], np.float64)
    summary = reading_of(results, replace(SETTINGS, include_first_token=include_first))
    assert summary.n_tokens == weights.sum()
    assert summary.n_layers == 6
    for part in ("contributions", "logit_lens"):
        for name, _ in arrays_of(results[0].measured[part]):
            if name.startswith("top_") or name == "next_log_probability":  # no curve
                continue
            pooled = np.zeros(summary.curves[name].shape)
            for result, weight in zip(results, weights, strict=True):
                if weight:
                    values = getattr(result.measured[part], name)[:, first:].astype(np.float64)
                    pooled += weight / weights.sum() * values.mean(axis=1)
            np.testing.assert_allclose(summary.curves[name], pooled, rtol=1e-12)
    curves = summary.curves
    np.testing.assert_allclose(
        curves["mean_cosine"],
        (curves["attention_cosine"] + curves["mlp_cosine"] + curves["layer_cosine"]) / 3,
    )


def test_summary_gives_the_rules_on_its_own_curves() -> None:
    settings = SummarySettings(kl_threshold=0.9, overlap_threshold=0.55)
    summary = reading_of([random_result(12, 3, seed=4)], settings)
    curves = summary.curves
    expected = (
        cosine_depth(curves["mean_cosine"]),
        kl_depth(curves["kl"], 0.9),
        overlap_depth(curves["overlap"], 0.55),
    )
    # Of a single prompt, both means are the same.
    actual = summary.depths[:3]
    assert actual == tuple(replace(depth, prompt_weighted=depth) for depth in expected)
    assert [estimate.threshold for estimate in actual] == [None, 0.9, 0.55]
    assert summary.settings == settings


@pytest.mark.parametrize("depth", [0.0, 0.3, 4.0, 6.75])
def test_a_crossing_between_layers_moves_with_the_curve(depth: float) -> None:
    # Straight lines that meet 0.5 of the largest, 0.3 and zero there.
    place = np.arange(10.0)
    kl = np.append(np.clip(0.5 - 0.1 * (place - depth), None, 1), 0)
    overlap = np.append(0.3 + 0.1 * (place - depth) / 9, 1)
    cosine = 0.1 * (place - depth)
    kl[0] = 1  # the largest
    for result in (kl_depth(kl), overlap_depth(overlap), cosine_depth(cosine)):
        if result.rule == "cosine" and depth == 0:
            assert result.crossing is None
        elif result.layer == 0 or (result.rule == "kl" and depth < 1):
            assert result.crossing is not None
            assert 0 <= result.crossing <= 1
        else:
            assert result.crossing == pytest.approx(depth, abs=1e-9)


def test_the_area_is_the_mean_of_kl_over_its_largest() -> None:
    assert kl_depth(curve(4, 2, 1, 1, 0)).area == pytest.approx(8 / 16)
    assert kl_depth(curve(4, 4, 4, 0)).area == 1
    assert kl_depth(curve(0, 0, 0)).area is None
    # A KL that falls at once at layer 3 of 12.
    falls = np.append(np.where(np.arange(12) < 3, 5.0, 0.0), 0)
    assert kl_depth(falls).area == pytest.approx(3 / 12)
    assert overlap_depth(curve(0, 0.5, 0.5, 1)).area is None


def test_each_prompt_counts_once_beside_the_papers_mean() -> None:
    results = [random_result(12, tokens, seed=tokens) for tokens in (3, 40, 41, 42, 43)]
    settings = SummarySettings(kl_threshold=0.95, overlap_threshold=0.5)
    summary = reading_of(results, settings)
    for depth in summary.depths:
        curve = rules.named(depth.rule).curve
        single = [reading_of([result], settings).curves[curve] for result in results]
        plain = sum(single) / len(single)
        (expected,) = depths({curve: plain}, settings)
        once = depth.prompt_weighted
        assert once is not None
        assert (once.layer, once.reason) == (expected.layer, expected.reason)
    # (3 + 40 + … + 43)^2 / (9 + 1600 + … + 1849), by hand.
    assert summary.effective_prompts == pytest.approx(169**2 / 6903)


def test_a_prompt_on_which_a_metric_failed_is_not_pooled() -> None:
    whole = [random_result(tokens=tokens, seed=tokens) for tokens in (5, 7)]
    failed = random_result(tokens=9, seed=9)
    failed.measured = without(failed.measured, ["logit_lens"])
    failed.fail("logit_lens", "the memory ran out")
    expected, actual = reading_of(whole, SETTINGS), reading_of([*whole, failed], SETTINGS)
    assert (actual.depths, actual.n_prompts) == (expected.depths, 2)
    np.testing.assert_array_equal(actual.curves["kl"], expected.curves["kl"])
    alone = reading_of([failed], SETTINGS)
    assert [estimate.rule for estimate in alone.depths] == ["cosine"]


def test_curves_reduce_only_the_metrics_that_have_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("no curve is made of it")

    for name, metric in list(METRIC_BY_NAME.items()):
        if not metric.curves:
            plant(monkeypatch, METRIC_BY_NAME, name, replace(metric, reduce=refuse))
    reading = reading_of([full_run()], SummarySettings())
    assert reading.curves["kl"] is not None
    assert reading.depths


def test_leaving_the_first_token_out_changes_the_depth() -> None:
    result = random_result(4, 3)
    assert result.get(LogitLens) is not None
    # An attention sink: token 0 has the final distribution at once.
    result.get(LogitLens).overlap[...] = [[1, 0, 0], [1, 0, 0], [1, 0.5, 0.5], [1, 1, 1], [1, 1, 1]]
    without = replace(SETTINGS, include_first_token=False)
    assert depth_of(result, "overlap").layer == 0
    assert depth_of(result, "overlap", without).layer == 2


def test_nothing_to_average() -> None:
    without = replace(SETTINGS, include_first_token=False)
    single = random_result(4, 1)
    for nothing in (reading_of([], SETTINGS), reading_of([single], without)):
        assert (nothing.parts, nothing.curves, nothing.depths) == ([], {}, ())
    assert reading_of([single], SETTINGS).depths
    together = reading_of([single, random_result(4, 3)], without)
    assert together.n_tokens == 2


def reasons_of(result: RunResult) -> dict[str, str]:
    """Why each rule gives no depth."""
    summary = reading_of([result], SETTINGS)
    return {estimate.rule: estimate.reason for estimate in summary.depths}


def test_where_all_layers_were_run_it_is_the_lens_that_has_not_read_them() -> None:
    result = random_result(6, 4)
    lens, contributions = result.get(LogitLens), result.get(Contributions)
    assert lens is not None
    assert contributions is not None
    lens.kl[3:], lens.overlap[3:], lens.top_ids[3:] = np.nan, np.nan, -1
    contributions.mlp_cosine[5] = np.nan
    result.complete = False
    finite, read = "the model's values are not finite", "the lens has not read every layer yet"
    read += "; all have been run"
    assert reasons_of(result) == {"cosine": finite, "kl": read, "overlap": read}
    result.layers_done = 5
    assert set(reasons_of(result).values()) == {"not every layer has been run yet"}


def test_what_was_stopped_behind_the_lens_lacks_no_layer() -> None:
    result = random_result(6, 4)
    lens = result.get(LogitLens)
    assert lens is not None
    lens.kl[3:] = np.nan
    result.complete = False
    assert reasons_of(result)["kl"] == "the model's values are not finite"


def test_layers_that_were_not_run_give_no_depth() -> None:
    result = random_result(6, 4)
    assert result.get(Contributions) is not None
    assert result.get(LogitLens) is not None
    result.get(Contributions).mlp_cosine[5] = np.nan
    result.get(LogitLens).kl[3:] = np.nan
    result.complete, result.layers_done = False, 3
    summary = reading_of([result, random_result(6, 4, seed=1)], SETTINGS)
    assert np.isnan(summary.curves["kl"]).tolist() == [False] * 3 + [True] * 4
    for estimate in summary.depths[:2]:
        assert estimate.layer is None
        assert estimate.reason == "not every layer has been run yet"
    assert "run yet" not in summary.depths[2].reason


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_finished_run_with_overflow_says_so(value: float) -> None:
    result = random_result(6, 4)
    assert result.get(LogitLens) is not None
    result.get(LogitLens).kl[2, 1] = value
    estimate = depth_of(result, "kl")
    assert estimate.layer is None
    assert "not finite" in estimate.reason


def test_without_the_split_the_layers_cosine_counts_alone() -> None:
    result = random_result(6, 4, split_missing="no closure")
    assert result.get(Contributions) is not None
    result.get(Contributions).attention_cosine[...] = np.nan
    summary = reading_of([result], SETTINGS)
    curves = summary.curves
    assert "attention_cosine" not in curves
    assert "mlp_norm_ratio" not in curves
    np.testing.assert_array_equal(curves["mean_cosine"], curves["layer_cosine"])


def without_lens(result: RunResult) -> None:
    result.drop(("logit_lens",))


def without_contributions(result: RunResult) -> None:
    result.drop(("contributions",))


@pytest.mark.parametrize(
    ("drop", "rules_left"),
    [(without_lens, ["cosine"]), (without_contributions, ["kl", "overlap", "margin"])],
)
def test_metrics_that_were_not_asked_for_have_no_depth(
    drop: Callable[[RunResult], None], rules_left: list[str]
) -> None:
    result = random_result(6, 4)
    drop(result)
    summary = reading_of([random_result(6, 4), result], SETTINGS)
    assert [estimate.rule for estimate in summary.depths] == rules_left
