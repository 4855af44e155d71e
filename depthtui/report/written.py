"""A text that a model wrote, in sentences: how it was written, and whether depth rises in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from depthtui.data.run import WrittenAnswer
from depthtui.data.run_settings import Writing
from depthtui.data.sentence import plural

QUARTERS = 4

ENDS = {
    "end": "the model ended it",
    "limit": "cut at the token limit",
    "context": "cut where the model's context ends",
    "user": "stopped",
    "memory": "cut where the memory ran out",
}
"""The end of a text, in words, by `WrittenAnswer.stopped_by`."""

_FEWEST = 24
"""Fewest independent tokens for a trend. Texts of 32 to 1,024 tokens without a trend, of any
autocorrelation up to 0.95, are then reported to have one in no more than 8 of 100 cases."""

_CHANCE = 0.05


@dataclass(frozen=True)
class TextTrend:
    """Whether depth rises or falls from the first quarter of a text to the last.

    Attributes:
        first, last: mean settling depth of the first and the last quarter.
        chance: share of the rotations of the depths, by any number of tokens, in which these
            quarters differ as much: a permutation test that keeps neighbours together.
    """

    first: float
    last: float
    chance: float


def written_words(written: WrittenAnswer) -> str:
    """The number of tokens that a model wrote, how, and the reason for their end."""
    n_tokens, end = plural(len(written.ids), "token"), ENDS.get(written.stopped_by, "stopped")
    return f"{n_tokens} written, {writing_words(written)}; {end}"


def writing_words(written: WrittenAnswer) -> str:
    """How tokens were chosen, such as `temperature 0.7, top-p 0.9, seed 5`."""
    writing = written.writing
    if not writing.temperature:
        return "always the most probable one"
    return f"temperature {writing.temperature:g}, {drawing_words(writing)}"


def drawing_words(writing: Writing) -> str:
    """The limits and the seed of drawing, such as `top-p 0.9, seed 5`."""
    parts = (
        f"top-k {writing.top_k}" if writing.top_k else "",
        f"top-p {writing.top_p:g}" if writing.top_p < 1 else "",
        f"seed {writing.seed}",
    )
    return ", ".join(filter(None, parts))


def text_trend(settling: np.ndarray) -> TextTrend | None:
    """The trend of settling depth `[N]` through a text; None where it is too short to tell."""
    depths = np.asarray(settling, np.float64)
    if np.isnan(depths).any() or independent_tokens(depths) < _FEWEST:
        return None
    size = len(depths) // QUARTERS
    sums = np.cumsum(np.concatenate([[0.0], depths, depths[:size]]))
    # Mean of a quarter that begins at each token, wrapping around the end.
    means = (sums[size:] - sums[:-size])[: len(depths)] / size
    apart = np.roll(means, size) - means
    chance = float(np.mean(np.abs(apart) >= abs(apart[0]) - 1e-9))
    return TextTrend(float(depths[:size].mean()), float(depths[-size:].mean()), chance)


def trend_sentence(settling: np.ndarray) -> str:
    """Whether settling depth `[N]` rises or falls through a text, in a sentence."""
    change = text_trend(settling)
    if change is None:
        return _too_short(np.asarray(settling, np.float64))
    figures = (
        f"mean settling depth {change.first:.1f} in the first quarter, {change.last:.1f} in the "
        f"last (p = {change.chance:.2g})"
    )
    if change.chance > _CHANCE:
        return f"Depth neither rises nor falls as the text goes on: {figures}."
    direction = "rises" if change.last > change.first else "falls"
    return f"Depth {direction} as the text goes on: {figures}."


def independent_tokens(depths: np.ndarray) -> float:
    """The effective number of independent values among these, `[N]`, whose neighbours are alike.

    N (1 - r) / (1 + r), with r the autocorrelation of neighbours around the straight line through
    the values, corrected for its bias of -(2 + 4 r) / N. Between 0 and N.
    """
    n = len(depths)
    if n < 2:
        return float(n)
    place = np.arange(n) - (n - 1) / 2
    around = depths - depths.mean()
    around -= place * (place @ around) / (place @ place)
    power = float(around @ around)
    if power < 1e-9 * n:
        return float(n)
    r = float(around[1:] @ around[:-1]) / power
    r = min(max(r + (2 + 4 * r) / n, 0.0), 1.0)
    return n * (1 - r) / (1 + r)


def _too_short(depths: np.ndarray) -> str:
    n, worth = len(depths), independent_tokens(depths)
    if n < _FEWEST or np.isnan(worth):
        return f"A text of {plural(n, 'token')} is too short to tell whether depth rises or falls."
    return (
        f"A text of {n} tokens is too short to tell whether depth rises or falls: neighbouring "
        f"tokens are so alike that they are worth {worth:.0f} independent ones, and {_FEWEST} are "
        "needed."
    )
