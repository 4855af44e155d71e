"""Heads, reads, neurons and experts against eager attention and one forward for each part."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from contextlib import ExitStack, suppress

import numpy as np
import pytest
import torch

from depthtui.errors import DepthError
from depthtui.tracing.layer_call import LayerCall, call_at
from depthtui.tracing.layer_parts import experts_of, heads_of, neurons_of, reads_of
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.naive import blocks
from tests.tiny_models import TINY, WITHOUT_SPLIT, on_few_models, random_ids, tiny

TOKEN, TOKENS = 7, 11
SPLIT = sorted(set(TINY) - WITHOUT_SPLIT)

_MORE_EXPERTS = {
    "afmoe",
    "deepseek_v3",
    "deepseek_v32",
    "gpt_oss",
    "granite_hybrid",
    "mixtral",
    "qwen3_next",
}
OUTPUT_PROJECTIONS = ("o_proj", "out_proj", "dense", "c_proj", "output_proj", "fc2", "wo")
DOWN_PROJECTIONS = ("down_proj", "c_proj", "fc2", "fc_out", "dense_4h_to_h", "w2", "output_linear")

NO_HEADS = {
    "bamba": {0, 2},
    "granite_hybrid": {0, 2},
    "lfm2": {0, 2},
    "lfm2_moe": {0, 2},
    "qwen3_5": {0, 2},
    "qwen3_next": {0, 2},
    "recurrent_gemma": {0, 2},
}
"""Layers without attention weights: state space, convolution, linear attention."""

EXPERTS = sorted(name for name in SPLIT if name in _MORE_EXPERTS or "moe" in name)
NOT_CAUSAL = {"falcon", "falcon_new"}
"""Models that read later tokens too where all their attention is asked for."""

GATED = {"afmoe", "qwen3_5", "qwen3_next"}
"""Models with a gate between attention and its output projection."""

NORM_BEHIND = {
    "afmoe",
    "exaone4",
    "gemma2",
    "gemma3",
    "gemma4",
    "glm4",
    "hyperclovax",
    "olmo2",
    "olmo3",
}
"""Models with a norm behind the attention's output projection."""


def prepared(name: str) -> tuple[torch.nn.Module, object, Replay]:
    model = tiny(name)
    anatomy = probe_architecture(model)
    return model, anatomy, Replay(model, anatomy, random_ids(TOKENS)[0])


def layers_of(name: str) -> list[int]:
    """The first layer and the last but one: both types of a hybrid, dense and experts."""
    return [0, len(blocks(tiny(name))) - 1, 1]


def written_by(anatomy, part: str, layer: int, run: Callable[[], object]) -> torch.Tensor:
    """What the part of a layer writes at the token in an ordinary forward pass, `[d]`."""
    writes: list[torch.Tensor] = []
    with ExitStack() as stack:
        for tap in getattr(anatomy, part)[layer]:

            def keep(_module, args, output, tap=tap):
                value = output[0] if isinstance(output, tuple) else output
                like = value.reshape(1, TOKENS, -1)
                writes.append(tap.write(args, output, like)[0, TOKEN].double())

            stack.callback(tap.module.register_forward_hook(keep).remove)
        run()
    return sum(writes[1:], writes[0])


def with_inputs(
    model, module: torch.nn.Module, change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """An ordinary forward pass in which a module's input at the token is changed."""

    def before(_module, args):
        rows = args[0].clone()
        flat = rows.view(-1, rows.shape[-1])
        flat[TOKEN] = change(flat[TOKEN])
        return (rows, *args[1:])

    handle = module.register_forward_pre_hook(before)
    try:
        with torch.no_grad():
            model(input_ids=random_ids(TOKENS), use_cache=False)
    finally:
        handle.remove()


def projection(block: torch.nn.Module, names: tuple[str, ...], inputs: int) -> torch.nn.Module:
    """The module of one of these names with so many inputs, the last such of the block."""
    modules = []
    for path, module in block.named_modules():
        weight = getattr(module, "weight", None)
        if names is OUTPUT_PROJECTIONS and "mamba" in path:
            continue
        if path.rpartition(".")[2] in names and weight is not None and inputs in weight.shape:
            modules.append(module)
    return modules[-1] if names is DOWN_PROJECTIONS else modules[0]


@pytest.mark.parametrize("name", SPLIT)
def test_attention_is_what_eager_attention_returns(name: str) -> None:
    model, anatomy, replay = prepared(name)
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        output = eager(
            input_ids=random_ids(TOKENS), output_attentions=True, use_cache=False
        ).attentions
    expected = [weights for weights in output or () if weights is not None]
    without = NO_HEADS.get(name, set())
    with_heads = [layer for layer in range(len(blocks(model))) if layer not in without]
    for layer in layers_of(name):
        call = call_at(replay, anatomy, layer, TOKEN, TOKEN + 1)
        if layer in without:
            with pytest.raises(DepthError, match="no attention weights"):
                reads_of(call, anatomy.attention[layer])
            continue
        reads = reads_of(call, anatomy.attention[layer])
        if name not in NOT_CAUSAL and len(expected) == len(with_heads):
            weights = expected[with_heads.index(layer)][0, :, TOKEN, : TOKEN + 1]
            np.testing.assert_allclose(reads.weights, weights, atol=1e-5)
        sums = reads.weights.sum(dim=-1)
        assert bool((sums <= 1 + 1e-5).all())
        if name != "gpt_oss":
            np.testing.assert_allclose(sums, 1, atol=1e-5)
        assert (name in GATED) == bool(np.isnan(reads.error))
        assert name in GATED or reads.error < 1e-5


@pytest.mark.parametrize("name", SPLIT)
def test_a_head_writes_what_its_slice_alone_adds(name: str) -> None:
    model, anatomy, replay = prepared(name)
    for layer in layers_of(name):
        if layer in NO_HEADS.get(name, set()):
            continue
        call = call_at(replay, anatomy, layer, TOKEN, TOKEN + 1)
        heads, error = heads_of(call, anatomy.attention[layer])
        writes = heads.writes()[:, 0]
        total = sum(call.attention)[0]
        np.testing.assert_allclose(writes.sum(dim=0) + heads.biases[0], total, atol=1e-5)
        assert error < 1e-5
        if name in NORM_BEHIND:
            continue
        count = len(heads)
        inputs = _inputs(call, anatomy.attention[layer], heads)
        module = projection(blocks(model)[layer], OUTPUT_PROJECTIONS, inputs)
        width = inputs // count

        def alone(head: int, module=module, layer=layer, width=width) -> torch.Tensor:
            def only(row: torch.Tensor) -> torch.Tensor:
                one_head = torch.zeros_like(row)
                if head >= 0:
                    columns = slice(head * width, (head + 1) * width)
                    one_head[columns] = row[columns]
                return one_head

            return written_by(anatomy, "attention", layer, lambda: with_inputs(model, module, only))

        nothing = alone(-1)
        for head in (0, count - 1):
            np.testing.assert_allclose(writes[head], alone(head) - nothing, atol=1e-5)


def _inputs(call: LayerCall, sublayer, heads) -> int:
    """How many inputs the output projection has: as many as values of all heads."""
    assert call.values is not None
    return len(heads) * call.values.shape[-1]


@on_few_models(SPLIT)
def test_reads_weigh_what_is_written_for_each_token(name: str) -> None:
    """Zeroing one source's value in one head at a time gives the norms one by one."""
    model, anatomy, replay = prepared(name)
    layer = 1
    if layer in NO_HEADS.get(name, set()) or name in NORM_BEHIND | GATED:
        return
    call = call_at(replay, anatomy, layer, TOKEN, TOKEN + 1)
    reads, heads = (
        reads_of(call, anatomy.attention[layer]),
        heads_of(call, anatomy.attention[layer]),
    )
    assert reads.value_weighted is not None
    count, width = len(heads[0]), call.values.shape[-1]
    module = projection(blocks(model)[layer], OUTPUT_PROJECTIONS, count * width)
    values = call.values.repeat_interleave(count // len(call.values), dim=0)
    source, expected = 3, 0.0
    nothing = written_by(
        anatomy, "attention", layer, lambda: with_inputs(model, module, torch.zeros_like)
    )
    for head in range(count):

        def only(row: torch.Tensor, head=head) -> torch.Tensor:
            one_token = torch.zeros_like(row)
            part = reads.weights[head, source] * values[head, source]
            one_token[head * width : (head + 1) * width] = part
            return one_token

        run = functools.partial(with_inputs, model, module, only)
        writes = written_by(anatomy, "attention", layer, run)
        expected += float((writes - nothing).norm())
    assert float(reads.value_weighted[source]) == pytest.approx(expected, rel=1e-4)


@on_few_models(SPLIT)
def test_neurons_are_those_that_write_most(name: str) -> None:
    model, anatomy, replay = prepared(name)
    for layer in layers_of(name)[:2]:
        call = call_at(replay, anatomy, layer, TOKEN, TOKEN + 1)
        try:
            neurons = neurons_of(call, anatomy.mlp[layer])
        except DepthError:
            # Only a block of experts does not end in one projection.
            experts_of(call)
            continue
        norms = neurons.writes.norm(dim=-1)
        assert bool((norms.diff() <= 1e-6).all())
        if name in NORM_BEHIND | {"granite_hybrid"}:
            continue
        inputs = next(
            seen.input.shape[-1]
            for seen in reversed(call.projections)
            if seen.output.shape == call.before.shape
        )
        module = projection(blocks(model)[layer], DOWN_PROJECTIONS, inputs)
        every = []
        for neuron in [int(neurons.numbers[0]), int(neurons.numbers[-1])]:

            def without(row: torch.Tensor, neuron=neuron) -> torch.Tensor:
                changed = row.clone()
                changed[neuron] = 0
                return changed

            run = functools.partial(with_inputs, model, module, without)
            lacking = written_by(anatomy, "mlp", layer, run)
            every.append(sum(call.mlp)[0].double() - lacking)
        np.testing.assert_allclose(neurons.writes[0], every[0], atol=1e-5)
        np.testing.assert_allclose(neurons.writes[-1], every[-1], atol=1e-5)


@pytest.mark.parametrize("name", EXPERTS)
def test_experts_add_up(name: str) -> None:
    model, anatomy, replay = prepared(name)
    seen = 0
    for layer in range(len(blocks(model))):
        call = call_at(replay, anatomy, layer, TOKEN, TOKEN + 1)
        if call.experts is None:
            continue
        seen += 1
        experts = experts_of(call)
        assert len(set(experts.numbers.tolist())) == len(experts.numbers) == 2
        assert experts.error < 1e-5
    assert seen


def test_a_layer_alone_makes_what_it_made_before() -> None:
    for name in TINY:
        _, anatomy, replay = prepared(name)
        for layer in layers_of(name):
            call = call_at(replay, anatomy, layer, TOKEN, TOKEN + 1)
            np.testing.assert_allclose(call.after[0], replay.residual[layer + 1][TOKEN], atol=2e-5)


def test_attention_functions_are_as_before() -> None:
    from transformers import AttentionInterface

    functions = dict(AttentionInterface._global_mapping)
    for name in ("llama", "falcon", "deepseek_v32"):
        model, anatomy, replay = prepared(name)
        implementation = model.config._attn_implementation
        hooks = [dict(module._forward_hooks) for module in model.modules()]
        call_at(replay, anatomy, 0, TOKEN, TOKEN + 1)
        assert model.config._attn_implementation == implementation
        assert [dict(module._forward_hooks) for module in model.modules()] == hooks
    assert dict(AttentionInterface._global_mapping) == functions


@on_few_models(SPLIT)
def test_some_tokens_at_once_are_as_each_alone(name: str) -> None:
    _, anatomy, replay = prepared(name)
    layer = 1
    if layer in NO_HEADS.get(name, set()):
        return
    span = call_at(replay, anatomy, layer, 2, 9)
    together, _ = heads_of(span, anatomy.attention[layer])
    for token in (2, 8):
        alone = call_at(replay, anatomy, layer, token, token + 1)
        heads, _ = heads_of(alone, anatomy.attention[layer])
        np.testing.assert_allclose(together.writes()[:, token - 2], heads.writes()[:, 0], atol=2e-5)
        weights = span.weights[:, token - 2, : token + 1]
        np.testing.assert_allclose(weights, alone.weights[:, 0], atol=1e-5)
        if span.experts is not None and alone.experts is not None:
            numbers = span.experts.numbers[token - 2].tolist()
            assert numbers == alone.experts.numbers[0].tolist()


@on_few_models(SPLIT)
def test_parts_add_up_in_16_bits(name: str) -> None:
    """The same parts as in float32, each sum within a few roundings: no norm passes for a scale."""
    whole = prepared(name)
    model = copy.deepcopy(tiny(name)).to(torch.bfloat16)
    anatomy = probe_architecture(model)
    half = model, anatomy, Replay(model, anatomy, random_ids(TOKENS)[0])
    for layer in range(len(blocks(model))):
        parts = [_parts_of(anatomy, replay, layer) for _, anatomy, replay in (whole, half)]
        assert parts[0].keys() == parts[1].keys()
        assert all(not error > 0.02 for error in parts[1].values()), (layer, parts[1])


def _parts_of(anatomy, replay: Replay, layer: int) -> dict[str, float]:
    call = call_at(replay, anatomy, layer, TOKEN, TOKEN + 1)
    attention, mlp = anatomy.attention[layer], anatomy.mlp[layer]
    parts: dict[str, Callable[[], float]] = {
        "heads": lambda: heads_of(call, attention)[1],
        "reads": lambda: reads_of(call, attention).error,
        "neurons": lambda: 0.0 * len(neurons_of(call, mlp).numbers),
        "experts": lambda: experts_of(call).error,
    }
    errors = {}
    for part, error in parts.items():
        with suppress(DepthError):
            errors[part] = error()
    return errors
