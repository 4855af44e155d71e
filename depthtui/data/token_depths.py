"""The depth of each token of a prompt or of a text, by several measures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class TokenDepths:
    """The depths of N tokens, by several measures.

    All arrays are `[N]`, float32: l is the residual entering layer l, L the model's output;
    NaN where a rule finds no layer.

    Attributes:
        prediction: first l from which on the lens's first choice stays the model's own.
        settling: first l from which on the divergence of lens and output stays below the
            threshold.
        kl: the paper's KL rule on the token's own curve.
        overlap: the paper's overlap rule on the token's own curve.
        early_exit: first l, after at least one layer, at which the lens is sure enough.
        exit_agrees: whether the lens's choice at `early_exit` is the model's own; bool.
    """

    prediction: np.ndarray
    settling: np.ndarray
    kl: np.ndarray
    overlap: np.ndarray
    early_exit: np.ndarray
    exit_agrees: np.ndarray
