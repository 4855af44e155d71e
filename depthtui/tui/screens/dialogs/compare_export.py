"""Save two compared runs to a folder."""

from __future__ import annotations

from typing import Any

from textual.app import App

from depthtui.data.run import RunResult
from depthtui.report.export import comparison_report
from depthtui.tui.screens.dialogs.export_screen import Exportable, ask_where
from depthtui.tui.state.explorer import Explorer


def open_comparison_export(
    app: App[Any], explorer: Explorer, a: RunResult, b: RunResult, tokens: tuple[int, int]
) -> None:
    """Ask where to save both runs and what sets them apart; the lens is told at a token of each."""
    settings = explorer.settings.summary_settings()
    a, b = explorer.session.with_remarks([a, b])

    def token_of(result: RunResult) -> int:
        return tokens[0] if result is a else tokens[1]

    palette = explorer.settings.palette
    both = Exportable(
        "both runs", "runs", lambda: comparison_report(a, b, settings, token_of, palette)
    )
    ask_where(app, explorer, both)
