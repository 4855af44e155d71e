"""Relative contribution and cosine of attention, MLP and layer (paper, metric 1)."""

from __future__ import annotations

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
    h = layer.h.float()
    change = layer.h_next.float() - h
    h_norm = torch.linalg.vector_norm(h, dim=-1)
    pairs = [_ratio_and_cosine(change, h, h_norm)]
    if layer.attention is None or layer.mlp is None:
        unknown = torch.full_like(h_norm, torch.nan)
        pairs = [(unknown, unknown), (unknown, unknown), *pairs]
    else:
        attention, mlp = layer.attention.float(), layer.mlp.float()
        before_mlp = h if parallel else h + attention
        mlp_norm = h_norm if parallel else torch.linalg.vector_norm(before_mlp, dim=-1)
        pairs = [
            _ratio_and_cosine(attention, h, h_norm),
            _ratio_and_cosine(mlp, before_mlp, mlp_norm),
            *pairs,
        ]
    return torch.stack([value for pair in pairs for value in pair])


def _ratio_and_cosine(write: Tensor, stream: Tensor, stream_norm: Tensor) -> tuple[Tensor, Tensor]:
    """|write| / |stream| and their cosine, over the last dimension; the norm of 0 has cosine 0."""
    write_norm = torch.linalg.vector_norm(write, dim=-1)
    floored = stream_norm.clamp(min=NORM_FLOOR)
    dot = torch.linalg.vecdot(write, stream)
    return write_norm / floored, dot / (write_norm * floored).clamp(min=torch.finfo().tiny)
