"""Changes of the loss under interventions: the base of ablation, order and context depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from depthtui.data.arrays import MetricResult
from depthtui.data.run import RunResult
from depthtui.metrics.measures import floor_of, values_of
from depthtui.metrics.reduced import Reduced, largest
from depthtui.metrics.spec import Finding, Measure, noise_floor


class InRows(MetricResult):
    """A result that is known row by row."""

    @property
    def known_rows(self) -> np.ndarray:
        """Whether each row is known, `[rows]`."""
        raise NotImplementedError

    @property
    def is_known(self) -> np.ndarray:
        """Whether each row to compute is known."""
        return self.known_rows


class LossChange(InRows):
    """Changes of the loss, in nats: a row for each intervention, column j for token j + 1.

    Attributes:
        changes: names of the arrays of changes; NaN in rows that are not known yet.
        unchanged: `[T-1]`, the largest size of a change in runs computed the same way with nothing
            changed.
        chosen: the rows to compute, in order; empty for every one.
    """

    noise: ClassVar[tuple[str, ...]] = ("unchanged",)
    changes: ClassVar[tuple[str, ...]] = ("loss_change",)

    unchanged: np.ndarray
    chosen: tuple[int, ...] = ()

    @property
    def columns(self) -> slice:
        """The tokens whose loss is measured."""
        return slice(0, None)

    @property
    def known_rows(self) -> np.ndarray:
        """Whether each row is known, `[rows]`."""
        changes = [getattr(self, name)[:, self.columns] for name in self.changes]
        return np.asarray(np.isfinite(changes).all(axis=(0, 2)))

    @property
    def is_known(self) -> np.ndarray:
        """Whether each row to compute is known."""
        return self.known_rows[list(self.chosen) or slice(None)]

    @property
    def floor(self) -> float:
        """The largest change of a token's loss with nothing changed."""
        return float(np.abs(self.unchanged[self.columns]).max(initial=0.0))

    def filled(self, rows: Sequence[int], loss_changes: np.ndarray) -> Self:
        """A copy with some rows filled in.

        Args:
            rows: their indices.
            loss_changes: changes of the loss, `[1 + runs, columns]`: first of the unchanged run,
                then for each row one run of each array in `changes`.
        """
        result, columns = self.copied(), self.columns
        result.unchanged[columns] = np.fmax(result.unchanged[columns], np.abs(loss_changes[0]))
        for first, name in enumerate(self.changes, start=1):
            getattr(result, name)[rows, columns] = loss_changes[first :: len(self.changes)]
        return result


@dataclass(frozen=True, kw_only=True)
class MeanLoss(Reduced):
    """Means of losses and their changes over predicted tokens of one or more prompts, in nats.

    Attributes:
        squares: sum of the squares of the changes in runs with nothing changed.
        floor: the largest size of a change in these runs.
    """

    pools: ClassVar = {"squares": sum, "floor": largest}

    squares: float
    floor: float

    @classmethod
    def over(
        cls, result: MetricResult, run: RunResult, tokens: slice, **others: Any
    ) -> Self | None:
        assert isinstance(result, LossChange)
        unchanged = result.unchanged[tokens].astype(np.float64)
        squares, floor = float(unchanged @ unchanged), float(np.abs(unchanged).max(initial=0.0))
        return super().over(result, run, tokens, squares=squares, floor=floor, **others)

    @property
    def noise(self) -> float:
        """The standard error of these means by rounding."""
        return math.sqrt(self.squares) / self.tokens

    def noise_floor(self, of: str) -> Finding:
        """The noise floor as a finding; `of` is the metric's title."""
        return noise_floor(of, f"{self.noise:.2g} nats, of one token {self.floor:.2g}")


def loss_measure(
    kind: type[LossChange], array: str, name: str, title: str, rows_after: int = 0, **others: Any
) -> Measure:
    """A measure, `[rows, T]`, of an array of changes.

    NaN for the last token, which predicts none, and in `rows_after` additional rows.
    """

    def values(change: LossChange) -> np.ndarray:
        return np.pad(getattr(change, array), ((0, rows_after), (0, 1)), constant_values=np.nan)

    floor, unit = floor_of(kind), "loss change, nats"
    return Measure(name, title, unit, values_of(kind, values), True, floor=floor, **others)
