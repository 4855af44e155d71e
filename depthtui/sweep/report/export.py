"""The files of a sweep: a report, and its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from depthtui.report.formats import Report
from depthtui.report.long_table import parquet_bytes
from depthtui.sweep.questions import Question
from depthtui.sweep.report.document import sweep_document
from depthtui.sweep.report.json import sweep_csv, sweep_json
from depthtui.sweep.report.table import about_sweep, rows_of_cells, rows_of_sweep
from depthtui.sweep.summary import SweepSummary


def sweep_report(summary: SweepSummary, questions: Sequence[Question]) -> Report:
    """A sweep's report, ready to write."""
    return Report(
        "sweeps",
        lambda: sweep_document(summary, questions),
        {
            "csv": lambda: {"": sweep_csv(summary)},
            "json": lambda: {"": sweep_json(summary, questions)},
            "parquet": lambda: {"": parquet_bytes(rows_of_sweep(summary), about_sweep(summary))},
        },
        lambda: rows_of_cells(summary),
        lambda: about_sweep(summary),
    )
