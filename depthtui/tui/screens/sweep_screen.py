"""A grid of models and tasks: answers to its questions, effective depths in a table, curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from depthtui.data.explanation import Explanation
from depthtui.data.lens_view import through_words
from depthtui.data.run import RunResult
from depthtui.data.run_settings import LENSES, SummarySettings
from depthtui.report.explanations import of_column, of_rules
from depthtui.sweep.plan import SweepPlan
from depthtui.sweep.saved import default_folder
from depthtui.token_text import printable_chars, printable_line
from depthtui.tui.commands import moving, sweep
from depthtui.tui.commands.command import bindings_of
from depthtui.tui.panes.findings_pane import FindingsPane
from depthtui.tui.panes.key_footer import KeyFooter
from depthtui.tui.panes.line_field import LineField
from depthtui.tui.panes.sweep_curves import SweepCurves
from depthtui.tui.panes.sweep_line import SweepLine
from depthtui.tui.panes.sweep_table import (
    ColumnKey,
    SortedBy,
    SweepColumn,
    SweepTable,
    columns_of,
    in_order,
)
from depthtui.tui.screens.dialogs.ask import ask_first
from depthtui.tui.screens.dialogs.export_screen import Exportable, ask_where
from depthtui.tui.screens.live_screen import LiveScreen
from depthtui.tui.screens.reading_question import ask_reading
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.phase import Phase
from depthtui.tui.state.sweep_analysis import SweepAnalysis
from depthtui.tui.state.sweep_rows import GROUPINGS, Grouping, RowKey, SweepRow, SweepView
from depthtui.tui.state.sweeping import Sweeping, sweep_of_session
from depthtui.tui.state.unfinished_work import slow_work

NO_SWEEP = "There is no sweep yet: n starts one, o opens one."
STILL_SWEEPING = "A sweep is running: esc stops it first."
NOTHING_MISSING = "Nothing is missing here: n starts another sweep."
NOTHING_MARKED = "No rows are compared: space marks one."
FILTERED = "No row is shown: / changes the filter."
NO_ROWS = "There are no rows yet: each comes with its first prompt."
FILTERED_OUT = "The filter hides the rows of this finding: / changes it."
NO_OTHER_LENS = (
    "No other lens has read these prompts. Choose a lens on a run (u) before a sweep starts: the "
    "sweep then reads through it too."
)
ABOUT_NO_ROW = "This finding has no row in the table."

_MOST_NAMED = 3
"""The most files that a question names."""

_MOST_MARKS = 6
"""The most marked rows: more lines cannot be distinguished by their colours."""


class SweepScreen(LiveScreen):
    """Shows the explorer's sweep, or the runs of its session where there is none.

    The cursor's layer is a row of the table, its token a column.

    Args:
        explorer: runs sweeps; its `sweep` is shown.
    """

    KEYS = sweep.COMMANDS
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_of(KEYS), *moving.DIGITS]
    CSS_PATH: ClassVar[list[str | Path]] = ["../panes.tcss", "../sweep.tcss"]  # type: ignore[assignment]
    AUTO_FOCUS = "SweepTable"
    PANE_ORDER = ("rows", "sweep-curves", "findings")

    def __init__(self, explorer: Explorer) -> None:
        super().__init__(explorer)
        self._session_sweep: Sweeping | None = None
        self._analysis: SweepAnalysis | None = None
        self._grouping: Grouping = "cells"
        self.marks: list[RowKey] = []
        self._sorted_by: SortedBy | None = None
        self._filter = ""

    def compose(self) -> ComposeResult:
        yield SweepLine(id="sweep-line", classes="title-line")
        with Vertical(id="sweep-panes"):
            yield FindingsPane(id="findings", name="Answers")
            yield SweepTable(id="rows", name="Rows")
            yield LineField("words of a model or a task", id="filter")
            yield Static(id="row-verdict")
            yield SweepCurves(id="sweep-curves", name="Curves")
        yield KeyFooter()

    def on_mount(self) -> None:
        super().on_mount()
        # Rows are numbered from the top.
        self.layer_order = "down"
        self.redraw()

    # Showing ----------------------------------------------------------------

    @property
    def sweep(self) -> Sweeping | None:
        """The sweep that is shown."""
        return self.explorer.work.sweep or self._session_sweep

    @property
    def sweep_view(self) -> SweepView:
        """The last computed view of the sweep."""
        return self._analysis.view if self._analysis else SweepView()

    @property
    def is_current(self) -> bool:
        """Whether the view covers everything in the sweep."""
        return self._analysis is None or self._analysis.is_current(self._grouping)

    @property
    def rows(self) -> Sequence[SweepRow]:
        """The rows that are shown, in order."""
        return self.query_one(SweepTable).rows

    @property
    def row(self) -> SweepRow | None:
        """The row under the cursor."""
        rows, place = self.rows, self.cursor.layer
        return rows[place] if place < len(rows) else None

    @property
    def marked(self) -> list[SweepRow]:
        """The rows that are compared, whether or not the filter shows them."""
        by_key = {row.key: row for row in self.sweep_view.rows}
        return [by_key[key] for key in self.marks if key in by_key]

    def extent(self) -> tuple[int, int]:
        table = self.query_one(SweepTable)
        return len(table.rows) - 1, len(table.columns) - 1

    def shown_result(self) -> RunResult | None:
        return None

    def draw(self) -> None:
        explorer = self.explorer
        if self.sweep is None:
            settings = explorer.settings.summary_settings()
            self._session_sweep = sweep_of_session(explorer.session, settings)
        sweep = self.sweep
        if sweep is not (self._analysis.sweep if self._analysis else None):
            self._analysis = SweepAnalysis(sweep) if sweep else None
            self.marks, self._filter = [], ""
        self.query_one(SweepLine).show_sweep(sweep, explorer.engine.model)
        self._analyse()
        self._show_rows()

    def _analyse(self) -> None:
        """Compute the view in a thread, one at a time."""
        analysis = self._analysis
        request = analysis.begin(self._grouping) if analysis else None
        if analysis is None or request is None:
            return

        def work() -> None:
            # Comparisons are slow: the rows are shown before them.
            rows = analysis.rows(request)
            self.call_later(self._apply, analysis, lambda: analysis.show_rows(rows))
            view = analysis.view_of(request)
            self.call_later(self._apply, analysis, lambda: analysis.finish(request, view))

        self.run_worker(work, thread=True)

    def _apply(self, analysis: SweepAnalysis, apply: Callable[[], None]) -> None:
        """Use the computed analysis; draw it if its sweep is still shown."""
        apply()
        if analysis is self._analysis:
            self.redraw()

    def _show_rows(self) -> None:
        """Filter and sort the rows; the cursor stays on its row."""
        table, current = self.query_one(SweepTable), self.row
        words = self._filter.lower().split()
        matching_rows = [
            row for row in self.sweep_view.rows if all(word in row.title.lower() for word in words)
        ]
        rows = in_order(matching_rows, columns_of(matching_rows, table.area.width), self._sorted_by)
        places = {row.key: place for place, row in enumerate(self.marked)}
        table.show_rows(rows, places, self._sorted_by, self._why_empty())
        keys = [row.key for row in rows]
        stays = current is not None and current.key in keys
        layer = keys.index(current.key) if current and stays else self.cursor.layer
        self.go(layer, self.cursor.token)
        self._show_cursor()
        self.query_one(FindingsPane).show_findings(self.sweep_view.findings, self._why_silent())

    @property
    def _column(self) -> SweepColumn | None:
        """The column under the cursor."""
        columns, place = self.query_one(SweepTable).columns, self.cursor.token
        return columns[place] if place < len(columns) else None

    def _titles(self) -> tuple[str, str]:
        sweep = self.sweep
        if sweep is None:
            return "Effective depth", ""
        first = sweep.plan.summary.where_left_out(", token 0 out")
        through = through_words("", sweep.plan.summary.lens)
        filter_words = f" · /{self._filter}" if self._filter else ""
        column = self._column
        sorts = f"{column.words}: s sorts by it · / filters" if column is not None else ""
        return f"Effective depth · {GROUPINGS[self._grouping]}{through}{first}{filter_words}", sorts

    def _why_empty(self) -> tuple[str, str]:
        sweep = self.sweep
        if sweep is None:
            return "A grid of models and tasks.", "n starts a sweep, o opens one."
        if self._filter:
            return f"No row has “{self._filter}” in its names.", "/ changes the filter."
        if not self.is_current:
            return "Reading the records.", ""
        return "Nothing has been run yet.", sweep.problem

    def _why_silent(self) -> tuple[str, str]:
        if self.sweep is None:
            return "Does depth grow with size, differ between models, or with difficulty?", ""
        return (
            "Nothing to compare yet.",
            "A comparison needs two models on a task, or two levels of a task, with five prompts "
            "each.",
        )

    def watch_cursor(self, cursor: object) -> None:
        super().watch_cursor(cursor)  # type: ignore[arg-type]
        if self.is_mounted and self._analysis is not None:
            self._show_cursor()

    def _show_cursor(self) -> None:
        """Update everything that depends on the cursor."""
        settings = self.sweep.plan.summary if self.sweep else SummarySettings()
        self.query_one(SweepTable).set_titles(*self._titles())
        verdict = self.row.verdict if self.row else None
        words = self.query_one("#row-verdict", Static)
        words.update(Content(verdict.text if verdict else ""))
        words.display = verdict is not None
        self.query_one(SweepCurves).show_rows(self.rows, self.marked, self.row, settings)

    def explained(self) -> Sequence[Explanation]:
        """The column under the cursor, or the rules where another pane has the focus."""
        column = self._column
        if column is None or not isinstance(self.active_pane, SweepTable):
            return of_rules()
        return (of_column(*column.key),)

    # Commands ---------------------------------------------------------------

    @property
    def is_live(self) -> bool:
        """Whether the sweep is running."""
        return self.sweep is not None and self.sweep.is_live

    @property
    def is_over(self) -> bool:
        """Whether no sweep is running."""
        return not self.is_live

    def why_no_sweep(self) -> str:
        """Why there is no sweep to act on."""
        return NO_SWEEP if self.sweep is None else ""

    def why_live(self) -> str:
        """Why another sweep has to wait."""
        return STILL_SWEEPING if self.is_live else ""

    def why_no_rows(self) -> str:
        """Why there is no row to act on."""
        return "" if self.rows else self._why_nothing_is_shown()

    def why_not_export(self) -> str:
        """Why there is no report to save."""
        return "" if self.sweep_view.summary is not None else self._why_nothing_is_shown()

    def why_not_open(self) -> str:
        return "" if self.is_in_findings else self.why_no_rows()

    def why_not_unmark(self) -> str:
        """Why no row can be unmarked."""
        return self.why_no_sweep() or ("" if self.marks else NOTHING_MARKED)

    def why_not_go_on(self) -> str:
        """Why no missing prompt can be run."""
        sweep = self.sweep
        if sweep is None or sweep.is_live:
            return self.why_no_sweep() or self.why_live()
        is_whole = sweep.is_session or sweep.n_done >= sweep.n_prompts
        return NOTHING_MISSING if is_whole else ""

    def _why_nothing_is_shown(self) -> str:
        return self.why_no_sweep() or (FILTERED if self._filter else NO_ROWS)

    @property
    def is_in_findings(self) -> bool:
        """Whether a finding is under a cursor."""
        return isinstance(self.focused, FindingsPane) and self.focused.finding is not None

    def move(self, rows: int, tokens: int) -> None:
        """Move in the table, or among the findings where these have the focus."""
        if isinstance(self.focused, FindingsPane) and rows:
            self.focused.choose(-rows * self.pop_count())
        else:
            super().move(rows, tokens)

    def go_to_edge(self, where: str) -> None:
        """Go to an end of the table, or of the findings where these have the focus."""
        if isinstance(self.focused, FindingsPane) and where in ("first_layer", "last_layer"):
            count = len(self.focused.findings)
            self.focused.choose(-count if where == "first_layer" else count)
        else:
            super().go_to_edge(where)

    def open_at_cursor(self) -> None:
        """Open the row under the cursor, or the rows of the finding under it."""
        if self.is_in_findings:
            self._go_to_rows()
        else:
            self._open_row()

    def _go_to_rows(self) -> None:
        """Go to the first row that the chosen finding is about; again, to the next."""
        pane = self.query_one(FindingsPane)
        finding = pane.finding
        if finding is None:
            return
        about = [place for place, row in enumerate(self.rows) if finding.is_about(row)]
        if not about:
            hidden = any(finding.is_about(row) for row in self.sweep_view.rows)
            self.notify(FILTERED_OUT if hidden else ABOUT_NO_ROW, markup=False)
            return
        if self.is_zoomed:
            self.minimize()
        # A note belongs to an unchanged finding: go to its next row.
        later = [place for place in about if pane.note and place > self.cursor.layer]
        place = (later or about)[0]
        columns = [column.key for column in self.query_one(SweepTable).columns]
        key = ColumnKey("layer", finding.number)
        self.go(place, columns.index(key) if key in columns else self.cursor.token)
        next_words = ", enter: next" if len(about) > 1 else ""
        pane.show_note(f"at row {about.index(place) + 1} of {len(about)}{next_words}")

    def close(self) -> None:
        self.dismiss(None)

    def sort(self) -> None:
        """Sort by the column under the cursor; again, in the other order; then as in the plan."""
        column = self._column
        if column is not None:
            self._sorted_by = _next_order(column, self._sorted_by)
            self._show_rows()

    def turn_grouping(self) -> None:
        """Switch between cells, rows pooled by model, and rows pooled by level."""
        names = list(GROUPINGS)
        self._grouping = names[(names.index(self._grouping) + 1) % len(names)]
        self.marks = []
        self.redraw()

    def mark(self) -> None:
        """Add the row under the cursor to the comparison, or remove it."""
        row = self.row
        if row is None:
            return
        if row.key in self.marks:
            self.marks.remove(row.key)
        elif len(self.marked) == _MOST_MARKS:
            self.notify(
                f"{_MOST_MARKS} rows are compared already: space unmarks one.", markup=False
            )
            return
        else:
            self.marks.append(row.key)
        self._show_rows()

    def unmark(self) -> None:
        """Clear the comparison."""
        self.marks = []
        self._show_rows()

    def choose_reading(self) -> None:
        sweep = self.sweep
        if sweep is not None:
            lacks = "" if len(sweep.lenses) == len(LENSES) else NO_OTHER_LENS
            ask_reading(self, sweep.reading, lambda _: lacks, sweep.lenses, sweep.why_fixed)

    def on_descendant_focus(self) -> None:
        super().on_descendant_focus()
        self.refresh_keys()

    # The filter -------------------------------------------------------------

    def ask_filter(self) -> None:
        """Ask for words that the names of rows must contain."""
        self.query_one("#filter", LineField).open(self._filter)

    @on(Input.Changed, "#filter")
    def _filtered(self, event: Input.Changed) -> None:
        if self.query_one("#filter", LineField).is_open:
            self._filter = event.value
            self._show_rows()

    @on(Input.Submitted, "#filter")
    def _close_filter(self) -> None:
        self.query_one("#filter", LineField).close()
        self._activate(self.query_one(SweepTable))

    @on(LineField.Dropped)
    def _drop_filter(self) -> None:
        self._filter = ""
        self._close_filter()
        self._show_rows()

    # Sweeps -----------------------------------------------------------------

    def _start(self, plan: SweepPlan, folder: Path) -> None:
        if not self.explorer.can_sweep:
            words = {
                Phase.DEAD: "The engine is gone: R on the main screen starts it again.",
                Phase.SWEEPING: "A sweep is running: esc stops it.",
            }.get(self.explorer.phase, "A model is loading: the sweep can start after it.")
            self.notify(words, severity="warning", markup=False)
            return

        def start() -> None:
            self.explorer.start_sweep(plan, folder)
            self.redraw()

        lost = slow_work(self.explorer)
        ask_first(self.app, lost, "new_sweep", "starts the sweep", start)

    def choose_sweep(self) -> None:
        """Choose models and tasks, and start a sweep."""
        from depthtui.tui.screens.dialogs.sweep_dialog import SweepDialog

        explorer = self.explorer

        def chosen(plan: SweepPlan | None) -> None:
            if plan is not None:
                self._start(plan, default_folder(plan, explorer.cache_dir))

        settings = explorer.settings
        dialog = SweepDialog(explorer.engine.spec, settings, explorer.models.on_disk)
        self.app.push_screen(dialog, chosen)

    def go_on(self) -> None:
        """Run the missing prompts; ask first about the files that the sweep's folder names."""
        sweep = self.sweep
        if sweep is None or sweep.folder is None:
            return
        # Their contents are in the sweep's folder, which may be a stranger's.
        files = sweep.plan.files if sweep.stage == "opened" else []
        reads = f"This sweep takes texts from {_and(files)}" if files else ""
        start = partial(self._start, sweep.plan, sweep.folder)
        ask_first(self.app, reads, "sweep_on", "reads them and goes on", start)

    def open_sweep(self) -> None:
        """Open a sweep that was run before."""
        from depthtui.tui.screens.dialogs.sweep_list import SweepChoice, SweepList

        explorer = self.explorer

        def chosen(choice: SweepChoice | None) -> None:
            if choice is not None:
                for warning in choice.warnings:
                    words = printable_chars(warning)
                    self.notify(words, severity="warning", markup=False)
                explorer.work.sweep, self._session_sweep = choice.sweep, None
                self.redraw()

        self.app.push_screen(SweepList(explorer.cache_dir, bool(explorer.session.results)), chosen)

    def _open_row(self) -> None:
        """Show the row's first prompt on the main screen."""
        row, explorer = self.row, self.explorer
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

    def export(self) -> None:
        from depthtui.sweep.report.export import sweep_report

        view = self.sweep_view
        if view.summary is not None:
            report = partial(sweep_report, view.summary, view.questions)
            ask_where(self.app, self.explorer, Exportable("this sweep", "sweeps", report))


def _and(files: Sequence[str]) -> str:
    """A few names of files in words; untrusted."""
    more = [f"{len(files) - _MOST_NAMED} more"] if len(files) > _MOST_NAMED else []
    return " and ".join([*map(printable_line, files[:_MOST_NAMED]), *more])


def _next_order(column: SweepColumn, sorted_by: SortedBy | None) -> SortedBy | None:
    """The next order of a column: one way, the other way, then as in the plan."""
    first = SortedBy(column.key, falls=not column.is_name)
    if sorted_by is None or sorted_by.key != column.key:
        return first
    return SortedBy(column.key, not first.falls) if sorted_by == first else None
