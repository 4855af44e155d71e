"""Save a generated text and its depths to a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textual.app import App

from depthtui.data.generation import Generation
from depthtui.files import write_whole
from depthtui.report.generation_files import export_generations
from depthtui.tui.picture import picture
from depthtui.tui.screens.dialogs.export_screen import ExportScreen
from depthtui.tui.state.explorer import Explorer


class GenerationExport(ExportScreen):
    """Writes the chosen formats of one text."""

    def __init__(self, generation: Generation, explorer: Explorer, screenshot: str) -> None:
        settings = explorer.settings
        super().__init__(
            [("this text", [])], settings.summary_settings(), settings.export_dir, screenshot
        )
        self._generation = generation

    def _write(self, folder: Path, name: str, chosen: Sequence[str]) -> list[Path]:
        formats = [each for each in chosen if each != "svg"]
        written = export_generations([self._generation], folder, formats, name)
        if "svg" in chosen:
            svg = self._screenshot.encode("utf-8", "replace")
            written.append(write_whole(folder / f"{name}.svg", svg))
        return written


def open_generation_export(app: App[Any], explorer: Explorer, generation: Generation) -> None:
    """Ask where to save a text, and keep the folder as a setting."""

    def written(folder: Path | None) -> None:
        if folder is not None:
            explorer.change(export_dir=folder)

    app.push_screen(GenerationExport(generation, explorer, picture(app)), written)
