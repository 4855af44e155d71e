"""How well a lens reads texts that it was not fitted on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.batching import at_once, slices

TOKENS = 128
"""How many tokens of the held-out texts a lens is tested on."""

_PART_BYTES = 128 << 20


@dataclass(frozen=True)
class HeldOutTokens:
    """Residuals at some tokens on which nothing is fitted.

    Attributes:
        residuals: h_0 … h_L, each `[N, d]`.
        texts: the number of texts.
    """

    residuals: Sequence[Tensor]
    texts: int

    @classmethod
    def read(
        cls,
        texts: Sequence[Tensor],
        residuals_of: Callable[[Tensor], Sequence[Tensor]],
        tokens: int = TOKENS,
    ) -> HeldOutTokens:
        """Read tokens spread over the texts, without the first of each text.

        Args:
            texts: ids, each `[T]`.
            residuals_of: a text's h_0 … h_L, each `[T, d]`.
            tokens: the most tokens to read.
        """
        places = [(text, place) for text, ids in enumerate(texts) for place in range(1, len(ids))]
        sampled = np.unique(np.linspace(0, len(places) - 1, min(tokens, len(places))).astype(int))
        rows: list[list[Tensor]] = []
        for text, ids in enumerate(texts):
            text_places = [places[number][1] for number in sampled if places[number][0] == text]
            if text_places:
                rows.append([residual[text_places].clone() for residual in residuals_of(ids)])
        return cls([torch.cat(parts) for parts in zip(*rows, strict=True)], len(texts))

    def output(self, unembedding: Unembedding) -> Tensor:
        """log p of the model's own output, `[N, V]`."""
        return unembedding.logits(self.residuals[-1]).log_softmax(dim=-1)


def kl_to_output(unembedding: Unembedding, residual: Tensor, output: Tensor) -> float:
    """Mean KL(p_l || p) in nats of rows `[N, d]` at one depth; `output` is log p `[N, V]`."""
    size = at_once(len(residual), _PART_BYTES, 4 * output.shape[-1])
    total = 0.0
    with torch.inference_mode():
        for part in slices(len(residual), size):
            lens = unembedding.logits(residual[part]).log_softmax(dim=-1)
            # In place: another `[N, V]` takes as long to allocate as to compute.
            terms = lens.exp().mul_(lens.sub_(output[part].to(lens.device)))
            total += float(terms.sum(dim=-1).clamp(min=0).sum())
    return total / len(residual)
