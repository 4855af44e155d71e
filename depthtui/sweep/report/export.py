"""Write a sweep's report to a folder, each file whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from depthtui.files import write_whole
from depthtui.sweep.questions import Question
from depthtui.sweep.report.html import sweep_html
from depthtui.sweep.report.json import sweep_csv, sweep_json
from depthtui.sweep.report.markdown import sweep_markdown
from depthtui.sweep.summary import SweepSummary

FORMATS: dict[str, Callable[[SweepSummary, Sequence[Question]], bytes]] = {
    "md": sweep_markdown,
    "csv": lambda summary, _: sweep_csv(summary),
    "json": sweep_json,
    "html": sweep_html,
}
"""The formats by the ending of their files."""


def export_sweep(
    summary: SweepSummary,
    questions: Sequence[Question],
    folder: Path,
    formats: Iterable[str] = tuple(FORMATS),
) -> list[Path]:
    """Write `report.md` and so on, replacing files of the same name; returns them.

    Raises:
        DepthError: the folder cannot be written.
    """
    return [
        write_whole(folder / f"report.{each}", FORMATS[each](summary, questions))
        for each in formats
    ]
