"""Contributions and logit lens against the naive way, on every architecture."""

import dataclasses

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from depthtui.engine.control import Control
from depthtui.errors import RunStopped
from depthtui.metrics.contributions import Contributions
from depthtui.metrics.contributions.compute import contributions
from depthtui.metrics.logit_lens import compute as logit_lens
from depthtui.metrics.logit_lens.compute import read_depth, read_lens, unknown_rows
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.trace import LayerActivations, trace
from tests.naive import naive_contributions, naive_lens, naive_writes
from tests.tiny_models import TINY, WITHOUT_SPLIT, fresh, on_few_models, random_ids, tiny

PARALLEL = {"phi", "cohere", "cohere2", "stablelm_parallel", "gptj", "gpt_neox", "codegen"} | {
    "falcon",
    "falcon_new",
}


def layers_of(model, ids):
    anatomy = probe_architecture(model)
    layers = []
    trace(model, anatomy, ids[0], layers.append)
    return anatomy, layers


def lens_of(unembedding, residuals, ids, top_k=7):
    read = unknown_rows(len(residuals), len(residuals[0]), top_k)

    def put(first, first_token, rows):
        depths, tokens = rows.kl.shape
        place = slice(first, first + depths), slice(first_token, first_token + tokens)
        for name, target in vars(read).items():
            assert target[place].isnan().all() or name == "top_ids", "nothing comes twice"
            target[place] = getattr(rows, name)

    read_lens(unembedding, residuals, ids[0], top_k, put)
    return read


@on_few_models(set(TINY) - WITHOUT_SPLIT)
def test_writes_and_contributions_match_silencing(name):
    model, ids = tiny(name), random_ids()
    anatomy, layers = layers_of(model, ids)
    assert anatomy.split_missing == ""
    assert anatomy.parallel == (name in PARALLEL)

    h, a, m, h_next = naive_writes(model, ids)
    for layer in layers:
        np.testing.assert_allclose(layer.h.numpy(), h[layer.layer], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(layer.h_next.numpy(), h_next[layer.layer], rtol=1e-5, atol=1e-5)
        scale = np.abs(h_next[layer.layer]).max()
        np.testing.assert_allclose(layer.attention.numpy(), a[layer.layer], atol=2e-6 * scale)
        np.testing.assert_allclose(layer.mlp.numpy(), m[layer.layer], atol=2e-6 * scale)
        closure = layer.h + layer.attention + layer.mlp - layer.h_next
        assert closure.abs().max() <= 1e-6 * scale

    expected = naive_contributions(h, a, m, h_next, anatomy.parallel)
    values = torch.stack([contributions(layer, anatomy.parallel) for layer in layers])
    for place, field in enumerate(dataclasses.fields(Contributions)):
        np.testing.assert_allclose(
            values[:, place].numpy(), expected[field.name], rtol=1e-4, atol=2e-5
        )


@pytest.mark.parametrize("name", ["llama", "qwen3", "cohere"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_writes_whose_squares_overflow_have_their_norms(name, dtype):
    model, ids = fresh(name).to(dtype), random_ids()
    model.model.layers[2].mlp.down_proj.weight *= 1e30
    anatomy, layers = layers_of(model, ids)
    h, a, m, h_next = (
        np.stack([getattr(layer, state).double().numpy() for layer in layers])
        for state in ("h", "attention", "mlp", "h_next")
    )
    with np.errstate(invalid="ignore"):
        expected = naive_contributions(h, a, m, h_next, anatomy.parallel)
    values = torch.stack([contributions(layer, anatomy.parallel) for layer in layers])
    assert values[2, 2].min() > 1e20
    for place, field in enumerate(dataclasses.fields(Contributions)):
        # A write of zeros has the cosine 0.
        right = np.nan_to_num(expected[field.name])
        np.testing.assert_allclose(values[:, place].numpy(), right, rtol=1e-4, atol=2e-5)


def test_an_infinite_stream_has_no_norm_ratio():
    infinite, write = torch.full((2, 8), torch.inf), torch.ones(2, 8)
    layer = LayerActivations(0, infinite, write, write, infinite)
    assert contributions(layer, parallel=False).isnan().all()


@on_few_models()
def test_lens_matches_the_model_speaking_from_each_depth(name):
    model, ids = tiny(name), random_ids()
    anatomy, layers = layers_of(model, ids)
    assert anatomy.unembedding is not None, anatomy.lens_missing
    residuals = [layers[0].h, *(layer.h_next for layer in layers)]
    read = lens_of(anatomy.unembedding, residuals, ids)
    expected = naive_lens(model, ids, 7)

    np.testing.assert_allclose(read.kl, expected["kl"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(read.entropy, expected["entropy"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        read.next_log_probability, expected["next_log_probability"], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        read.top_probabilities, expected["top_probabilities"], rtol=1e-3, atol=1e-6
    )
    assert (read.top_ids.numpy() == expected["top_ids"]).mean() > 0.99
    np.testing.assert_allclose(read.overlap, expected["overlap"], atol=1e-6)
    assert (read.kl[-1] == 0).all()
    assert (read.overlap[-1] == 1).all()


@pytest.mark.parametrize("name", sorted(WITHOUT_SPLIT))
def test_without_a_split_the_layer_level_stays(name):
    model, ids = tiny(name), random_ids()
    anatomy, layers = layers_of(model, ids)
    assert anatomy.split_missing
    values = contributions(layers[1], parallel=False)
    assert values[:4].isnan().all()
    change = (layers[1].h_next - layers[1].h).norm(dim=-1) / layers[1].h.norm(dim=-1)
    torch.testing.assert_close(values[4], change)


def test_a_module_that_does_not_add_up_is_refused_with_the_reason():
    model = fresh("llama")
    layer = model.model.layers[2]
    forward = layer.forward
    layer.forward = lambda *args, **kwargs: forward(*args, **kwargs) * 1.5
    anatomy = probe_architecture(model)
    assert "layer 2" in anatomy.split_missing
    assert not anatomy.attention


def test_a_head_that_does_not_reproduce_the_logits_is_refused():
    model = fresh("llama")
    model.lm_head.register_forward_hook(lambda _m, _a, out: out.flip(-1))
    assert probe_architecture(model).lens_missing == ""
    forward = model.forward

    def shifted(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.logits = output.logits + torch.arange(output.logits.shape[-1])
        return output

    model.forward = shifted
    assert probe_architecture(model).lens_missing


def test_a_soft_cap_is_found_in_half_precision_too():
    assert probe_architecture(fresh("gemma2").to(torch.bfloat16)).unembedding.soft_cap > 0


@pytest.mark.parametrize("skipped", [1, 3])
def test_skipped_layers_contribute_nothing_and_the_lens_is_final(skipped):
    model, ids = fresh("llama"), random_ids()
    with torch.no_grad():
        for layer in list(model.model.layers)[-skipped:]:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    anatomy, layers = layers_of(model, ids)
    read = lens_of(anatomy.unembedding, [layers[0].h, *(layer.h_next for layer in layers)], ids)
    for layer in layers[-skipped:]:
        assert (contributions(layer, False) == 0).all()
    assert (read.kl[-skipped - 1 :] == 0).all()
    assert (read.kl[: -skipped - 1] > 0).all()


def test_contributions_in_closed_form():
    h = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    attention = torch.tensor([[-3.0, -4.0], [0.0, 2.0]])
    mlp = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    values = contributions(LayerActivations(0, h, attention, mlp, h + attention + mlp), False)
    assert values[:, 1].tolist() == pytest.approx([2, 0, 1, 1, 17**0.5, 1 / 17**0.5])
    # The first token is erased: its stream has norm 0 after attention, so the floor holds.
    assert values[:, 0].tolist() == pytest.approx([1, -1, 0, 0, 1, -1])


@pytest.mark.parametrize("tokens", [1, 5, 12])
def test_the_lens_is_the_same_in_small_parts(tokens, monkeypatch):
    model, ids = tiny("llama"), random_ids(tokens)
    anatomy, layers = layers_of(model, ids)
    residuals = [layers[0].h, *(layer.h_next for layer in layers)]
    whole = lens_of(anatomy.unembedding, residuals, ids)
    row = 4 * 128
    monkeypatch.setattr(logit_lens, "OUTPUT_BYTES", 4 * row)
    monkeypatch.setattr(logit_lens, "ROW_BYTES", 3 * row)
    monkeypatch.setattr(logit_lens, "_BLOCK", 64)
    parts = lens_of(anatomy.unembedding, residuals, ids)
    for name, expected in vars(whole).items():
        torch.testing.assert_close(
            getattr(parts, name), expected, rtol=1e-5, atol=1e-6, equal_nan=True
        )


def test_the_lens_survives_logits_that_grow_from_block_to_block(monkeypatch):
    monkeypatch.setattr(logit_lens, "_BLOCK", 64)
    model, ids = fresh("llama"), random_ids()
    with torch.no_grad():
        model.lm_head.weight[:64] *= 1e-3
        model.lm_head.weight[64:] *= 400.0
    anatomy, layers = layers_of(model, ids)
    read = lens_of(anatomy.unembedding, [layers[0].h, *(layer.h_next for layer in layers)], ids)
    expected = naive_lens(model, ids, 7)
    np.testing.assert_allclose(read.kl, expected["kl"], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(read.entropy, expected["entropy"], rtol=1e-3, atol=1e-3)


def test_one_depth_is_read_without_the_output():
    model, ids = tiny("llama"), random_ids()
    anatomy, layers = layers_of(model, ids)
    read = read_depth(anatomy.unembedding, layers[1].h_next, ids[0], 7)
    whole = lens_of(anatomy.unembedding, [layers[0].h, *(layer.h_next for layer in layers)], ids)
    assert read.kl.isnan().all()
    torch.testing.assert_close(read.entropy[0], whole.entropy[2])
    torch.testing.assert_close(read.top_ids[0], whole.top_ids[2])


def test_more_tokens_than_the_vocabulary_has_are_unknown():
    model, ids = tiny("llama"), random_ids()
    anatomy, layers = layers_of(model, ids)
    residuals = [layers[0].h, *(layer.h_next for layer in layers)]
    vocabulary = model.config.vocab_size
    read = lens_of(anatomy.unembedding, residuals, ids, top_k=vocabulary + 9)
    torch.testing.assert_close(
        read.top_ids[..., :7], lens_of(anatomy.unembedding, residuals, ids).top_ids
    )
    assert (read.top_ids[..., :vocabulary].sort(dim=-1).values == torch.arange(vocabulary)).all()
    assert (read.top_ids[..., vocabulary:] == -1).all()
    assert read.top_probabilities[..., vocabulary:].isnan().all()


def test_reading_one_depth_can_be_stopped():
    model, ids = tiny("llama"), random_ids()
    anatomy, layers = layers_of(model, ids)
    control = Control()
    control.stop()
    with pytest.raises(RunStopped):
        read_depth(anatomy.unembedding, layers[1].h_next, ids[0], 7, control.checkpoint)


def test_the_lens_holds_one_part_of_the_vocabulary_sized_values(monkeypatch):
    """However many depths and tokens are read, the buffers stay within their limits."""
    row = 4 * 128
    monkeypatch.setattr(logit_lens, "OUTPUT_BYTES", 4 * row)
    monkeypatch.setattr(logit_lens, "ROW_BYTES", 3 * row)
    sizes = {}
    original = logit_lens._LensReader._buffer

    def counted(self, name, rows, width):
        buffer = original(self, name, rows, width)
        sizes[name] = max(sizes.get(name, 0), self._buffers[name].numel() * 4)
        return buffer

    monkeypatch.setattr(logit_lens._LensReader, "_buffer", counted)
    model, ids = tiny("llama"), random_ids()
    anatomy, layers = layers_of(model, ids)
    residuals = [layers[0].h, *(layer.h_next for layer in layers)]
    lens_of(anatomy.unembedding, residuals * 20, ids)
    assert 0 < sizes["output"] <= 4 * row
    assert max(sizes["rows"], sizes["weights"]) <= 3 * row


def test_a_vocabulary_of_odd_size(monkeypatch):
    monkeypatch.setattr(logit_lens, "_BLOCK", 64)
    config = LlamaConfig(
        vocab_size=101,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        # All logits far below zero: padding must never win against them.
        model.model.norm.weight.fill_(40.0)
        model.lm_head.weight.abs_().mul_(-10.0)
    ids = random_ids() % 101
    anatomy, layers = layers_of(model, ids)
    read = lens_of(anatomy.unembedding, [layers[0].h, *(layer.h_next for layer in layers)], ids)
    expected = naive_lens(model, ids, 7)
    assert read.top_ids.max() < 101
    np.testing.assert_allclose(read.kl, expected["kl"], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(read.entropy, expected["entropy"], rtol=1e-3, atol=1e-3)
