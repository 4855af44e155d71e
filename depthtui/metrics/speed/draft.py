"""A model with fewer layers as a draft of itself: how much faster it writes the same text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from depthtui.data.sentence import plural


@dataclass(frozen=True)
class Draft:
    """The draft that is fastest.

    A draft writes some tokens, and one pass of the whole model keeps the first of them that it
    would have chosen itself, and one of its own.

    Attributes:
        layers: layers of the draft.
        drafted: tokens that it writes before each pass of the whole model.
        acceptance: the share of first choices that are the whole model's.
        speed_up: how many times as fast the text is written.
        interval: of the speed-up, over acceptances and single rounds of times; None where prompts
            or tokens are too few.
        most: the upper end of the interval of the fastest draft, whichever that is.
    """

    layers: int
    drafted: int
    acceptance: float
    speed_up: float
    interval: tuple[float, float] | None
    most: float | None

    @property
    def tokens_a_pass(self) -> float:
        """The mean number of tokens that a pass of the whole model yields."""
        return float(tokens_a_pass(np.array(self.acceptance), self.drafted))

    @property
    def is_never_faster(self) -> bool:
        """Whether no draft is faster than the whole model, by the upper end."""
        return self.most is not None and self.most < 1

    @property
    def words(self) -> tuple[str, str]:
        """The result, and how it comes about; a range that holds 1 tells no difference."""
        how = (
            f"with {plural(self.layers, 'layer')}, {plural(self.drafted, 'token')} a draft: "
            f"{self.acceptance:.0%} accepted, {self.tokens_a_pass:.2f} tokens a pass"
        )
        if self.interval is None:
            return "–", f"too few prompts and tokens to say how fast it is {how}"
        low, high = self.interval
        best = f"{self.speed_up:.2f} ({low:.2f} to {high:.2f}) times as fast"
        if self.is_never_faster:
            return "never faster", f"at best {best}, {how}"
        if low <= 1 <= high:
            return "–", f"{low:.2f} to {high:.2f} times as fast, no difference is told, {how}"
        return best, how


def tokens_a_pass(acceptance: np.ndarray, drafted: int) -> np.ndarray:
    """The mean number of tokens of a verification: `(1 - a^(d + 1)) / (1 - a)`, d + 1 where a is 1.

    Each token is taken to be accepted independently of the others (arXiv 2211.17192).
    """
    return np.asarray(sum(acceptance**power for power in range(drafted + 1)))


def speed_ups(acceptance: np.ndarray, share: np.ndarray, verify_share: np.ndarray) -> np.ndarray:
    """How many times as fast a text is written, `[..., drafts, d]` for d = 1 … D tokens a draft.

    Args:
        acceptance: of each draft, `[..., drafts]`.
        share: the time of one token of each draft, by that of the whole model, `[..., drafts]`.
        verify_share: the time of the whole model's pass over 1 … D + 1 tokens, by that over one,
            `[..., D + 1]`.
    """
    drafted = np.arange(1, verify_share.shape[-1])
    powers = np.repeat(acceptance[..., None], len(drafted), axis=-1).cumprod(axis=-1)
    times = drafted * share[..., None] + verify_share[..., None, 1:]
    return np.asarray((1 + powers.cumsum(axis=-1)) / times)


Interval = Callable[[Callable[[np.ndarray], np.ndarray]], tuple[float, float] | None]
"""The interval of a statistic `[resamples]` of acceptances `[resamples, drafts]`."""


def fastest(
    layers: np.ndarray,
    acceptance: np.ndarray,
    ratios: np.ndarray,
    verify_ratios: np.ndarray,
    interval_of: Interval,
) -> Draft | None:
    """The fastest draft; None where there is none.

    Args:
        layers: layers of each draft.
        acceptance: of each draft.
        ratios, verify_ratios: `share` and `verify_share` of `speed_ups` in each round, `[R, …]`.
        interval_of: the interval over prompts or tokens.
    """
    if not len(layers):
        return None
    means = speed_ups(acceptance, np.median(ratios, axis=0), np.median(verify_ratios, axis=0))
    draft, length = np.unravel_index(int(means.argmax()), means.shape)

    def drawn_ups(drawn: np.ndarray, chosen: slice) -> np.ndarray:
        """With each draw of the acceptances, the times of one round, all rounds in turn."""
        rounds = np.arange(len(drawn)) % len(ratios)
        return speed_ups(drawn[:, chosen], ratios[rounds, chosen], verify_ratios[rounds])

    def best(drawn: np.ndarray) -> np.ndarray:
        return drawn_ups(drawn, slice(draft, draft + 1))[:, 0, length]

    def largest(drawn: np.ndarray) -> np.ndarray:
        return drawn_ups(drawn, slice(None)).max(axis=(1, 2))

    most = interval_of(largest)
    return Draft(
        int(layers[draft]),
        int(length) + 1,
        float(acceptance[draft]),
        float(means[draft, length]),
        interval_of(best),
        None if most is None else most[1],
    )
