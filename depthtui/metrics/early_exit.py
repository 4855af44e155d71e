"""Early exit: what would be gained by stopping once the lens is confident."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from depthtui.data.results import LogitLens


@dataclass(frozen=True)
class EarlyExit:
    """An exit at a confidence.

    Attributes:
        confidence: what the lens's first choice must exceed.
        depths: `[T]`, 1 … L: l where a token leaves before layer l, having run l layers;
            L where it runs them all.
        agrees: `[T]`, whether the choice there is the model's own.
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
        """Layers that a token need not run, mean over tokens."""
        return float(np.mean(self.n_layers - self.depths))


def early_exit(lens: LogitLens, confidence: float) -> EarlyExit:
    """Let each token leave at the earliest depth whose first choice is probable enough.

    At least one layer is run: depth 0 reads the embedding, which is sure of the token itself
    where input and output embeddings are tied.

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


def early_exit_curve(
    lens: LogitLens, confidences: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Agreement and layers saved at each confidence, `[n]` both."""
    exits = [early_exit(lens, each) for each in confidences]
    return (
        np.array([each.agreement for each in exits]),
        np.array([each.layers_saved for each in exits]),
    )
