"""How far the lens is from the output, symmetrically: Jensen-Shannon divergence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from depthtui.metrics.context import Context
from depthtui.metrics.part_bytes import part_bytes
from depthtui.metrics.settling import Settling
from depthtui.tracing.anatomy import Unembedding, execution_device
from depthtui.tracing.parts import at_once

PART_BYTES = 24 << 20
"""Most that one vocabulary-sized array may take on a CPU; about five are held at a time."""

_BLOCK = 4096


def compute(context: Context, _partial: object) -> Settling:
    """The metric of a run."""
    return divergence(context.unembedding, context.residuals, context.checkpoint)


def divergence(
    unembedding: Unembedding,
    residuals: Sequence[Tensor],
    checkpoint: Callable[[], None] = lambda: None,
) -> Settling:
    """Jensen-Shannon divergence of p_l = softmax(W N(h_l)) and the output p, in nats.

    Args:
        unembedding: final norm and LM head.
        residuals: h_0 … h_L, each `[T, d]`; row l of the result is of the residual
            entering layer l, row L of the output itself and 0.
        checkpoint: called often; raising there ends the reading.
    """
    n_layers, n_tokens = len(residuals) - 1, len(residuals[0])
    values = torch.zeros(n_layers + 1, n_tokens)
    with torch.no_grad():
        vocabulary = unembedding.logits(residuals[-1][:1]).shape[-1]
        room = part_bytes(PART_BYTES, execution_device(unembedding.head))
        size = at_once(n_layers * n_tokens, room, 4 * vocabulary)
        for start in range(0, n_tokens, size):
            tokens = slice(start, min(start + size, n_tokens))
            output = unembedding.logits(residuals[-1][tokens]).softmax(dim=-1)
            depths = max(1, size // len(output))
            for first in range(0, n_layers, depths):
                checkpoint()
                rows = slice(first, min(first + depths, n_layers))
                stacked = torch.stack([h[tokens].to(output.device) for h in residuals[rows]])
                lens = unembedding.logits(stacked).softmax(dim=-1)
                values[rows, tokens] = jensen_shannon(lens, output).to("cpu")
    return Settling(values.numpy())


def jensen_shannon(lens: Tensor, output: Tensor) -> Tensor:
    """The divergence over the last dimension, in nats; overwrites `lens`."""
    parts = [
        _terms(lens[..., columns], output[..., columns]).sum(dim=-1) for columns in blocks_of(lens)
    ]
    return torch.stack(parts).sum(dim=0).clamp(min=0)


def blocks_of(values: Tensor) -> Iterator[slice]:
    """Columns to work on at a time: on a CPU few enough to stay in its cache, else all."""
    width = values.shape[-1]
    size = _BLOCK if values.device.type == "cpu" else width
    return (slice(start, start + size) for start in range(0, width, size))


def _terms(lens: Tensor, output: Tensor) -> Tensor:
    """What each token adds to the divergence: at least 0, and 0 where the two agree.

    With m the mean of both and m (1 ± r) the two themselves, it is
    m ((1 + r) log(1 + r) + (1 - r) log(1 - r)) / 2. Overwrites `lens`.
    """
    tiny = 1e-37
    apart = (lens - output).mul_(0.5)
    middle = lens.add_(output).mul_(0.5)
    apart /= middle.clamp(min=tiny)
    more = (1 + apart).clamp_(min=tiny)
    terms = more.log().mul_(more)
    less = more.neg_().add_(2).clamp_(min=tiny)
    terms += less.log().mul_(less)
    return terms.mul_(middle).div_(2)
