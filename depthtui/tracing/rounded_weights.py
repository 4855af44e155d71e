"""The linear weights of a layer, rounded to the blocks of a few bits that llama.cpp stores.

A block is 32 neighbouring weights along the input of a product. `Q8_0` stores a scale, the largest
absolute weight over 127, as a 16-bit float, and each weight as an integer multiple of it. `Q4_0`
has integers from -8 to 7: the largest absolute weight is -8 scales, with its sign in the scale
(ggml's reference, `quantize_row_q8_0_ref` and `quantize_row_q4_0_ref` in
`ggml/src/ggml-quants.c` of ggml-org/llama.cpp). A weight of 16 bits is rounded to its own dtype
once more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from depthtui.errors import DepthError
from depthtui.models.cut_weights import cut_like, full_weight
from depthtui.tracing.batching import at_once, slices
from depthtui.tracing.modules import replaced, with_parameters

BLOCK = 32
"""Neighbouring weights that share a scale."""

_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

_ROUNDED_AT_ONCE = {"cpu": 1 << 17}
_ROUNDED_AT_ONCE_ELSEWHERE = 1 << 22
"""Weights that are rounded together, with a few float32 copies: as many as fit into a core's cache,
or as keep another device busy."""


class LinearWeight(NamedTuple):
    """A weight that inputs are multiplied with, or a stack of several.

    Attributes:
        module: the module that holds it.
        name: its name there.
        input_axis: the axis of the inputs.
    """

    module: nn.Module
    name: str
    input_axis: int

    @property
    def value(self) -> nn.Parameter:
        """The current weight; an offloaded one has only a shape."""
        weight: nn.Parameter = getattr(self.module, self.name)
        return weight

    @property
    def has_blocks(self) -> bool:
        """Whether its rows can be cut into blocks; llama.cpp keeps other weights in 16 bits."""
        return self.value.shape[self.input_axis] % BLOCK == 0


def linear_weights(layer: nn.Module) -> list[LinearWeight]:
    """The linear weights of a layer that llama.cpp stores in blocks, if their rows can be cut.

    These are the weights of linear layers and of stacked experts. Norms, biases, convolutions,
    routers and weights of a single output are not among them: llama.cpp leaves them as they are
    (`tensor_allows_quantization` in `src/llama-quant.cpp`).

    Raises:
        DepthError: some of the layer's weights are quantised already.
    """
    for name, parameter in layer.named_parameters():
        if parameter.dtype not in _DTYPES:
            raise DepthError(f"its weights are quantised already ({name} is {parameter.dtype})")
    modules = dict(layer.named_modules())
    weights: list[LinearWeight] = []
    for name, module in modules.items():
        if isinstance(module, nn.Linear):
            if len(module.weight) > 1 and not _is_router(name, modules):
                weights.append(LinearWeight(module, "weight", -1))
        elif isinstance(module, Conv1D):
            weights.append(LinearWeight(module, "weight", -2))
        elif hasattr(module, "is_transposed"):
            axis = -2 if module.is_transposed else -1
            stacks = [stack for stack, value in _own(module) if value.dim() == 3]
            weights += [LinearWeight(module, stack, axis) for stack in stacks]
    return weights


def _own(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return module.named_parameters(recurse=False)


def _is_router(name: str, modules: dict[str, nn.Module]) -> bool:
    """Whether a linear layer of this name chooses experts."""
    parent, _, last = name.rpartition(".")
    chooses = last == "gate" and hasattr(modules.get(parent), "experts")
    return chooses or "router" in name.split(".")


@contextlib.contextmanager
def rounded(layer: nn.Module, bits: int) -> Iterator[None]:
    """Round the linear weights of a layer to 8 or 4 bits for a while.

    Other parameters replace them meanwhile, so that the weights themselves do not change, even
    where other layers share them. Offloaded weights are rounded each time that accelerate has
    loaded them.
    """
    by_module: dict[nn.Module, list[LinearWeight]] = {}
    for weight in linear_weights(layer):
        if weight.has_blocks:
            by_module.setdefault(weight.module, []).append(weight)
    with contextlib.ExitStack() as stack:
        for module, weights in by_module.items():
            is_away = any(weight.value.is_meta for weight in weights)
            enter = _rounded_in_calls if is_away else _put
            stack.enter_context(enter(module, weights, bits))
        yield


def _put(
    module: nn.Module, weights: list[LinearWeight], bits: int
) -> contextlib.AbstractContextManager[None]:
    """Replace these weights of one module by rounded ones."""
    return with_parameters(module, {weight.name: _rounded(weight, bits) for weight in weights})


def _rounded(weight: LinearWeight, bits: int) -> Tensor:
    # Blocks are formed on the whole weight, wherever ranks cut it.
    rounded = round_to_blocks(full_weight(weight.value), bits, weight.input_axis)
    return cut_like(rounded, weight.value)


@contextlib.contextmanager
def _rounded_in_calls(module: nn.Module, weights: list[LinearWeight], bits: int) -> Iterator[None]:
    """Like `_put`, in each call of a module whose weights accelerate loads for it."""
    # accelerate calls this between loading the weights and freeing them.
    name = "_old_forward" if hasattr(module, "_hf_hook") else "forward"
    call: Callable[..., Any] = getattr(module, name)

    def forward(*args: Any, **kwargs: Any) -> Any:
        with _put(module, weights, bits):
            return call(*args, **kwargs)

    with replaced(module, forward, name):
        yield


def round_to_blocks(weight: Tensor, bits: int, input_axis: int = -1) -> Tensor:
    """A weight rounded as `Q8_0` or `Q4_0` stores it, in its own dtype.

    Args:
        weight: `[outputs, inputs]` or a stack of them, `[experts, outputs, inputs]`.
        bits: 8 or 4.
        input_axis: the axis of inputs, a multiple of `BLOCK` long: -1, or -2 before the outputs.
    """
    rounded = torch.empty_like(weight)
    width = weight.shape[input_axis]
    room = _ROUNDED_AT_ONCE.get(weight.device.type, _ROUNDED_AT_ONCE_ELSEWHERE)
    for before, after in zip(_matrices(weight), _matrices(rounded), strict=True):
        rows, rounded_rows = before.transpose(input_axis, -1), after.transpose(input_axis, -1)
        for part in slices(len(rows), at_once(len(rows), room, width)):
            blocks = rows[part].float().reshape(-1, BLOCK)
            value = _eight_bits(blocks) if bits == 8 else _four_bits(blocks)
            rounded_rows[part] = value.view(-1, width).to(weight.dtype)
    return rounded


def _matrices(weight: Tensor) -> tuple[Tensor, ...]:
    return weight.unbind() if weight.dim() == 3 else (weight,)


def _eight_bits(blocks: Tensor) -> Tensor:
    """Blocks `[blocks, 32]` float32 as `Q8_0` stores them."""
    scale = _largest(blocks).abs() / 127
    stored_scale = _half_precision(scale)
    levels = blocks * _inverse(scale, stored_scale)
    # Halves are rounded away from zero.
    sizes = levels.abs()
    nearest = sizes.floor()
    nearest += sizes.sub_(nearest).mul_(2).floor_()
    return nearest.copysign_(levels).mul_(stored_scale)


def _four_bits(blocks: Tensor) -> Tensor:
    """Blocks `[blocks, 32]` float32 as `Q4_0` stores them."""
    scale = _largest(blocks) / -8
    stored_scale = _half_precision(scale)
    levels = (blocks * _inverse(scale, stored_scale)).add_(8.5).floor_().clamp_(0, 15)
    return levels.sub_(8).mul_(stored_scale)


def _largest(blocks: Tensor) -> Tensor:
    """The weight of largest absolute value in each block, `[blocks, 1]`; the first of several."""
    return blocks.gather(-1, blocks.abs().argmax(dim=-1, keepdim=True))


def _half_precision(scale: Tensor) -> Tensor:
    """A scale rounded to a 16-bit float."""
    return scale.half().float()


def _inverse(scale: Tensor, stored_scale: Tensor) -> Tensor:
    """The factor from weights to multiples of a scale; 0 where the stored scale is 0."""
    return torch.where(stored_scale == 0, stored_scale, scale.reciprocal())
