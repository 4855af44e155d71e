"""Save a sweep's report to a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textual.app import App

from depthtui.files import write_whole
from depthtui.sweep.report.export import FORMATS
from depthtui.tui.picture import picture
from depthtui.tui.screens.dialogs.export_screen import ExportScreen
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.sweep_rows import Survey


class SweepExport(ExportScreen):
    """Writes the chosen formats of a sweep's report."""

    formats = {  # noqa: RUF012
        "md": "Markdown",
        "csv": "CSV, a line for each cell and rule",
        "json": "JSON, for programs",
        "html": "HTML with the curves, one file",
        "svg": "SVG, this screen as it is",
    }

    def __init__(self, survey: Survey, explorer: Explorer, screenshot: str) -> None:
        settings = explorer.settings
        super().__init__(
            [("this sweep", [])], settings.summary_settings(), settings.export_dir, screenshot
        )
        self._survey = survey

    def _write(self, folder: Path, name: str, chosen: Sequence[str]) -> list[Path]:
        summary, asked = self._survey.summary, self._survey.asked
        assert summary is not None
        written = [
            write_whole(folder / f"{name}.{each}", FORMATS[each](summary, asked))
            for each in chosen
            if each in FORMATS
        ]
        if "svg" in chosen:
            svg = self._screenshot.encode("utf-8", "replace")
            written.append(write_whole(folder / f"{name}.svg", svg))
        return written


def open_sweep_export(app: App[Any], explorer: Explorer, survey: Survey) -> None:
    """Ask where to save a sweep's report, and keep the folder as a setting."""

    def written(folder: Path | None) -> None:
        if folder is not None:
            explorer.change(export_dir=folder)

    app.push_screen(SweepExport(survey, explorer, picture(app)), written)
