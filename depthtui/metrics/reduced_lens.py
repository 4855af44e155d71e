"""What a lens and its settling are reduced to: read by each metric that is derived from a lens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Annotated, ClassVar

import numpy as np

from depthtui.data.arrays import Shape
from depthtui.data.lens import LensFit
from depthtui.metrics.reduced import BlocksByDepth, ByDepth, ByLayer, Reduced

CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""The confidences at which the early-exit curve is read."""


@dataclass(frozen=True, kw_only=True)
class ReducedSettling(Reduced):
    """How the tokens of one or more prompts settle.

    Attributes:
        divergence: mean over tokens, in nats.
        mean_depth: the mean settling depth.
        late_share: the share of tokens that settle at a depth of at least
            `settling.LATE` times L.
        settled: the share of tokens that have settled at each depth, NaN where a divergence is
            unknown.
    """

    block_fields: ClassVar = {"settled": "settled_blocks"}

    divergence: ByDepth
    mean_depth: float
    late_share: float
    settled: ByDepth
    settled_blocks: BlocksByDepth = None


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
