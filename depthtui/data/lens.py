"""What a lens reads at each depth, of a run or of a generated text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Generic, Self, TypeVar

import numpy as np

from depthtui.data.arrays import MetricResult, Shape

OVERLAP_K = 5
"""The overlap compares the top five tokens (paper, metric 3)."""

Array = TypeVar("Array")


@dataclass
class LensValues(Generic[Array]):
    """The lens's quantities, as arrays of NumPy or of torch; the first dimension is depth.

    p_l is what the lens reads off the residual entering layer l, p the model's own output.

    Attributes:
        kl: KL(p_l || p) in nats.
        overlap: share of the final top five in the lens's top five.
        entropy: entropy of p_l in nats.
        top_ids: token ids, most probable first; -1 unknown.
        top_probabilities: of these tokens.
        next_log_probability: log p_l of the token that comes next; NaN where none does.
    """

    kl: Annotated[Array, Shape("L+1", "T")]
    overlap: Annotated[Array, Shape("L+1", "T")]
    entropy: Annotated[Array, Shape("L+1", "T")]
    top_ids: Annotated[Array, Shape("L+1", "T", "k", dtype=np.int32)]
    top_probabilities: Annotated[Array, Shape("L+1", "T", "k")]
    next_log_probability: Annotated[Array, Shape("L+1", "T")]


@dataclass
class LogitLens(LensValues[np.ndarray], MetricResult):
    """The model's output read off the residual stream (paper, metric 3).

    Row l is the residual entering layer l, row L the model's own output: KL 0, overlap 1.
    `next_log_probability` is of the prompt's own next token; its row L gives the model's loss.

    Attributes:
        vocabulary: the raw text of every id in `top_ids`.
    """

    vocabulary: dict[int, str] = field(default_factory=dict)

    def put(self, first: int, rows: Self, first_token: int = 0) -> None:
        """Fill in the depths from `first` on, at the tokens from `first_token` on."""
        super().put(first, rows, first_token)
        self.vocabulary.update(rows.vocabulary)
