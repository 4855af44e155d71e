"""The answers to questions: right or wrong, with layers left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from depthtui.data.arrays import Shape
from depthtui.metrics.reduced import Reduced


@dataclass(frozen=True, kw_only=True)
class ReducedAccuracy(Reduced):
    """The answers to P questions: 1 for a right one, 0 for a wrong one, NaN where unknown.

    Attributes:
        tokens: the number of questions.
        order, chosen: as in `Accuracy`.
        options: the number of options of each question; 0 for none.
        right: chosen by the whole model.
        right_per_character: the same, by the log-likelihood per character.
        unchanged: chosen with nothing left out, in a batch.
        without: chosen without layer l.
        along: chosen without the first 0, 1, 2, … layers of the order.
        written_without: written without layer l.
        written: written without the first 0, 1, 2, … layers of the order.
    """

    pools: ClassVar = dict.fromkeys(
        (
            "options",
            "right",
            "right_per_character",
            "unchanged",
            "without",
            "along",
            "written_without",
            "written",
        ),
        np.concatenate,
    )

    order: tuple[int, ...]
    chosen: tuple[int, ...]
    options: Annotated[np.ndarray, Shape("P", dtype=np.int64)]
    right: Annotated[np.ndarray, Shape("P", dtype=np.float64)]
    right_per_character: Annotated[np.ndarray, Shape("P", dtype=np.float64)]
    unchanged: Annotated[np.ndarray, Shape("P", dtype=np.float64)]
    without: Annotated[np.ndarray, Shape("P", "L", dtype=np.float64)]
    along: Annotated[np.ndarray, Shape("P", "L+1", dtype=np.float64)]
    written_without: Annotated[np.ndarray, Shape("P", "L", dtype=np.float64)]
    written: Annotated[np.ndarray, Shape("P", "L+1", dtype=np.float64)]

    @property
    def is_right(self) -> bool | None:
        """Whether every answer is right: those that are chosen, else those that are written."""
        kinds = (self.right, self.written[:, 0])
        answers = (bool(right.all()) for right in kinds if np.isfinite(right).all())
        return next(answers, None)
