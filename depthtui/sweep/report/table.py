"""A sweep as a long table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from depthtui import __version__
from depthtui.data.run_settings import reading_keys, settings_keys
from depthtui.depth.right_answers import are_right
from depthtui.report.long_table import TableRows, keys_of_model, rows_of_reading
from depthtui.sweep.plan import plan_values
from depthtui.sweep.summary import CellSummary, SweepSummary


def rows_of_sweep(summary: SweepSummary) -> Iterator[TableRows]:
    """The rows of a sweep: each cell's counts, curves and means, and the numbers of its prompts."""
    for cell in summary.cells:
        yield from _rows_of_cell(cell)
        for name, values in _of_prompts(cell).items():
            numbers = [number for number, value in values.items() if value is not None]
            columns = {"prompt": numbers, "value": [float(values[number]) for number in numbers]}
            if numbers:
                yield TableRows(_keys(cell) | {"metric": "prompts", "measure": name}, columns)


def rows_of_cells(summary: SweepSummary) -> Iterator[TableRows]:
    """The rows of `rows_of_sweep` that are not of one prompt."""
    for cell in summary.cells:
        yield from _rows_of_cell(cell)


def _keys(cell: CellSummary) -> dict[str, str | int]:
    task = cell.cell.task
    named = {"model": cell.title, "task": task.source, "level": task.level}
    return keys_of_model(cell.model) | named


def _rows_of_cell(cell: CellSummary) -> Iterator[TableRows]:
    yield from rows_of_reading(cell, _keys(cell))
    means = {name: value for name, value in cell.means.items() if value == value}
    if means:
        columns = {"measure": list(means), "value": list(means.values())}
        yield TableRows(_keys(cell) | {"metric": "means"}, columns)


def _of_prompts(cell: CellSummary) -> dict[str, dict[int, Any]]:
    """The numbers of each prompt by its number in the cell."""
    numbers = [record.number for record in cell.records]
    return {
        "tokens": {record.number: record.n_tokens for record in cell.records},
        "loss": {record.number: record.loss for record in cell.records},
        "right": dict(zip(numbers, are_right(cell.records), strict=True)),
    }


def about_sweep(summary: SweepSummary) -> dict[str, Any]:
    """The metadata: the version, the plan, and the settings with their seeds."""
    return {
        "depthtui": __version__,
        "plan": plan_values(summary.plan),
        "settings": settings_keys(summary.plan.run),
        "reading": reading_keys(summary.plan.summary),
    }
