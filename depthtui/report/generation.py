"""Depth over a generated text: means, quarters, and whether depth rises."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from depthtui.data.generation import Continuation, Generation
from depthtui.data.lens import LensFit
from depthtui.data.lens_view import fitted_words, lens_title
from depthtui.metrics.pooling import FEWEST_TOKENS
from depthtui.report.token_depths import QUARTERS

TREND = "settling"
"""The measure whose rise or fall is reported; every token has it."""

ENDS = {
    "end": "the model ended it",
    "limit": "cut at the token limit",
    "context": "cut where the model's context ends",
    "user": "stopped",
    "memory": "cut where the memory ran out",
}
"""The end of a text, in words, by `Generation.stopped_by`."""

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


def text_trend(text: Continuation) -> TextTrend | None:
    """The trend of depth through a text; None where the text is too short to tell."""
    depths = np.asarray(getattr(text.depths, TREND), np.float64)
    if np.isnan(depths).any() or independent_tokens(depths) < _FEWEST:
        return None
    size = len(depths) // QUARTERS
    sums = np.cumsum(np.concatenate([[0.0], depths, depths[:size]]))
    # Mean of a quarter that begins at each token, wrapping around the end.
    means = (sums[size:] - sums[:-size])[: len(depths)] / size
    apart = np.roll(means, size) - means
    chance = float(np.mean(np.abs(apart) >= abs(apart[0]) - 1e-9))
    return TextTrend(float(depths[:size].mean()), float(depths[-size:].mean()), chance)


def trend_sentence(text: Continuation) -> str:
    """Whether depth rises or falls through the text, in a sentence."""
    change = text_trend(text)
    if change is None:
        return _too_short(np.asarray(getattr(text.depths, TREND), np.float64))
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
        return f"A text of {n} tokens is too short to tell whether depth rises or falls."
    return (
        f"A text of {n} tokens is too short to tell whether depth rises or falls: neighbouring "
        f"tokens are so alike that they are worth {worth:.0f} independent ones, and {_FEWEST} are "
        "needed."
    )


def exit_sentence(generation: Generation) -> str:
    """The layers that early exit would save, in a sentence."""
    text, n_layers = generation.continuation, generation.model.n_layers
    if len(text) < FEWEST_TOKENS:
        return f"A text of {len(text)} tokens is too short to tell the gain of early exit."
    depths = text.depths
    saved = float(np.mean(n_layers - depths.early_exit))
    return (
        f"Early exit at a confidence of {generation.settings.confidence:g} saves {saved:.1f} of "
        f"{n_layers} layers a token and gives the same token in {np.mean(depths.exit_agrees):.0%}."
    )


def about(generation: Generation) -> str:
    """The number of generated tokens, their sampling, and the reason for their end."""
    settings, n_tokens = generation.settings, len(generation.continuation)
    top_k = f"top-k {settings.top_k}, " if settings.top_k else ""
    how = (
        f"temperature {settings.temperature:g}, {top_k}top-p {settings.top_p:g}, "
        f"seed {settings.seed}"
        if settings.temperature
        else "always the most probable token"
    )
    end = ENDS.get(generation.stopped_by, "unfinished")
    return f"{n_tokens} tokens after a prompt of {len(generation.tokens)}; {how}; {end}."


def lens_note(fit: LensFit) -> str:
    """The fitted lens that depths are read through, in a sentence."""
    return f"Read through the {lens_title(fit.kind)}, {fitted_words(fit)}."
