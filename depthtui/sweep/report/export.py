"""Write a sweep's report to a folder, each file whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from depthtui.report.formats import Report
from depthtui.sweep.questions import Question
from depthtui.sweep.report.document import sweep_document
from depthtui.sweep.report.json import sweep_csv, sweep_json
from depthtui.sweep.summary import SweepSummary


def sweep_report(summary: SweepSummary, questions: Sequence[Question]) -> Report:
    """A sweep as something to write."""
    return Report(
        "sweeps",
        lambda: sweep_document(summary, questions),
        {
            "csv": lambda: {"": sweep_csv(summary)},
            "json": lambda: {"": sweep_json(summary, questions)},
        },
    )


def export_sweep(
    summary: SweepSummary,
    questions: Sequence[Question],
    folder: Path,
    formats: Iterable[str] | None = None,
) -> list[Path]:
    """Write `report.md` and so on, replacing files of the same name; returns them.

    Args:
        formats: names of formats; None for all.

    Raises:
        DepthError: the folder cannot be written.
    """
    return sweep_report(summary, questions).write(folder, "report", formats)
