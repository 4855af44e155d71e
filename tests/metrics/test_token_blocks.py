"""A prompt's tokens in blocks."""

from __future__ import annotations

import numpy as np
import pytest

from depthtui.metrics.token_blocks import BLOCK_TOKENS, MOST_BLOCKS, block_means, block_sizes


@pytest.mark.parametrize("tokens", [1, 3, 4, 7, 8, 15, 31, 32, 33, 300])
def test_blocks_are_neighbours_of_four_tokens_or_more_and_few(tokens: int) -> None:
    sizes = block_sizes(tokens)
    assert sizes.sum() == tokens
    assert len(sizes) == min(MOST_BLOCKS, max(1, tokens // BLOCK_TOKENS))
    assert sizes.min() >= min(BLOCK_TOKENS, tokens)
    assert sizes.max() - sizes.min() <= 1


def test_each_mean_is_of_its_own_tokens() -> None:
    values = np.random.default_rng(0).normal(size=(3, 18)).astype(np.float32)
    result = block_means(values)
    first = 0
    for mean, size in zip(result, block_sizes(18), strict=True):
        for row in range(3):
            by_hand = sum(float(value) for value in values[row, first : first + size]) / size
            assert mean[row] == pytest.approx(by_hand, abs=1e-5)
        first += size
    assert block_means(values[0]).shape == (4,)
