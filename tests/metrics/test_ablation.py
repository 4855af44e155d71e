"""KL and first choices without layers, one at a time and together, and the words made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import Reading, reading_of
from depthtui.metrics import output_change
from depthtui.metrics.ablation import CHANGED, METRIC, Ablation, ReducedAblation
from depthtui.metrics.skip_effects.compute import skipped_residuals
from depthtui.tracing.anatomy import Anatomy
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.builders.kernels import ablation_loss
from tests.builders.metrics import ablation
from tests.builders.readings import evidence_by
from tests.builders.results import run
from tests.naive import probabilities
from tests.tiny_models import on_few_models, random_ids, tiny


def replayed(name: str, tokens: int = 12) -> tuple[torch.Tensor, Anatomy, Replay]:
    model, ids = tiny(name), random_ids(tokens)
    anatomy = probe_architecture(model)
    return ids, anatomy, Replay(model, anatomy, ids[0])


def measured(name: str, part: str = "layer", at_once: int = 0) -> Ablation:
    _ids, anatomy, replay = replayed(name)
    skipped = skipped_residuals(anatomy, replay, part)
    assert anatomy.unembedding is not None
    return ablation_loss(replay, anatomy.unembedding, skipped, part, at_once)


def naive(name: str, layers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """KL and whether the first choice stays at tokens 1 … T-1, from two ordinary forwards."""
    model, ids = tiny(name), random_ids(12)
    whole = probabilities(model, ids)
    changed = probabilities(model, ids, [(layer, lambda before, _: before) for layer in layers])
    kl = (whole * (whole.log() - changed.log())).sum(dim=-1)
    return kl[1:].numpy(), (whole.argmax(-1) == changed.argmax(-1))[1:].numpy()


@on_few_models()
def test_against_one_forward_a_layer(name: str) -> None:
    result = measured(name)
    for layer in range(len(result.kl)):
        kl, kept = naive(name, [layer])
        np.testing.assert_allclose(result.kl[layer, 1:], kl, rtol=2e-3, atol=2e-5)
        np.testing.assert_array_equal(result.kept[layer, 1:], kept)
    assert np.isnan(result.kl[:, 0]).all()
    assert (result.kept[:, 0] == -1).all()
    assert result.unchanged_kl[1:].max() < 1e-5
    assert result.is_whole
    kl, kept = naive(name, np.flatnonzero(result.together).tolist())
    assert result.together_kl == pytest.approx(kl.mean(), rel=2e-3)
    assert result.together_choices == pytest.approx(kept.mean())


@pytest.mark.parametrize("at_once", [0, 1])
def test_parts_of_the_outputs_are_the_same(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measured("llama")
    # Two outputs of 128 logits at a time.
    monkeypatch.setattr(output_change, "ROW_BYTES", 2 * 3 * 4 * 128)
    parts = measured("llama", at_once=at_once)
    np.testing.assert_allclose(parts.kl, whole.kl, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(parts.kept, whole.kept)
    np.testing.assert_allclose(parts.loss, whole.loss, rtol=1e-5)
    np.testing.assert_allclose(parts.loss_change, whole.loss_change, atol=1e-5)


def test_what_is_left_out_together_runs_last_and_once() -> None:
    _ids, anatomy, replay = replayed("llama")
    assert anatomy.unembedding is not None
    given = replay, anatomy.unembedding, replay.residual[:-1]
    whole = ablation_loss(*given)
    single = replace(whole.copied(), together=np.full(4, -1, np.int8), together_kl=np.nan)
    assert single.known_rows.all()
    assert not single.is_whole
    before = replay.evaluations
    again = ablation_loss(*given, partial=single)
    first = min(whole.spare_layers)
    assert replay.evaluations - before == replay.n_tokens * (4 - first - len(whole.spare_layers))
    assert again.together_kl == whole.together_kl
    # Who was given it keeps it as it was.
    assert not single.is_whole


def test_of_sublayers_none_are_left_out_together() -> None:
    result = measured("llama", "mlp")
    assert result.is_whole
    assert result.spare_layers == []
    assert not result.together.any()
    assert np.isnan(result.together_kl)
    assert np.isfinite(result.kl[:, 1:]).all()


def test_a_single_token_predicts_none_and_has_no_kl() -> None:
    _ids, anatomy, replay = replayed("llama", 1)
    assert anatomy.unembedding is not None
    actual = ablation_loss(replay, anatomy.unembedding, replay.residual[:-1])
    assert actual.is_whole
    assert np.isnan(actual.kl).all()
    result = run(tokens=1)
    result.put("ablation", actual)
    assert reading_of([result], SummarySettings()).get(METRIC) is None


def of(kl: Sequence[float], noise: float = 0.0, tokens: int = 5) -> Ablation:
    """Ablation of layers that cost these KLs at every token."""
    values = np.repeat(np.array(kl, np.float32)[:, None], tokens - 1, axis=1)
    return ablation(-values, noise, kl=values)


@pytest.mark.parametrize(
    ("kl", "noise", "spare"),
    [
        # Those below the bar.
        ([0.2, 0.01, 0.3, 0.049, 0.051], 0.0, [1, 3]),
        # Where there are none, the cheapest quarter, one at least.
        ([0.5, 0.2, 0.1, 0.3, 0.4, 0.15, 0.6, 0.7], 0.0, [2, 5]),
        ([0.5, 0.2, 0.3], 0.0, [1]),
        # Twice the noise is the bar, and what lies within it changes nothing.
        ([0.5, 0.2, 0.15, 0.3], 0.08, [1]),
        # A layer that changes nothing goes for nothing, and is none of them.
        ([0.5, 0.0, 0.01, 1e-7], 0.0, [2]),
        ([0.5, 0.0, 0.2, 0.3, 0.4], 0.0, [2]),
        ([0.0, 0.0], 0.0, []),
    ],
)
def test_the_layers_that_cost_least(kl: list[float], noise: float, spare: list[int]) -> None:
    assert of(kl, noise).spare_layers == spare


def pooled(*actual: Ablation) -> tuple[ReducedAblation, Reading]:
    results = []
    for number, one in enumerate(actual):
        result = run(f"text {number}", tokens=one.kl.shape[1], layers=len(one.kl))
        result.put("ablation", one)
        results.append(result)
    reading = reading_of(results, SummarySettings())
    return reading.get(METRIC), reading


def test_prompts_are_pooled_by_their_tokens() -> None:
    # 4 tokens are scored of the first, 2 of the second.
    value, reading = pooled(of([0.6, 0.01, 0.3]), of([0.3, 0.2, 0.02], tokens=3))
    np.testing.assert_allclose(value.output.kl, [0.5, 0.22 / 3, 0.62 / 3], rtol=1e-5)
    # Each has its own layers that cost least.
    np.testing.assert_allclose(value.output.together, [0, 2 / 3, 1 / 3])
    assert value.output.together_kl == pytest.approx(0.04 / 3, rel=1e-5)
    summary = METRIC.summary(value, reading)
    np.testing.assert_array_equal(summary["kl"], value.output.kl)
    np.testing.assert_allclose(summary["choices"], [1 / 3, 1, 1])
    assert summary["together"]["count"] == pytest.approx(1)
    line = METRIC.findings(value, reading)[3]
    assert line.title == "Cheapest layers together"
    assert line.remark.startswith("KL without the 1 that cost least, each prompt's own; 100% of")


def test_token_0_is_scored_by_no_setting() -> None:
    result = run(tokens=5, layers=3)
    result.put("ablation", of([0.6, 0.01, 0.3]))
    with_first, without = (
        reading_of([result], SummarySettings(include_first_token=include)).get(METRIC)
        for include in (True, False)
    )
    assert (with_first.tokens, without.tokens) == (4, 3)
    np.testing.assert_array_equal(with_first.output.kl, without.output.kl)
    assert with_first.output.tokens == without.output.tokens == 4


def test_the_words_say_for_how_many_of_them_the_loss_falls() -> None:
    kl = np.repeat(np.array([[0.3], [0.2], [0.01], [0.4]], np.float32), 4, axis=1)
    loss = np.repeat(np.array([[-0.5], [0.2], [-0.3], [0.4]], np.float32), 4, axis=1)
    value, reading = pooled(ablation(loss, kl=kl))
    (row,) = evidence_by(METRIC, reading)
    assert (row.count, row.layers) == (3, (0, 1, 3))
    assert row.meaning == "that change the output when left out (the loss falls without 1)"
    line, together = METRIC.findings(value, reading)[2:4]
    assert (line.title, line.value) == ("Layers that change the output", "3 of 4")
    assert "the loss falls without 1 of them" in line.remark
    assert together.value == "0.01 nats"
    assert together.remark.startswith("KL without the 1 that cost least, layer 2; 100% of first")
    # A fall within twice its noise is none.
    value, reading = pooled(ablation(loss, noise=0.6, kl=kl + 1))
    assert value.falling == []


def test_the_bar_is_a_twentieth_of_a_nat_or_twice_the_noise() -> None:
    _, reading = pooled(of([0.3, CHANGED, 0.041, 0.08]))
    (row,) = evidence_by(METRIC, reading)
    assert (row.count, row.low, row.high) == (3, 2, 4)
    assert row.reason == "3 change it by 0.05 nats or more, 4 by 0.04"
    _, reading = pooled(of([0.3, CHANGED, 0.041, 0.08], noise=0.03))
    (row,) = evidence_by(METRIC, reading)
    assert (row.count, row.layers) == (2, (0, 3))


def choosing(choices: Sequence[Sequence[int]]) -> Ablation:
    """Ablation of layers without which these first choices stay, 1 or 0."""
    stay = np.array(choices, np.int8)
    kl = np.linspace(1, 2, len(stay), dtype=np.float32)[:, None].repeat(stay.shape[1], axis=1)
    result = ablation(kl, kl=kl)
    result.kept[:, 1:] = stay
    return result


@pytest.mark.parametrize(
    ("choices", "layers", "words"),
    [
        # 9 of 10 first choices are enough, 8 are not.
        ([[1] * 9 + [0], [1] * 8 + [0] * 2], [0], "without layer 0 the output keeps 90% of its"),
        ([[1] * 10, [0] * 10, [1] * 10], [0, 2], "without any one of layers 0, 2 the output keeps"),
        (
            [[1] * 7 + [0] * 3, [1] * 8 + [0] * 2],
            [],
            "no single layer can go: without the least useful one (layer 1) the output keeps 80%",
        ),
        # 17 of 19 are 89.5%, no nine tenths.
        ([[1] * 17 + [0] * 2, [0] * 19], [], "(layer 0) the output keeps 89% of its"),
    ],
)
def test_which_layers_alone_can_go(
    choices: Sequence[Sequence[int]], layers: list[int], words: str
) -> None:
    value, reading = pooled(choosing(choices))
    (line,) = [
        one for one in METRIC.findings(value, reading) if one.title == "Single layers that can go"
    ]
    assert line.value == f"{len(layers)} of {len(choices)}"
    assert words in line.remark
    assert METRIC.summary(value, reading)["can_go"] == layers


@pytest.mark.parametrize("part", ["layer", "mlp"])
def test_of_some_layers_or_sublayers_nothing_is_said_of_which_can_go(part: str) -> None:
    one = choosing([[1] * 10, [1] * 10])
    if part == "layer":
        one = replace(one, chosen=(0,))
        one.kl[1], one.kept[1], one.loss_change[1] = np.nan, -1, np.nan
    value, reading = pooled(replace(one, part=part))
    assert "can_go" not in METRIC.summary(value, reading)
    assert "can go" not in " ".join(map(str, METRIC.findings(value, reading)))
