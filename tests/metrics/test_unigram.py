"""The loss of a unigram: against a loop over the tokens, and in closed form."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from depthtui.metrics.unigram import unigram_loss


def shares(before: list[int], vocabulary: int) -> list[float]:
    """The probability of each token of the vocabulary after some tokens."""
    counts, n = Counter(before), len(before)
    distinct = len(counts)
    rest = distinct / (vocabulary - distinct)
    return [(counts[token] or rest) / (n + distinct) for token in range(vocabulary)]


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_mean_over_tokens_of_a_distribution_over_the_vocabulary(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 7, 20).tolist()
    losses = []
    for place in range(1, len(ids)):
        probabilities = shares(ids[:place], 30)
        assert sum(probabilities) == pytest.approx(1)
        losses.append(-math.log(probabilities[ids[place]]))
    assert unigram_loss(np.array(ids), 30) == pytest.approx(np.mean(losses), rel=1e-12)


def test_a_text_of_different_tokens_is_no_easier_than_a_guess() -> None:
    """The entropy of its counts would be ln 10."""
    loss = unigram_loss(np.arange(10), 49_152)
    assert math.log(49_152) < loss < math.log(49_152) + math.log(2)


def test_a_token_that_comes_again_and_again_costs_ever_less() -> None:
    assert unigram_loss(np.zeros(6, int), 100) == pytest.approx(math.log(6) / 5)


def test_a_single_token_has_none() -> None:
    assert math.isnan(unigram_loss(np.array([3]), 100))
