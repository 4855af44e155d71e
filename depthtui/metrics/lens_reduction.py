"""The reduced lens of one prompt, in the same way for the logit lens and the fitted ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Annotated, Any, ClassVar

import numpy as np

from depthtui.data.arrays import Shape
from depthtui.data.lens import FittedLens, LensFit, LogitLens
from depthtui.data.run import RunResult
from depthtui.metrics.early_exit import CONFIDENCES, early_exit
from depthtui.metrics.lens_margin import lens_margin
from depthtui.metrics.margin import answer_margin
from depthtui.metrics.prediction_depth import counts_by_depth, prediction_depth
from depthtui.metrics.reduced import BlocksByDepth, ByDepth, ByLayer, Reduced, token_mean
from depthtui.metrics.settling import ReducedSettling, Settling, reduce_settling


@dataclass(frozen=True, kw_only=True)
class ReducedLens(Reduced):
    """A lens over the tokens of one prompt.

    Attributes:
        kl, overlap, entropy, margin: means over tokens.
        prediction_depths: how many tokens have each prediction depth; zeros where a depth
            was not read.
        agreeing: by confidence of `CONFIDENCES`, the number of tokens whose early exit agrees
            with the output.
        layers_saved: by confidence, the layers that all tokens together save by an early exit.
        agreement: the share of tokens whose first choice is the output's; NaN at a depth that was
            not read.
        answer_margin: see `metrics.margin`; each prompt counts once in a mean; None without one.
    """

    pools: ClassVar = {"answer_margin": partial(np.mean, axis=0)}
    block_fields: ClassVar = {"kl": "kl_blocks", "overlap": "overlap_blocks"}

    kl: ByDepth
    kl_blocks: BlocksByDepth = None
    overlap: ByDepth
    overlap_blocks: BlocksByDepth = None
    entropy: ByDepth
    margin: ByDepth
    prediction_depths: Annotated[np.ndarray, Shape("L+1", dtype=np.int64)]
    agreeing: Annotated[np.ndarray, Shape("C", dtype=np.int64)]
    layers_saved: Annotated[np.ndarray, Shape("C", dtype=np.int64)]
    agreement: ByDepth
    answer_margin: ByDepth | None = None

    def __post_init__(self) -> None:
        if not len(self.agreeing) == len(self.layers_saved) == len(CONFIDENCES):
            raise ValueError(f"early exits of {len(CONFIDENCES)} confidences are expected")


@dataclass(frozen=True, kw_only=True)
class ReducedFittedLens(ReducedLens):
    """A fitted lens over the tokens of one prompt.

    Attributes:
        settling: its distance from the output; for the logit lens this is a metric of its own.
        fit, held_out_kl, logit_held_out_kl: as in `FittedLens`.
    """

    pools: ClassVar = {
        **ReducedLens.pools,
        **dict.fromkeys(("held_out_kl", "logit_held_out_kl"), itemgetter(0)),
    }

    settling: ReducedSettling
    fit: LensFit
    held_out_kl: ByLayer
    logit_held_out_kl: ByLayer

    @property
    def settled(self) -> np.ndarray:
        """The share of tokens that have settled, at each depth."""
        return self.settling.settled

    def over_blocks(self, mean: str) -> np.ndarray | None:
        """The share of tokens that have settled is in the settling."""
        return super().over_blocks(mean) if mean != "settled" else self.settling.over_blocks(mean)


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
