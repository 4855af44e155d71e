"""Which layer wrote the token that the model says: W[tok] . N'(c_l), the norm's scale frozen."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from depthtui.errors import DepthError
from depthtui.metrics.context import Context
from depthtui.metrics.direct_logits import DirectLogits
from depthtui.metrics.part_bytes import part_bytes
from depthtui.models.devices import execution_device
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.frozen_norm import FrozenNorm
from depthtui.tracing.parts import at_once

PART_BYTES = 64 << 20
"""Most that the logits of one part of the tokens may take on a CPU."""


def compute(context: Context, _partial: object) -> DirectLogits:
    """The metric of a run."""
    return direct_logits(context.unembedding, context.residuals)


def direct_logits(unembedding: Unembedding, residuals: Sequence[Tensor]) -> DirectLogits:
    """Share the logit of the most probable token out among the embedding and the layers.

    Given its statistics at h_L the final norm is affine, so the shares add up to the model's
    own logit. What is no layer's, the biases of norm and head, counts with the embedding.

    Args:
        unembedding: final norm and LM head.
        residuals: h_0 … h_L, each `[T, d]`; row 0 of the result is h_0's share, row l + 1
            that of layer l.

    Raises:
        DepthError: the logit is not such a sum in this architecture.
    """
    if unembedding.soft_cap:
        raise _no_sum("it caps its logits softly")
    weight = unembedding.head.weight
    if not isinstance(weight, Tensor) or weight.is_meta or not weight.is_floating_point():
        raise _no_sum("the LM head's weights are quantised or not in memory")
    with torch.no_grad():
        final = residuals[-1]
        token_ids, logits = _most_probable(unembedding, final)
        normed = unembedding.normed(final).float()
        frozen = freeze(unembedding, final, normed)
        rows = weight[token_ids].float().to(normed.device)
        bias = getattr(unembedding.head, "bias", None)
        offset = (rows * frozen.offset).sum(dim=-1)
        if isinstance(bias, Tensor):
            offset += bias[token_ids].float().to(offset.device)
        direction = frozen.pull_back(rows) * unembedding.scale
        shares = [offset * unembedding.scale + _dot(residuals[0], direction)]
        for h, h_next in itertools.pairwise(residuals):
            change = h_next.float() - h.to(h_next.device).float()
            shares.append(_dot(change, direction))
        attribution = torch.stack(shares)
        rounding = torch.finfo(final.dtype).eps * (
            (rows * normed).abs().sum(dim=-1) * abs(unembedding.scale) + logits.abs()
        )
        if bool(((attribution.sum(dim=0) - logits).abs() > 8 * rounding).any()):
            raise _no_sum("the shares do not add up to the model's own logit")
    return DirectLogits(token_ids.cpu().numpy(), attribution.cpu().numpy())


def _most_probable(unembedding: Unembedding, final: Tensor) -> tuple[Tensor, Tensor]:
    """The most probable token of each position and its logit, `[T]` on the head's device."""
    vocabulary = unembedding.logits(final[:1]).shape[-1]
    room = part_bytes(PART_BYTES, execution_device(unembedding.head))
    size = at_once(len(final), room, 4 * vocabulary)
    best = [unembedding.logits(part).max(dim=-1) for part in torch.split(final, size)]
    return torch.cat([top.indices for top in best]), torch.cat([top.values for top in best])


def freeze(unembedding: Unembedding, final: Tensor, normed: Tensor) -> FrozenNorm:
    """The final norm with its statistics at `final` `[T, d]`, `normed` its output there.

    Raises:
        DepthError: it is no affine map then.
    """
    if normed.shape[-1] != final.shape[-1]:
        raise _no_sum("what follows its final norm changes the width")
    device = execution_device(unembedding.norm[0]) if unembedding.norm else normed.device
    frozen = FrozenNorm.at(unembedding.normed, final, normed, device)
    if frozen is None:
        raise _no_sum("its final norm is neither an RMS norm nor a layer norm")
    return frozen


def _dot(vectors: Tensor, direction: Tensor) -> Tensor:
    return (vectors.to(direction.device).float() * direction).sum(dim=-1)


def _no_sum(reason: str) -> DepthError:
    return DepthError(f"The model's logits are not a sum over layers: {reason}.")
