"""How far the lens is from the output, symmetrically: Jensen-Shannon divergence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from depthtui.metrics.context import Context
from depthtui.metrics.logit_lens.compute import Logits, read_lens
from depthtui.metrics.part_bytes import part_bytes
from depthtui.metrics.settling import Settling
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.batching import at_once, slices

PART_BYTES = 24 << 20
"""Most bytes of one vocabulary-sized array on a CPU; a reduction needs a few."""

_BLOCK = 4096


def compute(context: Context, _partial: object) -> Settling:
    """Compute the metric of a run."""
    return divergence(context.unembedding, context.readable, context.checkpoint)


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
        checkpoint: called often; an error raised there ends the reading.
    """
    n_tokens = len(residuals[0])
    reducer = Divergence(len(residuals), n_tokens, checkpoint)
    # Values of the lens itself are not kept, so the ids do not matter.
    no_ids = torch.zeros(n_tokens, dtype=torch.int64)
    read_lens(unembedding, residuals, no_ids, 1, None, checkpoint, reducer.add)
    return reducer.value


class Divergence:
    """Reduces the logits that a lens reads to their divergence from the output's, part by part.

    Args:
        depths, tokens: their numbers, L + 1 and T.
        checkpoint: called often; an error raised there ends the reading.
    """

    def __init__(
        self, depths: int, tokens: int, checkpoint: Callable[[], None] = lambda: None
    ) -> None:
        self._values = torch.zeros(depths, tokens)
        self._checkpoint = checkpoint

    @property
    def value(self) -> Settling:
        """The metric, once all parts are added; at depth L it is 0."""
        return Settling(self._values.numpy())

    def add(self, first: int, from_token: int, lens: Logits, output: Logits) -> None:
        """Add the logits of some depths `[depths, tokens, V]`; the output's are `[tokens, V]`."""
        n_depths, n_tokens, vocabulary = lens.values.shape
        room = part_bytes(PART_BYTES, lens.values.device)
        size = at_once(n_depths * n_tokens, room, 4 * vocabulary)
        for tokens in slices(n_tokens, size):
            p = output[tokens].probabilities()
            for depths in slices(n_depths, max(1, size // len(p))):
                self._checkpoint()
                part = lens[depths, tokens]
                terms = [
                    jensen_shannon(part.probabilities(columns), p[:, columns])
                    for columns in blocks_of(p)
                ]
                rows = slice(first + depths.start, first + depths.stop)
                columns = slice(from_token + tokens.start, from_token + tokens.stop)
                self._values[rows, columns] = torch.stack(terms).sum(dim=0).to("cpu")


def blocks_of(values: Tensor) -> Iterator[slice]:
    """Columns to work on at a time: on a CPU few enough to stay in its cache, else all."""
    width = values.shape[-1]
    return slices(width, _BLOCK if values.device.type == "cpu" else width)


def jensen_shannon(lens: Tensor, output: Tensor) -> Tensor:
    """The divergence of some columns `[..., columns]`, in nats; overwrites `lens`.

    With m the mean of both and m (1 ± r) the two themselves, each column adds
    m ((1 + r) log(1 + r) + (1 - r) log(1 - r)) / 2: 0 where the two agree.
    """
    tiny = 1e-37
    middle = torch.lerp(lens, output, 0.5)
    more = lens.div_(middle.clamp(min=tiny))
    less = (2 - more).clamp_(min=tiny)
    more.clamp_(min=tiny)
    terms = more.log().mul_(more).addcmul_(less.log(), less)
    return torch.linalg.vecdot(terms, middle).div_(2).clamp_(min=0)
