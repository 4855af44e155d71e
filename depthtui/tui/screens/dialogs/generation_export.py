"""Save a generated text and its depths to a folder."""

from __future__ import annotations

from typing import Any

from textual.app import App

from depthtui.data.generation import Generation
from depthtui.report.formats import format_titles
from depthtui.report.generation_files import export_generations
from depthtui.tui.screens.dialogs.export_screen import Exportable, ask_where
from depthtui.tui.state.explorer import Explorer


def open_generation_export(app: App[Any], explorer: Explorer, generation: Generation) -> None:
    """Ask where to save a text."""
    text = Exportable(
        "this text",
        lambda folder, name, formats: export_generations([generation], folder, formats, name),
        format_titles("generations"),
    )
    ask_where(app, explorer, text)
