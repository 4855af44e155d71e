"""The explorer's main screen: every pane of one run, and its keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Static

from depthtui.data.lens import LogitLens
from depthtui.data.protocol import Progress
from depthtui.data.remarks import Remarks
from depthtui.data.run import RunResult
from depthtui.data.session_files import SessionFile
from depthtui.errors import DepthError
from depthtui.metrics import kept
from depthtui.metrics.chosen_lens import measure_of_lens
from depthtui.metrics.registry import MEASURE_BY_NAME, OF_THE_PASS
from depthtui.metrics.spec import Measure
from depthtui.sizes import about
from depthtui.token_text import printable_sentence
from depthtui.tui.commands import main, moving
from depthtui.tui.commands.command import bindings_of
from depthtui.tui.panes.evidence_pane import EvidencePane, ThresholdTurned
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.panes.heatmap_views import copied
from depthtui.tui.panes.pane import Cursor, Pane
from depthtui.tui.panes.progress_pane import ProgressPane
from depthtui.tui.panes.status_line import StatusLine
from depthtui.tui.panes.under_cursor import MeasureRow
from depthtui.tui.panes.verdict_pane import VerdictPane
from depthtui.tui.panes.view import View
from depthtui.tui.screens import main_layout
from depthtui.tui.screens.command_screen import LONGEST_COUNT
from depthtui.tui.screens.dialogs.ask import ask_first
from depthtui.tui.screens.dialogs.dialog import Dialog, open_tab
from depthtui.tui.screens.dialogs.export_screen import open_export
from depthtui.tui.screens.pane_screen import PaneTabs
from depthtui.tui.screens.prompt_question import choose_prompt_beside
from depthtui.tui.screens.reading_question import ask_reading_of_runs
from depthtui.tui.screens.run_screen import RunScreen
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.phase import Phase
from depthtui.tui.state.session import RunState, SessionRun
from depthtui.tui.state.sessions import OPEN_ELSEWHERE, ScreenLook, words_of
from depthtui.tui.state.status import status_of
from depthtui.tui.state.step import step_words
from depthtui.tui.state.unfinished_work import lost_by_opening, unfinished_work
from depthtui.tui.state.verdicts import LastReading

if TYPE_CHECKING:
    from depthtui.tui.screens.dialogs.run_list import SessionChoice

NO_VALUE = "There is no value under the cursor."


class MainScreen(RunScreen):
    """Shows the explorer's current run.

    Args:
        explorer: the state that is shown and that the keys act on.
    """

    KEYS = main.COMMANDS
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_of(KEYS), *moving.DIGITS]
    CSS_PATH: ClassVar[list[str | Path]] = ["../panes.tcss", "../main.tcss"]  # type: ignore[assignment]
    PAGES = main_layout.PAGE_ORDER
    PANE_ORDER = main_layout.TAB_ORDER
    ANSWER = "verdict"

    def __init__(self, explorer: Explorer) -> None:
        super().__init__(explorer)
        self._shown_run: SessionRun | None = None
        self._last_reading = LastReading()
        self._compared_at = self.cursor
        self._load = 0
        self._followed = -1
        self._measure_before: Measure | None = None
        self._return_to: tuple[SessionRun, Cursor, Measure] | None = None

    def compose(self) -> ComposeResult:
        return main_layout.layout(self.lines())

    def on_mount(self) -> None:
        super().on_mount()
        settings = self.explorer.settings
        self.measure = MEASURE_BY_NAME.get(settings.measure, self.measure)
        self.layer_order = settings.layer_order
        self.redraw()

    # Showing ----------------------------------------------------------------

    @property
    def run(self) -> SessionRun | None:
        return self.explorer.session.current

    def remarked(self) -> None:
        self.explorer.host.save_session()
        self.redraw()

    def extent(self) -> tuple[int, int]:
        result = self.run.result if self.run else None
        if result is None:
            return 0, 0
        has_output = result.get(LogitLens) is not None
        return result.model.n_layers - (not has_output), len(result.tokens) - 1

    def shown_result(self) -> RunResult | None:
        """The run's result."""
        return self.run.result if self.run else None

    @property
    def lens_name(self) -> str:
        """The lens of the settings."""
        return self.explorer.settings.lens

    def view(self) -> View:
        explorer, run, result = self.explorer, self.run, self.shown_result()
        is_whole = result is not None and result.settings.is_clean
        is_written = run is not None and run.is_being_written
        return replace(
            super().view(),
            result=result,
            reading=self._last_reading.reading,
            # A verdict takes time, and would be out of date with the next token.
            verdict=None if is_written else self._last_reading.verdict,
            is_live=run is not None and run.state.is_live,
            is_written=is_written,
            controls=explorer.controls.of(result.model) if result and is_whole else "",
            thresholds_turned=explorer.reading.thresholds_turned,
            remarks=run.remarks if run else Remarks(),
        )

    def view_in(self, pane: Pane, view: View) -> View:
        if isinstance(pane, VerdictPane) and self.run is not None:
            return replace(view, time_left=_time_left(self.run))
        return replace(view, mode="means") if pane.has_class("spare") else view

    def draw(self) -> None:
        """Bring every pane up to date with the explorer."""
        explorer, run = self.explorer, self.run
        settings = explorer.settings.summary_settings()
        is_live = run is not None and run.state.is_live
        self._last_reading.of(self.shown_result(), settings, is_live)
        self.set_class(run is not None and run.is_being_written, "writing")
        self._follow()
        self.pace = explorer.pace_of(run)
        self.show_view()
        self.complete(self._last_reading)
        self.query_one(main_layout.SessionList).show(explorer.session)
        status = status_of(explorer, self.datasets)
        self.query_one(StatusLine).show(status)
        self.app.show_long_work(status)
        self._show_load()
        self._show_offer()
        self._compare_if_ready()
        if self.wants_verdict and self.run is not None and self.run.state is RunState.FINISHED:
            self.wants_verdict = False
            self.compute_verdict()

    def _follow(self) -> None:
        """Keep the user's cursor; only the steps of a halted run move it, and tokens as they come.

        A cursor that the user moves away from the newest token stays there.
        """
        run = self.run
        if run is None or run.result is None:
            return
        if run is not self._shown_run:
            self._begin(run, run.result)
        token = self.cursor.token
        # The newest token was predicted there: its own readings come with the next one.
        newest = max(len(run.result.tokens) - 2, run.result.answer_start - 1)
        if 0 <= self._followed <= token:
            token = newest
        self._followed = newest if run.is_being_written else -1
        self.go(self.layer_to_show(run), token)

    def watch_cursor(self, cursor: Cursor) -> None:
        super().watch_cursor(cursor)
        if self.run is not None and self.run.state is RunState.HALTED:
            self._show_offer()

    def _begin(self, run: SessionRun, result: RunResult) -> None:
        """Show another run: for the same tokens the cursor stays where it is.

        On the first run it begins at the output, where the model answers.
        """
        former = self._shown_run.result if self._shown_run else None
        self._shown_run, self._followed = run, -1
        if former is None or former.tokens.texts != result.tokens.texts:
            layer = self.extent()[0] if former is None else self.cursor.layer
            self.go(layer, _predicts_answer(result))
        if run.writing is not None:
            self._begin_writing(result)
        elif self._measure_before is not None:
            self._try_measure(self._measure_before)
            self._measure_before = None
        if self._return_to is not None and self._return_to[0] is run:
            _, cursor, measure = self._return_to
            self.go(*cursor)
            self._show_here(measure)
            self._return_to = None

    def _show_here(self, measure: Measure) -> None:
        """Show a measure until another run is shown, which may lack it."""
        self._measure_before = self._measure_before or self.measure
        self._try_measure(measure)

    def _begin_writing(self, result: RunResult) -> None:
        """Follow the depth of each token that is written, in the text and on its page."""
        self._show_here(MEASURE_BY_NAME["prediction_depth"])
        self._followed = len(result.tokens) - 1
        self.go(result.model.n_layers, self._followed)
        self.show_page("tokens")
        if self.has_class("-narrow"):
            self.go_to_pane(self.query_one("#tokens", Pane))

    def watch_measure(self, measure: Measure) -> None:
        super().watch_measure(measure)
        if not self.is_mounted:
            return
        self._show_offer()
        if self.is_trying:
            return
        self._measure_before = None
        # The screen does not open with a measure that must be computed first.
        if measure.metric in OF_THE_PASS:
            self.explorer.change(measure=measure.name)

    def watch_layer_order(self, order: str) -> None:
        super().watch_layer_order(order)
        if self.is_mounted:
            self.explorer.change(layer_order=order)

    def _show_load(self) -> None:
        """Show the load, or why there is no model: full size until there is a run."""
        progress, problem = self._progress_pane(), self.query_one(main_layout.ProblemText)
        progress.display = self.explorer.engine.is_loading
        problem.display = self.explorer.engine.problem is not None and not progress.display
        if self.explorer.engine.problem is not None:
            problem.show(self.explorer.engine.problem)
        covers = self.run is None and (progress.display or problem.display)
        for widget in (progress, problem):
            widget.set_class(covers, "full")
        self._cover_panes(covers)

    def _show_offer(self) -> None:
        """Show a step at a halt, or the sentence of the measure; else offer the last session."""
        run, result, line = self.run, self.shown_result(), self.query_one("#offer", Static)
        if run is not None and run.state is RunState.HALTED and result is not None:
            self._show_step(result, run.halted_at)
            return
        if result is not None and (sentence := self.measure.sentence(result)):
            line.display = True
            line.update(Content(printable_sentence(f"{sentence[0].upper()}{sentence[1:]}.")))
            return
        file = self.explorer.sessions.offered
        restarts = self.explorer.phase in (Phase.DEAD, Phase.NO_MODEL)
        offers = file is not None and not restarts and len(self.explorer.session.runs) < 2
        line.display = offers
        if file is not None and offers:
            words = words_of(file.session, datetime.now())
            line.update(Content(f"{words[0].upper()}{words[1:]}: b, tab lists the sessions."))

    def _show_step(self, result: RunResult, halted_at: int) -> None:
        """Show the change that the layer under the cursor made, or the last layer that has run."""
        line, (layer, token) = self.query_one("#offer", Static), self.cursor
        words = step_words(result, min(layer, halted_at), token)
        line.display = bool(words)
        line.update(Content(words))

    def _cover_panes(self, covers: bool) -> None:
        """Hide or show the panes."""
        panes = self.query_one("#panes")
        if panes.display == covers:
            panes.display = not covers
            if not covers:
                # Hidden panes lose the focus.
                self._activate(self.active_pane)
        self.query_one(PaneTabs).set_class(covers, "covered")

    def advance(self, progress: Progress) -> None:
        """Show the progress of a load, unless the screen is gone."""
        if self.is_running:
            self._progress_pane().advance(progress)

    def _progress_pane(self) -> ProgressPane:
        """The pane of the current load, emptied when a new load began."""
        pane = self.query_one(ProgressPane)
        if self._load != self.explorer.engine.loads:
            self._load = self.explorer.engine.loads
            pane.start(f"Opening {self.explorer.engine.spec.name}")
        return pane

    # Commands ---------------------------------------------------------------

    @property
    def footer_commands(self) -> tuple[str, ...]:
        """The commands in the footer: to another pane, those of the pane with the focus, always."""
        state = self.run.state if self.run is not None else RunState.UNOPENED
        is_done, has_model = state is RunState.FINISHED, state.is_live
        begins = () if is_done else ("run",) if has_model else ("run", "model")
        first = (*main.AT_WORK, *begins, "next_pane")
        return (*first, *self.active_pane.footer, *main.ALWAYS)

    def move(self, rows: int, tokens: int) -> None:
        """Move the cursor; on the evidence, which has no layers, move through its rows."""
        pane = self.focused
        if isinstance(pane, EvidencePane) and rows:
            pane.choose(-rows * self.pop_count())
        else:
            super().move(rows, tokens)

    def go_to_edge(self, where: str) -> None:
        """Go to the first or last layer or token; on the evidence, to its first or last row."""
        pane = self.focused
        if isinstance(pane, EvidencePane) and where in ("first_layer", "last_layer"):
            self.pop_count()
            pane.choose(-LONGEST_COUNT if where == "first_layer" else LONGEST_COUNT)
        else:
            super().go_to_edge(where)

    def open_measure(self, row: MeasureRow) -> None:
        """Go to a measure's page, or show it in the heatmap."""
        shows = row.heatmap_measure
        if row.page:
            self.go_to_pane(self.query_one(f"#{row.page}", Pane))
        elif shows is not None:
            # Looking at evidence does not change the chosen measure.
            self._try_measure(MEASURE_BY_NAME[shows.name])
            self.go_to_heatmap()

    def show_session(self) -> None:
        """List the runs, or other sessions; a comparison chosen there begins at the cursor."""
        from depthtui.tui.screens.dialogs.run_list import RunList, SessionChoice
        from depthtui.tui.screens.dialogs.session_picker import SessionPicker

        explorer, self._compared_at = self.explorer, self.cursor
        tabs: dict[str, Callable[[], Dialog[Any]]] = {"runs": lambda: RunList(explorer)}
        if explorer.sessions.is_on:
            tabs["other sessions"] = lambda: SessionPicker(explorer)

        def chosen(choice: SessionChoice | SessionFile | None) -> None:
            if isinstance(choice, SessionFile) and not explorer.sessions.is_own(choice):
                lost = unfinished_work(explorer) if explorer.session.live else ""
                then = partial(self.open_session, choice)
                ask_first(self.app, lost, "session", "opens it", then)
            elif isinstance(choice, SessionChoice):
                self._do_with_run(choice)
            self.redraw()

        open_tab(self.app, tabs, "runs", chosen)

    def _do_with_run(self, choice: SessionChoice) -> None:
        """Act on a run as chosen in the session's list."""
        from depthtui.tui.screens.dialogs.run_list import Purpose

        explorer, run, current = self.explorer, choice.run, self.run
        if choice.purpose is Purpose.GRID:
            self.app.open_screen("Sweep", then=lambda _: self.redraw())
        elif choice.purpose is Purpose.OTHER_MODEL and current is not None:
            self.ask_for_model(partial(explorer.run_on_model, current))
        elif choice.purpose is Purpose.OTHER_PROMPT and current is not None:
            choose_prompt_beside(self, current)
        elif choice.purpose is Purpose.COMPARE and current is not None and run is not None:
            self.app.open_screen("Comparison", current, run, self.measure, self.cursor)
        elif choice.purpose is Purpose.SHOW and run is not None:
            self._show_run(run)

    def _show_run(self, run: SessionRun) -> None:
        """Show a run; one that the cache has lost is computed, after a question."""
        explorer = self.explorer
        if explorer.show_run(run):
            self.redraw()
            return

        def compute() -> None:
            explorer.compute_unopened(run)
            self.redraw()

        lost, name = lost_by_opening(explorer, run), printable_sentence(run.model.name)
        does = "computes it"
        if explorer.engine.spec != run.model.spec:
            lost = ". ".join(filter(None, (f"Run {run.number} is not in the cache", lost)))
            does = f"loads {name} and computes it"
        ask_first(self.app, lost, "session", does, compute)

    @property
    def look(self) -> ScreenLook:
        """The state of the screen that a session keeps."""
        up = next(str(page.id) for page in self.pages if page.has_class("up"))
        return ScreenLook(*self.cursor, self.measure.name, up, str(self.active_pane.id))

    def open_session(self, file: SessionFile) -> None:
        """Replace this session, which stays in its file, by a saved one."""
        sessions = self.explorer.sessions
        try:
            run, file = sessions.open(file)
        except DepthError as error:
            self.notify(printable_sentence(str(error)), severity="error", markup=False)
            return
        session = file.session
        measure = MEASURE_BY_NAME.get(session.measure, self.measure)
        if measure.metric in OF_THE_PASS:
            self.measure = measure
        self._return_to = run, Cursor(session.layer, session.token), measure
        for name in (session.page, session.pane):
            if name in self.PANE_ORDER:
                self.go_to_pane(self.query_one(f"#{name}", Pane))
        self._show_run(run)
        if sessions.is_copy:
            self.notify(OPEN_ELSEWHERE, severity="warning", markup=False)
        self.run_worker(self._read_runs(), group="saved runs", exclusive=True)
        self.redraw()

    async def _read_runs(self) -> None:
        """Read the session's runs from the cache, one after the other."""
        explorer = self.explorer
        for run in list(explorer.session.runs):
            if run.state is RunState.UNOPENED:
                result = await asyncio.to_thread(explorer.sessions.result_of, run)
                explorer.open_run(run, result)
        self.redraw()

    def _compare_if_ready(self) -> None:
        """Open the comparison that waited for another model, unless a dialog is open."""
        pair = self.explorer.pair.pop_ready() if self.app.screen is self else None
        if pair is not None:
            self.app.open_screen("Comparison", *pair, self.measure, self._compared_at)

    def on_screen_resume(self) -> None:
        self.changed()

    def export(self) -> None:
        """Ask how to export the run, or the whole session."""
        run = self.run
        if run is not None and run.result is not None:
            title, pane = f"run {run.number}, on the screen", self.active_pane
            results, token = [run.result], self.cursor.token
            open_export(self.app, self.explorer, title, results, token, pane=pane)

    def choose_reading(self) -> None:
        result = self.shown_result()
        ask_reading_of_runs(self, *([] if result is None else [result]))

    @on(ThresholdTurned)
    def _turn_threshold(self, turned: ThresholdTurned) -> None:
        self.explorer.reading.turn_threshold(turned.option, turned.steps)
        self.redraw()

    def copy_value(self) -> None:
        """Copy the verdict, the heatmap's option, or the value under the cursor, and name it."""
        result, pane = self.shown_result(), self.active_pane
        measure = measure_of_lens(self.measure, self.lens_name, self._last_reading.reading)
        value_at_cursor = copied(measure, result, self.cursor) if result else None
        command = measure.command(result) if result and isinstance(pane, HeatmapPane) else ""
        if isinstance(pane, VerdictPane) and pane.sentence:
            self.app.copy(pane.sentence, pane.sentence)
        elif command:
            self.app.copy(command, command)
        elif value_at_cursor is not None:
            value, words = value_at_cursor
            self.app.copy(value, f"{value}: {words}")
        else:
            self.notify(NO_VALUE, markup=False)


def _time_left(run: SessionRun) -> str:
    """The time until the headline of a run is counted, in words; empty where unknown."""
    work = run.work
    if work is None or work.metric != kept.NAME or work.seconds_left <= 0:
        return ""
    return f"{about(work.seconds_left)} left"


def _predicts_answer(result: RunResult) -> int:
    """The token before the answer, or the last one."""
    start, last = result.answer_start, len(result.tokens) - 1
    return start - 1 if 0 < start <= last else last
