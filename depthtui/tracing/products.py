"""Matrix products: the faster float32 one on a CPU, float32 results of 16-bit ones on CUDA.

torch multiplies by MKL, which leaves half of some AMD machines unused. oneDNN
comes with torch, computes in float32 as well, and gives a row the same value
among any number of rows from two on. Which is used is found out by timing both.

Logits in bfloat16 are 0.125 apart where the largest ones lie. CUDA adds up 16-bit
products in float32 anyway, and hands them out so where it is asked to.
"""

from __future__ import annotations

import contextlib
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

_WORTH_IT = 1.15
"""How much faster oneDNN must be, so that noise does not decide."""

_TIMINGS = 10

_ROWS, _WIDTH, _OUTPUTS = 32, 512, 8192
"""The product that is timed. Its weight is too large for a core's own cache, as an LM head's is,
and as all others are by the time that their layer runs again; products of a weight that lies in
the cache are alike."""

_SMALLEST_WEIGHT = 1 << 14
"""Elements of a weight below which calling oneDNN costs more than the product."""


def product_of(model: nn.Module) -> str:
    """Whose product `fast_products` gives a model's layers: `oneDNN` or `torch`."""
    suits = any(_is_linear(module) for module in model.modules())
    return "oneDNN" if suits and _one_dnn_is_faster() else "torch"


def one_dnn_product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`rows` `[…, d]` times the transpose of `weight` `[m, d]`, plus bias, `[…, m]`, by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")


def linear_into(out: Tensor, rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
    """Put `rows` `[n, d]` times the transpose of `weight` `[m, d]`, plus bias, into float32 `out`.

    `out` is `[n, m]`; no gradients are taken.
    """
    if _adds_up_in_float32(rows.device, weight.dtype):
        out.copy_(_wide_product(rows, weight))
    elif weight.dtype != torch.float32:
        out.copy_(nn.functional.linear(rows, weight, bias))
        return
    elif len(rows) > 1 and _suits_one_dnn(weight) and _one_dnn_is_faster():
        out.copy_(one_dnn_product(rows, weight))
    else:
        torch.mm(rows, weight.T, out=out)
    if bias is not None:
        out += bias


def raw_logits(head: nn.Module, normed: Tensor) -> Tensor:
    """What an LM head makes of `[..., d]`: `[..., V]`, in float32 where that is no detour."""
    if (
        type(head) is not nn.Linear
        or hasattr(head, "_hf_hook")
        or torch.is_grad_enabled()
        or not _adds_up_in_float32(normed.device, head.weight.dtype)
    ):
        return head(normed)
    logits = _wide_product(normed.flatten(0, -2), head.weight)
    if head.bias is not None:
        logits += head.bias
    return logits.view(*normed.shape[:-1], -1)


@contextlib.contextmanager
def fast_products(model: nn.Module) -> Iterator[None]:
    """A while in which a model's linear layers use the faster product, gradients included.

    Their `forward` is replaced and put back; modules, names and hooks stay as they are.
    """
    layers = [
        module for module in model.modules() if _is_linear(module) and "forward" not in vars(module)
    ]
    if not layers or not _one_dnn_is_faster():
        yield
        return
    try:
        for layer in layers:
            layer.forward = functools.partial(_linear, layer)  # type: ignore[method-assign]
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def _is_linear(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether it is an ordinary linear layer in memory: not quantised, not moved about."""
    return (
        type(module) is nn.Linear
        and not hasattr(module, "_hf_hook")
        and _suits_one_dnn(module.weight)
    )


def _suits_one_dnn(weight: Tensor) -> bool:
    return (
        weight.dtype == torch.float32
        and weight.device.type == "cpu"
        and weight.numel() >= _SMALLEST_WEIGHT
    )


def _linear(layer: nn.Linear, rows: Tensor) -> Tensor:
    weight, bias = layer.weight, layer.bias
    # A single row is a matrix times a vector, which MKL does faster.
    if rows.numel() <= rows.shape[-1] or rows.dtype != torch.float32:
        return nn.functional.linear(rows, weight, bias)
    if not torch.is_grad_enabled() or not (rows.requires_grad or weight.requires_grad):
        return one_dnn_product(rows, weight, bias)
    if weight.requires_grad:
        return nn.functional.linear(rows, weight, bias)
    # Of two dimensions, whose product is no view: what a function returns may be changed in place.
    product: Tensor = _Linear.apply(rows.flatten(0, -2), weight, bias)  # type: ignore[no-untyped-call]
    return product.view(*rows.shape[:-1], -1)


class _Linear(torch.autograd.Function):
    """A linear layer of fixed weights by oneDNN, whose product has no gradient of its own."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return one_dnn_product(rows, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return one_dnn_product(gradient, weight.T), None, None


def _wide_product(rows: Tensor, weight: Tensor) -> Tensor:
    """16-bit rows times the transpose of a 16-bit weight, `[n, m]` float32."""
    return torch.mm(rows, weight.T, out_dtype=torch.float32)


@functools.cache
def _adds_up_in_float32(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether `_wide_product` is there on a device; tried once."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return False
    sample = torch.ones(16, 16, device=device, dtype=dtype)
    try:
        return bool((_wide_product(sample, sample) == 16).all())
    except (RuntimeError, TypeError):
        return False


@functools.cache
def _one_dnn_is_faster() -> bool:
    """Time both products on this machine, a tenth of a second.

    By the best and by the middle one of many short pairs on one thread: of those most run
    undisturbed even where the machine has other work.
    """
    rows, weight = torch.ones(_ROWS, _WIDTH), torch.ones(_OUTPUTS, _WIDTH)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with torch.inference_mode():
            pairs = [
                (
                    _seconds(lambda: one_dnn_product(rows, weight)),
                    _seconds(lambda: nn.functional.linear(rows, weight)),
                )
                for _ in range(_TIMINGS)
            ]
    except (AttributeError, RuntimeError):
        # torch was built without oneDNN, or calls this product otherwise now.
        return False
    finally:
        torch.set_num_threads(threads)
    mine, torchs = (min(seconds) for seconds in zip(*pairs, strict=True))
    middle = statistics.median(other / one for one, other in pairs)
    return min(torchs / mine, middle) > _WORTH_IT


def _seconds(multiply: Callable[[], object]) -> float:
    start = time.perf_counter()
    multiply()
    return time.perf_counter() - start
