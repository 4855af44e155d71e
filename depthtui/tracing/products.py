"""Matrix products: the faster float32 one on a CPU, float32 results of 16-bit ones on CUDA.

torch multiplies by MKL, which leaves half of some AMD machines unused, at some shapes. oneDNN
comes with torch and computes in float32 as well. Both are timed, once for each shape of a weight,
and the faster is used while the process runs; they differ by rounding. The choice does not depend
on the number of rows: a row has the same value among few and among many, so that an intervention
without effect makes a difference of exactly 0.

The largest logits in bfloat16 are 0.125 apart. CUDA adds up 16-bit products in float32 anyway,
and returns them in float32 where it is asked to.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn

from depthtui.models.cut_weights import full_weight, is_cut, product_with
from depthtui.parallel.group import joined

_WORTH_IT = 1.03
"""How much faster oneDNN must be, so that noise does not decide."""

_ROWS = (32, 128, 256)
"""The numbers of rows that are timed, together: a prompt's, and those of some layers at once."""

_LARGEST = 2048
"""Wider weights, and those with more outputs, are timed at this size: the faster product stays the
same. The lens computes as many outputs at a time."""

_FEWEST_PAIRS, _MOST_PAIRS, _SECONDS = 2, 8, 0.005
"""The pairs of products that are timed: as many as fit into these seconds."""

_SECONDS_AT_ONCE = 0.2
"""Seconds for all shapes of a model. Shapes that are left over, on a busy machine, are timed when
they are first used."""

_WEIGHTS = 2
"""Number of weights that take turns, as those of layers do: one alone would stay in the cache."""

_SMALLEST_WEIGHT = 1 << 14
"""Elements of a weight below which calling oneDNN costs more than the product."""


class ProductShape(NamedTuple):
    """The shape of a weight `[m, d]`: `width` d and `outputs` m."""

    width: int
    outputs: int

    @property
    def timed(self) -> ProductShape:
        """The shape that is timed in place of this one."""
        return ProductShape(min(self.width, _LARGEST), min(self.outputs, _LARGEST))


def choose_products(model: nn.Module) -> dict[ProductShape, bool]:
    """Choose a product for each shape of a model's linear layers, some milliseconds each.

    Returns:
        for each shape that was timed, whether oneDNN is used; empty where no layer suits.
    """
    if joined() is not None:
        # Ranks that time by themselves might choose differently, and then round differently.
        return {}
    weights = (module.weight for module in model.modules() if _is_linear(module))
    shapes = dict.fromkeys(_shape_of(weight).timed for weight in weights)
    uses_one_dnn: dict[ProductShape, bool] = {}
    end = time.perf_counter() + _SECONDS_AT_ONCE
    for shape in shapes:
        if time.perf_counter() > end:
            break
        uses_one_dnn[shape] = _takes_one_dnn(shape)
    return uses_one_dnn


def product_of(model: nn.Module) -> str:
    """The library that multiplies within `fast_products`: `oneDNN`, or `torch` alone."""
    return "oneDNN" if any(choose_products(model).values()) else "torch"


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
    elif len(rows) > 1 and _suits_one_dnn(weight) and _takes_one_dnn(_shape_of(weight)):
        out.copy_(one_dnn_product(rows, weight))
    else:
        torch.mm(rows, weight.T, out=out)
    if bias is not None:
        out += bias


def raw_logits(head: nn.Module, normed: Tensor) -> Tensor:
    """An LM head's output `[..., V]` for `[..., d]`, in float32 where that takes no detour."""
    if (
        type(head) is not nn.Linear
        or hasattr(head, "_hf_hook")
        or torch.is_grad_enabled()
        or not _adds_up_in_float32(normed.device, head.weight.dtype)
    ):
        output: Tensor = head(normed)
        # Values gathered from ranks are a view, which may not be changed.
        return output.clone() if output.requires_grad and is_cut(head.weight) else output
    rows = normed.flatten(0, -2)
    logits = product_with(head.weight, lambda part: _wide_product(rows, part))
    if head.bias is not None:
        logits += full_weight(head.bias)
    return logits.view(*normed.shape[:-1], -1)


@contextlib.contextmanager
def fast_products(model: nn.Module) -> Iterator[None]:
    """Let a model's linear layers use the faster product for a while, gradients included.

    Their `forward` is replaced and put back; modules, names and hooks do not change.
    """
    layers = [
        module for module in model.modules() if _is_linear(module) and "forward" not in vars(module)
    ]
    try:
        for layer in layers:
            layer.forward = partial(_linear, layer)  # type: ignore[method-assign]
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


@contextlib.contextmanager
def untimed_products(model: nn.Module) -> Iterator[None]:
    """Let a model's linear layers use torch's product for a while, within `fast_products` too.

    Which product is faster differs from one process to the next, and so does rounding.
    """
    replaced = {
        module: vars(module).pop("forward")
        for module in model.modules()
        if getattr(vars(module).get("forward"), "func", None) is _linear
    }
    try:
        yield
    finally:
        for module, forward in replaced.items():
            module.forward = forward


def _is_linear(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether a module is an ordinary linear layer in memory: not quantised, not offloaded."""
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
    is_single = rows.numel() <= rows.shape[-1]
    if is_single or rows.dtype != torch.float32 or not _takes_one_dnn(_shape_of(weight)):
        return nn.functional.linear(rows, weight, bias)
    if not torch.is_grad_enabled() or not (rows.requires_grad or weight.requires_grad):
        return one_dnn_product(rows, weight, bias)
    if weight.requires_grad:
        return nn.functional.linear(rows, weight, bias)
    # Two dimensions, whose product is no view: callers may change the result in place.
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
    """Whether `_wide_product` works on a device; tried once."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return False
    sample = torch.ones(16, 16, device=device, dtype=dtype)
    try:
        return bool((_wide_product(sample, sample) == 16).all())
    except (RuntimeError, TypeError):
        return False


def _shape_of(weight: Tensor) -> ProductShape:
    outputs, width = weight.shape
    return ProductShape(width, outputs)


def _takes_one_dnn(shape: ProductShape) -> bool:
    return joined() is None and _one_dnn_is_faster(shape.timed, torch.get_num_threads())


@functools.cache
def _one_dnn_is_faster(shape: ProductShape, threads: int) -> bool:
    """Whether oneDNN is faster for a shape on this many threads; takes milliseconds."""
    weights = torch.ones(_WEIGHTS, shape.outputs, shape.width)
    try:
        with torch.inference_mode():
            times = [_fastest(torch.ones(rows, shape.width), weights) for rows in _ROWS]
    except (AttributeError, RuntimeError):
        # torch was built without oneDNN, or has renamed this product.
        return False
    one_dnn_seconds, torch_seconds = map(sum, zip(*times, strict=True))
    return torch_seconds / one_dnn_seconds > _WORTH_IT


def _fastest(rows: Tensor, weights: Tensor) -> tuple[float, float]:
    """The shortest time of oneDNN's and of torch's product, in seconds; they take turns.

    Of several short products, some run undisturbed even on a busy machine.
    """
    products = (one_dnn_product, nn.functional.linear)
    for product in products:
        product(rows, weights[0])
    pairs: list[tuple[float, float]] = []
    end = time.perf_counter() + _SECONDS
    while len(pairs) < _FEWEST_PAIRS or (len(pairs) < _MOST_PAIRS and time.perf_counter() < end):
        weight = weights[len(pairs) % len(weights)]
        one_dnn_seconds, torch_seconds = (
            _seconds(partial(product, rows, weight)) for product in products
        )
        pairs.append((one_dnn_seconds, torch_seconds))
    first, second = zip(*pairs, strict=True)
    return min(first), min(second)


def _seconds(multiply: Callable[[], object]) -> float:
    start = time.perf_counter()
    multiply()
    return time.perf_counter() - start
