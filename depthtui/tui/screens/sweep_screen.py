"""A grid of models and tasks: effective depths in a table, curves and findings beneath."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Footer, Input
from textual.worker import Worker, WorkerState

from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.sweep.plan import SweepPlan
from depthtui.sweep.saved import default_folder
from depthtui.tui import keymap
from depthtui.tui.panes.filter_field import FilterField
from depthtui.tui.panes.findings_pane import FindingsPane
from depthtui.tui.panes.pane import Pane
from depthtui.tui.panes.sweep_curves import SweepCurves
from depthtui.tui.panes.sweep_line import SweepLine
from depthtui.tui.panes.sweep_table import Column, SweepTable, columns_of, in_order
from depthtui.tui.screens.live_screen import LiveScreen
from depthtui.tui.screens.pane_screen import PaneTabs
from depthtui.tui.state.explorer import Explorer, Phase
from depthtui.tui.state.sweep_rows import GROUPINGS, Grouping, Row, RowKey, Survey, Surveyor
from depthtui.tui.state.sweeping import Sweeping, sweep_of_session

_MOST_MARKS = 6
"""More lines than that cannot be told apart by their colours."""


class SweepScreen(LiveScreen):
    """Shows the explorer's sweep, or the runs of its session where there is none.

    The cursor's layer is a row of the table, its token a column.

    Args:
        explorer: runs sweeps; its `sweep` is what is shown.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*keymap.SWEEP]
    CSS_PATH = "../sweep.tcss"
    ALLOW_IN_MAXIMIZED_VIEW = "Footer, SweepLine"
    AUTO_FOCUS = "SweepTable"
    PANE_ORDER = ("rows", "sweep-curves", "findings")

    def __init__(self, explorer: Explorer) -> None:
        super().__init__()
        self._explorer = explorer
        self._session: Sweeping | None = None
        self._shown: Sweeping | None = None
        self._grouping: Grouping = "cells"
        self._marks: list[RowKey] = []
        self._sorted_by = ("", False)
        self._filter = ""
        self._rows: list[Row] = []
        self._survey = Survey()
        self._surveyor = Surveyor()
        self._surveyed: tuple[object, ...] = ()
        self._surveying: tuple[object, ...] | None = None
        self._keys_depend_on: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        yield SweepLine(id="sweep-line")
        with Vertical(id="sweep-panes"):
            yield SweepTable(id="rows", name="Rows", classes="always")
            yield FilterField(id="filter")
            yield PaneTabs(id="sweep-tabs")
            with Horizontal(id="sweep-beneath"):
                yield SweepCurves(id="sweep-curves", name="Curves")
                yield FindingsPane(id="findings", name="What it says")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        super().on_mount()
        # Rows are counted from the top.
        self.layer_order = "down"
        self.redraw()

    # Showing ----------------------------------------------------------------

    @property
    def sweep(self) -> Sweeping | None:
        """What is shown."""
        return self._explorer.sweep or self._session

    @property
    def survey(self) -> Survey:
        """What it says, as far as that has been worked out."""
        return self._survey

    @property
    def rows(self) -> list[Row]:
        """The rows on the screen, in order."""
        return self._rows

    @property
    def row(self) -> Row | None:
        """The one under the cursor."""
        return self._rows[self.cursor.layer] if self.cursor.layer < len(self._rows) else None

    def extent(self) -> tuple[int, int]:
        return len(self._rows) - 1, len(self._columns) - 1

    def shown_result(self) -> RunResult | None:
        return None

    @property
    def _columns(self) -> list[Column]:
        return self.query_one(SweepTable).columns

    def draw(self) -> None:
        explorer = self._explorer
        if explorer.sweep is None and self._session is None:
            self._session = sweep_of_session(explorer.session, explorer.settings.summary_settings())
        sweep = self.sweep
        if sweep is not self._shown:
            self._shown, self._marks, self._filter, self._survey = sweep, [], "", Survey()
            self._surveyor = Surveyor()
        self.query_one(SweepLine).show_sweep(sweep, explorer.model)
        self._survey_if_changed()
        self._show_rows()
        keys_depend_on = (explorer.phase, sweep and sweep.stage, bool(self._rows))
        if keys_depend_on != self._keys_depend_on:
            # The footer composes itself anew, so only when another key works.
            self._keys_depend_on = keys_depend_on
            self.refresh_bindings()

    def _survey_if_changed(self) -> None:
        """Work out what the sweep says in a thread, once at a time."""
        sweep = self.sweep
        if sweep is None or self._surveying is not None:
            return
        wanted = (sweep, sweep.version, sweep.plan, self._grouping)
        if wanted == self._surveyed:
            return
        self._surveying = wanted
        outcome, grouping, surveyor = sweep.outcome, self._grouping, self._surveyor

        def work() -> Survey:
            # Comparisons take their time: the rows are shown before.
            self.call_later(self._show_survey, sweep, rows=surveyor.rows(outcome, grouping))
            return surveyor.survey(outcome, grouping, sweep.is_session, sweep.is_live)

        self.run_worker(work, name="survey", thread=True)

    def _show_survey(self, sweep: object, **known: object) -> None:
        """Take what is known of a sweep, where it is still the one that is shown."""
        if sweep is self.sweep and self.is_running:
            self._survey = replace(self._survey, **known)  # type: ignore[arg-type]
            self._show_rows()

    @on(Worker.StateChanged)
    def _worked(self, event: Worker.StateChanged) -> None:
        if event.worker.name != "survey" or event.state is not WorkerState.SUCCESS:
            return
        assert self._surveying is not None
        self._surveyed, self._surveying = self._surveying, None
        survey = event.worker.result
        if self._surveyed[0] is self.sweep and survey is not None:
            self._survey = survey
        self.redraw()

    def _show_rows(self) -> None:
        table = self.query_one(SweepTable)
        current = self.row
        words = self._filter.lower().split()
        found = [
            row for row in self._survey.rows if all(each in row.title.lower() for each in words)
        ]
        columns = columns_of(found, table.area.width)
        self._rows = in_order(found, columns, self._sorted_by)
        keys = [row.key for row in self._rows]
        by_key = {row.key: row for row in self._survey.rows}
        self._marks = [key for key in self._marks if key in by_key]
        places = {key: place for place, key in enumerate(self._marks)}
        table.show_rows(self._rows, places, self._sorted_by, self._why_empty())
        if current is not None and current.key in keys:
            # The cursor stays on its row where others come or go.
            self.go(keys.index(current.key), self.cursor.token)
        else:
            self.go(*self.cursor)
        self._show_cursor()
        self.query_one(FindingsPane).show_findings(self._survey.findings, self._why_silent())

    def _titles(self) -> tuple[str, str]:
        sweep = self.sweep
        if sweep is None:
            return "Effective depth", ""
        first = "" if sweep.plan.summary.include_first_token else ", token 0 out"
        kept = f" · /{self._filter}" if self._filter else ""
        columns = self._columns
        column = columns[self.cursor.token] if self.cursor.token < len(columns) else None
        sorts = f"{column.words}: s sorts by it · / filters" if column is not None else ""
        return f"Effective depth · {GROUPINGS[self._grouping]}{first}{kept}", sorts

    def _why_empty(self) -> tuple[str, str]:
        sweep = self.sweep
        if sweep is None:
            return "A grid of models and tasks.", "n starts a sweep, o opens one."
        if self._filter:
            return f"No row has “{self._filter}” in its names.", "/ changes the filter."
        if self._surveying is not None:
            return "Looking at what is there.", ""
        return "Nothing has been run yet.", sweep.problem

    def _why_silent(self) -> tuple[str, str]:
        if self.sweep is None:
            return "Does depth grow with size, differ between models, or with difficulty?", ""
        return (
            "Nothing to compare yet.",
            "It takes two models on a task, or two levels of one, and five prompts each.",
        )

    def watch_cursor(self, cursor: object) -> None:
        super().watch_cursor(cursor)  # type: ignore[arg-type]
        if self.is_mounted and self._shown is not None:
            self._show_cursor()

    def _show_cursor(self) -> None:
        """Bring what depends on the cursor up to date."""
        settings = self.sweep.plan.summary if self.sweep else SummarySettings()
        self.query_one(SweepTable).set_titles(*self._titles())
        by_key = {row.key: row for row in self._survey.rows}
        marked = [by_key[key] for key in self._marks if key in by_key]
        self.query_one(SweepCurves).show_rows(self._rows, marked, self.row, settings)

    def _activate(self, pane: Pane) -> None:
        """Where it is narrow, the findings take the place of the curves."""
        if not pane.has_class("always"):
            self.set_class(pane.id == "findings", "findings")
        super()._activate(pane)

    # Keys -------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Which keys work now; the footer shows those alone."""
        sweep = self.sweep
        is_live = sweep is not None and sweep.is_live
        match action:
            case "stop":
                return is_live
            case "close":
                return not is_live
            case "go_on":
                return self._can_go_on
            case "open_row" | "mark" | "sort":
                return bool(self._rows)
            case "export":
                return self._survey.summary is not None
            case "new_sweep" | "open_sweep":
                return not is_live
        return True

    @property
    def _can_go_on(self) -> bool:
        sweep = self.sweep
        lacks = sweep is not None and not sweep.is_session and sweep.done < sweep.total
        return lacks and not (sweep and sweep.is_live)

    def action_move(self, rows: int, tokens: int) -> None:
        """Move in the table; up and down scroll the findings where these have the focus."""
        if isinstance(self.focused, FindingsPane) and rows:
            self.focused.scroll_lines(-rows * self._take_count())
        else:
            super().action_move(rows, tokens)

    def action_stop(self) -> None:
        self._explorer.stop()

    def action_close(self) -> None:
        self.dismiss(None)

    def action_leave(self) -> None:
        """Back to the run; a sweep goes on."""
        self.dismiss(None)

    def action_sort(self) -> None:
        """Sort by the column under the cursor; again, the other way; then as in the plan."""
        columns = self._columns
        if self.cursor.token >= len(columns):
            return
        column = columns[self.cursor.token]
        name, falls = self._sorted_by
        first = not column.is_name
        if name != column.name:
            self._sorted_by = (column.name, first)
        elif falls == first:
            self._sorted_by = (name, not falls)
        else:
            self._sorted_by = ("", False)
        self._show_rows()

    def action_rows(self) -> None:
        """Cells, pooled by model, pooled by level."""
        names = list(GROUPINGS)
        self._grouping = names[(names.index(self._grouping) + 1) % len(names)]
        self._marks = []
        self.redraw()

    def action_mark(self) -> None:
        """Compare the row under the cursor with others, or no more."""
        row = self.row
        if row is None:
            return
        if row.key in self._marks:
            self._marks.remove(row.key)
        elif len(self._marks) == _MOST_MARKS:
            self.notify(f"{_MOST_MARKS} rows are compared already: space on one takes it out.")
            return
        else:
            self._marks.append(row.key)
        self._show_rows()

    def action_unmark(self) -> None:
        """Compare nothing."""
        self._marks = []
        self._show_rows()

    def action_first_token(self) -> None:
        """Average with or without token 0, in this sweep."""
        if self.sweep is not None:
            self.sweep.include_first_token(not self.sweep.plan.summary.include_first_token)
            self.redraw()

    # The filter -------------------------------------------------------------

    def action_filter(self) -> None:
        """Type what the names of rows must hold."""
        field = self.query_one("#filter", Input)
        field.add_class("shown")
        field.value = self._filter
        field.focus()

    @on(Input.Changed, "#filter")
    def _filtered(self, event: Input.Changed) -> None:
        if self.query_one("#filter").has_class("shown"):
            self._filter = event.value
            self._show_rows()

    @on(Input.Submitted, "#filter")
    def _keep_filter(self) -> None:
        self.query_one("#filter").remove_class("shown")
        self._activate(self.query_one(SweepTable))

    @on(FilterField.Dropped)
    def _drop_filter(self) -> None:
        self._filter = ""
        self._keep_filter()
        self._show_rows()

    # Sweeps -----------------------------------------------------------------

    def _start(self, plan: SweepPlan, folder: Path) -> None:
        if not self._explorer.can_sweep:
            words = {
                Phase.DEAD: "The engine is gone: R on the main screen starts it again.",
                Phase.SWEEPING: "A sweep is running: esc stops it.",
            }.get(self._explorer.phase, "A model is loading: the sweep can start after it.")
            self.notify(words, severity="warning", markup=False)
            return
        self._explorer.start_sweep(plan, folder)
        self.redraw()

    def action_new_sweep(self) -> None:
        """Choose models and tasks, and start."""
        from depthtui.models.catalog import on_disk
        from depthtui.settings import models_dir
        from depthtui.tui.screens.dialogs.sweep_dialog import SweepDialog

        explorer = self._explorer

        def chosen(plan: SweepPlan | None) -> None:
            if plan is not None:
                self._start(plan, default_folder(plan, explorer.cache_dir))

        folder = models_dir(explorer.cache_dir)
        dialog = SweepDialog(explorer.spec, explorer.settings, lambda: on_disk(folder))
        self.app.push_screen(dialog, chosen)

    def action_go_on(self) -> None:
        """Run what the sweep lacks."""
        sweep = self.sweep
        if sweep is not None and sweep.folder is not None:
            self._start(sweep.plan, sweep.folder)

    def action_open_sweep(self) -> None:
        """Open a sweep that was run before."""
        from depthtui.tui.screens.dialogs.sweep_list import SweepChoice, SweepList

        explorer = self._explorer

        def chosen(choice: SweepChoice | None) -> None:
            if choice is not None:
                explorer.sweep, self._session = choice.sweep, None
                self.redraw()

        self.app.push_screen(SweepList(explorer.cache_dir, bool(explorer.session.results)), chosen)

    def action_open_row(self) -> None:
        """Show the row's first prompt on the main screen."""
        row, explorer = self.row, self._explorer
        if row is None:
            return
        if row.first is None:
            why = str(row.failures[0]) if row.failures else "None of its prompts has been run yet."
            self.notify(why, severity="warning", markup=False)
        elif explorer.phase is Phase.SWEEPING:
            self.notify("The sweep is running: esc stops it, then enter opens.", markup=False)
        else:
            explorer.open_record(*row.first)
            self.dismiss(None)

    def action_export(self) -> None:
        from depthtui.tui.screens.dialogs.sweep_export import open_sweep_export

        if self._survey.summary is not None:
            open_sweep_export(self.app, self._explorer, self._survey)
