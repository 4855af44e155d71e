"""Whether two computations of the same numbers differ by rounding alone."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from depthtui.tracing.norms import norm

MOST_ROUNDINGS = 8.0
"""Most roundings between two ways of running a layer: measured up to 6 in 16 bits.

A tenth of the layer's write is 11 or more roundings in bfloat16.
"""

_COARSEST_PRODUCT = 2.0**-16
"""Products add up in float32, in any order: they are less exact than one float32 rounding."""


def one_rounding(sizes: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """The root-mean-square rounding error of each element, in the shape of `sizes`.

    A number that is rounded to the nearest of a grid with the spacing eps |x| is off by
    eps |x| / sqrt(12).

    Args:
        sizes: the values rounded on the way, each broadcastable to the first.
        dtype: the dtype that they were rounded to.
    """
    kind = torch.finfo(dtype)
    unit = max(kind.eps, _COARSEST_PRODUCT) / math.sqrt(12)
    values = (size.to(sizes[0].device).float().abs() for size in sizes)
    # Squares may be beyond float32.
    return unit * functools.reduce(torch.hypot, values).clamp(min=kind.smallest_normal)


def roundings(miss: Tensor, sizes: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """The root mean square of a difference, in rounding errors.

    Each element is divided by its own rounding error, so that one dimension of massive
    activations hides nothing in the others.

    Args:
        miss: the difference, `[..., d]`.
        sizes: the values rounded on the way, each broadcastable to `miss`.
        dtype: the dtype that they were rounded to.

    Returns:
        the root mean square over the last dimension, `[...]` float32; about 1 if `sizes` has all.
    """
    expected = one_rounding(sizes, dtype).to(miss.device)
    return (miss.float() / expected).square().mean(dim=-1).sqrt()


def is_rounding(miss: Tensor, sizes: Sequence[Tensor], dtype: torch.dtype) -> bool:
    """Whether rounding explains a difference: at most `MOST_ROUNDINGS` at half of the tokens.

    Half, since a router that narrowly chooses another expert is no error. NaN is an error.
    Arguments as in `roundings`.
    """
    return bool(roundings(miss, sizes, dtype).median() <= MOST_ROUNDINGS)


def coarsest_dtype(module: nn.Module, *tensors: Tensor) -> torch.dtype:
    """The dtype that a module rounds to: the coarsest of its weights', inputs' and outputs'."""
    dtypes = {tensor.dtype for tensor in (*module.parameters(), *tensors)}
    numbers = [dtype for dtype in dtypes if dtype.is_floating_point]
    return max(numbers, key=lambda dtype: torch.finfo(dtype).eps)


def layer_agrees(output: Tensor, before: Tensor, after: Tensor, dtype: torch.dtype) -> bool:
    """Whether a layer run in another way gives its former output, but for rounding.

    At half of the tokens, as in `is_rounding`; arguments as in `layer_roundings`.
    """
    return bool(layer_roundings(output, before, after, dtype).median() <= MOST_ROUNDINGS)


def layer_roundings(output: Tensor, before: Tensor, after: Tensor, dtype: torch.dtype) -> Tensor:
    """How far a layer run in another way is from its output before, in roundings `[..., T]`.

    Args:
        output: its output, `[..., T, d]`.
        before, after: the residual that it read and its output before, of the same shape.
        dtype: the dtype that it rounds to (see `coarsest_dtype`).
    """
    h, h_next = before.to(after.device).float(), after.float()
    # Rounding errors of its steps reach all dimensions of its write.
    write_size = norm(h_next - h)[..., None] / math.sqrt(h.shape[-1])
    miss = output.to(after.device).float() - h_next
    return roundings(miss, (h, h_next, write_size), dtype)
