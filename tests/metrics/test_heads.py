"""Attention heads against eager attention's own weights, one forward a head, and their sum."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from depthtui.data import codec
from depthtui.data.plain import from_plain, to_plain
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import Reading, reading_of
from depthtui.errors import DepthError
from depthtui.metrics.heads import METRIC, AttentionHeads, ReducedHeads, head_mean
from depthtui.tracing.anatomy import Anatomy, Unembedding
from depthtui.tracing.layer_call import call_at
from depthtui.tracing.layer_parts import heads_of, own_sinks
from depthtui.tracing.modules import first_tensor
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from depthtui.tracing.trace import LayerActivations, trace
from tests.builders.kernels import attention_heads
from tests.builders.results import run
from tests.naive import blocks
from tests.tiny_models import FEW, TINY, WITHOUT_SPLIT, fresh, on_few_models, random_ids, tiny
from tests.tracing.test_layer_parts import (
    NO_HEADS,
    NORM_BEHIND,
    NOT_CAUSAL,
    OUTPUT_PROJECTIONS,
    projection,
)

TOKENS = 12
SPLIT = sorted(set(TINY) - WITHOUT_SPLIT)
"""Models with heads."""

NO_SUM = {"gemma2", "opt_post_norm", "recurrent_gemma"}
"""Models whose logits are no sum over layers."""

OFTEN = (*FEW, "bloom", "gpt_oss", "gpt2")
"""With biases on positions, a sink of each head's own, and biases of projections, too."""

ARRAYS = ("norm", "direct", "sink", "entropy")


def replayed(model: nn.Module, tokens: int = TOKENS) -> tuple[Replay, Anatomy]:
    anatomy = probe_architecture(model)
    return Replay(model, anatomy, random_ids(tokens)[0]), anatomy


@functools.cache
def found_in(name: str) -> AttentionHeads:
    return attention_heads(*replayed(tiny(name)))


def assert_same(one: AttentionHeads, other: AttentionHeads) -> None:
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-3, atol=2e-5)
    assert one.token_ids.tolist() == other.token_ids.tolist()
    assert (one.done & other.done).all()
    assert one.notes == other.notes


def with_heads(name: str) -> list[int]:
    return [n for n in range(len(blocks(tiny(name)))) if n not in NO_HEADS.get(name, set())]


@on_few_models(SPLIT, OFTEN)
def test_sinks_and_entropies_are_those_of_eager_attention(name: str) -> None:
    result, layers = found_in(name), with_heads(name)
    is_finite = np.isfinite(result.sink).any(axis=(1, 2))
    assert np.flatnonzero(is_finite).tolist() == layers
    is_whole = len(layers) == len(is_finite)
    assert is_whole != any("no attention weights" in note for note in result.notes)
    eager = copy.deepcopy(tiny(name))
    eager.set_attn_implementation("eager")  # type: ignore[operator]
    with torch.no_grad():
        output = eager(input_ids=random_ids(TOKENS), output_attentions=True, use_cache=False)
    weights = [rows[0].double() for rows in output.attentions or () if rows is not None]
    if name in NOT_CAUSAL or len(weights) != len(layers):
        # It returns none, or others than it computes with.
        return
    for layer, rows in zip(layers, weights, strict=True):
        rows, heads = rows[..., :TOKENS], len(rows)
        own = 1 - rows.sum(dim=-1)
        own = own if name == "gpt_oss" else torch.zeros_like(own)
        entropy = torch.special.entr(rows).sum(dim=-1) + torch.special.entr(own)
        np.testing.assert_allclose(result.sink[layer, :heads], rows[..., 0] + own, atol=1e-5)
        np.testing.assert_allclose(result.entropy[layer, :heads], entropy, atol=1e-4)
        assert np.isnan(result.sink[layer, heads:]).all()


def attention_write(
    model: nn.Module, anatomy: Anatomy, layer: int, inputs: int, change: Callable[[Tensor], Tensor]
) -> Tensor:
    """What a layer's attention writes where its projection's input is changed, `[T, d]`."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, args: Any, output: Any, *, tap: Any) -> None:
        like = first_tensor(output).reshape(1, TOKENS, -1)
        kept.append(tap.write(args, output, like)[0].double())

    handles = [
        tap.module.register_forward_hook(functools.partial(keep, tap=tap))
        for tap in anatomy.attention[layer]
    ]
    module = projection(blocks(model)[layer], OUTPUT_PROJECTIONS, inputs)
    handles.append(module.register_forward_pre_hook(lambda _, args: (change(args[0]), *args[1:])))
    try:
        with torch.no_grad():
            model(input_ids=random_ids(TOKENS), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return sum(kept[1:], kept[0])


def frozen_direction(unembedding: Unembedding, final: Tensor) -> Tensor:
    """W[first choice] less the mean row, before a norm whose scale is fixed, `[T, d]` float64.

    Element by element the norm multiplies by its gain over the scale.
    """
    normed, weight = unembedding.normed(final).double(), unembedding.head.weight.double()
    rows = weight[unembedding.logits(final).argmax(dim=-1)] - weight.mean(dim=0)
    centred = any("LayerNorm" in type(module).__name__ for module in unembedding.norm)
    states = final.double()
    states = states - states.mean(dim=-1, keepdim=True) if centred else states
    offset = unembedding.normed(torch.zeros_like(final)).double()
    rows = rows * unembedding.scale * (normed - offset) / states
    return rows - rows.mean(dim=-1, keepdim=True) if centred else rows


@on_few_models(set(SPLIT) - NORM_BEHIND, OFTEN)
def test_writes_are_those_of_one_forward_a_head(name: str) -> None:
    model, actual = tiny(name), found_in(name)
    replay, anatomy = replayed(model)
    unembedding, direction = anatomy.unembedding, None
    if unembedding is not None and name not in NO_SUM:
        direction = frozen_direction(unembedding, replay.residual[-1])
    for layer in with_heads(name):
        values = call_at(replay, anatomy, layer, TOKENS - 1, TOKENS).values
        assert values is not None
        heads, width = int(np.isfinite(actual.norm[layer, :, 0]).sum()), values.shape[-1]
        write = functools.partial(attention_write, model, anatomy, layer, heads * width)
        nothing = write(torch.zeros_like)
        sizes = replay.residual[layer].double().norm(dim=-1)
        for head in range(heads):

            def only(rows: Tensor, start: int = head * width, width: int = width) -> Tensor:
                kept = torch.zeros_like(rows)
                kept[..., start : start + width] = rows[..., start : start + width]
                return kept

            added = write(only) - nothing
            expected = added.norm(dim=-1) / sizes
            np.testing.assert_allclose(actual.norm[layer, head], expected, rtol=1e-3, atol=1e-5)
            if direction is not None:
                shares = (added * direction).sum(dim=-1)
                np.testing.assert_allclose(actual.direct[layer, head], shares, rtol=1e-3, atol=1e-4)
    assert (direction is None) == bool(np.isnan(actual.direct).all())
    assert (name in NO_SUM) == any("not a sum" in note for note in actual.notes)


@on_few_models(set(SPLIT) - NO_SUM, OFTEN)
def test_embedding_heads_biases_and_mlps_make_the_logit(name: str) -> None:
    actual, ids = found_in(name), random_ids(TOKENS)
    replay, anatomy = replayed(tiny(name))
    unembedding = anatomy.unembedding
    assert unembedding is not None
    layers: list[LayerActivations] = []
    trace(tiny(name), anatomy, ids[0], layers.append)
    direction = frozen_direction(unembedding, layers[-1].h_next)
    with torch.no_grad():
        logits = tiny(name)(input_ids=ids, use_cache=False).logits[0].double()
    assert actual.token_ids.tolist() == logits.argmax(dim=-1).tolist()

    def share(write: Tensor) -> Tensor:
        return (write.double() * direction).sum(dim=-1)

    # What the biases of norm and head add.
    bias = getattr(unembedding.head, "bias", None)
    offset = unembedding.normed(torch.zeros_like(layers[-1].h_next))
    of_biases = unembedding.head(offset).double() * unembedding.scale
    of_biases = of_biases.gather(-1, logits.argmax(-1, keepdim=True))[:, 0] - of_biases.mean(-1)
    assert bias is None or bool(of_biases.any())
    total = share(layers[0].h) + of_biases
    for number, layer in enumerate(layers):
        total += share(layer.h_next.double() - layer.h.double())
        if number in with_heads(name):
            # The attention's share goes, its heads and its biases come.
            call = call_at(replay, anatomy, number, 0, TOKENS)
            written = sum(write.double() for write in call.attention)
            rest = heads_of(call, anatomy.attention[number])[0].biases
            total += share(rest) - share(written)
            total += torch.from_numpy(np.nansum(actual.direct[number], axis=0)).double()
    expected = logits.max(dim=-1).values - logits.mean(dim=-1)
    np.testing.assert_allclose(total, expected, rtol=1e-4, atol=1e-3)
    assert actual.error < 1e-5


@pytest.mark.parametrize("name", ["llama", "gpt_oss", "gemma3", "bamba", "phi3", "mpt"])
def test_small_parts_are_the_same(name: str) -> None:
    model = tiny(name)
    whole = attention_heads(*replayed(model, 64))
    small = attention_heads(*replayed(model, 64), tokens_at_once=5)
    assert_same(small, whole)


def test_parts_are_as_long_as_they_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []

    def call(replay: Replay, anatomy: Anatomy, layer: int, start: int, stop: int) -> Any:
        seen.append((start, stop))
        return call_at(replay, anatomy, layer, start, stop)

    monkeypatch.setattr("depthtui.metrics.heads.compute.call_at", call)
    attention_heads(*replayed(tiny("llama"), 64), tokens_at_once=25)
    assert seen == [(0, 25), (25, 50), (50, 64)] * 4


def test_what_is_known_is_not_run_again() -> None:
    replay, anatomy = replayed(tiny("llama"))
    reports: list[Any] = []
    whole = attention_heads(replay, anatomy, on_rows=lambda *row: reports.append(row))
    assert [row[:2] for row in reports] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    half = reports[1][2]
    assert half.is_known.tolist() == [True, True, False, False]
    before = replay.evaluations
    again = attention_heads(replay, anatomy, partial=half)
    assert replay.evaluations - before == 2 * TOKENS
    assert_same(again, whole)
    # What was told of stays as it was.
    assert not half.is_whole
    assert np.isnan(half.sink[2:]).all()


@pytest.mark.parametrize(
    ("name", "layers"), [("llama", 4), ("gpt2", 4), ("phi3", 4), ("gpt_oss", 1)]
)
def test_sixteen_bits(name: str, layers: int) -> None:
    """Behind the first layer rounding has other experts chosen."""
    result = attention_heads(*replayed(copy.deepcopy(tiny(name)).to(torch.bfloat16)))
    exact = found_in(name)
    assert result.norm.dtype == np.float32
    for array, rtol, atol in (("sink", 0, 0.05), ("entropy", 0, 0.1), ("norm", 0.1, 0.01)):
        pair = (getattr(heads, array)[:layers] for heads in (result, exact))
        np.testing.assert_allclose(*pair, rtol=rtol, atol=atol)
    assert result.error < 0.05


@pytest.mark.parametrize(("name", "has_sinks"), [("llama", False), ("gpt_oss", True)])
def test_rounding_is_no_sink(name: str, has_sinks: bool) -> None:
    replay, anatomy = replayed(copy.deepcopy(tiny(name)).to(torch.bfloat16), 64)
    weights = call_at(replay, anatomy, 0, 0, 64).weights
    assert weights is not None
    own = own_sinks(weights, torch.bfloat16)
    assert bool((weights.sum(dim=-1) < 1).any())
    assert bool((own > 0).any()) == has_sinks


def test_a_head_that_writes_nothing_has_no_share() -> None:
    model = fresh("llama")
    with torch.no_grad():
        # The second of four heads of eight.
        model.model.layers[2].self_attn.o_proj.weight[:, 8:16] = 0
    result = attention_heads(*replayed(model))
    width = model.model.layers[2].self_attn.head_dim
    assert width == 8
    assert (result.norm[2, 1] == 0).all()
    assert (result.direct[2, 1] == 0).all()
    assert (result.norm[2, 0] > 0).all()


def test_layers_that_do_not_add_up_cost_themselves_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(call: Any, sublayer: Any) -> Any:
        if call.layer == 1:
            raise DepthError("its heads do not add up to what it writes (off by 9.0%)")
        return heads_of(call, sublayer)

    monkeypatch.setattr("depthtui.metrics.heads.compute.heads_of", of)
    result = attention_heads(*replayed(tiny("llama")), tokens_at_once=5)
    exact = found_in("llama")
    assert np.isnan(result.norm[1]).all()
    assert np.isnan(result.direct[1]).all()
    np.testing.assert_allclose(result.sink, exact.sink, atol=1e-5)
    np.testing.assert_allclose(result.norm[[0, 2, 3]], exact.norm[[0, 2, 3]], rtol=1e-3, atol=1e-5)
    assert result.notes == ("its heads do not add up to what it writes (off by 9.0%)",)
    assert result.done.all()


def test_a_model_without_attention_weights_has_none() -> None:
    with pytest.raises(DepthError, match="no attention weights"):
        attention_heads(*replayed(tiny("mamba")))


def made() -> AttentionHeads:
    """Two heads in two layers at four tokens, the answer at token 3; layer 1 reads token 0."""
    result = AttentionHeads.unknown(2, 4).widened("H", 2)
    result.sink[0], result.sink[1] = 0.25, 0.75
    result.entropy[:], result.norm[:], result.direct[:] = 1.0, 0.1, 0.0
    result.direct[1, 0, 2], result.direct[0, 1, 3] = 2.5, 9
    result.done[:] = True
    return result


def read(*runs: AttentionHeads, answer: int = 3) -> tuple[ReducedHeads, Reading]:
    results = [run(f"a {number}", layers=2, tokens=4) for number in range(len(runs))]
    for result, actual in zip(results, runs, strict=True):
        result.tokens = replace(result.tokens, answer_start=answer)
        result.put("heads", actual)
    reading = reading_of(results, SummarySettings(include_first_token=True))
    assert reading is not None
    return reading.get(METRIC), reading


def said(*runs: AttentionHeads, answer: int = 3) -> list[tuple[str, str, str]]:
    result, reading = read(*runs, answer=answer)
    return [(line.title, line.value, line.remark) for line in METRIC.findings(result, reading)]


def test_a_report_names_the_head_and_the_layer() -> None:
    sinks, head = said(made())
    assert sinks == ("Attention to token 0", "50%", "most in layer 1, 75%; mean over heads")
    assert head[:2] == ("Head that writes most of the output", "head 0 of layer 1")
    assert head[2].startswith("+2.5 of the logit")
    # Without an answer it is the last token.
    assert said(made(), answer=4)[1][1] == "head 1 of layer 0"


def test_several_prompts_are_one() -> None:
    other = made()
    other.direct[1, 0, 2], other.direct[1, 1, 2] = -3, 2
    result, _ = read(made(), other)
    assert result.tokens == 8
    assert result.last_direct.tolist() == [[0, 0], [-0.25, 1]]
    assert said(made(), other)[1][1] == "head 1 of layer 1"


def test_layers_without_weights_and_without_sums_say_so() -> None:
    hybrid = made()
    for name in ARRAYS:
        getattr(hybrid, name)[0] = np.nan
    assert "1 of 2 layers have no attention weights" in said(hybrid)[0][2]
    capped = replace(made(), notes=("The model's logits are not a sum over layers: why",))
    capped.direct[:] = np.nan
    result, reading = read(capped)
    assert said(capped)[1] == ("Direct logits of heads", "–", capped.notes[0])
    assert [picture.title for picture in METRIC.maps(result)] == ["Heads, writes"]
    assert METRIC.summary(result, reading)["notes"] == [*capped.notes]
    half = made()
    half.done[1], half.sink[1] = False, np.nan
    assert said(half)[0][2].endswith("; 1 of 2 layers so far")
    assert said(AttentionHeads.unknown(2, 4)) == []


def test_pictures_bars_and_measures() -> None:
    result, _ = read(made())
    direct, norm = METRIC.maps(result)
    np.testing.assert_array_equal(direct.values, [[0, 0], [2.5, 0]])
    np.testing.assert_allclose(norm.values, np.full((2, 2), 0.1), rtol=1e-6)
    sink, entropy = METRIC.per_layer(result)
    assert sink.values.tolist() == [0.25, 0.75]
    assert entropy.values.tolist() == [1, 1]
    few = made()
    few.sink[0, 1] = np.nan
    np.testing.assert_array_equal(head_mean(few.sink)[0], np.full(4, 0.25))
    assert np.isnan(head_mean(AttentionHeads.unknown(2, 4).sink)).all()


def test_a_record_and_the_pipe_keep_it() -> None:
    result, _ = read(made())
    kept = from_plain(ReducedHeads, json.loads(json.dumps(to_plain(result))), sizes={"L": 2})
    assert kept.last_direct.tolist() == result.last_direct.tolist()
    assert kept.notes == result.notes
    again = codec.decode(codec.encode(found_in("bamba")))
    assert_same(again, found_in("bamba"))
