"""The unigram of a prompt's own tokens: a model that knows a text has a lower loss."""

from __future__ import annotations

import numpy as np

FEWEST_KINDS = 10
"""The fewest different tokens for a unigram loss: of fewer, a unigram is itself a good model."""


def unigram_loss(ids: np.ndarray, vocabulary: int) -> float:
    """The mean loss of a unigram of the predicted tokens of a prompt, in nats.

    Each token but the first is predicted from the counts of the n others, K of them distinct: with
    c / (n + K) where c of them are the same, else with an equal share of the remaining K / (n + K)
    (Witten and Bell 1991, method C). The entropy of all counts is too low for a short text: it is
    ln 10 nats for ten different tokens, less than a good model's loss on them.

    Args:
        ids: `[T]`, the tokens.
        vocabulary: the number of tokens of the vocabulary.

    Returns:
        NaN where fewer than `FEWEST_KINDS` different tokens are predicted.
    """
    _, counts = np.unique(ids[1:], return_counts=True)
    if len(counts) < FEWEST_KINDS:
        return float("nan")
    same = counts - 1
    # The others of a token that occurs once have one kind fewer.
    distinct = len(counts) - (same == 0)
    share = np.where(same > 0, same, distinct / np.maximum(1, vocabulary - distinct))
    losses = np.log(counts.sum() - 1 + distinct) - np.log(share)
    return float(np.average(losses, weights=counts))
