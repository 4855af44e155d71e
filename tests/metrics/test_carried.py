"""Models whose layers read streams of earlier depths too, against ordinary forwards."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from depthtui import analyze
from depthtui.data.run_settings import Skip
from depthtui.errors import DepthError
from depthtui.metrics.kept.result import Kept
from depthtui.metrics.settling.compute import divergence
from depthtui.metrics.skip_effects.compute import skipped_residuals
from depthtui.tracing.decoding import reads_on, write_greedily
from depthtui.tracing.left_out import without_first
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from depthtui.tracing.trace import trace
from tests import naive
from tests.builders.kernels import (
    context_depth,
    integrated_gradients,
    residual_erasure,
    skip_effects,
)
from tests.tiny_models import fresh, random_ids, with_tokenizer

SLOTS = {"dory": 1, "hrm_text": 1, "inkling2": 3, "inkling2_loop": 3, "looped_injected": 1}
MIXED = ("inkling2", "inkling2_loop")
"""Their readouts mix the streams of several depths; they read h_0 again too."""

every_model = pytest.mark.parametrize("name", sorted(SLOTS))
fast_model = pytest.mark.parametrize("name", sorted(SLOTS.keys() - {"inkling2_loop"}))
"""Without the one whose own code is slow, and differs from `inkling2` in its passes alone."""


def in_order(model):
    """The same model, with its calls of blocks in order, as the naive functions want it."""
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    blocks = {block for result in lists for block in result if hasattr(block, "self_attn")}
    order = []
    handles = [
        block.register_forward_pre_hook(lambda module, _args: order.append(module))
        for block in blocks
    ]
    with torch.no_grad(), naive.hooks(handles):
        model(input_ids=random_ids(4), use_cache=False)
    model.order = order
    return model


@functools.cache
def prepared(name):
    """The model, a prompt's ids, its anatomy and its recorded pass."""
    model, ids = in_order(fresh(name)), random_ids(12)
    if name == "dory":
        # Its random norms magnify rounding, layer after layer.
        model.double()
    anatomy = probe_architecture(model)
    return model, ids, anatomy, Replay(model, anatomy, ids[0])


def given(model, name, ids, streams, depth):
    """The logits `[T, V]` of a forward with given streams `[T, d]` at depths 0 … `depth`."""
    turns, handles = naive.blocks(model), []

    def handing_on(value):
        return lambda _module, _args, output: naive.with_states(output, value[None])

    for layer in range(depth):
        handles.append(turns[layer].register_forward_hook(handing_on(streams[layer + 1])))
    if name in MIXED:
        embedding = model.get_input_embeddings()
        handles.append(embedding.register_forward_hook(lambda *_call: streams[0][None]))
    elif depth == 0:

        def reading(_module, args, kwargs):
            return naive.with_read_states(args, kwargs, streams[0][None])

        handles.append(turns[0].register_forward_pre_hook(reading, with_kwargs=True))
    with_gradients = any(stream.requires_grad for stream in streams)
    with torch.set_grad_enabled(with_gradients), naive.hooks(handles):
        return model(input_ids=ids, use_cache=False).logits[0]


@every_model
def test_earlier_streams_lie_beside_the_last_one(name):
    model, ids, anatomy, replay = prepared(name)
    assert (anatomy.lens_missing, anatomy.replay_missing) == ("", "")
    assert len(anatomy.carried.slots[0]) == SLOTS[name]
    assert anatomy.carried.readout_reads == (name in MIXED)
    assert len(anatomy.layers) == len(model.order)
    logits = model(input_ids=ids, use_cache=False).logits[0]
    torch.testing.assert_close(anatomy.unembedding.logits(replay.states[-1]), logits.float())
    for layer in range(replay.n_layers):
        rows = replay.states[layer][None].expand(2, -1, -1)
        after = replay.run_layer(layer, rows)[1]
        torch.testing.assert_close(after, replay.states[layer + 1], rtol=1e-4, atol=1e-5)


@every_model
@pytest.mark.parametrize("left_out", [(0,), (1,), (2, 3), (1, 4), (-1,)], ids=str)
def test_layers_are_left_out(name, left_out):
    model, ids, anatomy, replay = prepared(name)
    left_out = tuple(layer % replay.n_layers for layer in left_out)
    expected = naive.naive_without(model, ids, left_out)
    with torch.no_grad():
        end = without_first(replay, left_out, [len(left_out)])[0]
        actual = anatomy.unembedding.logits(end).log_softmax(dim=-1)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=2e-5)
    traced = []
    trace(model, anatomy, ids[0], traced.append, skipped=[Skip(layer) for layer in left_out])
    streams = [traced[0].h, *(layer.h_next for layer in traced)]
    torch.testing.assert_close(
        anatomy.state(replay.n_layers, streams.__getitem__), end, rtol=1e-4, atol=1e-5
    )


@every_model
def test_skip_effects_against_one_forward_a_layer(name):
    model, ids, anatomy, replay = prepared(name)
    skipped = skipped_residuals(anatomy, replay, "layer")
    actual = skip_effects(replay, anatomy.unembedding, skipped, [8, 5])
    expected, output = naive.naive_skip_effects(model, ids, [8, 5])
    np.testing.assert_allclose(actual.layers, expected, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(actual.output, output, rtol=2e-4, atol=2e-5)
    assert actual.floor < 1e-4


@fast_model
def test_what_is_erased_is_gone_from_all_that_is_read_later(name):
    model, ids, anatomy, replay = prepared(name)
    count, start = replay.n_layers, 7
    means = [stream.mean(dim=0) for stream in replay.residual]
    baseline = [anatomy.state(depth, means.__getitem__) for depth in range(count + 1)]
    actual = residual_erasure(replay, anatomy.unembedding, baseline, answer_start=start)
    clean = naive.probabilities(model, ids)
    expected = np.zeros_like(actual.effect)
    for depth in range(count + 1):
        for token in range(ids.shape[1] - 1):
            streams = [stream.clone() for stream in replay.residual]
            for stream, mean in zip(streams, means, strict=True):
                stream[token] = mean
            output = given(model, name, ids, streams, depth).double().softmax(dim=-1)
            far = (output - clean)[start - 1 : -1].norm(dim=-1)
            expected[depth, token] = far.max()
    np.testing.assert_allclose(actual.effect[:, :-1], expected[:, :-1], rtol=2e-4, atol=2e-5)
    assert expected.max() > 0.01


@fast_model
def test_context_depth_against_one_forward_a_depth(name):
    model, ids, anatomy, replay = prepared(name)
    actual = context_depth(replay, anatomy.unembedding, 6)
    clean = naive.token_losses(model, ids)
    for depth in range(replay.n_layers + 1):
        expected = naive.naive_context_losses(model, ids, 6, depth) - clean
        np.testing.assert_allclose(
            actual.loss_change[depth, 5:], expected[5:], rtol=2e-4, atol=2e-5
        )


@fast_model
def test_the_lens_reads_a_depth_as_if_no_later_layer_ran(name):
    """Nothing else is written then: the depth's stream stands for those of all later ones."""
    model, ids, anatomy, replay = prepared(name)
    depths = anatomy.all_readable(replay.residual)
    for depth, states in enumerate(depths):
        read = anatomy.unembedding.logits(states)
        if name not in MIXED:
            streams = [*replay.residual[:-1], replay.residual[depth]]
        else:
            streams = [replay.residual[min(at, depth)] for at in range(replay.n_layers + 1)]
        expected = given(model, name, ids, streams, replay.n_layers)
        torch.testing.assert_close(read, expected.float(), rtol=1e-4, atol=1e-5)
    actual = divergence(anatomy.unembedding, depths)
    assert actual.divergence.max() > 0.01
    assert actual.divergence[-1].max() == 0.0


@pytest.mark.parametrize("name", ["dory", "inkling2", "looped_injected"])
def test_integrated_gradients_against_gradients_of_ordinary_forwards(name):
    model, ids, anatomy, replay = prepared(name)
    start, layer, steps = 7, 1, 4
    result = integrated_gradients(
        replay, anatomy.unembedding, start, steps=steps, layers=[layer]
    ).attribution[layer]
    means = [stream.mean(dim=0) for stream in replay.residual]
    shares = torch.zeros(ids.shape[1], dtype=torch.float64)
    for step in range(steps):
        streams = [
            (mean + step / steps * (stream - mean)).requires_grad_()
            for mean, stream in zip(means, replay.residual, strict=True)
        ]
        output = given(model, name, ids, streams, layer + 1).softmax(dim=-1)
        answer = output[start - 1 : -1].gather(1, ids[0, start:, None]).sum()
        read = streams[: layer + 2]
        gradients = torch.autograd.grad(answer, read, allow_unused=True)
        for gradient, stream, mean in zip(gradients, replay.residual, means, strict=False):
            if gradient is not None:
                shares += (gradient * (stream - mean)).sum(dim=-1).double() / steps
    # The path is float32, and Dory's random norms magnify its rounding.
    near = 5e-3 if name == "dory" else 1e-4
    np.testing.assert_allclose(result, shares, rtol=2e-3, atol=near * shares.abs().max())
    assert np.isfinite(result).all()


def test_16_bit_weights_compute_in_float32_between_layers_too():
    name = "looped_injected"
    model, ids = fresh(name).to(torch.bfloat16), random_ids(12)
    narrow = probe_architecture(model)
    replay = Replay(model, narrow, ids[0])
    actual = integrated_gradients(replay, narrow.unembedding, 7, layers=[1], steps=2)
    wide = fresh(name)
    wide.load_state_dict(model.state_dict())
    anatomy = probe_architecture(wide)
    exact = Replay(wide, anatomy, ids[0])
    exact.states = [states.float() for states in replay.states]
    expected = integrated_gradients(exact, anatomy.unembedding, 7, layers=[1], steps=2)
    largest = np.abs(expected.attribution[1]).max()
    np.testing.assert_allclose(actual.attribution[1], expected.attribution[1], atol=0.05 * largest)


def test_a_model_that_takes_no_gradients_of_early_passes_is_refused():
    _model, _ids, anatomy, replay = prepared("hrm_text")
    with pytest.raises(DepthError, match="no gradients"):
        integrated_gradients(replay, anatomy.unembedding, 7, layers=[0])


@fast_model
def test_what_is_written_without_a_layer_is_what_the_model_writes_by_itself(name):
    model, ids, anatomy, replay = prepared(name)
    every = [None, *range(replay.n_layers)]
    left_out = [() if layer is None else (layer,) for layer in every]
    expected = [naive.naive_answer(model, ids, 3, layer) for layer in every]
    for cached in (True, False) if reads_on(model, anatomy) else (False,):
        actual = write_greedily(model, anatomy, ids[0], 3, left_out, cached=cached)
        np.testing.assert_array_equal(actual, expected)
    assert len({tuple(answer) for answer in expected}) > 2


@pytest.mark.usefixtures("short_texts")
@fast_model
def test_all_that_has_a_meaning_is_measured(name):
    model, tokenizer = with_tokenizer(name)
    metrics = ["skip_effects", "ablation", "kept", "settling", "direct_effects", "repeat"]
    text = "Seven plus five is twelve, and twelve less five is seven again, as all know."
    runs = analyze(model, text, tokenizer, metrics, progress=False)
    (result,) = runs
    assert result.unavailable.keys() >= {"direct_effects", "repeat"}
    for reason in result.unavailable.values():
        assert "earlier depths too" in reason or "reads" in reason
    assert result.get(Kept) is not None
