"""The readings of a lens at each depth, of a run or of a generated text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Generic, Self, TypeVar

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run_settings import LENSES as LENSES

OVERLAP_K = 5
"""The overlap compares the top five tokens (paper, metric 3)."""

TOKENS_A_WIDTH = 10
"""Tokens per dimension of the residual stream that determine an affine map well."""

Array = TypeVar("Array")


@dataclass
class LensValues(Generic[Array]):
    """The lens's quantities, as arrays of NumPy or of torch; the first dimension is depth.

    p_l is the lens's reading of the residual entering layer l, p the model's own output.

    Attributes:
        kl: KL(p_l || p) in nats.
        overlap: share of the final top five in the lens's top five.
        entropy: entropy of p_l in nats.
        top_ids: token ids, most probable first; -1 unknown.
        top_probabilities: probabilities of these tokens.
        next_log_probability: log p_l of the next token; NaN where there is none.
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

    @property
    def tokens_read(self) -> np.ndarray:
        """`[T]`, whether every depth has been read at a token; the output is the first."""
        return np.asarray((self.top_ids[:, :, 0] >= 0).all(axis=0))

    @property
    def is_read(self) -> bool:
        """Whether every depth has been read at every token."""
        return bool(self.tokens_read.all())

    @property
    def is_finished(self) -> bool:
        """Whether every depth has been read and compared with the output, at the end of a run."""
        is_compared = np.isfinite(self.kl).any() or not np.isfinite(self.entropy).any()
        return self.is_read and bool(is_compared)

    @property
    def listed_ids(self) -> list[int]:
        """The ids in `top_ids`, ascending, each once."""
        return [id_ for id_ in np.unique(self.top_ids).tolist() if id_ >= 0]

    def put(self, first: int, rows: Self, from_token: int = 0) -> None:
        """Fill in the depths from `first` on, at the tokens from `from_token` on."""
        super().put(first, rows, from_token)
        self.vocabulary.update(rows.vocabulary)

    def with_tokens(self, first: int, part: Self) -> Self:
        """A copy that has a part's values at the tokens from `first` on."""
        result = super().with_tokens(first, part)
        result.vocabulary = {**self.vocabulary, **part.vocabulary}
        return result

    def forget(self, depths: Iterable[int]) -> None:
        """Make the readings at some depths unknown, such as where a fitted lens has no map."""
        n_tokens, top_k = self.top_ids.shape[1:]
        unknown = LogitLens.unknown(0, n_tokens, top_k)
        for depth in depths:
            for name in LogitLens.shapes():
                getattr(self, name)[depth] = getattr(unknown, name)[0]


@dataclass(frozen=True)
class LensFit:
    """How a lens was fitted.

    Attributes:
        kind: `affine` or `jacobian`.
        source: source of the calibration texts: a file's name, `written by the model`.
        texts: number of texts that it was fitted on; 0 where unknown.
        tokens: number of their tokens that were used; 0 where unknown.
        ridge: weight of the pull towards the identity; None where there is none.
        held_out_texts: number of further texts that its KL was measured on.
        digest: a hash that changes with the maps.
    """

    kind: str
    source: str
    texts: int
    tokens: int
    ridge: float | None = None
    held_out_texts: int = 0
    digest: str = ""


@dataclass(kw_only=True)
class FittedLens(LogitLens):
    """The model's output read through a map that was fitted for each depth.

    p_l = softmax(W N(T_l(h_l))), T_l fitted at depths 0 … L - 1 and the identity at L.

    Attributes:
        divergence: Jensen-Shannon divergence of p_l and p, in nats.
        held_out_kl: mean KL(p_l || p) over texts that the map was not fitted on; NaN unknown.
        logit_held_out_kl: held-out KL of the logit lens on the same texts.
        fit: how the map was fitted.
    """

    kind: ClassVar[str]

    divergence: Annotated[np.ndarray, Shape("L+1", "T")]
    held_out_kl: Annotated[np.ndarray, Shape("L")]
    logit_held_out_kl: Annotated[np.ndarray, Shape("L")]
    fit: LensFit

    @property
    def tokens_read(self) -> np.ndarray:
        """`[T]`, whether the output has been read: a depth without a map stays unknown."""
        return np.asarray(self.top_ids[-1, :, 0] >= 0)


@dataclass(kw_only=True)
class AffineLens(FittedLens):
    """T_l(h) = A_l x + b_l with x = h / rms(h), by least squares (after arXiv 2303.08112)."""

    kind: ClassVar[str] = "affine"


@dataclass(kw_only=True)
class JacobianLens(FittedLens):
    """T_l(h) = J_l h, J_l the mean derivative of later outputs by the residual at depth l."""

    kind: ClassVar[str] = "jacobian"


LENS_CLASSES: dict[str, type[LogitLens]] = dict(
    zip(LENSES, (LogitLens, AffineLens, JacobianLens), strict=True)
)
"""The class of each lens's results, by its name in `LENSES`."""
