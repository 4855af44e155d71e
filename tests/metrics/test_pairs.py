"""Pairs of layers left out: the naive way, planted truth, and the words made of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from depthtui.data.run_settings import RunSettings, SummarySettings
from depthtui.depth.reading import Reading, reading_of
from depthtui.metrics.pairs import METRIC, LayerPairs, ReducedPairs, floor, interactions, wrecks
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.builders.kernels import pairs
from tests.builders.metrics import pairs_of
from tests.builders.results import run
from tests.naive import probabilities
from tests.planted import with_cancelling_pair, with_idle, with_spare, working_only_in
from tests.tiny_models import on_few_models, random_ids, tiny

TOKENS = 12
NAN = float("nan")


def replayed(model: torch.nn.Module, **options: Any) -> tuple[Any, Replay]:
    anatomy = probe_architecture(model)
    return anatomy.unembedding, Replay(model, anatomy, random_ids(TOKENS)[0], **options)


def measured(model: torch.nn.Module, **options: Any) -> LayerPairs:
    unembedding, replay = replayed(model)
    return pairs(replay, unembedding, **options)


@on_few_models()
def test_against_one_forward_a_pair(name: str) -> None:
    model, ids = tiny(name), random_ids(TOKENS)
    result = measured(model)
    whole = probabilities(model, ids)
    for lower, upper in result.places:
        left_out = {lower, upper}
        changed = probabilities(model, ids, [(layer, lambda h, _: h) for layer in left_out])
        kl = (whole * (whole.log() - changed.log())).sum(dim=-1)[1:]
        assert result.kl[lower, upper] == pytest.approx(float(kl.mean()), rel=1e-4, abs=1e-5)
        # Eleven tokens in two blocks.
        blocks = [float(kl[:5].mean()), float(kl[5:].mean())]
        assert result.kl_blocks[:2, lower, upper] == pytest.approx(blocks, rel=1e-4, abs=2e-5)
    above = np.tri(len(result.kl), dtype=bool).T
    np.testing.assert_array_equal(np.isfinite(result.kl), above)
    assert np.isnan(result.kl_blocks[2:]).all()
    assert result.is_whole
    assert result.noise_of_outputs < 1e-6
    assert np.nanmax(result.kl) > 0.01


def test_a_lower_layer_is_left_out_once_for_all_its_pairs() -> None:
    unembedding, replay = replayed(tiny("llama"))
    before = replay.evaluations
    pairs(replay, unembedding)
    # Beside a run with nothing left out.
    assert replay.evaluations - before == (3 * 4 * 5 / 6 + 4) * TOKENS


@pytest.mark.parametrize("at_once", [1, 3])
def test_groups_and_small_batches_are_the_same(at_once: int) -> None:
    whole = measured(tiny("llama"))
    done: list[tuple[int, int]] = []
    unembedding, small = replayed(tiny("llama"), tokens_at_once=30)
    parts = pairs(small, unembedding, at_once, lambda count, total, _: done.append((count, total)))
    for name in ("kl", "kl_blocks"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-3, atol=2e-5)
    # Layers behind the upper one of each pair, and of each layer alone.
    assert done[-1] == (10, 10)


def test_what_is_known_is_not_run_again() -> None:
    unembedding, replay = replayed(tiny("llama"))
    reports: list[Any] = []
    whole = pairs(replay, unembedding, 3, lambda *row: reports.append(row))
    partials = [value for *_, value in reports if value is not None]
    # The last layer alone, then both pairs and the layer before it.
    assert np.argwhere(np.isfinite(partials[0].kl)).tolist() == [[2, 2], [2, 3], [3, 3]]
    before = replay.evaluations
    again = pairs(replay, unembedding, partial=partials[0])
    # Those of layers 0 and 1, and an unchanged run.
    assert replay.evaluations - before == (3 + 2 + 1 + 2 + 1 + 4) * TOKENS
    np.testing.assert_allclose(again.kl, whole.kl, rtol=1e-3, atol=1e-6)
    # Reported and continued from, it stays as it was.
    assert not partials[0].is_whole


def test_some_layers_are_paired_with_each_other_alone() -> None:
    whole, some = measured(tiny("llama")), measured(tiny("llama"), chosen=(1, 3))
    known = [(1, 1), (1, 3), (3, 3)]
    assert some.places == known
    assert some.is_whole
    assert np.isfinite(some.kl).sum() == 3
    for place in known:
        assert some.kl[place] == pytest.approx(whole.kl[place], rel=1e-4)


# Planted truth --------------------------------------------------------------------


def planted(model: torch.nn.Module) -> ReducedPairs:
    found = measured(model)
    result = run("planted", tokens=TOKENS, layers=len(found.kl))
    result.put("pairs", found)
    return reading_of([result], SummarySettings()).get(METRIC)


def plain() -> Any:
    """A model whose own layers cost little, so that the plants are read."""
    return working_only_in(tiny("llama"), dict.fromkeys(range(4), 0.25))


def test_a_pair_that_cancels_each_other_is_needed_only_together() -> None:
    value = planted(with_cancelling_pair(plain(), 2, 1.0))
    pair = value.dependent[0]
    assert pair.layers == (2, 3)
    assert pair.both < 1e-5
    assert min(pair.alone) > 0.05
    assert pair.interaction == pytest.approx(-sum(pair.alone), abs=1e-5)


def test_of_two_layers_of_which_one_suffices_each_covers_for_the_other() -> None:
    value = planted(with_spare(plain(), 2, 1.5))
    pair = value.covering[0]
    assert pair.layers == (2, 3)
    assert 0.05 < pair.both < 1
    assert max(pair.alone) < 0.2 * pair.both
    assert pair.interaction > 0.8 * pair.both


def test_an_idle_layer_is_in_no_pair() -> None:
    value = planted(with_idle(plain(), [1, 3])[0])
    assert value.unchanged == 0
    layers = {layer for pair in (*value.covering, *value.dependent) for layer in pair.layers}
    assert layers
    assert layers.isdisjoint({1, 4})


# Words and numbers ----------------------------------------------------------------

ALONE = [0.125, 0.25, 0.0625, 1.5]
INTERACTIONS = [[0, 0.25, -0.125, 0], [0, 0, 0.0078125, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def example(noise: float = 0.0, tokens: int = 9) -> LayerPairs:
    """Layers 0 and 1 cover for each other, 0 and 2 do not add up, and layer 3 is a wreck."""
    return pairs_of(ALONE, INTERACTIONS, tokens, noise)


def pooled(*actual: LayerPairs, **settings: Any) -> tuple[ReducedPairs, Reading]:
    results = []
    for number, one in enumerate(actual):
        tokens, layers = len(one.unchanged), len(one.kl)
        result = run(f"text {number}", tokens=tokens, layers=layers)
        result.settings = replace(result.settings, **settings)
        result.put("pairs", one)
        results.append(result)
    reading = reading_of(results, SummarySettings())
    return reading.get(METRIC), reading


def test_a_pair_costs_more_or_less_than_the_sum() -> None:
    actual = interactions(example().kl)
    expected = np.full((4, 4), NAN)
    expected[0, 1] = expected[1, 0] = 0.25
    expected[0, 2] = expected[2, 0] = -0.125
    expected[1, 2] = expected[2, 1] = 0.0078125
    np.testing.assert_allclose(actual, expected)


@pytest.mark.parametrize(
    ("alone", "both", "is_wreck"),
    [(0.5, 1.0, False), (0.5, 1.001, True), (1.001, 0.5, True), (1.001, NAN, True)],
)
def test_a_cost_above_a_nat_says_little(alone: float, both: float, is_wreck: bool) -> None:
    kl = np.array([[alone, both], [NAN, 0.25]])
    np.testing.assert_array_equal(wrecks(kl), [[False, is_wreck], [is_wreck, False]])
    assert np.isnan(interactions(kl)[0, 1]) == is_wreck


def lines_of(value: ReducedPairs, reading: Reading) -> dict[str, tuple[str, str]]:
    return {line.title: (line.value, line.remark) for line in METRIC.findings(value, reading)}


def test_a_single_prompt_names_no_pair() -> None:
    value, reading = pooled(example())
    assert value.kl_blocks.shape == (2, 4, 4)
    lines, summary = lines_of(value, reading), METRIC.summary(value, reading)
    assert lines["Pairs of layers"] == ("–", "a single prompt names none")
    assert not [title for title in lines if title.startswith("Layers")]
    assert summary["covering"] == summary["dependent"] == []
    assert summary["counts"]["covering"] is None


def test_the_strongest_pairs_in_words_and_numbers() -> None:
    value, reading = pooled(example(), example())
    lines = lines_of(value, reading)
    assert lines["Layers that cover for each other"] == (
        "0 and 1, 1 and 2",
        "layers 0 and 1 cost 0.125 and 0.25 nats by themselves, 0.625 together, "
        "+0.25 beyond their sum; "
        "then +0.00781",
    )
    named, remark = lines["Layers needed only for another"]
    assert named == "0 and 2"
    assert remark.endswith("0.0625 together, -0.125 beyond their sum")
    assert lines["Pairs of layers that say little"][0] == "3"
    assert lines["Pairs of layers, noise floor"][0] == "3e-06 nats, KL 0"
    summary = METRIC.summary(value, reading)
    assert summary["covering"][0] == {
        "layers": [0, 1],
        "interaction": 0.25,
        "kl": 0.625,
        "apart": [0.125, 0.25],
        "interval": None,
    }
    assert summary["counts"] == {"covering": 2, "dependent": 1, "readable": 3, "above_a_nat": 3}
    assert "chosen" not in summary
    (picture,) = METRIC.maps(value)
    assert picture.values[1, 0] == 0.25
    assert picture.hatched is not None
    assert picture.hatched[3].tolist() == [True, True, True, False]


def test_within_the_noise_floor_no_pair_is_named() -> None:
    value, reading = pooled(example(noise=1e-4))
    # Of eight tokens.
    assert value.floor == pytest.approx(3 * (1e-4 + 2 * (1e-4 / 8) ** 0.5))
    assert [pair.layers for pair in value.covering] == [(0, 1)]
    assert lines_of(value, reading)["Pairs of layers, noise floor"][0] == "0.022 nats, KL 0.0001"
    (picture,) = METRIC.maps(value)
    assert picture.caption.endswith("; noise 0.02")
    value, reading = pooled(example(noise=0.02), example(noise=0.02))
    for title in ("Layers that cover for each other", "Layers needed only for another"):
        assert lines_of(value, reading)[title] == ("none", "of 3 pairs")


def test_rounding_moves_a_cost_by_more_than_the_output() -> None:
    """The cost of a layer moves by the cross term of two changes: a simulated check."""
    noise = np.random.default_rng(0)
    logits = noise.normal(size=(24, 64))
    changed = logits + 0.9 * noise.normal(size=logits.shape)

    def kl(logits: np.ndarray, others: np.ndarray) -> np.ndarray:
        one, other = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (logits, others))
        return (np.exp(one) * (one - other)).sum(-1)

    def rounded(logits: np.ndarray) -> np.ndarray:
        return logits + 0.01 * noise.normal(size=logits.shape)

    unchanged = kl(logits, rounded(logits)).mean()
    costs = [kl(logits, rounded(changed)).mean() for _ in range(200)]
    spread = np.std(costs)
    assert 3 * unchanged < spread < floor(unchanged, len(logits))


def test_prompts_count_by_their_tokens() -> None:
    other = pairs_of(ALONE, np.zeros((4, 4)), tokens=25)
    value, _ = pooled(example(tokens=9), other)
    # Of 8 tokens, and of 24.
    assert value.covering[0].interaction == pytest.approx(0.25 / 4)
    assert value.kl_blocks is None


def test_an_interval_is_over_prompts_and_their_tokens() -> None:
    value, reading = pooled(example(tokens=33), example(tokens=33))
    (pair, *_) = METRIC.summary(value, reading)["covering"]
    low, high = pair["interval"]
    # Eight blocks between nine tenths of all costs and eleven.
    assert 0.225 < low < 0.25 < high < 0.275
    remark = lines_of(value, reading)["Layers that cover for each other"][1]
    assert f"beyond their sum ({low:+.3g} to {high:+.3g} over tokens)" in remark
    several = [pairs_of(ALONE, np.array(INTERACTIONS) * share) for share in (0, 1, 1, 2, 2)]
    value, reading = pooled(*several)
    (pair, *_) = METRIC.summary(value, reading)["covering"]
    low, high = pair["interval"]
    assert pair["interaction"] == pytest.approx(0.3)
    assert low < 0.2
    assert high > 0.4


def test_unfinished_and_chosen_pairs_are_called_so() -> None:
    part = example()
    part.kl[0] = NAN
    value, reading = pooled(part, part)
    remark = lines_of(value, reading)["Layers that cover for each other"][1]
    assert remark.endswith("; 6 of 10 costs so far")
    some = replace(example(), chosen=(0, 1))
    some.kl[:, 2:] = NAN
    value, reading = pooled(some, some, layers="0,1", ablate="mean")
    remark = lines_of(value, reading)["Layers that cover for each other"][1]
    assert remark.endswith("; of layers 0-1 (2 of 4); a layer left out writes its mean update")
    assert METRIC.summary(value, reading)["chosen"] == [0, 1]


@pytest.mark.parametrize(
    ("tokens", "layers", "reason"),
    [
        (1, "", "the prompt is a single token"),
        (9, "2", "a pair needs two layers, not layer 2 alone"),
        (9, "1,2", ""),
    ],
)
def test_a_pair_needs_two_layers_and_tokens(tokens: int, layers: str, reason: str) -> None:
    result = run(tokens=tokens)
    result.settings = RunSettings(layers=layers)
    assert METRIC.why_unavailable(result) == reason
