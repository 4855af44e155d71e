"""Relative contribution and cosine of attention, MLP and layer (paper, metric 1)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from depthtui.tracing.batching import at_once, slices
from depthtui.tracing.trace import LayerActivations

NORM_FLOOR = 1e-6
"""Smallest denominator of a norm ratio (paper, metric 1)."""


PART_BYTES = 256 << 20
"""Most bytes of one of a layer's activations in float32; memory has about six at a time."""


def contributions(layer: LayerActivations, parallel: bool) -> Tensor:
    """The six values of one layer, per token.

    Rows: attention |a|/|h| and cos(a, h); MLP |m|/|h+a| and cos(m, h+a), with
    `h` alone where the block is parallel; layer |c|/|h| and cos(c, h) with
    c = h_next - h. NaN where the split is unavailable.

    Returns:
        `[6, T]` float32 on the activations' device.
    """
    n_tokens, width = layer.h.shape
    size = at_once(n_tokens, PART_BYTES, 4 * width)
    parts = [_of_part(layer.part(tokens), parallel) for tokens in slices(n_tokens, size)]
    return torch.cat(parts, dim=1)


def _of_part(layer: LayerActivations, parallel: bool) -> Tensor:
    values, bounds = _values_and_bounds(layer, parallel, torch.Tensor.float)
    if not math.isfinite(bounds.max()):
        # The CPU: MPS has no double precision.
        values, bounds = _values_and_bounds(layer, parallel, lambda h: h.to("cpu").double())
        values = values.where(bounds.isfinite(), torch.nan).to(layer.h.device, torch.float32)
    values = values.flatten(0, 1)
    if len(values) == 2:
        unknown = torch.full_like(values, torch.nan)
        values = torch.cat([unknown, unknown, values])
    return values


def _values_and_bounds(
    layer: LayerActivations, parallel: bool, widened: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Ratio and cosine of each known write, `[writes, 2, T]`, and their bounds `[writes, 1, T]`.

    Args:
        layer, parallel: as in `contributions`.
        widened: maps states to the precision of the sums.
    """
    h = widened(layer.h)
    change = widened(layer.h_next) - h
    h_norm = torch.linalg.vector_norm(h, dim=-1)
    rows = [*_ratio_cosine_bound(change, h, h_norm)]
    if layer.attention is not None and layer.mlp is not None:
        attention, mlp = widened(layer.attention), widened(layer.mlp)
        before_mlp = h if parallel else h + attention
        mlp_norm = h_norm if parallel else torch.linalg.vector_norm(before_mlp, dim=-1)
        rows = [
            *_ratio_cosine_bound(attention, h, h_norm),
            *_ratio_cosine_bound(mlp, before_mlp, mlp_norm),
            *rows,
        ]
    stacked = torch.stack(rows).view(-1, 3, len(h))
    return stacked[:, :2], stacked[:, 2:]


def _ratio_cosine_bound(
    write: Tensor, stream: Tensor, stream_norm: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """|write| / |stream| and their cosine over the last dimension; the norm of 0 has cosine 0.

    The third value is |write| |stream|, which no sum of squares or products on the way exceeds.
    """
    write_norm = torch.linalg.vector_norm(write, dim=-1)
    floored = stream_norm.clamp(min=NORM_FLOOR)
    bound = write_norm * floored
    dot = torch.linalg.vecdot(write, stream)
    return write_norm / floored, dot / bound.clamp(min=torch.finfo().tiny), bound
