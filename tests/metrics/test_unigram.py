"""The loss of a unigram: against a loop over the tokens, and in closed form."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from depthtui.metrics.unigram import unigram_loss


def probabilities(others: list[int], vocabulary: int) -> list[float]:
    """The probability of each token of the vocabulary, by the counts of some others."""
    counts, n = Counter(others), len(others)
    rest = len(counts) / (vocabulary - len(counts))
    return [(counts[token] or rest) / (n + len(counts)) for token in range(vocabulary)]


@pytest.mark.parametrize("seed", range(5))
def test_each_token_is_predicted_by_the_counts_of_the_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.choice(30, 40, p=np.arange(1, 31) / 465).tolist()
    losses = []
    for place in range(1, len(ids)):
        result = probabilities(ids[1:place] + ids[place + 1 :], 50)
        assert sum(result) == pytest.approx(1)
        losses.append(-math.log(result[ids[place]]))
    assert unigram_loss(np.array(ids), 50) == pytest.approx(np.mean(losses), rel=1e-12)


def test_a_text_of_different_tokens_is_no_easier_than_a_guess() -> None:
    """The entropy of its counts would be ln 10."""
    loss = unigram_loss(np.arange(11), 49_152)
    assert math.log(49_152) < loss < math.log(49_152) + math.log(2)


def test_a_long_text_comes_near_the_entropy_of_its_counts() -> None:
    ids = np.tile(np.arange(16), 500)
    assert unigram_loss(ids, 49_152) == pytest.approx(math.log(16), abs=0.01)


@pytest.mark.parametrize("ids", [[3], [7] * 100, [0, 1, 1, 0] * 20, [0, *range(9)]])
def test_what_has_few_different_tokens_has_none(ids: list[int]) -> None:
    assert math.isnan(unigram_loss(np.array(ids), 100))
