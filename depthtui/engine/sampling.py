"""Choosing the next token from the model's output."""

from __future__ import annotations

import torch
from torch import Tensor


class Sampler:
    """Chooses tokens one after another.

    The random numbers are drawn on the CPU, and each is looked up in the sorted
    probabilities, so one seed chooses the same tokens on every device, within rounding.

    Args:
        temperature: the divisor of the logits; 0 for the most probable token.
        top_k: the number of tokens to draw from, the most probable ones, and others as probable
            as the last of them; 0 for all.
        top_p: the probability that the most probable ones of these must reach together.
        seed: the seed of the random numbers; its lowest 64 bits count.
    """

    def __init__(self, temperature: float, top_k: int, top_p: float, seed: int) -> None:
        self._temperature = temperature
        self._top_k = top_k
        self._top_p = top_p
        self._random = torch.Generator("cpu").manual_seed(seed % 2**64)

    def choose(self, logits: Tensor) -> int:
        """The id of the next token, from logits or log-probabilities `[V]`."""
        if self._temperature == 0:
            return int(logits.argmax())
        scores = logits.to("cpu").double()
        # Less the largest logit, so that no temperature is too low to divide by.
        scaled = (scores - scores.max()) / self._temperature
        probabilities, ids = scaled.softmax(dim=-1).sort(descending=True, stable=True)
        if 0 < self._top_k < len(ids):
            probabilities = probabilities[probabilities >= probabilities[self._top_k - 1]]
            probabilities = probabilities / probabilities.sum()
        cumulative = probabilities.cumsum(dim=-1)
        n_tokens = int((cumulative < self._top_p).sum().clamp(max=len(cumulative) - 1)) + 1
        draw = torch.rand(1, generator=self._random, dtype=torch.float64) * cumulative[n_tokens - 1]
        place = int(
            torch.searchsorted(cumulative[:n_tokens], draw, right=True).clamp(max=n_tokens - 1)
        )
        return int(ids[place])
