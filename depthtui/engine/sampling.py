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
        top_p: the probability that the tokens to draw from, the most probable ones, must reach.
        seed: the seed of the random numbers; its lowest 64 bits count.
    """

    def __init__(self, temperature: float, top_p: float, seed: int) -> None:
        self._temperature = temperature
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
        reached = probabilities.cumsum(dim=-1)
        n_tokens = int((reached < self._top_p).sum().clamp(max=len(ids) - 1)) + 1
        drawn = torch.rand(1, generator=self._random, dtype=torch.float64) * reached[n_tokens - 1]
        place = int(
            torch.searchsorted(reached[:n_tokens], drawn, right=True).clamp(max=n_tokens - 1)
        )
        return int(ids[place])
