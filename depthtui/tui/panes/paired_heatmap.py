"""The heatmaps of a comparison: one for each run on a common scale, and one of their difference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from depthtui.data.depth import DepthEstimate
from depthtui.data.run import RunResult
from depthtui.depth.reading import Reading
from depthtui.metrics import METRIC_BY_NAME
from depthtui.tui.draw.scale import Scale, scale_of
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.state.alignment import matched_rows, spread

_GAP = "–"
"""The name of a column in which the run has no token."""


class PairedHeatmap(HeatmapPane):
    """A run's heatmap: its tokens in the columns of an alignment, on both runs' colour scale.

    The view's `result` is drawn, `other` is the compared run.

    Args:
        letter: the run's letter.
        columns, other_columns: `[columns]` of both runs' alignment, see `tui.state.alignment`.
    """

    def __init__(
        self,
        letter: str,
        columns: np.ndarray,
        other_columns: np.ndarray,
        *,
        name: str | None = None,
        id: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id)
        self.letter = letter
        self._columns, self._other_columns = columns, other_columns

    def _token_of(self, column: int) -> int:
        return _token_in(self._columns, column)

    def _title(self) -> str:
        return f"{self.letter} · {super()._title()}"

    def _why_not_computed(self, result: RunResult) -> tuple[str, str]:
        """Name a measure of the other run as one that this run lacks."""
        words, hint = super()._why_not_computed(result)
        beside, metric = self._beside(result), METRIC_BY_NAME[self.measure.metric]
        is_asked = metric.name in (*result.unavailable, *result.settings.metrics)
        if is_asked or beside is None or not beside.has_all(metric.name):
            return words, hint
        return f"{self._letter_of(result)} lacks {metric.title}.", hint

    def _beside(self, result: RunResult) -> RunResult | None:
        """The other run of the two."""
        return self.other if result is self.result else self.result

    def _letter_of(self, result: RunResult) -> str:
        return self.letter

    def _both(self) -> list[np.ndarray]:
        """`[rows, columns]` of each run that has values, this one's first."""
        sides = (
            (self.result, self.reading, self._columns),
            (self.other, self.other_reading, self._other_columns),
        )
        drawn = (self._in_columns(*side) for side in sides)
        return [picture for picture in drawn if picture is not None]

    def _in_columns(
        self, result: RunResult | None, reading: Reading | None, columns: np.ndarray
    ) -> np.ndarray | None:
        if result is None:
            return None
        values = self._wanted(result, reading, _token_in(columns, self.cursor.token))
        return spread(values, columns) if values is not None and self.kind.by_token else values

    def _drawn(self) -> np.ndarray:
        return self._both()[0]

    def _scale_for(self, values: np.ndarray) -> Scale:
        everything = np.concatenate([values.ravel() for values in self._both()])
        return super()._scale_for(everything)

    def _side_scale(self, values: np.ndarray) -> Scale:
        other = None if self.other is None else self._side_values(self.other)
        return super()._side_scale(values if other is None else np.concatenate([values, other]))

    def _column_labels(self, result: RunResult) -> Sequence[str]:
        labels = super()._column_labels(result)
        if not self.kind.by_token:
            return labels
        return [labels[token] if token >= 0 else _GAP for token in self._columns]

    def _column_name(self, column: int) -> str:
        if not self.kind.by_token:
            return super()._column_name(column)
        token = self._columns[column]
        return f"token {token}" if token >= 0 else "no such token"


class DifferenceHeatmap(PairedHeatmap):
    """`result` minus `other`, symmetrical about zero; empty where they cannot be subtracted.

    Rows are the deeper model's, minus the other's rows of the same relative depth.
    """

    def why_empty(self) -> tuple[str, str] | None:
        empty = super().why_empty()
        if empty is not None:
            return empty
        both = self._both()
        if len(both) < 2:
            assert self.other is not None
            return self._why_unavailable(self.other)
        if self.kind.at_token and len({values.shape[1] for values in both}) > 1:
            return "The models have different numbers of heads.", "v chooses another."
        return None

    def _letter_of(self, result: RunResult) -> str:
        return "A" if result is self.result else "B"

    @property
    def _runs(self) -> tuple[RunResult, RunResult]:
        assert self.other is not None
        return self.shown, self.other

    @property
    def _run_of_rows(self) -> RunResult:
        """The run of the deeper model."""
        return max(self._runs, key=lambda run: run.model.n_layers)

    @property
    def _diverging(self) -> bool:
        return True

    def _drawn(self) -> np.ndarray:
        ours, theirs = map(self._matched, self._both(), self._runs)
        return ours - theirs

    def _matched(self, values: np.ndarray, run: RunResult) -> np.ndarray:
        """A run's values in the deeper model's rows; also in its columns where these are layers."""
        rows = matched_rows(values, run.model.n_layers, self._run_of_rows.model.n_layers)
        return values[np.ix_(rows, rows)] if self.kind.by_layer else values[rows]

    def _scale_for(self, values: np.ndarray) -> Scale:
        return scale_of(values, diverging=True)

    def _side_values(self, result: RunResult) -> np.ndarray | None:
        return None

    def _marked(self) -> DepthEstimate | None:
        return None

    def _column_labels(self, result: RunResult) -> Sequence[str]:
        labels = list(super()._column_labels(result))
        if self.other is not None and self.kind.by_token:
            theirs = self.kind.labels(self.other)
            for column in np.flatnonzero(self._columns < 0):
                labels[column] = theirs[self._other_columns[column]]
        return labels

    def _column_name(self, column: int) -> str:
        if not self.kind.by_token:
            return super()._column_name(column)
        ours, theirs = self._columns[column], self._other_columns[column]
        if ours == theirs:
            return f"token {ours}"
        if min(ours, theirs) < 0:
            return "in A alone" if theirs < 0 else "in B alone"
        return f"tokens {ours} and {theirs}"


def _token_in(columns: np.ndarray, column: int) -> int:
    """A run's token in a column of the alignment, or in the last column; negative for none."""
    return int(columns[min(column, len(columns) - 1)])
