"""How an intervention changes the output: KL(p || p~) per token, and whether the choice stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from depthtui.metrics.output_distance import ROW_BYTES
from depthtui.metrics.part_bytes import part_bytes
from depthtui.models.devices import execution_device
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.batching import at_once, slices


class Changes(NamedTuple):
    """Changes of some outputs, float32 on the CPU.

    Attributes:
        loss: change of the loss of the token after each, in nats, `[batch, T - 1]`.
        kl: KL(p || p~), p the clean output, in nats, `[batch, T]`.
        kept: 1 where the most probable token is the clean one, else 0, `[batch, T]`.
    """

    loss: Tensor
    kl: Tensor
    kept: Tensor


class _Clean(NamedTuple):
    """The clean output at some tokens: log-probabilities and probabilities `[tokens, V]`."""

    tokens: slice
    log: Tensor
    chances: Tensor


def outputs_at_once(unembedding: Unembedding, count: int) -> int:
    """How many outputs to compare at a time; memory has each twice, and as probabilities."""
    room = part_bytes(ROW_BYTES, execution_device(unembedding.head))
    return at_once(count, room, 3 * 4 * unembedding.vocab_size)


def log_probabilities(
    unembedding: Unembedding,
    states: Tensor,
    ids: Tensor,
    checkpoint: Callable[[], None] = lambda: None,
) -> Tensor:
    """The log-probabilities of k tokens by each state, `[n, k]` float32 on the CPU, in nats.

    Args:
        unembedding: final norm and LM head.
        states: the last residuals, `[n, d]`.
        ids: the tokens, `[n, k]`.
        checkpoint: called before each part; raising there ends the work.
    """
    parts = []
    with torch.no_grad():
        for part in slices(len(states), outputs_at_once(unembedding, len(states))):
            checkpoint()
            log = unembedding.logits(states[part]).log_softmax(dim=-1)
            parts.append(log.gather(1, ids[part].to(log.device)).float().to("cpu"))
    return torch.cat(parts)


class OutputChange:
    """Compares changed outputs with the clean one at every token.

    Args:
        unembedding: final norm and LM head.
        clean: h_L of the clean run, `[T, d]`.
        ids: the tokens, `[T]`.
    """

    def __init__(self, unembedding: Unembedding, clean: Tensor, ids: Tensor) -> None:
        self._unembedding = unembedding
        self._residual = clean
        self._ids = ids
        self._cached: _Clean | None = None

    @property
    def losses(self) -> Tensor:
        """The clean loss of the token after each, in nats, `[T - 1]` float32 on the CPU."""
        count = len(self._residual)
        parts = [
            self._losses(self._clean(part).log[None], part)[0]
            for part in slices(count, outputs_at_once(self._unembedding, count))
        ]
        return torch.cat(parts)[:-1].to("cpu")

    @property
    def are_first(self) -> Tensor:
        """Where the token after each is the clean output's first choice: 1, else 0, `[T - 1]`."""
        count, parts = len(self._residual), []
        for part in slices(count, outputs_at_once(self._unembedding, count)):
            log = self._clean(part).log
            following = self._ids.roll(-1)[part].to(log.device)
            parts.append((log.argmax(dim=-1) == following).float())
        return torch.cat(parts)[:-1].to("cpu")

    def __call__(self, changed: Tensor) -> Changes:
        """The changes of the outputs of `changed`, h_L of some runs, `[batch, T, d]`."""
        batch, count, _ = changed.shape
        changes = torch.empty(len(Changes._fields), batch, count)
        size = outputs_at_once(self._unembedding, batch * count)
        for part in slices(count, size):
            clean = self._clean(part)
            choices, losses = clean.log.argmax(dim=-1), self._losses(clean.log[None], part)
            rows = max(1, size // (part.stop - part.start))
            for first in range(0, batch, rows):
                here = slice(first, first + rows), part
                log = self._unembedding.logits(changed[here]).log_softmax(dim=-1)
                loss = self._losses(log, part) - losses
                same_choice = (log.argmax(dim=-1) == choices).float()
                # In place: where memory is short, only one output fits beside the clean one.
                kl = log.neg_().add_(clean.log).mul_(clean.chances).sum(dim=-1)
                # Rounding alone can make it negative. One transfer, since each waits for a GPU.
                changes[:, *here] = torch.stack([loss, kl.clamp_(min=0), same_choice]).to("cpu")
        loss, kl, same_choice = changes
        return Changes(loss[:, :-1], kl, same_choice)

    def _clean(self, tokens: slice) -> _Clean:
        """The clean output at some tokens; kept for the next call."""
        if self._cached is None or self._cached.tokens != tokens:
            self._cached = None
            log = self._unembedding.logits(self._residual[tokens]).log_softmax(dim=-1)
            self._cached = _Clean(tokens, log, log.exp())
        return self._cached

    def _losses(self, log: Tensor, tokens: slice) -> Tensor:
        """The losses of the tokens after these, `[batch, tokens]`; token 0's after the last."""
        following = self._ids.roll(-1)[tokens].to(log.device).expand(len(log), -1)
        return -log.gather(-1, following[..., None])[..., 0]
