"""The heatmap of a comparison: one run minus the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from depthtui.data.depth import DepthEstimate
from depthtui.data.run import RunResult
from depthtui.depth.reading import Reading
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.tui.draw.scale import Scale, scale_of
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.state.alignment import matched_rows, spread


class DifferenceHeatmap(HeatmapPane):
    """`result` minus `other_result`, symmetrical about zero; empty where they cannot be subtracted.

    Columns are those of an alignment. Rows are the deeper model's, minus the other's rows of the
    same relative depth.

    Args:
        columns, other_columns: `[columns]` of both runs' alignment, see `tui.state.alignment`.
    """

    def __init__(
        self,
        columns: np.ndarray,
        other_columns: np.ndarray,
        *,
        name: str | None = None,
        id: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id)
        self._columns, self._other_columns = columns, other_columns

    def why_empty(self) -> tuple[str, str] | None:
        empty = super().why_empty()
        if empty is not None:
            return empty
        values_of_runs = self._values_of_runs()
        if len(values_of_runs) < 2:
            assert self.other_result is not None
            return self._why_unavailable(self.other_result)
        if self.kind.at_token and len({values.shape[1] for values in values_of_runs}) > 1:
            return "The models have different numbers of heads.", "v chooses another."
        return None

    def _title(self) -> str:
        return f"A - B · {super()._title()}"

    def _why_not_computed(self, result: RunResult) -> tuple[str, str]:
        """Name a measure of the other run as one that this run lacks."""
        words, hint = super()._why_not_computed(result)
        beside, metric = self._beside(result), METRIC_BY_NAME[self.measure.metric]
        is_asked = metric.name in (*result.unavailable, *result.settings.metrics)
        if is_asked or beside is None or not beside.has_all(metric.name):
            return words, hint
        return f"{'A' if result is self.result else 'B'} lacks {metric.title}.", hint

    def _beside(self, result: RunResult) -> RunResult | None:
        """The other run of the two."""
        return self.other_result if result is self.result else self.result

    # Values -----------------------------------------------------------------

    @property
    def _runs(self) -> tuple[RunResult, RunResult]:
        assert self.other_result is not None
        return self.drawn_result, self.other_result

    @property
    def _run_of_rows(self) -> RunResult:
        """The run of the deeper model."""
        return max(self._runs, key=lambda run: run.model.n_layers)

    @property
    def _diverging(self) -> bool:
        return True

    def _values_of_runs(self) -> list[np.ndarray]:
        """`[rows, columns]` of each run that has values, this one's first."""
        sides = (
            (self.result, self.reading, self._columns),
            (self.other_result, self.other_reading, self._other_columns),
        )
        pictures = (self._in_columns(*side) for side in sides)
        return [picture for picture in pictures if picture is not None]

    def _in_columns(
        self, result: RunResult | None, reading: Reading | None, columns: np.ndarray
    ) -> np.ndarray | None:
        if result is None:
            return None
        values = self._measured(result, reading, _token_in(columns, self.cursor.token))
        return spread(values, columns) if values is not None and self.kind.by_token else values

    def _drawn_values(self) -> np.ndarray:
        ours, theirs = map(self._matched, self._values_of_runs(), self._runs)
        return ours - theirs

    def _hatched_cells(self) -> np.ndarray | None:
        masks = [self.measure.hatched(run) for run in self._runs]
        matched = [
            self._matched(mask, run)
            for mask, run in zip(masks, self._runs, strict=True)
            if mask is not None
        ]
        return np.logical_or.reduce(matched) if matched else None

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

    # Columns ----------------------------------------------------------------

    def _token_of(self, column: int) -> int:
        return _token_in(self._columns, column)

    def _column_labels(self, result: RunResult) -> Sequence[str]:
        labels = super()._column_labels(result)
        if self.other_result is None or not self.kind.by_token:
            return labels
        theirs = self.kind.labels(self.other_result, self._values.shape[1])
        return [
            labels[ours] if ours >= 0 else theirs[other]
            for ours, other in zip(self._columns, self._other_columns, strict=True)
        ]

    def _column_name(self, column: int) -> str:
        if not self.kind.by_token:
            return super()._column_name(column)
        ours, theirs = self._columns[column], self._other_columns[column]
        if ours == theirs:
            return f"token {ours}"
        if min(ours, theirs) < 0:
            return "in A only" if theirs < 0 else "in B only"
        return f"tokens {ours} and {theirs}"


def _token_in(columns: np.ndarray, column: int) -> int:
    """A run's token in a column of the alignment, or in the last column; negative for none."""
    return int(columns[min(column, len(columns) - 1)])
