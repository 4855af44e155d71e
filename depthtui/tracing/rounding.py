"""Whether two ways to the same numbers differ by rounding alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

MOST_ROUNDINGS = 8.0
"""What a layer's own steps add up to, run in two ways: measured up to 6 in 16 bits.

A tenth of what the layer writes is 11 or more of them in bfloat16.
"""

_COARSEST_PRODUCT = 2.0**-16
"""Products add up in float32, in any order: they are not as exact as one of its roundings."""


def one_rounding(sizes: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """What rounding leaves of each element in the root mean square, in the shape of `sizes`.

    A number that is rounded to the nearest of a grid with the spacing eps |x| is off by
    eps |x| / sqrt(12).

    Args:
        sizes: what was rounded on the way, each broadcastable to the first.
        dtype: what it was rounded to.
    """
    kind = torch.finfo(dtype)
    unit = max(kind.eps, _COARSEST_PRODUCT) / math.sqrt(12)
    squares = [size.to(sizes[0].device).float().square() for size in sizes]
    return unit * sum(squares, torch.zeros_like(squares[0])).sqrt().clamp(min=kind.smallest_normal)


def roundings(miss: Tensor, sizes: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """How large a difference is, counted in what rounding leaves: the root mean square.

    Each element is held against its own rounding, so that one dimension of massive
    activations hides nothing in the others.

    Args:
        miss: the difference, `[..., d]`.
        sizes: what was rounded on the way, each broadcastable to `miss`.
        dtype: what it was rounded to.

    Returns:
        the mean over the last dimension, `[...]` float32; about 1 where `sizes` tells it all.
    """
    expected = one_rounding(sizes, dtype).to(miss.device)
    return (miss.float() / expected).square().mean(dim=-1).sqrt()


def is_rounding(
    miss: Tensor, sizes: Sequence[Tensor], dtype: torch.dtype, most: float = MOST_ROUNDINGS
) -> bool:
    """Whether rounding explains a difference: at most `most` roundings at half of the tokens.

    Half, since a router that takes another expert by a hair's breadth is no error. NaN is one.
    Arguments as of `roundings`.
    """
    return bool(roundings(miss, sizes, dtype).median() <= most)


def coarsest_dtype(module: nn.Module, *tensors: Tensor) -> torch.dtype:
    """What a module rounds to: the coarsest of its weights' dtypes and those of its ends."""
    dtypes = {tensor.dtype for tensor in (*module.parameters(), *tensors)}
    numbers = [dtype for dtype in dtypes if dtype.is_floating_point]
    return max(numbers, key=lambda dtype: torch.finfo(dtype).eps)


def layer_agrees(found: Tensor, before: Tensor, after: Tensor, dtype: torch.dtype) -> bool:
    """Whether a layer run in another way found what it made before, but for rounding.

    At half of the tokens, as of `is_rounding`; arguments as of `layer_roundings`.
    """
    return bool(layer_roundings(found, before, after, dtype).median() <= MOST_ROUNDINGS)


def layer_roundings(found: Tensor, before: Tensor, after: Tensor, dtype: torch.dtype) -> Tensor:
    """How far a layer run in another way is from what it made before, `[..., T]` roundings.

    Args:
        found: its output, `[..., T, d]`.
        before, after: the residual that it read and the one that it made, of the same shape.
        dtype: what it rounds to (see `coarsest_dtype`).
    """
    h, h_next = before.to(after.device).float(), after.float()
    # What its steps round reaches all dimensions of what it writes.
    written = (h_next - h).square().mean(dim=-1, keepdim=True).sqrt()
    miss = found.to(after.device).float() - h_next
    return roundings(miss, (h, h_next, written), dtype)
