"""Times with fewer layers, and what a draft gains by them: planted times, chance, closed forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from depthtui.data.run import Prompt
from depthtui.data.run_settings import RunSettings, SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.errors import DepthError
from depthtui.metrics import kept
from depthtui.metrics.layer_order import LayerOrder
from depthtui.metrics.speed import METRIC, MOST_DRAFTED, ROUNDS, STEPS, Speed
from depthtui.metrics.speed import compute as speed_compute
from depthtui.metrics.speed.compute import compute
from depthtui.metrics.speed.draft import Draft, fastest, speed_ups, tokens_a_pass
from depthtui.tracing.shortened import shortened
from depthtui.tracing.timing import Times, times
from tests.builders.metrics import smooth_metric
from tests.builders.results import run
from tests.engine.test_controls import engine_with
from tests.naive import blocks, naive_without
from tests.tiny_models import on_few_models, random_ids, tiny, with_tokenizer


@on_few_models()
def test_a_shortened_model_is_the_model_without_these_layers(name: str) -> None:
    model, ids = tiny(name), random_ids(10)
    count, modules = len(blocks(model)), dict(model.named_modules())
    staying = [layer for layer in range(count) if layer not in (0, 2)]
    with torch.no_grad(), shortened(model, staying):
        cached = model(input_ids=ids[:, :6], use_cache=True)
        logits = model(input_ids=ids).logits[0]
    np.testing.assert_allclose(
        logits.float().log_softmax(-1), naive_without(model, ids, (0, 2)), rtol=1e-4, atol=1e-4
    )
    assert cached.logits.shape[1] == 6
    # It is whole again.
    assert {name: id(part) for name, part in model.named_modules()} == {
        name: id(part) for name, part in modules.items()
    }
    whole = naive_without(model, ids, ())
    with torch.no_grad():
        again = model(input_ids=ids).logits[0].float().log_softmax(-1)
    np.testing.assert_allclose(again, whole, rtol=1e-4, atol=1e-4)


def test_a_tokens_part_of_the_cache_is_counted() -> None:
    model, ids = tiny("llama"), random_ids(10)[0]
    layers = len(blocks(model))
    config: Any = model.config
    width = config.num_key_value_heads * config.hidden_size // config.num_attention_heads
    for count in (layers, 1):
        measured = times(model, ids, range(count), (1, 1, 3))
        assert measured.cache_bytes == 2 * 4 * width * count
        assert len(measured.passes) == 3
        assert min(measured.prefill, *measured.passes) > 0


def test_an_architecture_that_counts_its_layers_is_refused_in_words() -> None:
    with pytest.raises(
        DepthError, match="GPTNeoForCausalLM does not run with only some of its layers"
    ):
        times(tiny("gpt_neo"), random_ids(10)[0], [0, 3], (1,))


class Clock:
    """A context whose model has planted times: its head takes as long as two layers.

    The machine grows slower, by as much as it took already with every call.
    """

    def __init__(self, layers: int = 4) -> None:
        self.result = run(layers=layers)
        block = torch.nn.Linear(3, 5, bias=False)
        self.anatomy = SimpleNamespace(layers=[block] * layers)
        self.calls = 0
        self.reported: list[tuple[int, int]] = []

    def order(self, piece: str) -> LayerOrder:
        return LayerOrder([2, 0], [0.1, 0.2])

    def timed(self, staying: Sequence[int], passes: Sequence[int]) -> Times:
        self.calls += 1
        slow = 1 + 0.001 * self.calls
        one = slow * (2 + len(staying))
        return Times(10 * one, tuple(one * (1 + (n - 1) / 8) for n in passes), 8.0 * len(staying))

    def report(self, done: int, total: int, value: object, share: float | None = None) -> None:
        self.reported.append((done, total))


def test_times_are_compared_within_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(speed_compute, "ROUNDS", ROUNDS)
    monkeypatch.setattr(speed_compute, "STEPS", STEPS)
    result = compute(clock, None)  # type: ignore[arg-type]
    assert result.order[:2] == (2, 0)
    assert clock.reported[-1] == (4 * ROUNDS, 4 * ROUNDS)
    share = np.array([6, 5, 4, 3]) / 6
    for actual in (result.token_ratios, result.prefill_ratios):
        np.testing.assert_allclose(actual[:, :4], [share] * ROUNDS, rtol=0.003)
        assert np.isnan(actual[:, 4]).all()
    np.testing.assert_allclose(result.verify_ratios, [1 + np.arange(17) / 8] * ROUNDS, rtol=0.003)
    assert result.cache_bytes.tolist() == [32, 24, 16, 8, 0]
    model = clock.result.model
    assert (model.parameters - result.parameters).tolist() == [0, 15, 30, 45, 60]
    assert (model.memory_bytes - result.weight_bytes).tolist() == [0, 60, 120, 180, 240]
    assert STEPS * ROUNDS >= 20


def test_tokens_of_a_pass_are_those_of_independent_draws() -> None:
    rng, drafted = np.random.default_rng(0), 5
    for acceptance in (0.0, 0.3, 0.8, 1.0):
        accepted = rng.random((40_000, drafted)) < acceptance
        counts = 1 + np.logical_and.accumulate(accepted, axis=1).sum(axis=1)
        expected = tokens_a_pass(np.array(acceptance), drafted)
        assert counts.mean() == pytest.approx(expected, abs=0.03)
        if acceptance < 1:
            closed = (1 - acceptance ** (drafted + 1)) / (1 - acceptance)
            assert expected == pytest.approx(closed)


def test_the_fastest_draft_is_that_of_every_length_tried() -> None:
    acceptance, share = np.array([0.5, 0.9, 1.0]), np.array([0.2, 0.5, 0.9])
    verify = 1 + np.arange(MOST_DRAFTED + 1) / 50
    ups = speed_ups(acceptance, share, verify)
    assert ups.shape == (3, MOST_DRAFTED)
    for draft in range(3):
        for drafted in range(1, MOST_DRAFTED + 1):
            tokens = sum(acceptance[draft] ** power for power in range(drafted + 1))
            time = drafted * share[draft] + verify[drafted]
            assert ups[draft, drafted - 1] == pytest.approx(tokens / time)
    layers = np.array([1, 2, 3])
    found = fastest(layers, acceptance, share[None], verify[None], lambda statistic: None)
    assert found is not None
    assert found.speed_up == pytest.approx(ups.max())
    assert (found.layers - 1, found.drafted - 1) == np.unravel_index(ups.argmax(), ups.shape)
    assert found.words[0] == "–", "no interval"
    none = share[None, :0], verify[None]
    assert fastest(np.array([]), acceptance[:0], *none, lambda statistic: None) is None


def test_never_faster_is_said_where_no_draft_is_in_any_draw() -> None:
    acceptance, share = np.array([0.4, 0.6]), np.array([[0.55, 0.9]])
    verify = np.ones((1, 17))

    def drawn(statistic: Any) -> tuple[float, float]:
        draws = np.clip(acceptance + np.array([[-0.1, -0.1], [0, 0.1], [0.1, 0]]), 0, 1)
        values = statistic(draws)
        return float(values.min()), float(values.max())

    found = fastest(np.array([1, 2]), acceptance, share, verify, drawn)
    assert found is not None
    assert found.is_never_faster
    assert found.interval is not None
    assert found.interval[0] < found.speed_up < found.interval[1] <= (found.most or 0) < 1
    value, how = found.words
    assert value == "never faster"
    assert how == (
        "at best 0.90 (0.84 to 0.97) times as fast, with 1 layer, 1 token a draft: 40% accepted, "
        "1.40 tokens a pass"
    )
    # A round of other times widens the range, until it holds 1.
    share, verify = np.array([[0.55, 0.9], [0.25, 0.9], [0.55, 0.9]]), np.ones((3, 17))
    other = fastest(np.array([1, 2]), acceptance, share, verify, drawn)
    assert other is not None
    assert not other.is_never_faster
    assert other.words == (
        "–",
        "0.84 to 1.12 times as fast, no difference is told, with 1 layer, 1 token a draft: "
        "40% accepted, 1.40 tokens a pass",
    )
    assert not Draft(1, 1, 0.9, 0.8, None, None).is_never_faster, "without an interval"


def pooled(count: int = 6, layers: int = 8) -> Any:
    runs = [run(seed=seed, layers=layers, tokens=20) for seed in range(count)]
    for result in runs:
        for name in ("kept", "speed"):
            result.put(name, smooth_metric(name, result))
    return reading_of(runs, SummarySettings())


def test_findings_name_time_memory_and_drafts() -> None:
    reading = pooled()
    speed = reading.get(METRIC)
    rows = list(METRIC.findings(speed, reading))
    knowledge = reading.get(kept.METRIC)
    assert rows[0].title == f"A token with {knowledge.layers} of 8 layers"
    share = (2 + knowledge.layers) / 10
    ends = f"{0.98 * share:.0%} to {1.04 * share:.0%}"
    assert rows[0].value == f"{share:.0%} ({ends}) of the time"
    assert f"the prompt's pass {ends}" in rows[0].remark
    cell = ends.replace("% to ", "-")
    assert reading.left_out.sentence(knowledge.layers).endswith(
        f"a token takes {cell} of its time."
    )
    slow = replace(speed.mean, token_ratios=speed.mean.token_ratios / share)
    row, *_ = METRIC.findings(replace(speed, mean=slow), reading)
    assert (row.value, row.remark[:44]) == ("–", "98% to 104% of the time: no difference is to")
    assert [row.title for row in rows[1:]] == [
        "Layers of the order as a draft",
        "Early exit as a draft",
    ]
    other_order = replace(speed.mean, order=speed.mean.order[::-1])
    # All layers are alike.
    assert replace(speed, mean=other_order).draft == speed.draft
    summary = METRIC.summary(speed, reading)
    assert summary["draft"]["speed_up"] == speed.draft.speed_up
    low, high = speed.draft.interval
    assert low <= speed.draft.speed_up <= high


def test_through_the_engine(tmp_path: Any) -> None:
    engine = engine_with(*with_tokenizer("llama"), tmp_path)
    settings = RunSettings(metrics=("logit_lens", "kept", "speed"), order_search="ranked")
    result = engine.run(Prompt("the cat sat on the mat and the dog"), settings)
    speed = result.get(Speed)
    assert speed is not None
    assert speed.order == result.get(kept.Kept).orders[0]
    assert (np.diff(speed.parameters) < 0).all()
    assert (speed.token[:-1] > 0).all()
