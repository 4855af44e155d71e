"""Which layer wrote the model's next token: W[tok] . N'(c_l), the norm's scale frozen."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from depthtui.metrics.context import Context
from depthtui.metrics.direct_logits import DirectLogits
from depthtui.metrics.part_bytes import part_bytes
from depthtui.models.cut_weights import rows_of
from depthtui.models.devices import execution_device
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.batching import at_once
from depthtui.tracing.output_direction import freeze, head_weight, no_sum, output_directions

PART_BYTES = 64 << 20
"""Most bytes of the logits of one part of the tokens on a CPU."""


def compute(context: Context, _partial: object) -> DirectLogits:
    """Compute the metric of a run."""
    return direct_logits(context.unembedding, context.residuals)


def direct_logits(unembedding: Unembedding, residuals: Sequence[Tensor]) -> DirectLogits:
    """Divide the logit of the most probable token among the embedding and the layers.

    Given its statistics at h_L the final norm is affine, so the shares add up to the model's
    own logit. The biases of norm and head, which are no layer's, count with the embedding.

    Args:
        unembedding: final norm and LM head.
        residuals: h_0 … h_L, each `[T, d]`; row 0 of the result is h_0's share, row l + 1
            layer l's.

    Raises:
        DepthError: the logit is not such a sum in this architecture.
    """
    weight = head_weight(unembedding)
    with torch.no_grad():
        final = residuals[-1]
        token_ids, logits = most_probable(unembedding, final)
        normed = unembedding.normed(final).float()
        frozen = freeze(unembedding, final, normed)
        output = output_directions(unembedding, frozen, token_ids)
        direction, rows = output.vectors, rows_of(weight, token_ids).float().to(normed.device)
        shares = [output.constants + _dot(residuals[0], direction)]
        for h, h_next in itertools.pairwise(residuals):
            change = h_next.float() - h.to(h_next.device).float()
            shares.append(_dot(change, direction))
        attribution = torch.stack(shares)
        rounding = torch.finfo(final.dtype).eps * (
            (rows * normed).abs().sum(dim=-1) * abs(unembedding.scale) + logits.abs()
        )
        if bool(((attribution.sum(dim=0) - logits).abs() > 8 * rounding).any()):
            raise no_sum("the shares do not add up to the model's own logit")
    return DirectLogits(token_ids.cpu().numpy(), attribution.cpu().numpy())


def most_probable(unembedding: Unembedding, final: Tensor) -> tuple[Tensor, Tensor]:
    """The most probable token of each position and its logit, `[T]` on the head's device."""
    vocabulary = unembedding.logits(final[:1]).shape[-1]
    room = part_bytes(PART_BYTES, execution_device(unembedding.head))
    size = at_once(len(final), room, 4 * vocabulary)
    best = [unembedding.logits(part).max(dim=-1) for part in torch.split(final, size)]
    return torch.cat([top.indices for top in best]), torch.cat([top.values for top in best])


def _dot(vectors: Tensor, direction: Tensor) -> Tensor:
    return (vectors.to(direction.device).float() * direction).sum(dim=-1)
