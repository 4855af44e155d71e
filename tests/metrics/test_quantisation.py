"""Layers rounded one at a time: the naive way, planted truth, and the words made of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import Reading, reading_of
from depthtui.errors import DepthError, RunStopped
from depthtui.metrics.quantisation import (
    METRIC,
    KeepHigh,
    Quantisation,
    ReducedQuantisation,
    counts_to_half,
)
from depthtui.metrics.quantisation.compute import check
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from depthtui.tracing.rounded_weights import linear_weights, round_to_blocks
from tests.builders.kernels import quantisation
from tests.builders.results import run
from tests.naive import blocks, naive_quantised, naive_without
from tests.tiny_models import TINY, fresh, on_few_models, random_ids, tiny

TOKENS = 12


def replayed(model: torch.nn.Module, tokens: int = TOKENS, **options: Any) -> tuple[Any, Replay]:
    anatomy = probe_architecture(model)
    return anatomy.unembedding, Replay(model, anatomy, random_ids(tokens)[0], **options)


def measured(model: torch.nn.Module, tokens: int = TOKENS, **options: Any) -> Quantisation:
    unembedding, replay = replayed(model, tokens)
    return quantisation(replay, unembedding, **options)


def naive(model: torch.nn.Module, layer: int, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """The loss's change and KL of tokens 1 … T-1, from two ordinary forwards."""
    ids = random_ids(TOKENS)
    whole = naive_without(model, ids, ())[:-1]
    changed = naive_without(naive_quantised(model, layer, bits), ids, ())[:-1]
    places = np.arange(TOKENS - 1), ids[0, 1:].numpy()
    kl = (np.exp(whole) * (whole - changed)).sum(axis=-1)
    return whole[places] - changed[places], kl


@on_few_models()
def test_against_one_forward_a_layer(name: str) -> None:
    model = tiny(name)
    actual = measured(model)
    expected = np.empty((2, *actual.kl_4.shape))
    for bits in (8, 4):
        for layer in range(len(actual.kl_4)):
            loss, kl = naive(model, layer, bits)
            expected[bits // 8, layer] = kl
            found_loss = getattr(actual, f"loss_change_{bits}")[layer]
            np.testing.assert_allclose(found_loss, loss, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(
                getattr(actual, f"kl_{bits}")[layer], kl, rtol=1e-4, atol=1e-5
            )
    for order in (actual.kl_4, expected[0]):
        assert order.mean(axis=1).argsort().tolist() == expected[0].mean(axis=1).argsort().tolist()
    assert actual.is_whole
    assert actual.kl_4.max() > 1e-3
    assert actual.kl_floor < 1e-5
    assert actual.floor < 1e-4
    assert (actual.weights > 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["llama", "gpt2", "falcon", "gemma3", "bloom", "qwen3_5", "mamba"])
def test_weights_of_16_bits_compute_in_float32(name: str, dtype: torch.dtype) -> None:
    narrow = fresh(name).to(dtype)
    before = {name: id(value) for name, value in narrow.named_parameters()}
    actual = measured(narrow)
    assert {name: id(value) for name, value in narrow.named_parameters()} == before
    expected = measured(fresh(name).to(dtype).float())
    for field in ("loss", "loss_change_8", "loss_change_4", "kl_8", "kl_4"):
        values = getattr(expected, field)
        # Embeddings and rotary tables are those of the pass, in 16 bits.
        least = 0.05 * np.abs(values).max()
        np.testing.assert_allclose(getattr(actual, field), values, rtol=0.05, atol=least)
    assert actual.kl_floor < 1e-5
    assert actual.kl_4.max() > 1e-3


def wide(layers: int = 4) -> torch.nn.Module:
    """A model all of whose rows can be cut into blocks, drawn anew."""
    torch.manual_seed(0)
    model = TINY["llama"](intermediate_size=64, num_hidden_layers=layers)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.normal_(std=parameter.shape[1] ** -0.5)
    return model.eval().requires_grad_(False)


def test_every_linear_weight_of_a_layer_counts() -> None:
    model = wide()
    result = measured(model)
    in_layer = sum(weight.numel() for weight in blocks(model)[0].parameters() if weight.dim() == 2)
    assert result.weights.tolist() == [in_layer] * 4
    assert not result.whole_rows.any()
    reduced = ReducedQuantisation.over(result, run(tokens=TOKENS), slice(None))
    assert reduced is not None
    # 34 and 18 bytes a block of 32, beside 64.
    assert reduced.saved(8).tolist() == [in_layer / 32 * 30] * 4
    assert reduced.saved(4).tolist() == [in_layer / 32 * 46] * 4


def test_weights_that_lie_on_the_grid_change_nothing() -> None:
    model = wide()
    with torch.no_grad():
        for layer in blocks(model):
            for weight in linear_weights(layer):
                weight.value.copy_(round_to_blocks(weight.value, 8))
    result = measured(model)
    assert np.abs(result.loss_change_8).max() <= max(result.floor, 1e-6)
    assert result.kl_8.max() <= max(result.kl_floor, 1e-7)
    assert result.kl_4.min(axis=0).max() > 1e-5


@pytest.mark.parametrize("sensitive", [0, 2])
def test_a_layer_that_is_made_sensitive_is_kept_high(sensitive: int) -> None:
    """Each block of its weights has one that is large, at an input that is nearly nothing."""
    model = wide()
    with torch.no_grad():
        block = blocks(model)[sensitive]
        for norm, readers in (
            (block.input_layernorm, [block.self_attn.q_proj, block.self_attn.v_proj]),
            (block.post_attention_layernorm, [block.mlp.gate_proj, block.mlp.up_proj]),
        ):
            norm.weight[5] = 1e-4
            for reader in readers:
                reader.weight[:, 5] = 20 * reader.weight.abs().max()
    result = measured(model)
    means = result.kl_4.mean(axis=1)
    assert means.argmax() == sensitive
    assert means[sensitive] > 3 * np.delete(means, sensitive).max()
    kept = KeepHigh.of(means, result.weights)
    assert kept.layers == (sensitive,)
    assert kept.option == f'--tensor-type "blk[.]({sensitive})[.]=q8_0"'
    assert result.kl_8.mean(axis=1).argmax() == sensitive


@pytest.mark.parametrize("at_once", [1, 3])
def test_groups_and_small_batches_are_the_same(at_once: int) -> None:
    whole = measured(tiny("llama"))
    done: list[tuple[int, int]] = []
    unembedding, small = replayed(tiny("llama"), tokens_at_once=30)
    parts = quantisation(
        small, unembedding, at_once, lambda count, total, _: done.append((count, total))
    )
    for name in ("loss_change_8", "loss_change_4", "kl_8", "kl_4"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-3, atol=1e-5)
    # Two runs from each layer to the last.
    assert done[-1] == (2 * (4 + 3 + 2 + 1), 20)


def test_what_is_known_is_not_run_again() -> None:
    unembedding, replay = replayed(tiny("llama"))
    reports: list[Any] = []
    whole = quantisation(replay, unembedding, 1, lambda *row: reports.append(row))
    partials = [value for *_, value in reports if value is not None]
    assert partials[0].is_known.tolist() == [False, False, False, True]
    before = replay.evaluations
    again = quantisation(replay, unembedding, partial=partials[-1])
    # Layer 0 twice, and an unchanged run.
    assert replay.evaluations - before == 3 * 4 * TOKENS
    np.testing.assert_allclose(again.kl_4, whole.kl_4, rtol=1e-3, atol=1e-6)
    assert not partials[-1].is_whole


def test_some_layers_alone() -> None:
    unembedding, replay = replayed(tiny("llama"))
    whole = quantisation(replay, unembedding)
    some = quantisation(replay, unembedding, chosen=[1, 3])
    assert some.is_whole
    assert np.isnan(some.kl_4[[0, 2]]).all()
    np.testing.assert_allclose(some.kl_4[[1, 3]], whole.kl_4[[1, 3]], rtol=1e-3, atol=1e-6)
    value, reading = pooled(some)
    assert set(value.keep_high.layers) <= {1, 3}
    assert METRIC.summary(value, reading)["chosen"] == [1, 3]
    assert next(iter(METRIC.findings(value, reading))).remark.endswith("; of layers 1, 3 (2 of 4)")


@pytest.mark.parametrize("stops_after", [0, 7, 11])
def test_weights_are_as_they_were_after_a_stop(stops_after: int) -> None:
    model = fresh("llama")
    before = {name: (id(value), value.clone()) for name, value in model.named_parameters()}
    calls = -1

    def checkpoint() -> None:
        nonlocal calls
        calls += calls >= 0
        if calls > stops_after:
            raise RunStopped

    unembedding, replay = replayed(model, checkpoint=checkpoint)
    calls = 0
    with pytest.raises(RunStopped):
        quantisation(replay, unembedding)
    for name, value in model.named_parameters():
        assert before[name][0] == id(value)
        assert torch.equal(before[name][1], value)


def test_a_model_without_rows_of_blocks_is_refused() -> None:
    weights = [linear_weights(layer) for layer in blocks(tiny("llama"))]
    check(weights)
    narrow = TINY["llama"](hidden_size=40, intermediate_size=48, head_dim=10)
    with pytest.raises(DepthError, match="cut into blocks of 32"):
        check([linear_weights(layer) for layer in blocks(narrow)])


@pytest.mark.parametrize(
    ("kl", "layers", "share"),
    [
        ([0.1, 0.4, 0.3, 0.2], (1, 2), 0.7),
        ([0.1, 0.6, 0.2, 0.1], (1,), 0.6),
        # Half is enough; of equals the first ones.
        ([0.25, 0.25, 0.25, 0.25], (0, 1), 0.5),
        ([0.1] * 10, (0, 1, 2, 3, 4), 0.5),
        ([np.nan, 0.2, np.nan, 0.1], (1,), 2 / 3),
        ([0.0, 0.0], (), 0.0),
        ([np.nan, np.nan], (), 0.0),
    ],
)
def test_as_few_layers_as_have_half_of_the_sum(
    kl: Sequence[float], layers: tuple[int, ...], share: float
) -> None:
    weights = np.arange(1, len(kl) + 1) * 1000.0
    result = KeepHigh.of(np.array(kl), weights)
    assert result.layers == layers
    assert result.share == pytest.approx(share)
    assert result.extra_bytes == weights[list(layers)].sum() / 2
    assert counts_to_half(np.array([kl]))[0] == len(layers)
    if layers:
        assert KeepHigh.of(np.array(kl), weights, 1).layers == layers[:1]


def test_the_option_matches_blocks_of_these_numbers_alone() -> None:
    """By `re.search`, as llama.cpp searches the names of tensors."""
    kl = np.zeros(40)
    kl[[1, 29, 0]] = [3, 2, 2]
    kept = KeepHigh.of(kl, np.ones(40))
    assert kept.layers == (1, 0)
    option = KeepHigh.of(kl, np.ones(40), 3).option
    assert option == '--tensor-type "blk[.](0|1|29)[.]=q8_0"'
    pattern = option.split('"')[1].rpartition("=")[0]
    names = [f"blk.{layer}.ffn_down.weight" for layer in range(40)]
    result = [layer for layer, name in enumerate(names) if re.search(pattern, name)]
    assert result == [0, 1, 29]
    assert not re.search(pattern, "output.weight")
    assert KeepHigh.of(np.zeros(3), np.ones(3)).option == ""


def of(kl: Sequence[float], tokens: int = 9, bits_8: float = 0.01) -> Quantisation:
    """Layers that cost so much at 4 bits at every token, and a hundredth of it at 8."""
    result = Quantisation.unknown(len(kl), tokens)
    result.kl_4[:] = np.array(kl, np.float32)[:, None]
    result.kl_8[:] = bits_8 * result.kl_4
    result.loss_change_4[:], result.loss_change_8[:] = 2 * result.kl_4, result.kl_8
    result.loss[:], result.unchanged[:], result.unchanged_kl[:] = 1.5, 0.0, 0.0
    result.weights[:], result.whole_rows[:] = 32_000_000, 0
    return result


def pooled(*actual: Quantisation) -> tuple[ReducedQuantisation, Reading]:
    results = []
    for number, one in enumerate(actual):
        result = run(f"text {number}", tokens=one.kl_4.shape[1] + 1, layers=len(one.kl_4))
        result.put(METRIC.name, one)
        results.append(result)
    reading = reading_of(results, SummarySettings())
    return reading.get(METRIC), reading


def test_prompts_are_pooled_by_their_tokens() -> None:
    value, reading = pooled(of([0.6, 0.1, 0.1]), of([0.2, 0.3, 0.1], tokens=5))
    np.testing.assert_allclose(value.kl_4, [(0.6 * 8 + 0.2 * 4) / 12, 2 / 12, 0.1], rtol=1e-5)
    line = list(METRIC.findings(value, reading))[2]
    assert (line.title, line.value) == ("Layers to keep at 8 bits", "0")
    assert line.remark == (
        "1 layer costs 64% of the summed KL at 4 bits; 8 bits of them take 16.0 MB more"
    )
    assert line.command == 'llama-quantize --tensor-type "blk[.](0)[.]=q8_0"'
    keep_high = METRIC.summary(value, reading)["keep_high"]
    assert keep_high["layers"] == [0]
    assert keep_high["option"] in line.command
    assert METRIC.means(value, reading)["layers to keep high"] == 1


def test_the_size_of_the_list_has_an_interval() -> None:
    """Over six prompts, of three of which a single layer has half of the sum."""
    one, two = of([0.55, 0.3, 0.15], tokens=40), of([0.3, 0.4, 0.3], tokens=40)
    value, reading = pooled(one, two, one, one, two, two)
    kept = METRIC.summary(value, reading)["keep_high"]
    assert kept["interval"] == [1, 2]
    # Layers 0 and 1 are the first two, in which order is open.
    assert kept["layers"] == [0, 1]
    assert kept["rank_intervals"] == [[1, 3], [1, 2]]
    assert "(1 to 2 over prompts and tokens)" in list(METRIC.findings(value, reading))[2].remark


def test_nothing_is_kept_high_where_nothing_costs() -> None:
    value, reading = pooled(of([0.0, 0.0]))
    line = list(METRIC.findings(value, reading))[2]
    assert (line.value, line.command) == ("none", "")
    assert METRIC.summary(value, reading)["keep_high"]["option"] == ""


def test_rows_that_cannot_be_cut_are_told() -> None:
    result = of([0.3, 0.1])
    result.whole_rows[:] = 8_000_000
    value, reading = pooled(result)
    line = list(METRIC.findings(value, reading))[3]
    assert (line.title, line.value) == ("Weights that are not rounded", "20%")


def test_quantised_models_and_single_tokens_have_none() -> None:
    result = run(tokens=5)
    assert METRIC.why_unavailable(result) == ""
    quantised = replace(result, model=replace(result.model, quantize="4bit"))
    assert METRIC.why_unavailable(quantised).startswith("the weights are 4bit already")
    assert METRIC.why_unavailable(run(tokens=1)) == "the prompt is a single token"
    looped = replace(result, model=replace(result.model, calls=((0, 0), (0, 1), (1, 0), (1, 1))))
    assert METRIC.why_unavailable(looped).startswith("its blocks run in passes")
