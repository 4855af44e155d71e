"""Save a sweep's report to a folder."""

from __future__ import annotations

from typing import Any

from textual.app import App

from depthtui.sweep.report.export import sweep_report
from depthtui.tui.screens.dialogs.export_screen import Exportable, ask_where
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.sweep_rows import Survey


def open_sweep_export(app: App[Any], explorer: Explorer, survey: Survey) -> None:
    """Ask where to save the report of a sweep that has a summary."""
    summary, questions = survey.summary, survey.asked
    assert summary is not None
    sweep = Exportable("this sweep", "sweeps", lambda: sweep_report(summary, questions))
    ask_where(app, explorer, sweep)
