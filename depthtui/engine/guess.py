"""The guess without context, a model's mean output over some texts, and its gain over it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from depthtui.metrics.output_change import OutputChange, outputs_at_once
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.batching import slices
from depthtui.tracing.replay import Replay

_UNIFORM = 1e-3
"""The share of the uniform distribution in the guess."""


def loss_by_guess(unembedding: Unembedding, texts: Iterable[Replay]) -> np.ndarray:
    """The loss of each token of the vocabulary by guesses without context, `[3, V]` in nats.

    A guess is the mean output over all tokens but token 0, with a thousandth of the uniform
    distribution; the second and third are of every second text.

    Args:
        unembedding: final norm and LM head.
        texts: the clean run of each text of two tokens or more.
    """
    chances = torch.zeros(2, unembedding.vocab_size, dtype=torch.float64)
    tokens = torch.zeros(2, 1, dtype=torch.float64)
    for number, text in enumerate(texts):
        half = number % 2
        last = text.states[-1][1:]
        for part in slices(len(last), outputs_at_once(unembedding, len(last))):
            of_part = unembedding.logits(last[part]).softmax(dim=-1).sum(dim=0)
            chances[half] += of_part.to("cpu", torch.float64)
        tokens[half] += len(last)
    mean = torch.cat([chances.sum(dim=0, keepdim=True) / tokens.sum(), chances / tokens])
    uniform = _UNIFORM / mean.shape[1]
    return (-((1 - _UNIFORM) * mean + uniform).log()).float().numpy()


def gain_over_guess(unembedding: Unembedding, texts: Sequence[Replay]) -> float:
    """A model's knowledge of a token of some texts, in nats: the loss that context saves.

    The guess is the model's mean output over the same texts; arguments as in `loss_by_guess`.
    """
    guess = loss_by_guess(unembedding, texts)[0]
    saved = [
        # The loss of token 1 is not scored: token 0 alone predicts it.
        guess[text.ids[2:].cpu().numpy()]
        - OutputChange(unembedding, text.states[-1], text.ids).losses.numpy()[1:]
        for text in texts
    ]
    return float(np.concatenate(saved).mean(dtype=np.float64))
