"""Save a sweep's report to a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textual.app import App

from depthtui.files import write_whole
from depthtui.sweep.report.export import FORMATS
from depthtui.tui.screens.dialogs.export_screen import Exportable, ask_where
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.sweep_rows import Survey

TITLES = {
    "md": "Markdown",
    "csv": "CSV, a line for each cell and rule",
    "json": "JSON, for programs",
    "html": "HTML with the curves, one file",
}


def open_sweep_export(app: App[Any], explorer: Explorer, survey: Survey) -> None:
    """Ask where to save the report of a sweep that has a summary."""
    summary, questions = survey.summary, survey.asked
    assert summary is not None

    def write(folder: Path, name: str, formats: Sequence[str]) -> list[Path]:
        return [
            write_whole(folder / f"{name}.{ending}", FORMATS[ending](summary, questions))
            for ending in formats
        ]

    ask_where(app, explorer, Exportable("this sweep", write, TITLES))
