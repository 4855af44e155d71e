"""The values of a run at one layer and token, as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from depthtui.data.lens import LogitLens
from depthtui.data.lens_view import lens_of
from depthtui.data.run import RunResult
from depthtui.metrics.chosen_lens import measure_of_lens
from depthtui.metrics.registry import ALL_MEASURES
from depthtui.metrics.spec import Measure
from depthtui.report.blocks import Column, Spans, Table, TableCell
from depthtui.token_text import printable
from depthtui.tui.state.verdicts import grows

_TOP = 5
"""Tokens that a line of the lens names."""


class CellTables:
    """The tables of a run's cells; its measures are read once, until the run has other values."""

    def __init__(self) -> None:
        self._values: list[tuple[Measure, np.ndarray]] = []
        self._read: tuple[object, str] | None = None

    def at(self, result: RunResult, layer: int, token: int, lens: str) -> Table:
        """The values of each metric that the run has; the lens before and after the layer.

        Args:
            result: the run.
            layer: 0 … L - 1.
            token: 0 … T - 1.
            lens: the lens that reads the run, by its name in `LENSES`.
        """
        rows: list[Sequence[TableCell]] = []
        lens_values = lens_of(result, lens)
        if lens_values is not None:
            rows.append(["lens before", _tops(lens_values, layer, token)])
            rows.append(["lens after", _tops(lens_values, layer + 1, token)])
        for measure, values in self._values_of(result, lens):
            value = math.nan if layer >= len(values) else float(values[layer, token])
            if not math.isnan(value):
                words = Spans([(f"{value:<7.4g}", ""), (f"  {measure.formula}", "soft")])
                rows.append([measure.title, words])
        return Table((Column("", style="name"), Column("")), rows, has_head=False)

    def _values_of(self, result: RunResult, lens: str) -> list[tuple[Measure, np.ndarray]]:
        """Each measure of tokens that the run has, with its values."""
        measured, lens_read = self._read or (None, "")
        # A metric comes with a new mapping; rows of the pass are added in place.
        if measured is not result.measured or lens_read != lens:
            measures = [measure_of_lens(one, lens) for one in ALL_MEASURES if one.by_token]
            pairs = [(measure, measure.values(result)) for measure in measures]
            self._values = [(measure, values) for measure, values in pairs if values is not None]
            self._read = None if grows(result) else (result.measured, lens)
        return self._values


def _tops(lens: LogitLens, depth: int, token: int) -> str:
    """The most probable tokens of a lens at a depth, each with its probability."""
    ids, chances = lens.top_ids[depth, token, :_TOP], lens.top_probabilities[depth, token, :_TOP]
    tops = [
        f"'{printable(lens.vocabulary.get(int(number), '?'))}' {chance:.2f}"
        for number, chance in zip(ids, chances, strict=True)
        if number >= 0
    ]
    return "  ".join(tops) or "not read yet"
