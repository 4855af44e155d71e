"""The unigram of a prompt's own tokens: a model that knows a text loses less than this."""

from __future__ import annotations

import numpy as np


def unigram_loss(ids: np.ndarray, vocabulary: int) -> float:
    """The mean loss of a unigram that counts a prompt's tokens as they come, in nats.

    A token is predicted from the n tokens before it, K of them distinct: with c / (n + K) where c
    of them are the same, else with an equal share of the remaining K / (n + K) (Witten and Bell
    1991, method C). Like a model it has read what comes before, and nothing else. The entropy of
    all counts is no bar for a short text: it is ln 10 nats for ten different tokens, less than a
    good model loses on them.

    Args:
        ids: `[T]`, the tokens.
        vocabulary: how many tokens there are.

    Returns:
        NaN for fewer than two tokens.
    """
    n = np.arange(len(ids))
    _, kinds = np.unique(ids, return_inverse=True)
    order = np.argsort(kinds, kind="stable")
    starts = np.searchsorted(kinds[order], kinds)
    seen = np.empty(len(ids), np.int64)
    seen[order] = n
    seen -= starts
    distinct = np.cumsum(seen == 0) - (seen == 0)
    others = np.maximum(vocabulary - distinct, 1)
    share = np.where(seen > 0, seen, distinct / others)[1:] / (n + distinct)[1:]
    return float(-np.log(share).mean()) if len(share) else float("nan")
