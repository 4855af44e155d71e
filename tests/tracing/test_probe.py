"""What the probe finds in every dtype, and what it does not let pass."""

import pytest
import torch
from accelerate import cpu_offload, disk_offload

from depthtui.errors import DepthError
from depthtui.metrics.skip_effects.compute import skipped_residuals
from depthtui.models.devices import execution_device
from depthtui.tracing.modules import first_tensor
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.builders.kernels import skip_effects
from tests.tiny_models import HIDDEN, TINY, WITHOUT_SPLIT, fresh, on_few_models, random_ids, tiny

HALVES = (torch.bfloat16, torch.float16)


def named(model, sublayers):
    """Which modules write, and whether their outputs hold the residual."""
    names = {module: name for name, module in model.named_modules()}
    return [[(names[tap.module], tap.holds_residual) for tap in taps] for taps in sublayers]


def scales(sublayers):
    return [tap.scale for taps in sublayers for tap in taps]


@on_few_models()
def test_half_precision_shows_the_same_anatomy(name):
    expected = probe_architecture(tiny(name))
    for dtype in HALVES:
        model = fresh(name).to(dtype)
        anatomy = probe_architecture(model)
        for taps, those in ((anatomy.attention, expected.attention), (anatomy.mlp, expected.mlp)):
            assert named(model, taps) == named(tiny(name), those)
            assert scales(taps) == pytest.approx(scales(those), rel=2e-3)
        assert anatomy.parallel == expected.parallel
        assert anatomy.unembedding.scale == expected.unembedding.scale
        assert anatomy.unembedding.soft_cap == expected.unembedding.soft_cap


def plant(model, layer, module, error):
    """Let a block add `error` of what one of its modules returns, behind the module's back."""
    block, states = probe_architecture(model).layers[layer], []
    module.register_forward_hook(lambda _m, _args, out: states.append(first_tensor(out).clone()))
    forward = block.forward

    def wrong(*args, **kwargs):
        states.clear()
        output = forward(*args, **kwargs)
        first_tensor(output).add_(error(states[0].view_as(first_tensor(output))))
        return output

    block.forward = wrong


@pytest.mark.parametrize("part", ["attention", "mlp"])
@on_few_models(set(TINY) - WITHOUT_SPLIT)
def test_a_write_that_is_off_by_a_tenth_does_not_pass_in_bfloat16(name, part):
    model = fresh(name).to(torch.bfloat16)
    tap = getattr(probe_architecture(model), part)[2][0]
    plant(model, 2, tap.module, lambda write: 0.1 * tap.scale * write.roll(1, dims=-1))
    anatomy = probe_architecture(model)
    assert "layer 2" in anatomy.split_missing
    assert not anatomy.attention


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
@pytest.mark.parametrize("part", ["attention", "mlp"])
@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_write_that_is_a_tenth_larger_or_smaller_is_read_so(dtype, part, factor):
    model = fresh("llama").to(dtype)
    tap = getattr(probe_architecture(model), part)[2][0]
    plant(model, 2, tap.module, lambda write: (factor - 1.0) * write)
    anatomy = probe_architecture(model)
    assert scales(getattr(anatomy, part)[2:3]) == pytest.approx([factor], rel=5e-3)
    assert scales(getattr(anatomy, part)[1:2]) == [1.0]


def test_a_tenth_of_a_write_of_a_hundredth_is_seen_too():
    model = fresh("llama")
    block = model.model.layers[2]
    with torch.no_grad():
        block.self_attn.o_proj.weight.mul_(0.02)
        block.mlp.down_proj.weight.mul_(0.02)
    model = model.to(torch.bfloat16)
    assert scales(probe_architecture(model).mlp) == [1.0] * 4
    plant(model, 2, block.mlp, lambda write: 0.1 * write)
    assert scales(probe_architecture(model).mlp)[2] == pytest.approx(1.1, rel=0.05)


@pytest.mark.parametrize("factor", [0.95, 1.05, 1.25])
@pytest.mark.parametrize("name", ["falcon_h1", "hyperclovax", "granite"])
def test_a_factor_of_the_logits_is_told_from_its_inverse(name, factor):
    model = fresh(name)
    if name == "falcon_h1":
        model.config.lm_head_multiplier = factor
        model.model.lm_head_multiplier = model.lm_head_multiplier = factor
    else:
        model.config.logits_scaling = model.logits_scaling = factor
    expected = 1.0 / factor if name == "granite" else factor
    unembedding = probe_architecture(model.to(torch.bfloat16)).unembedding
    assert unembedding.scale == pytest.approx(expected, rel=1e-6)


def test_a_stream_that_a_layer_scales_is_no_sum():
    model = fresh("gemma4")
    model.model.layers[1].layer_scalar.fill_(0.9)
    anatomy = probe_architecture(model)
    assert "in layer 1 does not add up" in anatomy.split_missing
    assert anatomy.lens_missing == ""


def test_two_modules_that_write_one_sublayer():
    tiny_hybrid = tiny("granite_hybrid")
    anatomy = probe_architecture(tiny_hybrid)
    assert named(tiny_hybrid, anatomy.mlp[:1]) == [
        [("model.layers.0.block_sparse_moe", False), ("model.layers.0.shared_mlp", False)]
    ]
    anatomy = probe_architecture(tiny("falcon_h1"))
    assert sorted(scales(anatomy.attention[:1])) == pytest.approx([0.7, 1.3])


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
def test_runs_that_differ_by_rounding_are_of_one_block(dtype):
    """A sum in another order, such as atomics make, does not turn a parallel block around."""
    model = fresh("gpt_neox").to(dtype)
    factors = iter([1.0, 1.0, 1.0 + 2 * torch.finfo(dtype).eps])

    def shake(_module, _args, output):
        return output * next(factors)

    model.gpt_neox.layers[0].mlp.register_forward_hook(shake)
    assert probe_architecture(model).parallel


@pytest.mark.parametrize("name", ["deepseek_v4", "hy_v4"])
def test_residual_streams_side_by_side_are_one_of_their_summed_width(name):
    anatomy = probe_architecture(tiny(name))
    assert (anatomy.streams, anatomy.width) == (4, 4 * HIDDEN)
    assert anatomy.unembedding.norm[0] is tiny(name).model.hc_head
    assert (anatomy.lens_missing, anatomy.replay_missing) == ("", "")
    assert anatomy.split_missing == "its layers mix 4 residual streams"


def test_a_choice_of_some_tokens_for_other_layers_is_not_run_again():
    """What one layer chooses depends on the run; all tokens are chosen in any."""
    model = fresh("hy_v4")
    ids = random_ids(18)[0]
    for module in model.modules():
        if hasattr(module, "index_topk"):
            module.index_topk = 6
    anatomy = probe_architecture(model)
    short, replay = (Replay(model, anatomy, text) for text in (ids[:6], ids))
    output = short.run_layer(2, short.residual[2][None])[0]
    torch.testing.assert_close(output, short.residual[3])
    with pytest.raises(DepthError, match="choose the 6 tokens that others read, of 18"):
        replay.run_layer(2, replay.residual[2][None])


def test_blocks_read_the_streams_of_earlier_depths_beside_the_last_one():
    anatomy = probe_architecture(tiny("looped_injected"))
    assert anatomy.calls == ((1, 0), (1, 1), (2, 1), (3, 1), (1, 2))
    assert dict(anatomy.between) == {1: (), 2: (), 3: ()}
    assert (anatomy.split_missing, anatomy.lens_missing) == ("", "")
    assert anatomy.replay_missing == ""
    # Each pass of the core reads again the stream that the first layer has written.
    assert anatomy.carried.slots == ((None,), (None,), (1,), (1,), (None,), (None,))


def test_layers_that_share_keys_and_values_are_not_run_again():
    """A layer by itself would find what another run has left there."""
    model, ids = fresh("gemma4_shared"), random_ids(18)
    anatomy = probe_architecture(model)
    assert (anatomy.split_missing, anatomy.lens_missing) == ("", "")
    replay = Replay(model, anatomy, ids[0])
    assert not replay.can_resume
    with pytest.raises(DepthError, match="hand on more to each other than the residual stream"):
        replay.run_layer(3, replay.residual[3][None])
    assert probe_architecture(tiny("gemma4")).replay_missing == ""


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_stream_of_no_numbers_is_refused_and_named(value):
    model = fresh("llama")
    model.model.layers[2].mlp.down_proj.weight.data[0, 0] = value
    with pytest.raises(DepthError, match=r"layer 2 \(LlamaDecoderLayer\)") as caught:
        probe_architecture(model)
    assert "--dtype float32" in caught.value.hint


def test_an_output_of_no_numbers_is_refused():
    model = fresh("llama")
    model.lm_head.weight.data[0, 0] = torch.nan
    with pytest.raises(DepthError, match="What the model puts out is no number"):
        probe_architecture(model)


@pytest.mark.parametrize("name", ["llama", "mixtral", "mamba"])
def test_a_model_offloaded_whole_is_measured_as_one_in_memory(name, tmp_path):
    model, plain, ids = fresh(name), tiny(name), random_ids(18)
    if name == "llama":
        disk_offload(model, tmp_path, torch.device("cpu"))
    else:
        cpu_offload(model, torch.device("cpu"))
    layer = probe_architecture(model).layers[0]
    assert next(layer.parameters()).is_meta
    assert execution_device(layer) == torch.device("cpu")

    def effects(measured):
        anatomy = probe_architecture(measured)
        replay = Replay(measured, anatomy, ids[0])
        skipped = skipped_residuals(anatomy, replay, "layer")
        return skip_effects(replay, anatomy.unembedding, skipped, [12, 8])

    offloaded, expected = effects(model), effects(plain)
    assert (offloaded.layers == expected.layers).all()
    assert (offloaded.output == expected.output).all()
