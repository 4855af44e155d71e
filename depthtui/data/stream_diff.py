"""Where two recordings of the residual stream differ first, and by how much each write does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

WritePart = Literal["stream", "attention", "mlp", "layer"]
"""A write; `stream` is all that was written up to the first state that both recordings have."""


@dataclass(frozen=True)
class WriteDifference:
    """How far a write of one recording is from the same write of the other.

    Attributes:
        part: the part that wrote.
        first, last: the layers that it is the write of, most often the same one; -1 in `last` where
            no layer comes before the stream.
        off: the difference, as a share of the larger write.
        floor: the difference that rounding explains, as the same share; 0 where nothing differs.
        token: the token from which on most tokens differ by more; None where rounding explains it.
        stray: tokens, in their order, that differ by more although most others do not; where they
            are too many, the write differs, and `token` is the first.
        broken: the clause on another shape, or on a value that is not compared; empty without one.
        beside_parts: whether it is a layer's write, of whose parts both were compared before.
    """

    part: WritePart
    first: int
    last: int
    off: float
    floor: float
    token: int | None = None
    stray: tuple[int, ...] = ()
    broken: str = ""
    beside_parts: bool = False

    @property
    def excess(self) -> float:
        """The difference as a multiple of the floor."""
        return self.off / self.floor if self.floor else 0.0

    @property
    def differs(self) -> bool:
        """Whether rounding does not explain the difference."""
        return self.token is not None


@dataclass(frozen=True)
class StreamDiff:
    """Two recordings compared.

    Attributes:
        forms: for each recording, the names that were recognised and their meaning.
        dtype: the dtype whose rounding is the floor; empty where nothing was compared.
        tokens: the number of tokens that were compared.
        writes: every write that both have, in the order in which a model makes them.
        remarks: facts on the comparison and what it leaves out, each a sentence.
        other_ids: the sentence on token ids that differ; then nothing was compared.
        is_equal: whether every value that both have is equal.
    """

    forms: tuple[str, str]
    dtype: str = ""
    tokens: int = 0
    writes: Sequence[WriteDifference] = ()
    remarks: Sequence[str] = ()
    other_ids: str = ""
    is_equal: bool = False

    @property
    def first(self) -> WriteDifference | None:
        """The first write that differs."""
        return next((write for write in self.writes if write.differs), None)

    @property
    def is_same(self) -> bool:
        """Whether rounding explains every difference."""
        return not self.other_ids and self.first is None
