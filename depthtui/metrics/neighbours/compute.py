"""The cosine of successive layers' updates, and the angle of the stream to its end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from depthtui.metrics.context import Context
from depthtui.metrics.neighbours import Neighbours
from depthtui.tracing.batching import at_once, slices

PART_BYTES = 64 << 20
"""Most bytes of one residual of a part of the tokens."""


def compute(context: Context, _partial: object) -> Neighbours:
    """Compute the metric of a run."""
    return neighbours(context.residuals, context.layer_inputs)


def neighbours(
    residuals: Sequence[Tensor], read: Mapping[int, Tensor] = MappingProxyType({})
) -> Neighbours:
    """Compare each layer's update with the next one's, and each depth with the last.

    Args:
        residuals: h_0 … h_L, each `[T, d]`; c_l = h_{l+1} - h_l is the update of layer l.
        read: by layer, its input where it is not h_l.
    """
    n_layers, (n_tokens, width) = len(residuals) - 1, residuals[0].shape
    cosine = torch.zeros(max(0, n_layers - 1), n_tokens)
    angle = torch.zeros(n_layers + 1, n_tokens)
    size = at_once(n_tokens, PART_BYTES, 8 * width)
    with torch.no_grad():
        for tokens in slices(n_tokens, size):
            # The CPU: subtraction and angles need double precision, which MPS lacks.
            last = residuals[-1][tokens].to("cpu").double()
            here, before = residuals[0][tokens].to("cpu").double(), None
            for depth in range(n_layers):
                cosines = torch.cosine_similarity(here, last, dim=-1).clamp(-1, 1)
                angle[depth, tokens] = (cosines.arccos() / math.pi).float()
                after = residuals[depth + 1][tokens].to("cpu").double()
                start = read[depth][tokens].to("cpu").double() if depth in read else here
                update = after - start
                if before is not None:
                    cosines = torch.cosine_similarity(before, update, dim=-1, eps=1e-30)
                    cosine[depth - 1, tokens] = cosines.float()
                here, before = after, update
    return Neighbours(cosine.numpy(), angle.numpy())
