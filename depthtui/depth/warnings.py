"""Warnings that a reader of a verdict must know before its counts."""

from __future__ import annotations

import math

import numpy as np

from depthtui.data.sentence import plural
from depthtui.depth.effective_depth import NOT_FINITE
from depthtui.metrics import kept
from depthtui.metrics.pooling import FEWEST_TOKENS, Pooled
from depthtui.metrics.reduced import weighted_mean

_ROUNDING = 1e-4
"""Nats by which the loss of a uniform output may be below ln V: it is a sum in float32."""


def no_verdict(reading: Pooled) -> str:
    """Why a reading allows no verdict, in a sentence; empty where it allows one."""
    if not is_finite(reading):
        return "No verdict: the model's values are not finite (NaN or infinite)."
    if reading.is_too_short:
        scored = plural(reading.n_scored, "scored token")
        return f"Too short: no verdict on {scored}, {FEWEST_TOKENS} are needed."
    return ""


def is_finite(reading: Pooled) -> bool:
    """Whether all known values of the model are finite."""
    return all(estimate.reason != NOT_FINITE for estimate in reading.depths)


def warnings_of(reading: Pooled) -> tuple[str, ...]:
    """The warnings before the verdict of a reading, in sentences."""
    warning = knows_nothing(reading)
    return (warning,) if warning else ()


def knows_nothing(reading: Pooled) -> str:
    """The warning if the model's loss is no better than a guess's, or worse than a unigram's.

    Empty where what is kept was measured: the headline is then of what the model knows, or has the
    reason why it knows too little.
    """
    if reading.get(kept.METRIC) is not None:
        return ""
    prompts = [prompt for prompt in reading.prompts if np.isfinite(prompt.loss)]
    loss, unigram = (
        weighted_mean((getattr(prompt, name), prompt.n_tokens - 1) for prompt in prompts)
        for name in ("loss", "unigram_loss")
    )
    vocabulary = reading.model.vocab_size
    guess = math.log(vocabulary)
    if loss > guess - _ROUNDING:
        bar = f"no better than a guess among its {vocabulary:,} tokens, {guess:.2f} nats (ln V)"
    elif loss > unigram and all(np.isfinite(prompt.unigram_loss) for prompt in prompts):
        bar = f"worse than a unigram of the other tokens, {unigram:.2f} nats"
    else:
        return ""
    text = "this text" if len(reading.prompts) == 1 else "these texts"
    return (
        f"The model knows nothing of {text}, so no count means anything: its loss of {loss:.2f} "
        f"nats a token is {bar}."
    )
