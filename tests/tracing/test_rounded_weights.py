"""Weights rounded as llama.cpp stores them, beside the gguf package; layers that are put back."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from accelerate import cpu_offload, disk_offload
from torch import nn

from depthtui.errors import DepthError
from depthtui.tracing import rounded_weights
from depthtui.tracing.rounded_weights import (
    LinearWeight,
    linear_weights,
    round_to_blocks,
    rounded,
)
from tests.naive import blocks
from tests.tiny_models import TINY, fresh, random_ids, tiny

KINDS = {8: gguf.GGMLQuantizationType.Q8_0, 4: gguf.GGMLQuantizationType.Q4_0}


def stored(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """What the gguf package makes of rows."""
    rows = weight.float().contiguous().numpy()
    blocks = gguf.quants.quantize(rows, KINDS[bits])
    return torch.from_numpy(gguf.quants.dequantize(blocks, KINDS[bits]))


def hard_weights(size: float) -> torch.Tensor:
    """Weights `[40, 96]` with blocks of zeros, equal sizes of both signs, halves and outliers."""
    weight = torch.randn(40, 96, generator=torch.Generator().manual_seed(0)) * size
    weight[0] = 0
    weight[1, :32] = 0
    weight[2, 3], weight[2, 9] = 9 * size, -9 * size
    weight[3, 3], weight[3, 9] = -9 * size, 9 * size
    weight[4] = torch.arange(96) / 2 * size
    weight[5, 40] = 1000 * size
    return weight


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("size", [1.0, 0.02, 1e-5, 1e-8, 1e-12])
def test_the_same_as_the_gguf_package_bit_for_bit(size: float, bits: int) -> None:
    weight = hard_weights(size)
    rounded = round_to_blocks(weight, bits)
    np.testing.assert_array_equal(rounded.numpy(), stored(weight, bits).numpy())
    # Whatever lies on the grid stays there.
    assert torch.equal(round_to_blocks(rounded, bits), rounded)


@pytest.mark.parametrize("bits", [8, 4])
def test_in_closed_form(bits: int) -> None:
    """A block whose largest weight is 127, or -8: whole numbers, halves away from zero."""
    block = torch.tensor([127.0, 2.5, -2.5, 2.4, 0.4, *[0.0] * 27])
    small = torch.tensor([-8.0, 7.6, 2.5, -2.5, 2.4, *[0.0] * 27])
    expected = [127, 3, -3, 2, 0] if bits == 8 else [-8, 7, 3, -2, 2]
    rounded = round_to_blocks((block if bits == 8 else small)[None], bits)[0]
    assert rounded[:5].tolist() == expected
    assert not rounded[5:].any()


@pytest.mark.parametrize("bits", [8, 4])
def test_inputs_may_come_first_and_weights_be_stacked(bits: int) -> None:
    weight = hard_weights(1)
    turned = round_to_blocks(weight.T.contiguous(), bits, -2)
    assert torch.equal(turned, stored(weight, bits).T)
    stack = torch.stack([weight, 2 * weight])
    expected = torch.stack([stored(one, bits) for one in stack])
    assert torch.equal(round_to_blocks(stack, bits), expected)
    turned = round_to_blocks(stack.transpose(1, 2).contiguous(), bits, -2)
    assert torch.equal(turned, expected.transpose(1, 2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_16_bits_stay_of_16_bits(dtype: torch.dtype) -> None:
    weight = hard_weights(0.1).to(dtype)
    for bits in KINDS:
        assert torch.equal(round_to_blocks(weight, bits), stored(weight, bits).to(dtype))


def test_parts_of_a_weight_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = hard_weights(1)
    whole = round_to_blocks(weight, 4)
    monkeypatch.setattr(rounded_weights, "_ROUNDED_AT_ONCE", {"cpu": 3 * 96})
    assert torch.equal(round_to_blocks(weight, 4), whole)


def parameters(model: nn.Module) -> dict[str, tuple[int, torch.Tensor]]:
    """Which parameters there are, and their values."""
    return {name: (id(value), value.clone()) for name, value in model.named_parameters()}


def assert_as_before(model: nn.Module, before: dict[str, tuple[int, torch.Tensor]]) -> None:
    after = parameters(model)
    assert list(after) == list(before)
    for name, (identity, value) in before.items():
        assert after[name][0] == identity
        assert torch.equal(after[name][1], value)


def fail_with(weights: list[LinearWeight], before: list[torch.Tensor]) -> None:
    for weight, value in zip(weights, before, strict=True):
        assert not torch.equal(weight.value, value)
    raise KeyError


@pytest.mark.parametrize("name", sorted(TINY))
def test_a_layer_is_put_back_whatever_happens(name: str) -> None:
    model = tiny(name)
    before = parameters(model)
    for layer in blocks(model):
        weights = [weight for weight in linear_weights(layer) if weight.has_blocks]
        values = [weight.value for weight in weights]
        assert weights
        with pytest.raises(KeyError), rounded(layer, 4):
            fail_with(weights, values)
    assert_as_before(model, before)


def test_only_linear_weights_of_one_layer_are_rounded() -> None:
    model = fresh("qwen2_moe")
    layers = blocks(model)
    before = parameters(model)
    with rounded(layers[1], 4):
        changed = {name for name, value in model.named_parameters() if id(value) != before[name][0]}
    names = {name.removeprefix("model.layers.1.") for name in changed}
    assert names == {
        *(f"self_attn.{part}_proj.weight" for part in "qkvo"),
        "mlp.experts.gate_up_proj",
        "mlp.shared_expert.gate_proj.weight",
        "mlp.shared_expert.up_proj.weight",
    }
    # Rows of 24 cannot be cut.
    whole = [weight for weight in linear_weights(layers[1]) if not weight.has_blocks]
    assert sum(weight.value.numel() for weight in whole) == 4 * 32 * 24 + 32 * 24


def test_a_weight_that_layers_share_is_rounded_in_one_of_them() -> None:
    model = fresh("llama")
    first, second, *_ = blocks(model)
    second.mlp.gate_proj.weight = shared = first.mlp.gate_proj.weight
    with rounded(second, 4):
        assert first.mlp.gate_proj.weight is shared
        assert torch.equal(second.mlp.gate_proj.weight, stored(shared, 4))
    assert second.mlp.gate_proj.weight is shared


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_offloaded_weights_are_rounded_as_they_are_brought(where: str, tmp_path: Path) -> None:
    ids = random_ids(6)
    plain, model = fresh("llama"), fresh("llama")
    if where == "memory":
        cpu_offload(model, torch.device("cpu"))
    else:
        disk_offload(model, str(tmp_path), torch.device("cpu"))
    layer = blocks(model)[1]
    assert next(layer.parameters()).is_meta
    attributes = {module: set(vars(module)) for module in model.modules()}
    with torch.no_grad():
        clean = model(ids).logits
        for bits in KINDS:
            with rounded(blocks(plain)[1], bits), rounded(layer, bits):
                expected, logits = plain(ids).logits, model(ids).logits
            torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
            assert (logits - clean).abs().max() > 1e-4
        torch.testing.assert_close(model(ids).logits, clean, rtol=0, atol=0)
    assert {module: set(vars(module)) for module in model.modules()} == attributes


def test_weights_that_are_quantised_already_are_refused() -> None:
    layer = blocks(fresh("llama"))[0]
    packed = layer.mlp.up_proj.weight.to(torch.int8)
    layer.mlp.up_proj.weight = nn.Parameter(packed, requires_grad=False)
    with pytest.raises(DepthError, match=r"quantised already \(mlp.up_proj.weight is torch.int8\)"):
        linear_weights(layer)
