"""How deep each token is decided: the rules applied to every token's own curves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from depthtui.data.depth import Curves
from depthtui.data.generation import TokenDepths
from depthtui.data.lens import LogitLens
from depthtui.data.run_settings import GenerationSettings, SummarySettings
from depthtui.depth.rules import bridged
from depthtui.metrics.early_exit import early_exit
from depthtui.metrics.lens_rules import kl_layers, overlap_layers
from depthtui.metrics.prediction_depth import prediction_depth
from depthtui.metrics.settling import settling_depth


@dataclass(frozen=True)
class TokenDepthMeasure:
    """One measure of how deep a token is decided.

    Attributes:
        name: its attribute of `TokenDepths`.
        title: what people call it.
        meaning: what a depth says, in words.
    """

    name: str
    title: str
    meaning: str


TOKEN_DEPTHS = (
    TokenDepthMeasure("prediction", "prediction depth", "from here on the first choice stays"),
    TokenDepthMeasure("settling", "settling depth", "from here on the lens is close to the output"),
    TokenDepthMeasure("kl", "KL depth", "the first layer whose KL is below the threshold"),
    TokenDepthMeasure("overlap", "overlap depth", "the first layer whose top five overlap enough"),
    TokenDepthMeasure("early_exit", "early exit", "the lens is sure enough to stop here"),
)


def token_depths(
    lens: LogitLens, divergence: np.ndarray, settings: GenerationSettings
) -> TokenDepths:
    """The depths of the N tokens whose columns these are; `divergence` is `[L+1, N]`."""
    leave = early_exit(lens, settings.confidence)
    curves = Curves(kl=lens.kl.T, overlap=lens.overlap.T)
    read = bridged(curves, SummarySettings(lens=settings.lens))
    assert read.kl is not None
    assert read.overlap is not None
    return TokenDepths(
        prediction=prediction_depth(lens).astype(np.float32),
        settling=settling_depth(divergence, settings.settling_threshold).astype(np.float32),
        kl=kl_depths(read.kl.T, settings.kl_threshold),
        overlap=overlap_depths(read.overlap.T, settings.overlap_threshold),
        early_exit=leave.depths.astype(np.float32),
        exit_agrees=leave.agrees,
    )


def kl_depths(kl: np.ndarray, threshold: float) -> np.ndarray:
    """`effective_depth.kl_depth` of every column of `[L+1, N]`; NaN where no layer qualifies."""
    return _known(kl, kl_layers(kl.T, threshold))


def overlap_depths(overlap: np.ndarray, threshold: float) -> np.ndarray:
    """`effective_depth.overlap_depth` of every column of `[L+1, N]`; NaN where none qualifies."""
    return _known(overlap, overlap_layers(overlap.T, threshold))


def _known(curves: np.ndarray, layers: np.ndarray) -> np.ndarray:
    """The layers `[N]` of columns of `[L+1, N]`; NaN where a column is not finite."""
    return np.where(np.isfinite(curves).all(axis=0), layers, np.nan).astype(np.float32)
