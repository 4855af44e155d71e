"""Blocks that run twice: the naive way, planted truth, and the words made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from depthtui.data.plain import Misfit, from_plain, to_plain
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import Reading, reading_of
from depthtui.metrics.repeat import METRIC, ReducedRepeat, Repeat, by_ends, lengths_from
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.builders.kernels import repeat
from tests.builders.results import run
from tests.naive import blocks, naive_repeated, naive_without
from tests.tiny_models import fresh, on_few_models, random_ids, tiny

TOKENS = 12


def replayed(model: torch.nn.Module, tokens: int = TOKENS, **options: Any) -> tuple[Any, Replay]:
    anatomy = probe_architecture(model)
    return anatomy.unembedding, Replay(model, anatomy, random_ids(tokens)[0], **options)


def measured(model: torch.nn.Module, tokens: int = TOKENS, **options: Any) -> Repeat:
    unembedding, replay = replayed(model, tokens)
    return repeat(replay, unembedding, **options)


def changes(model: torch.nn.Module, first: int, last: int) -> tuple[float, float, float]:
    """KL, the share of first choices kept and the loss's change, from two ordinary forwards."""
    ids = random_ids(TOKENS)
    whole, changed = naive_without(model, ids, ()), naive_repeated(model, ids, first, last)
    kl = (np.exp(whole) * (whole - changed)).sum(axis=-1)[1:].mean()
    kept = (whole.argmax(-1) == changed.argmax(-1))[1:].mean()
    following = ids[0, 1:].numpy()
    places = np.arange(TOKENS - 1), following
    return kl, kept, (whole[places] - changed[places]).mean()


@on_few_models()
def test_against_one_forward_a_block(name: str) -> None:
    model = tiny(name)
    result = measured(model)
    count = result.kl.shape[1]
    for first in range(count):
        for length in lengths_from(first, count):
            kl, kept, loss = changes(model, first, first + length - 1)
            place = length - 1, first
            assert result.kl[place] == pytest.approx(kl, rel=2e-3, abs=2e-5)
            assert result.choices[place] == pytest.approx(kept)
            assert result.loss_change[place] == pytest.approx(loss, rel=2e-3, abs=2e-5)
    fits = np.add.outer(np.arange(1, 9), np.arange(count)) <= count
    for values in (result.kl, result.choices, result.loss_change):
        np.testing.assert_array_equal(np.isfinite(values), fits)
    assert result.is_whole
    assert np.nanmax(result.kl) > 0.01
    assert result.floor < 1e-5
    assert result.loss_floor < 1e-4


def silenced(*layers: int) -> torch.nn.Module:
    """A model some of whose layers write nothing."""
    model = fresh("llama")
    with torch.no_grad():
        for layer in layers:
            block = blocks(model)[layer]
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
    return model


def test_idle_layers_bear_running_twice() -> None:
    result = measured(silenced(1, 2))
    idle = [(0, 1), (0, 2), (1, 1)]
    for place in idle:
        assert result.kl[place] == 0
        assert result.choices[place] == 1
        assert result.loss_change[place] == 0
    # An idle layer in a block changes nothing of what the block does.
    assert result.kl[1, 0] == pytest.approx(result.kl[0, 0], rel=1e-5)
    assert result.kl[2, 0] == pytest.approx(result.kl[0, 0], rel=1e-5)
    assert result.kl[0, 0] > 0.01


@pytest.mark.parametrize("at_once", [1, 3])
def test_groups_and_small_batches_are_the_same(at_once: int) -> None:
    whole = measured(tiny("llama"))
    done: list[tuple[int, int]] = []
    unembedding, small = replayed(tiny("llama"), tokens_at_once=30)
    parts = repeat(small, unembedding, at_once, lambda count, total, _: done.append((count, total)))
    for name in ("kl", "choices", "loss_change"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-3, atol=1e-5)
    # 4 blocks from layer 0 through 4 layers, 3 from layer 1 through 3, and so on.
    assert done[-1] == (16 + 9 + 4 + 1, 30)


def test_what_is_known_is_not_run_again() -> None:
    unembedding, replay = replayed(tiny("llama"))
    reports: list[Any] = []
    whole = repeat(replay, unembedding, 1, lambda *row: reports.append(row))
    partials = [value for *_, value in reports if value is not None]
    assert partials[0].is_known.tolist() == [False, False, False, True]
    before = replay.evaluations
    again = repeat(replay, unembedding, partial=partials[-1])
    # Blocks from layer 0 alone, and an unchanged run.
    assert replay.evaluations - before == 5 * 4 * TOKENS
    np.testing.assert_allclose(again.kl, whole.kl, rtol=1e-3, atol=1e-6)
    # What was told of and gone on from stays as it was.
    assert not partials[-1].is_whole


def test_each_block_begins_at_its_first_layer() -> None:
    unembedding, replay = replayed(tiny("llama"))
    before = replay.evaluations
    repeat(replay, unembedding)
    assert replay.evaluations - before == (30 + 4) * TOKENS


def test_blocks_have_eight_layers_at_most() -> None:
    assert [len(lengths_from(layer, 10)) for layer in range(10)] == [8, 8, 8, 7, 6, 5, 4, 3, 2, 1]
    values = np.arange(80.0).reshape(8, 10)
    square = by_ends(values)
    assert square.shape == (10, 10)
    assert square[1, 8] == values[7, 1]
    assert square[4, 4] == values[0, 4]
    assert np.isnan([square[0, 8], square[5, 4]]).all()
    assert np.isfinite(square).sum() == 8 * 10 - 28


def test_a_single_token_is_too_few() -> None:
    result = run(tokens=1)
    assert METRIC.why_unavailable(result) == "the prompt is a single token"


def blocks_of(
    kl: Sequence[Sequence[float]], loss: Sequence[Sequence[float]] | None = None, noise: float = 0
) -> Repeat:
    """A result of some rows of blocks."""
    result = Repeat.unknown(len(kl[0]), 0, floor=noise, loss_floor=noise)
    values = np.array(kl, np.float32)
    result.kl[: len(values)] = values
    result.choices[: len(values)] = 1 - values / 2
    result.loss_change[: len(values)] = np.zeros_like(values) if loss is None else loss
    return result


def pooled(*actual: Repeat, tokens: Sequence[int] = (11, 11)) -> tuple[ReducedRepeat, Reading]:
    results = []
    for number, (one, count) in enumerate(zip(actual, tokens, strict=False)):
        result = run(f"text {number}", tokens=count, layers=one.kl.shape[1])
        result.put("repeat", one)
        results.append(result)
    reading = reading_of(results, SummarySettings())
    return reading.get(METRIC), reading


NAN = float("nan")


def test_the_best_blocks_in_words_and_numbers() -> None:
    kl = [[0.5, 0.25, 0.125, 0.5], [0.75, 0.5, 1.0, NAN]]
    loss = [[0.1, 0.0, 0.25, -0.125], [0.5, -0.25, 0.0, NAN]]
    value, reading = pooled(blocks_of(kl, loss, noise=0.01))
    lines = {line.title: (line.value, line.remark) for line in METRIC.findings(value, reading)}
    assert lines["Layer that bears running twice best"] == (
        "layer 2",
        "KL 0.125 nats, 94% of first choices stay; loss +0.25",
    )
    assert lines["Loss falls most when run twice"] == (
        "layers 1 to 2",
        "loss -0.25 nats, KL 0.5",
    )
    assert "Block of 4 that bears running twice best" not in lines
    summary = METRIC.summary(value, reading)
    assert [(block["n"], block["first_layer"]) for block in summary["best_blocks"]] == [
        (1, 2),
        (2, 1),
    ]
    assert summary["most_gained"]["loss_change"] == -0.25
    (picture, _) = METRIC.maps(value)
    assert picture.values[1, 2] == 0.5
    alone, _ = METRIC.per_layer(value)
    assert alone.values.tolist() == kl[0]


def test_a_gain_within_rounding_is_none() -> None:
    value, reading = pooled(blocks_of([[0.5, 0.25]], [[-0.02, 0.0]], noise=0.01))
    assert value.most_gained is None
    assert METRIC.summary(value, reading)["most_gained"] is None


def test_prompts_count_by_their_tokens() -> None:
    result = [blocks_of([[0.5, 0.5]], noise=0.01), blocks_of([[1.0, 0.0]], noise=0.02)]
    value, _ = pooled(*result, tokens=(11, 31))
    # 10 scored tokens, and 30.
    assert value.kl[0] == pytest.approx([0.875, 0.125])
    assert value.floor == pytest.approx(0.02)


def test_with_some_layers_it_says_so() -> None:
    result = Repeat.unknown(4, 0)
    result.kl[0, 3], result.choices[0, 3], result.loss_change[0, 3] = 0.5, 0.5, 0.5
    value, reading = pooled(result)
    first, *_ = METRIC.findings(value, reading)
    assert first.value == "layer 3"
    assert first.remark.endswith("; 1 of 4 layers so far")


def test_records_keep_eight_rows() -> None:
    value, _ = pooled(blocks_of([[0.5, 0.25]]))
    plain = to_plain(value)
    again = from_plain(ReducedRepeat, plain)
    np.testing.assert_array_equal(again.kl, value.kl)
    plain["kl"] = plain["kl"][:7]
    with pytest.raises(Misfit, match="8 x L"):
        from_plain(ReducedRepeat, plain)
