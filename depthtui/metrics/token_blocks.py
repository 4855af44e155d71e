"""A prompt's tokens in blocks: the units of an interval where there are few prompts."""

from __future__ import annotations

import numpy as np

BLOCK_TOKENS = 4
"""The fewest neighbouring tokens of a block: a token's value depends on the tokens before it."""

MOST_BLOCKS = 8
"""The most blocks of a prompt; a longer prompt has longer blocks, not more."""


DECIMALS = 5
"""Decimals of the means of blocks, which a sweep's records keep as text."""


def block_starts(tokens: int) -> np.ndarray:
    """The first token of each block, where `tokens` tokens are in blocks of nearly equal sizes."""
    count = min(MOST_BLOCKS, max(1, tokens // BLOCK_TOKENS))
    return np.arange(count) * tokens // count


def block_sizes(tokens: int) -> np.ndarray:
    """The number of tokens of each block."""
    return np.diff(block_starts(tokens), append=tokens)


def block_means(values: np.ndarray) -> np.ndarray:
    """The mean over each block's tokens, `[blocks, ...]` in float64, of `[..., tokens]`.

    Rounded: it serves to estimate how far means move.
    """
    tokens = values.shape[-1]
    sums = np.add.reduceat(values, block_starts(tokens), axis=-1, dtype=np.float64)
    return np.moveaxis(np.round(sums / block_sizes(tokens), DECIMALS), -1, 0)
