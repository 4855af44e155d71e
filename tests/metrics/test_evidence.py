"""The counts of the metrics: planted truth, thresholds, noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from depthtui.data.arrays import MetricResult
from depthtui.data.run_settings import SummarySettings
from depthtui.data.verdict import Evidence
from depthtui.depth.certainty import evidence_of
from depthtui.depth.reading import reading_of
from depthtui.metrics.ablation import Ablation
from depthtui.metrics.evidence import CountMeasure, Variant
from depthtui.metrics.registry import METRIC_BY_NAME, METRICS
from depthtui.metrics.residual_erasure import ResidualErasure
from depthtui.metrics.similarity import Similarity
from tests.builders.metrics import ablation
from tests.builders.readings import evidence_by
from tests.builders.results import full_run, random_result

SETTINGS = SummarySettings()


def evidence(name: str, *values: MetricResult, first_token: bool = True) -> list[Evidence]:
    """What a metric says of runs that have these results."""
    runs = []
    for value in values:
        run = random_result(layers=20)
        run.put(name, value)
        runs.append(run)
    pooled = reading_of(runs, replace(SETTINGS, include_first_token=first_token))
    return evidence_by(METRIC_BY_NAME[name], pooled)


def test_a_count_holds_in_a_range_of_up_to_a_tenth_of_the_layers() -> None:
    measure = CountMeasure("causal", "x", "x", "that count")

    def evidence(*variants: Variant, layers: Sequence[int] | None = None) -> Evidence:
        return evidence_of(measure.counted(10, variants, layers), 20, (5, 5))

    near = evidence(Variant(11, "up"), Variant(9, "down"))
    assert (near.low, near.high, near.reliability) == (9, 11, "holds here")
    far = evidence(Variant(11, "up"), Variant(8, "down"))
    assert (far.low, far.high, far.reliability, far.reason) == (8, 11, "fragile", "down")
    gone = evidence(Variant(3, "down"), Variant(None, "gone"))
    assert (gone.low, gone.high, gone.reliability, gone.reason) == (3, 10, "fragile", "gone")
    alone = evidence(layers=[1, 4])
    assert (alone.low, alone.high, alone.reliability) == (10, 10, "holds here")
    assert (alone.layers, near.layers) == ((1, 4), None)
    unknown = evidence_of(measure.unknown("why"), 20, (5, 5))
    assert {near.meaning, unknown.meaning} == {"that count"}


def test_metrics_that_tell_no_count_say_so() -> None:
    assert not METRIC_BY_NAME["contributions"].gives_evidence
    assert METRIC_BY_NAME["ablation"].gives_evidence
    run = full_run()
    pooled = reading_of([run], SETTINGS)
    for metric in METRICS:
        if not metric.gives_evidence:
            assert metric.evidence(pooled.get(metric), pooled) == []


# Ablation ---------------------------------------------------------------------


def layers_left_out(
    kl: Sequence[float], noise: float = 0.0, chosen: tuple[int, ...] = (), part: str = "layer"
) -> Ablation:
    """Layers without which the loss falls by as much as the output changes."""
    values = np.repeat(np.array(kl, np.float32)[:, None], 4, axis=1)
    return ablation(-values, noise, part, values, chosen=chosen)


def test_ablation_counts_the_layers_that_change_the_output() -> None:
    kl = [0.0] * 5 + [1.0] * 2 + [0.3] * 13
    (row,) = evidence("ablation", layers_left_out(kl))
    assert (row.kind, row.measure, row.title) == ("causal", "ablation", "ablation")
    assert (row.count, row.low, row.high, row.holds_here) == (15, 15, 15, True)
    assert row.layers == tuple(range(5, 20))
    assert row.meaning.endswith("(the loss falls without 15)")


def test_ablation_is_fragile_where_layers_cost_about_the_threshold() -> None:
    (row,) = evidence("ablation", layers_left_out([0.0] * 5 + [0.045] * 5 + [0.3] * 10))
    assert (row.count, row.low, row.high, row.firm) == (10, 10, 15, False)
    assert row.reason == "10 change it by 0.05 nats or more, 15 by 0.04"
    (row,) = evidence("ablation", layers_left_out([0.0] * 5 + [0.055] * 5 + [0.3] * 10))
    assert (row.count, row.low, row.high) == (15, 10, 15)


def test_ablation_takes_no_noise_for_a_cost() -> None:
    kl = [0.08] * 5 + [0.3] * 15
    (row,) = evidence("ablation", layers_left_out(kl))
    assert row.count == 20
    # KL is never below 0, so that its noise does not average out.
    (row,) = evidence("ablation", layers_left_out(kl, noise=0.05))
    assert (row.count, row.low, row.high) == (15, 15, 15)


def test_ablation_says_why_it_has_no_count() -> None:
    (row,) = evidence("ablation", layers_left_out([np.nan] * 5 + [0.3] * 15))
    assert (row.count, row.reason) == (None, "15 of 20 layers so far")
    kl = [0.3] * 4 + [np.nan] * 16
    (row,) = evidence("ablation", layers_left_out(kl, chosen=(0, 1, 2, 3)))
    assert row.count is None
    assert row.reason == "only layers 0-3 (4 of 20) were left out"
    assert evidence("ablation", layers_left_out([0.3] * 20, part="mlp")) == []


# Angular distance -------------------------------------------------------------


def similarity(angles: Sequence[float], without_first: Sequence[float] | None = None) -> Similarity:
    distance, other = (np.full((20, 20), np.nan, np.float32) for _ in range(2))
    distance[0] = angles
    other[0] = angles if without_first is None else without_first
    return Similarity(np.zeros((20, 5), np.float32), distance, other)


def test_layers_that_do_nothing_do_not_turn_the_stream() -> None:
    angles = [0.5] + [0.1] * 12 + [0.0] * 7
    (row,) = evidence("similarity", similarity(angles))
    assert (row.kind, row.count, row.holds_here) == ("geometric", 13, True)
    assert row.layers == tuple(range(13))
    # Most layers do nothing: they must not set the measure.
    (row,) = evidence("similarity", similarity([0.1] * 4 + [1e-6] * 16))
    assert (row.count, row.low, row.high) == (4, 4, 4)
    (row,) = evidence("similarity", similarity([0.1] * 20))
    assert row.count == 20
    (row,) = evidence("similarity", similarity([0.0] * 20))
    assert row.count == 0


def test_layers_that_turn_nothing_do_not_lower_the_bar() -> None:
    """With the mean over all layers the bar would be 0.031, and all of them above it."""
    angles = [0.1] * 8 + [0.04] * 4
    (alone,) = evidence("similarity", similarity(angles + [0.1] * 8))
    (row,) = evidence("similarity", similarity(angles + [1e-8] * 8))
    assert (alone.count, row.count) == (16, 8)
    assert row.curve is not None
    assert row.curve.threshold == pytest.approx(0.5 * 0.96 / 12)


def test_angles_about_half_of_the_mean_are_fragile() -> None:
    angles = [0.1] * 14 + [0.034] * 6  # mean 0.0802, half of it 0.0401, 0.4 of it 0.0321
    (row,) = evidence("similarity", similarity(angles))
    assert (row.count, row.low, row.high, row.firm) == (14, 14, 20, False)
    assert row.reason == "14 layers turn the stream by 0.5 of the mean, 20 by 0.4"


def test_token_zero_may_be_all_that_turns() -> None:
    with_first, without = [0.1] * 20, [0.1] * 10 + [0.0] * 10
    for first_token, count, other in ((True, 20, 10), (False, 10, 20)):
        (row,) = evidence("similarity", similarity(with_first, without), first_token=first_token)
        assert (row.count, row.low, row.high) == (count, 10, 20)
        assert row.reason == f"token 0 alone moves it from {count} to {other} layers"


def test_a_stream_that_is_not_finite_has_no_count() -> None:
    (row,) = evidence("similarity", similarity([np.nan] * 20))
    assert (row.count, row.reason) == (None, "the residual stream is not finite")


# Residual erasure -------------------------------------------------------------


def erasure(until: Sequence[int], size: float = 0.5, floor: float = 0.0) -> ResidualErasure:
    """Tokens that matter up to these depths, then the question's last and the answer."""
    effect = np.zeros((21, len(until) + 2), np.float32)
    for token, depth in enumerate(until):
        effect[: depth + 1, token] = size
    effect[:, len(until) :] = 1.0
    return ResidualErasure(effect, len(until) + 1, floor)


def test_erasure_counts_the_layers_that_still_read_the_question() -> None:
    (row,) = evidence("residual_erasure", erasure([3, 12, 7]))
    assert (row.kind, row.count, row.low, row.high) == ("causal", 13, 13, 13)
    (row,) = evidence("residual_erasure", erasure([3, 12, 7]), erasure([3, 8, 7]))
    assert row.count == 13  # the mean of 0.5 and 0 is still an effect
    (row,) = evidence("residual_erasure", erasure([3, 12, 7], size=0.05))
    assert row.count == 0
    (row,) = evidence("residual_erasure", erasure([3, 20, 7]))
    assert row.count == 20


def test_erasure_is_fragile_where_effects_lie_about_the_threshold() -> None:
    near = erasure([3, 7, 7])
    near.effect[8:13, 1] = 0.09
    (row,) = evidence("residual_erasure", near)
    assert (row.count, row.low, row.high, row.firm) == (8, 8, 13, False)
    assert row.reason == "effects of 0.1 reach 8 layers, those of 0.08 13"
    noisy = erasure([3, 7, 7], floor=0.2)
    noisy.effect[8:13, 1] = 0.15
    (row,) = evidence("residual_erasure", noisy)
    assert (row.count, row.high) == (8, 8)


def test_erasure_of_the_attention_sink_alone_is_fragile() -> None:
    (row,) = evidence("residual_erasure", erasure([18, 7, 7]))
    assert (row.count, row.low, row.high) == (19, 8, 19)
    assert row.reason == "token 0 alone moves it from 19 to 8 layers"
    (row,) = evidence("residual_erasure", erasure([18, 7, 7]), first_token=False)
    assert (row.count, row.high) == (8, 19)


def test_a_prompt_without_a_counted_token_of_the_question_adds_its_noise_alone() -> None:
    """Its question is token 0 and its last token, which never counts."""
    short = erasure([20], floor=0.6)
    (row,) = evidence("residual_erasure", erasure([3, 12, 7]), short, first_token=False)
    assert row.count == 0  # no effect of 0.5 is above the noise
    short = erasure([20])
    (row,) = evidence("residual_erasure", erasure([3, 12, 7]), short, first_token=False)
    assert (row.count, row.high) == (13, 20)
    assert row.reason == "token 0 alone moves it from 13 to 20 layers"
    assert evidence("residual_erasure", short, first_token=False) == []


@pytest.mark.parametrize("part", [{"threshold": 0.1}, {"chosen": (0, 5)}, {"tokens": (1,)}])
def test_a_part_of_the_erasure_tells_no_count(part: dict[str, object]) -> None:
    result = erasure([3, 12, 7])
    assert evidence("residual_erasure", replace(result, **part)) == []  # type: ignore[arg-type]


def test_erasure_that_goes_on_has_no_count_yet() -> None:
    result = erasure([3, 12, 7])
    result.effect[:, 2] = np.nan
    (unknown,) = evidence("residual_erasure", result)
    assert (unknown.count, unknown.reason) == (None, "not every token has been erased yet")
