"""How far an intervention moves the output: |p - p~|_2 per token (paper, metrics 2 and 4)."""

from __future__ import annotations

import torch
from torch import Tensor

from depthtui.metrics.part_bytes import part_bytes
from depthtui.models.devices import execution_device
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.batching import at_once, slices

ROW_BYTES = 64 << 20
"""Most bytes of the probabilities of one part on a CPU."""


class OutputDistance:
    """Compares changed outputs with the clean one at some tokens.

    Args:
        unembedding: final norm and LM head.
        clean: h_L of the clean run at these tokens, `[tokens, d]`.
    """

    def __init__(self, unembedding: Unembedding, clean: Tensor) -> None:
        self._unembedding = unembedding
        self._clean = clean
        self._cached: tuple[slice, Tensor] | None = None

    def __call__(self, changed: Tensor, first: int = 0) -> Tensor:
        """The distances of `changed` `[batch, tokens, d]`, whose tokens begin at `first`.

        Returns:
            `[batch, tokens]` float32, at most sqrt(2).
        """
        batch, tokens, _ = changed.shape
        distances = torch.empty(batch, tokens)
        room = part_bytes(ROW_BYTES, execution_device(self._unembedding.head))
        size = at_once(batch * tokens, room, 4 * self._unembedding.vocab_size)
        for part in slices(tokens, size):
            clean = self._probabilities(slice(first + part.start, first + part.stop))
            rows = max(1, size // (part.stop - part.start))
            for row in range(0, batch, rows):
                probabilities = self._unembedding.logits(changed[row : row + rows, part]).softmax(
                    dim=-1
                )
                far = torch.linalg.vector_norm(probabilities.sub_(clean), dim=-1)
                distances[row : row + rows, part] = far.to("cpu")
        return distances

    def _probabilities(self, tokens: slice) -> Tensor:
        """The clean output at some tokens, `[tokens, V]`; kept for the next call."""
        if self._cached is None or self._cached[0] != tokens:
            self._cached = None
            self._cached = tokens, self._unembedding.logits(self._clean[tokens]).softmax(dim=-1)
        return self._cached[1]
