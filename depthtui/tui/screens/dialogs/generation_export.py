"""Save a generated text to a folder."""

from __future__ import annotations

from typing import Any

from textual.app import App

from depthtui.data.generation import Generation
from depthtui.report.generation_files import generation_report
from depthtui.tui.screens.dialogs.export_screen import Exportable, ask_where
from depthtui.tui.state.explorer import Explorer


def open_generation_export(app: App[Any], explorer: Explorer, generation: Generation) -> None:
    """Ask where to save a text."""
    palette = explorer.settings.palette
    text = Exportable("this text", "generations", lambda: generation_report([generation], palette))
    ask_where(app, explorer, text)
