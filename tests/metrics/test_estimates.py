"""How long metrics take: counts of layers that run against what they are said to cost."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from depthtui.data.protocol import Pace
from depthtui.data.run import Prompt, PromptTokens, RunResult
from depthtui.data.run_settings import RunSettings
from depthtui.metrics.context_depth import KEYS_VALUES
from depthtui.metrics.estimates import (
    TimeLeft,
    about_time,
    preparation_seconds,
    seconds_of,
    with_metric,
)
from depthtui.metrics.registry import METRIC_BY_NAME, METRICS, empty_result
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.builders.kernels import KernelContext
from tests.builders.models import tiny_model
from tests.builders.results import full_run
from tests.tiny_models import random_ids, tiny

TOKENS = 18


@pytest.fixture
def replay() -> Replay:
    model, ids = tiny("llama"), random_ids(TOKENS)
    torch.manual_seed(0)
    replay = Replay(model, probe_architecture(model), ids[0])
    assert replay.can_resume
    return replay


def asked(replay: Replay, **settings: object) -> RunResult:
    """A run of a model whose head costs nothing, since a replay counts layers alone."""
    tokens = PromptTokens(np.zeros(TOKENS, np.int64), ["t"] * TOKENS, TOKENS - 3)
    model = tiny_model(replay.n_layers, vocab_size=0)
    return empty_result(model, Prompt("a b", "b"), RunSettings(**settings), tokens)


def compute(name: str, replay: Replay, result: RunResult) -> None:
    anatomy = probe_architecture(tiny("llama"))
    context = KernelContext(
        replay,
        anatomy.unembedding,
        anatomy=anatomy,
        skipped=replay.residual[:-1],
        means=[residual.mean(dim=0) for residual in replay.residual],
        start=result.answer_start,
        settings=result.settings,
    )
    METRIC_BY_NAME[name].kernel()(context, None)


@pytest.mark.parametrize(
    "choices",
    [{}, {"layers": "0,2"}, {"skip_positions": (5, 9), "erase_tokens": 4}],
    ids=["everything", "layers", "tokens"],
)
@pytest.mark.parametrize(
    "name",
    [
        "ablation",
        "skip_effects",
        "direct_effects",
        "residual_erasure",
        "context_depth",
        "order",
        "repeat",
        "pairs",
        "quantisation",
        "heads",
    ],
)
def test_the_work_is_what_is_run(
    name: str, choices: dict[str, Any], replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tokens that are erased together run from the first of them on.
    monkeypatch.setattr("depthtui.metrics.residual_erasure.compute._TOKENS_WORTH_A_BATCH", 1)
    result = asked(replay, **choices)
    before = replay.evaluations
    compute(name, replay, result)
    layers = replay.evaluations - before + KEYS_VALUES * replay.projections
    forwards = layers / (replay.n_layers * TOKENS)
    # Which layers ablation leaves out together is not known before, nor what their run takes.
    most = forwards + (name == "ablation")
    assert forwards - 1e-6 <= METRIC_BY_NAME[name].work(result) <= most + 1e-6
    assert forwards > 0.5


def test_the_head_costs_what_its_parameters_say() -> None:
    result = full_run()
    settling = METRIC_BY_NAME["settling"]
    few, many = (
        replace(result, model=replace(result.model, vocab_size=size)) for size in (100, 200)
    )
    heads = (result.model.n_layers + 1) * 100 * result.model.d_model / result.model.parameters
    assert settling.work(many) - settling.work(few) == pytest.approx(heads)


def test_nothing_is_said_before_something_was_timed() -> None:
    assert [about_time(metric, full_run(), Pace()) for metric in METRICS] == [""] * len(METRICS)


def test_a_forward_says_how_long_a_metric_takes_until_it_was_timed_itself() -> None:
    result, ablation = full_run(), METRIC_BY_NAME["ablation"]
    pace = Pace(forward=0.5)
    expected = 0.5 * len(result.tokens) * ablation.work(result)
    assert seconds_of(ablation, result, pace) == pytest.approx(expected)
    timed = with_metric(pace, ablation, result, 7.0)
    assert timed.forward == pace.forward
    assert seconds_of(ablation, result, timed) == pytest.approx(7.0)
    longer = full_run(tokens=2 * len(result.tokens))
    assert seconds_of(ablation, longer, timed) == pytest.approx(14.0)
    assert seconds_of(METRIC_BY_NAME["similarity"], result, timed) == pytest.approx(
        0.05 * len(result.tokens)
    )


def test_a_lens_that_is_not_fitted_yet_takes_its_fit_too() -> None:
    result, affine = full_run(), METRIC_BY_NAME["affine_lens"]
    pace = Pace(forward=0.5, tokens=len(result.tokens))
    fit = preparation_seconds(affine, result, pace)
    fitted = replace(pace, prepared=("affine_lens",))
    reading = seconds_of(affine, result, fitted)
    # Some ten tokens for each dimension are written and read, a dozen tokens are read.
    assert fit > reading > 0
    assert seconds_of(affine, result, pace) == pytest.approx(fit + reading)
    timed = with_metric(fitted, affine, result, 7.0)
    assert seconds_of(affine, result, timed) == pytest.approx(7.0)


def test_what_reads_through_a_lens_counts_its_fit() -> None:
    result, pace = full_run(), Pace(forward=0.5)
    through = [METRIC_BY_NAME[name] for name in ("affine_lens", "nonlinear")]
    fits = {preparation_seconds(metric, result, pace) for metric in through}
    assert len(fits) == 1
    assert min(fits) > 0


def test_a_jacobian_lens_is_fitted_by_no_run() -> None:
    result, jacobian = full_run(), METRIC_BY_NAME["jacobian_lens"]
    assert about_time(jacobian, result, Pace(forward=0.5)) == ""
    assert about_time(jacobian, result, Pace(forward=0.5, prepared=("jacobian_lens",)))


def test_nothing_is_said_of_what_a_run_cannot_have() -> None:
    result = full_run()
    result.tokens = replace(result.tokens, answer_start=len(result.tokens))
    assert about_time(METRIC_BY_NAME["residual_erasure"], result, Pace(1.0)) == ""
    assert about_time(METRIC_BY_NAME["ablation"], result, Pace(1.0)) != ""


def test_the_time_left_is_what_the_rest_takes_at_this_pace() -> None:
    fresh = TimeLeft(100.0, 0.0)
    assert fresh.at(100.0, 0.0) < 0
    assert fresh.at(110.0, 0.25) == pytest.approx(30.0)
    assert fresh.at(140.0, 1.0) == 0


def test_a_long_start_is_not_taken_for_the_pace() -> None:
    fresh = TimeLeft(100.0, 0.0)
    assert fresh.at(110.0, 0.001) < 0
    assert TimeLeft(100.0, 0.0, 20.0).at(110.0, 0.001) == pytest.approx(19.98)
    assert fresh.at(110.1, 0.002) == pytest.approx(99.8)
    assert fresh.at(116.0, 0.06) == pytest.approx(16 * 0.94 / 0.06)


def test_what_was_done_before_does_not_count() -> None:
    resumed = TimeLeft(100.0, None)
    assert resumed.at(110.0, 0.6) < 0
    assert resumed.at(120.0, 0.8) == pytest.approx(10.0)


def test_every_metric_says_what_it_costs() -> None:
    for metric in METRICS:
        work = metric.work(full_run())
        assert math.isfinite(work)
        assert work > 0


def test_what_is_found_once_is_counted_until_it_is_there() -> None:
    result, metric = full_run(), METRIC_BY_NAME["kept"]
    alone = seconds_of(metric, result, Pace(0.5, prepared=("kept",)))
    both = seconds_of(metric, result, Pace(0.5))
    assert alone is not None
    assert both is not None
    assert both - alone == pytest.approx(0.5 * metric.preparation(result))
    own = replace(result, settings=replace(result.settings, order_source="own"))
    assert preparation_seconds(metric, own, Pace(0.5)) == 0


def test_a_pass_of_few_tokens_says_less_of_many() -> None:
    result, metric = full_run(), METRIC_BY_NAME["kept"]
    few, many, long = (
        preparation_seconds(metric, result, Pace(0.5, tokens=tokens)) for tokens in (10, 256, 9999)
    )
    assert many == pytest.approx(0.5 * metric.preparation(result))
    assert few == pytest.approx(many * (1 + 48 / 256) / (1 + 48 / 10))
    assert many < long < 1.2 * many


def test_overhead_counts_until_the_metric_was_timed() -> None:
    result, heads = full_run(), METRIC_BY_NAME["heads"]
    tokens, overhead = len(result.tokens), heads.overhead(result)
    assert overhead > 0
    expected = 0.5 * (tokens * heads.work(result) + overhead)
    assert seconds_of(heads, result, Pace(0.5)) == pytest.approx(expected)
    timed = with_metric(Pace(0.5), heads, result, 3.0)
    assert seconds_of(heads, result, timed) == pytest.approx(3.0)
