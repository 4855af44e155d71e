"""The values of a run at one layer and token, as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from depthtui.data.lens import LogitLens
from depthtui.data.lens_view import lens_of
from depthtui.data.run import RunResult
from depthtui.metrics import ALL_MEASURES
from depthtui.metrics.chosen_lens import measure_of_lens
from depthtui.report.blocks import Column, Spans, Table, TableCell
from depthtui.token_text import printable

_TOP = 5
"""Tokens that a line of the lens names."""


def cell_table(result: RunResult, layer: int, token: int, lens: str) -> Table:
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
    for measure in (
        measure_of_lens(candidate, lens) for candidate in ALL_MEASURES if candidate.by_token
    ):
        values = measure.values(result)
        value = math.nan if values is None or layer >= len(values) else float(values[layer, token])
        if not math.isnan(value):
            words = Spans([(f"{value:<7.4g}", ""), (f"  {measure.formula}", "soft")])
            rows.append([measure.title, words])
    return Table((Column("", style="name"), Column("")), rows, has_head=False)


def _tops(lens: LogitLens, depth: int, token: int) -> str:
    """The most probable tokens of a lens at a depth, each with its probability."""
    ids, chances = lens.top_ids[depth, token, :_TOP], lens.top_probabilities[depth, token, :_TOP]
    tops = [
        f"'{printable(lens.vocabulary.get(int(number), '?'))}' {chance:.2f}"
        for number, chance in zip(ids, chances, strict=True)
        if number >= 0
    ]
    return "  ".join(tops) or "not read yet"
