"""The trend of depth through a text: planted ones, and none."""

from __future__ import annotations

import numpy as np
import pytest

from depthtui.report.written import independent_tokens, text_trend, trend_sentence


def test_the_chance_is_the_share_of_turned_texts_that_differ_as_much() -> None:
    depths = np.random.default_rng(1).integers(0, 5, 37).astype(float)
    apart = []
    for shift in range(37):
        turned = np.roll(depths, shift)
        apart.append(turned[-9:].mean() - turned[:9].mean())
    change = text_trend(depths)
    assert change is not None
    assert change.chance == pytest.approx(np.mean(np.abs(apart) >= abs(apart[0]) - 1e-9))
    assert (change.first, change.last) == (
        pytest.approx(depths[:9].mean()),
        pytest.approx(depths[-9:].mean()),
    )


def test_a_rise_a_fall_and_neither_are_told_apart() -> None:
    rise = np.linspace(0, 4, 60)
    assert trend_sentence(rise).startswith("Depth rises")
    assert trend_sentence(rise[::-1]).startswith("Depth falls")
    assert trend_sentence(np.tile([1, 3], 30)).startswith("Depth neither")
    assert "too short" in trend_sentence(np.ones(23))
    assert "1 token is too short" in trend_sentence(np.ones(1))
    assert "too short" in trend_sentence(np.full(60, np.nan))


def slow_noise(seed: int, n: int, alike: float) -> np.ndarray:
    """Depths without a trend whose neighbours have this correlation."""
    drawn = np.random.default_rng(seed).normal(size=n + 200)
    for place in range(1, len(drawn)):
        drawn[place] += alike * drawn[place - 1]
    return np.round(15 + 3 * drawn[200:] / drawn[200:].std())


def test_alike_neighbours_tell_less() -> None:
    assert independent_tokens(np.full(50, 3.0)) == 50
    assert independent_tokens(np.tile([1.0, 3.0], 25)) == 50
    for alike in (0.0, 0.5, 0.9):
        worth = np.mean([independent_tokens(slow_noise(seed, 2000, alike)) for seed in range(20)])
        assert worth == pytest.approx(2000 * (1 - alike) / (1 + alike), rel=0.15)
    # A line is no likeness of neighbours.
    noise = slow_noise(0, 400, 0.3)
    assert independent_tokens(noise + np.linspace(0, 40, 400)) == pytest.approx(
        independent_tokens(noise), rel=0.05
    )


@pytest.mark.parametrize(("n", "alike"), [(64, 0.0), (64, 0.9), (64, 0.95), (256, 0.8)])
def test_a_text_without_a_trend_is_rarely_said_to_have_one(n: int, alike: float) -> None:
    sentences = [trend_sentence(slow_noise(seed, n, alike)) for seed in range(150)]
    alarms = sum(sentence.startswith(("Depth rises", "Depth falls")) for sentence in sentences)
    assert alarms <= 17  # 5 % are 7.5, and 17 or more come once in a thousand times
    short = [sentence for sentence in sentences if "too short" in sentence]
    assert all("neighbouring tokens are so alike" in sentence for sentence in short)
    assert (len(short) > 140) == (alike >= 0.9)
