"""Reduces a lens over one prompt, in the same way for the logit lens and the fitted ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from depthtui.data.lens import FittedLens, LogitLens
from depthtui.data.run import RunResult
from depthtui.metrics.early_exit import early_exit
from depthtui.metrics.lens_margin import lens_margin
from depthtui.metrics.margin import answer_margin
from depthtui.metrics.prediction_depth import counts_by_depth, prediction_depth
from depthtui.metrics.reduced import token_mean
from depthtui.metrics.reduced_lens import CONFIDENCES, ReducedFittedLens, ReducedLens
from depthtui.metrics.settling import Settling, reduce_settling


def agreement(first_choices: np.ndarray) -> np.ndarray:
    """The share of first choices `[L+1, T]` that are the output's, `[L+1]`; NaN where unread."""
    is_read = (first_choices >= 0) & (first_choices[-1] >= 0)
    share = (first_choices == first_choices[-1]).mean(axis=1)
    return np.where(is_read.all(axis=1), share, np.nan)


def reduce_lens(lens: LogitLens, run: RunResult, tokens: slice) -> ReducedLens | None:
    """A lens of a run over the tokens that count; None where there are none."""
    if not lens.kl[:, tokens].size:
        return None
    depths = np.zeros(len(lens.kl), np.int64)
    if lens.is_read:
        depths = counts_by_depth(prediction_depth(lens)[tokens], len(lens.kl))
    exits = [early_exit(lens, confidence) for confidence in CONFIDENCES]
    values: dict[str, Any] = {
        "agreement": agreement(lens.top_ids[:, tokens, 0]),
        "margin": token_mean(lens_margin(lens)[:, tokens]),
        "prediction_depths": depths,
        "agreeing": np.array([leaving.agrees[tokens].sum() for leaving in exits]),
        "layers_saved": np.array(
            [(leaving.n_layers - leaving.depths[tokens]).sum() for leaving in exits]
        ),
        "answer_margin": answer_margin(lens, run),
    }
    if not isinstance(lens, FittedLens):
        return ReducedLens.over(lens, run, tokens, **values)
    settling = reduce_settling(Settling(lens.divergence), run, tokens)
    return ReducedFittedLens.over(lens, run, tokens, settling=settling, **values)
