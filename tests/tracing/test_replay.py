"""What a recorded pass keeps, and whether it notices that tokens cannot be run behind it."""

import gc

import numpy as np
import pytest
import torch

from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.builders.kernels import residual_erasure
from tests.naive import blocks, layer_ends
from tests.tiny_models import HIDDEN, LAYERS, fresh, on_few_models, random_ids, tiny


def live_tensors():
    """Every tensor that something holds, one a storage."""
    tensors = [value for value in gc.get_objects() if type(value) is torch.Tensor]
    return {value.untyped_storage().data_ptr(): value for value in tensors}.values()


def observed_bytes(replay):
    """What is kept of the arguments of the layers: all tensors that came with it."""
    before = sum(tensor.untyped_storage().nbytes() for tensor in live_tensors())
    replay._calls.clear()
    return before - sum(tensor.untyped_storage().nbytes() for tensor in live_tensors())


def erase_all(name, tokens):
    model = tiny(name)
    anatomy = probe_architecture(model)
    replay = Replay(model, anatomy, random_ids(tokens)[0])
    baseline = [residual.mean(dim=0) for residual in replay.residual]
    residual_erasure(replay, anatomy.unembedding, baseline, tokens - 1)
    return replay


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_arguments_of_the_layers_are_kept_once_and_not_for_each_token(name):
    few, many = (observed_bytes(erase_all(name, tokens)) for tokens in (20, 40))
    # Masks are quadratic in the number of tokens, and cubic where each token had its own.
    assert 0 < few < many < 4.5 * few


@pytest.mark.parametrize("name", ["llama", "falcon", "bloom", "deepseek_v3"])
def test_keys_and_values_alone_are_those_of_a_whole_layer(name):
    model, ids = tiny(name), random_ids(12)[0]
    replay = Replay(model, probe_architecture(model), ids, tokens_at_once=16)
    assert replay.can_resume
    rows = torch.stack([replay.residual[depth][:8] for depth in (1, 0, 2)])
    whole = [replay.run_layer_recording(1, row[None])[1] for row in rows]
    layers_run = replay.evaluations
    ended = []
    handle = blocks(model)[1].register_forward_hook(lambda *_call: ended.append(1))
    try:
        keys_values = replay.keys_values_of(1, rows)
    finally:
        handle.remove()
    for place, values in enumerate(keys_values):
        expected = torch.cat([pair[place] for pair in whole])
        torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-5)
    assert not ended
    assert (replay.projections, replay.evaluations) == (3 * 8, layers_run)


@pytest.mark.parametrize("name", ["llama", "mamba"])
def test_other_tokens_pass_through_the_same_decoder(name):
    model, ids = tiny(name), random_ids(12)[0]
    replay = Replay(model, probe_architecture(model), ids)
    other = ids[[0, 7, 3, 9]]
    _, expected = layer_ends(model, other[None], LAYERS - 1)
    np.testing.assert_allclose(replay.last_states(other), expected, rtol=1e-4, atol=1e-5)


def test_recording_keeps_each_residual_once():
    model, counts = tiny("llama"), []
    anatomy = probe_architecture(model)

    def count():
        shapes = [tuple(tensor.shape) for tensor in live_tensors()]
        counts.append(sum(shape in {(23, HIDDEN), (1, 23, HIDDEN)} for shape in shapes))

    replay = Replay(model, anatomy, random_ids(23)[0], count)
    assert len(replay.residual) == LAYERS + 1
    # Beside the residuals there are at most the model's own two, and no second stack of them.
    assert counts == sorted(counts)
    assert max(counts) <= LAYERS + 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("planted", [False, True])
@pytest.mark.parametrize("side", ["before", "behind"])
def test_a_tenth_too_much_behind_recorded_tokens_is_seen(dtype, planted, side):
    model, ids = fresh("llama").to(dtype), random_ids(24)[0]
    replay = Replay(model, probe_architecture(model), ids)

    def exaggerate(_module, args, _kwargs, output):
        resumed = output.shape[1] == 12 and (len(output) == 2) == (side == "behind")
        return args[0] + 1.1 * (output - args[0]) if planted and resumed else output

    handle = blocks(model)[2].register_forward_hook(exaggerate, with_kwargs=True)
    try:
        assert replay.can_resume != planted
    finally:
        handle.remove()


@on_few_models()
def test_16_bits_can_resume_where_float32_can(name):
    ids = random_ids(16)[0]
    wide = Replay(tiny(name), probe_architecture(tiny(name)), ids)
    for dtype in (torch.bfloat16, torch.float16):
        model = fresh(name).to(dtype)
        assert Replay(model, probe_architecture(model), ids).can_resume == wide.can_resume
