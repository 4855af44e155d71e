"""Early exit: the gain from stopping once the lens is confident."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from depthtui.data.lens import LogitLens
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced_lens import CONFIDENCES, ReducedLens
from depthtui.metrics.spec import Metric

NAME = "early_exit"

CONFIDENCE = 0.9
"""The confidence that is reported in words."""


@dataclass(frozen=True)
class EarlyExit:
    """An exit at a confidence.

    Attributes:
        confidence: the probability that the lens's first choice must exceed.
        depths: `[T]`, 1 … L: l where a token leaves before layer l, having run l layers;
            L where it runs all layers.
        agrees: `[T]`, whether the first choice at that depth is the model's own.
        n_layers: L.
    """

    confidence: float
    depths: np.ndarray
    agrees: np.ndarray
    n_layers: int

    @property
    def agreement(self) -> float:
        """The share of tokens whose choice is the model's own."""
        return float(np.mean(self.agrees))

    @property
    def layers_saved(self) -> float:
        """The mean number of layers that a token need not run."""
        return float(np.mean(self.n_layers - self.depths))


def early_exit(lens: LogitLens, confidence: float) -> EarlyExit:
    """Let each token leave at the earliest depth whose first choice is probable enough.

    At least one layer is run: at depth 0 the lens reads the embedding, which gives the token itself
    a high probability where input and output embeddings are tied.

    Args:
        lens: row l is the residual entering layer l, row L the output.
        confidence: the probability that must be exceeded, 0 to 1.
    """
    top, n_layers = lens.top_ids[:, :, 0], len(lens.top_ids) - 1
    sure = lens.top_probabilities[1:n_layers, :, 0] > confidence
    sure = np.concatenate([sure, np.ones((1, sure.shape[1]), bool)])
    depths = 1 + sure.argmax(axis=0)
    choice = np.take_along_axis(top, depths[None], axis=0)[0]
    return EarlyExit(confidence, depths, choice == top[-1], n_layers)


def _at_confidence(lens: ReducedLens) -> tuple[float, float]:
    """Agreement and layers saved at `CONFIDENCE`, means over tokens."""
    place = CONFIDENCES.index(CONFIDENCE)
    return lens.agreeing[place] / lens.tokens, lens.layers_saved[place] / lens.tokens


def _summary(lens: ReducedLens, pooled: Pooled) -> dict[str, Any]:
    agreement, saved = lens.agreeing / lens.tokens, lens.layers_saved / lens.tokens
    return {"confidence": CONFIDENCES, "agreement": agreement, "layers_saved": saved}


def _means(lens: ReducedLens, pooled: Pooled) -> dict[str, float]:
    agreement, saved = _at_confidence(lens)
    return {f"layers saved at {CONFIDENCE:g}": saved, f"agreement at {CONFIDENCE:g}": agreement}


METRIC = Metric(
    name=NAME,
    title="Early exit",
    description="The layers that early exit saves at a confidence, and the tokens that it changes.",
    formula="the first depth where the lens's first choice reaches the confidence",
    reading=(
        "Agreement: the share of tokens that stay the same. Saved: layers that would not run, "
        "per token."
    ),
    look_for="The lowest confidence at which agreement is still near 100 %.",
    source="Schuster et al., arXiv 2207.07061",
    stage="derived",
    derived_from="logit_lens",
    of_lens=True,
    summary=_summary,
    means=_means,
)
