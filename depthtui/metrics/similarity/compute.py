"""How little layers turn the residual stream: block influence and angular distance."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from depthtui.metrics.context import Context
from depthtui.metrics.similarity import Similarity
from depthtui.tracing.batching import at_once, slices

PART_BYTES = 64 << 20
"""Most bytes of the residuals of one part of the tokens."""


def compute(context: Context, _partial: object) -> Similarity:
    """Compute the metric of a run."""
    return similarity(context.residuals)


def similarity(residuals: Sequence[Tensor]) -> Similarity:
    """Block influence (arXiv 2403.03853) and angular distance (arXiv 2403.17887).

    Args:
        residuals: h_0 … h_L, each `[T, d]`; h_l is the input of layer l.

    Returns:
        `block_influence[l]` of layer l, and `angular_distance[n - 1, l]` between the input of
        layer l and the output of n layers. A residual of norm 0 has cosine 0 with any.
    """
    n_layers, (n_tokens, width) = len(residuals) - 1, residuals[0].shape
    size = at_once(n_tokens, PART_BYTES, 8 * width * len(residuals))
    # Double precision: near 1, an error of the cosine is about the square of the angle's error.
    device = torch.device("cpu") if residuals[0].device.type == "mps" else residuals[0].device
    influence = torch.zeros(n_layers, n_tokens)
    angles = torch.zeros(n_layers + 1, n_layers + 1, dtype=torch.float64, device=device)
    first = torch.zeros_like(angles)
    with torch.no_grad():
        for tokens in slices(n_tokens, size):
            part = [residual[tokens].to(device).double() for residual in residuals]
            directions = torch.nn.functional.normalize(torch.stack(part, dim=1), dim=-1, eps=1e-30)
            cosines = (directions @ directions.mT).clamp(-1, 1)
            block_influence = 1 - cosines.diagonal(1, dim1=1, dim2=2)
            influence[:, tokens] = block_influence.T.float().cpu()
            turns = cosines.arccos() / math.pi
            if tokens.start == 0:
                first = turns[0]
            angles += turns.sum(dim=0)
    return Similarity(
        influence.numpy(),
        _by_length(angles / n_tokens),
        _by_length((angles - first) / (n_tokens - 1) if n_tokens > 1 else angles * math.nan),
    )


def _by_length(distances: Tensor) -> np.ndarray:
    """Distances between depths `[L+1, L+1]` as `[L, L]`: row n - 1 is of depths n layers apart."""
    n_layers = len(distances) - 1
    rows = torch.full((n_layers, n_layers), torch.nan)
    for n in range(1, n_layers + 1):
        rows[n - 1, : n_layers + 1 - n] = distances.diagonal(n)
    return rows.numpy()
