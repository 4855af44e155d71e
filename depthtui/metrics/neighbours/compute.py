"""The cosine of successive layers' updates, and the angle of the stream to its end."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from depthtui.metrics.context import Context
from depthtui.metrics.neighbours import Neighbours


def compute(context: Context, _partial: object) -> Neighbours:
    """The metric of a run."""
    return neighbours(context.replay.residual)


def neighbours(residuals: Sequence[Tensor]) -> Neighbours:
    """Compare each layer's update with the next one's, and each depth with the last.

    Args:
        residuals: h_0 … h_L, each `[T, d]`, of which c_l = h_{l+1} - h_l is what layer l adds.
    """
    n_layers, n_tokens = len(residuals) - 1, len(residuals[0])
    cosine = torch.zeros(max(0, n_layers - 1), n_tokens)
    angle = torch.zeros(n_layers + 1, n_tokens)
    # The CPU: what is subtracted and turned into an angle needs double precision, which MPS lacks.
    last = residuals[-1].to("cpu").double()
    before: Tensor | None = None
    with torch.no_grad():
        for depth, residual in enumerate(residuals):
            here = residual.to("cpu").double()
            angle[depth] = (
                torch.cosine_similarity(here, last, dim=-1).clamp(-1, 1).arccos() / math.pi
            )
            if depth < n_layers:
                update = residuals[depth + 1].to("cpu").double() - here
                if before is not None:
                    cosine[depth - 1] = torch.cosine_similarity(before, update, dim=-1, eps=1e-30)
                before = update
    angle[n_layers] = 0.0
    return Neighbours(cosine.numpy(), angle.numpy())
