"""The length of vectors whose squares may be beyond float32."""

from __future__ import annotations

import torch
from torch import Tensor


def norm(vectors: Tensor) -> Tensor:
    """The Euclidean norm over the last dimension, `[...]` float32.

    NaN where an element is not finite, so that no share of it passes for 0.
    """
    vectors = vectors.float()
    norms = torch.linalg.vector_norm(vectors, dim=-1)
    # A look at the values would make a GPU wait.
    if norms.device.type == "cpu" and norms.isfinite().all():
        return norms
    largest = vectors.abs().amax(dim=-1, keepdim=True).clamp(min=torch.finfo().tiny)
    scaled = largest[..., 0] * torch.linalg.vector_norm(vectors / largest, dim=-1)
    return norms.where(norms.isfinite(), scaled)
