"""The explorer's main screen: every pane of one run, and the keys that rule them."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Static

from depthtui.data.lens import LogitLens
from depthtui.data.protocol import Progress
from depthtui.data.remarks import Remarks
from depthtui.data.run import Prompt, RunResult
from depthtui.data.session_files import SessionFile
from depthtui.depth.reading import Reading, reading_of
from depthtui.errors import DepthError
from depthtui.metrics import MEASURE_BY_NAME, OF_THE_PASS
from depthtui.metrics.chosen_lens import through
from depthtui.metrics.spec import Measure
from depthtui.prompts.dataset_formats import DATASETS
from depthtui.token_text import printable, printable_sentence
from depthtui.tui import keymap
from depthtui.tui.panes.heatmap import Heatmap
from depthtui.tui.panes.heatmap_views import copied
from depthtui.tui.panes.page import ThresholdPage, ThresholdTurned
from depthtui.tui.panes.pane import Cursor, Pane
from depthtui.tui.panes.progress_pane import ProgressPane
from depthtui.tui.panes.prompt_pane import PromptPane
from depthtui.tui.panes.status_line import StatusLine
from depthtui.tui.panes.verdict_pane import VerdictPane
from depthtui.tui.screens import main_layout, opening
from depthtui.tui.screens.model_question import KeyAction, act_with_model_of
from depthtui.tui.screens.pane_screen import PaneTabs
from depthtui.tui.screens.places_screen import PlacesScreen
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.phase import WHY_BUSY, Phase
from depthtui.tui.state.session import Run, RunState
from depthtui.tui.state.sessions import OPEN_ELSEWHERE, words_of
from depthtui.tui.state.status import status_of
from depthtui.tui.state.task_prompts import neighbour
from depthtui.tui.state.unfinished import lost_by_writing, slow_work
from depthtui.tui.state.verdicts import LastVerdict
from depthtui.tui.state.what_if import can_be_changed

if TYPE_CHECKING:
    from depthtui.tui.screens.dialogs.prompt_picker import PromptChoice

SWEEPING = WHY_BUSY[Phase.SWEEPING]
STOPPABLE = (Phase.RUNNING, Phase.HALTED, Phase.LOADING, Phase.SWEEPING, Phase.WRITING)
PLAIN_AGAIN = "The chat template was of the prompt before; this one is plain. p puts it on."
STILL_RUNNING = "The run goes on: esc stops it."
STILL_HALTED = "The run is halted: c lets it go on to its end, esc stops it."
NOT_HALTED = "No run is halted: s runs the prompt and halts after each layer."
JUST_BEGUN = "The run has only begun: wait for its first layer."
VERDICT_AFTER_RUN = "The verdict is computed once the run is through."
NOTHING_YET = "Nothing has been run yet: r runs the prompt."
NOT_WHOLE = "A what-if starts from a run through every layer: r runs the prompt."
SESSIONS_OFF = "Sessions are kept in the cache, which is off in this start."
NO_VALUE = "There is no value under the cursor."
NOT_TURNED = "The thresholds are where they were: + - and < > turn them."


class MainScreen(PlacesScreen):
    """Shows the explorer's current run.

    Args:
        explorer: what is shown and what the keys act on.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*keymap.MAIN]
    CSS_PATH: ClassVar[list[str | Path]] = ["../panes.tcss", "../main.tcss"]  # type: ignore[assignment]
    PAGES = main_layout.PAGE_ORDER
    PANE_ORDER = main_layout.TAB_ORDER

    def __init__(self, explorer: Explorer) -> None:
        super().__init__()
        self.explorer = explorer
        self._shown: Run | None = None
        self._verdict = LastVerdict()
        self._moved = False
        self._compared_at = self.cursor
        self._load = 0
        self._return_to: tuple[Run, Cursor] | None = None
        self._keys_depend_on: tuple[object, ...] = ()
        self._wants_verdict = False

    def compose(self) -> ComposeResult:
        return main_layout.layout(self.lines())

    def on_mount(self) -> None:
        super().on_mount()
        settings = self.explorer.settings
        self.query_one("#means", Heatmap).mode = "means"
        self.take_colours(settings.ramp, settings.palette)
        self.measure = MEASURE_BY_NAME.get(settings.measure, self.measure)
        self.layer_order = settings.layer_order
        self.redraw()

    # Showing ----------------------------------------------------------------

    @property
    def run(self) -> Run | None:
        return self.explorer.session.current

    def remarked(self) -> None:
        self.explorer.host.keep_session()
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

    def draw(self) -> None:
        """Bring every pane up to date with the explorer."""
        explorer, result = self.explorer, self.shown_result()
        settings = explorer.settings.summary_settings()
        reading = reading_of([result], settings) if result else None
        self._follow(reading)
        for page in self.query(ThresholdPage):
            page.turned = explorer.reading.thresholds_turned
        is_live = self.run is not None and self.run.state.is_live
        is_halted = explorer.phase is Phase.HALTED
        self.query_one(VerdictPane).show_verdict(
            self._verdict.of(reading),
            is_live,
            is_halted,
            explorer.controls_of(result.model) if result and not result.settings.skipped else "",
        )
        self.pace = explorer.pace_of(self.run)
        for pane in self.query(Pane):
            pane.pace = self.pace
            pane.show(result, reading, lens=settings.lens)
        self.query_one(PromptPane).show_remarks(self.run.remarks if self.run else Remarks())
        self.query_one(main_layout.SessionList).show(explorer.session)
        self.query_one(StatusLine).show(status_of(explorer))
        self._show_load()
        self._show_offer()
        self._compare_if_ready()
        self._refresh_keys()
        if self._wants_verdict and self.run is not None and self.run.state is RunState.FINISHED:
            self._wants_verdict = False
            self.action_verdict()

    def _refresh_keys(self) -> None:
        """Let the footer compose itself anew, but only when another key works."""
        keys_depend_on = (
            self.explorer.phase,
            self.shown_result() is None,
            can_be_changed(self.run),
            len(self.explorer.session.results),
            self.is_searching,
        )
        if keys_depend_on != self._keys_depend_on:
            self._keys_depend_on = keys_depend_on
            self.refresh_bindings()

    def _follow(self, reading: Reading | None) -> None:
        """Put the cursor where there is something to see, unless the user moved it."""
        run = self.run
        if run is None or run.result is None:
            return
        if run is not self._shown:
            self._begin(run, run.result)
        if run.state is RunState.HALTED:
            self.go(run.halted_at, self.cursor.token)
        elif run.result.complete and not self._moved and reading and reading.parts:
            layers = [depth.layer for depth in reading.depths if depth.layer is not None]
            self._moved = True
            self.go(max(layers, default=self.extent()[0]), self.cursor.token)
        else:
            self.go(*self.cursor)

    def _begin(self, run: Run, result: RunResult) -> None:
        """Another run is shown: of the same tokens the cursor stays where it is."""
        before = self._shown.result if self._shown else None
        self._shown = run
        if before is None or before.tokens.texts != result.tokens.texts:
            self._moved = False
            self.go(self.cursor.layer, _predicts_answer(result))
        if self._return_to is not None and self._return_to[0] is run:
            self._moved = True
            self.go(*self._return_to[1])
            self._return_to = None

    def watch_measure(self, measure: Measure) -> None:
        super().watch_measure(measure)
        # What must be computed first is nothing to open with.
        if self.is_mounted and not self.is_trying and measure.metric in OF_THE_PASS:
            self.explorer.change(measure=measure.name)

    def watch_layer_order(self, order: str) -> None:
        super().watch_layer_order(order)
        if self.is_mounted:
            self.explorer.change(layer_order=order)

    def _show_load(self) -> None:
        """How far a load is, or why there is no model: full size until there is a run."""
        progress, problem = self._progress_pane(), self.query_one(main_layout.ProblemText)
        progress.display = self.explorer.is_loading
        problem.display = self.explorer.problem is not None and not progress.display
        if self.explorer.problem is not None:
            problem.show(self.explorer.problem)
        covers = self.run is None and (progress.display or problem.display)
        for widget in (progress, problem):
            widget.set_class(covers, "full")
        self._cover_panes(covers)

    def _show_offer(self) -> None:
        """Name the session that was kept last, until something else is done."""
        line, file = self.query_one("#offer", Static), self.explorer.sessions.offered
        restarts = self.explorer.phase in (Phase.DEAD, Phase.NO_MODEL)
        offers = file is not None and not restarts and len(self.explorer.session.runs) < 2
        line.display = offers
        if file is not None and offers:
            words = words_of(file.session, datetime.now())
            line.update(Content(f"{words[0].upper()}{words[1:]}: R lists the sessions."))

    def _cover_panes(self, covers: bool) -> None:
        """Hide the panes, or bring them back."""
        panes = self.query_one("#panes")
        if panes.display == covers:
            panes.display = not covers
            if not covers:
                # Panes that are hidden lose the focus.
                self._activate(self.panes[0])
        self.query_one(PaneTabs).set_class(covers, "covered")

    def advance(self, progress: Progress) -> None:
        """Show how far a load is, unless the screen is gone."""
        if self.is_running:
            self._progress_pane().advance(progress)

    def _progress_pane(self) -> ProgressPane:
        """The pane of the load that goes on, emptied when another one began."""
        pane = self.query_one(ProgressPane)
        if self._load != self.explorer.loads:
            self._load = self.explorer.loads
            pane.start(f"Opening {self.explorer.spec.name}")
        return pane

    # Keys -------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Which keys work now; the footer shows those alone."""
        phase = self.explorer.phase
        match action:
            case "next_layer" | "run_on":
                return phase is Phase.HALTED
            case "stop":
                return phase in STOPPABLE
            case "restart":
                return phase in (Phase.DEAD, Phase.NO_MODEL)
            case "sessions":
                return self.explorer.sessions.is_on
            case "run" | "run_stepping":
                return self.explorer.can_run and phase is not Phase.HALTED
            case "next_prompt" | "generate":
                return self.explorer.can_run
            case "compute" | "mark_answer" | "skip_variant" | "part":
                return self.shown_result() is not None
            case "verdict":
                return self.shown_result() is not None or self._has_run_ahead
            case "next_match" | "end_search":
                return self.is_searching
            case "export" | "copy" | "find" | "bookmark" | "next_bookmark" | "notes":
                return self.shown_result() is not None
            case "what_if":
                return can_be_changed(self.run) and self.explorer.can_run
            case "compare":
                return self.shown_result() is not None
        return super().check_action(action, parameters)

    def why_not(self, action: str) -> str:
        """Why an action does not work now; that there is nothing to leave is no news."""
        busy = "" if self.explorer.can_run else WHY_BUSY.get(self.explorer.phase, "")
        match action:
            case "stop" | "unzoom" | "end_search" | "next_match":
                return ""
            case "next_layer" | "run_on":
                return NOT_HALTED
            case "restart" | "sessions":
                return "" if self.explorer.sessions.is_on else SESSIONS_OFF
            case "run" | "run_stepping":
                return busy or STILL_HALTED
            case "what_if" if self.shown_result() is not None:
                return busy or NOT_WHOLE
        has_begun = self.explorer.phase is Phase.RUNNING
        return busy or (JUST_BEGUN if has_begun else NOTHING_YET)

    def action_move(self, rows: int, tokens: int) -> None:
        self._moved = True
        super().action_move(rows, tokens)

    def action_edge(self, where: str) -> None:
        self._moved = True
        super().action_edge(where)

    def go_far(self, layer: int, token: int) -> None:
        self._moved = True
        super().go_far(layer, token)

    def action_run(self) -> None:
        self._run()

    def action_run_stepping(self) -> None:
        self._run(step=True, key="run_stepping")

    def _run(
        self,
        prompt: Prompt | None = None,
        step: bool = False,
        chat_template: bool | None = None,
        key: str = "run",
    ) -> None:
        """Run a prompt, by default the current one; `key` is the id of the key that asked."""

        def run() -> None:
            was_wrapped = self.explorer.chat_template
            self.explorer.run(prompt, step, chat_template)
            if self.explorer.phase is Phase.SWEEPING:
                self.notify(SWEEPING, severity="warning", markup=False)
            elif chat_template is None and was_wrapped and not self.explorer.chat_template:
                self.notify(PLAIN_AGAIN, markup=False)
            self.redraw()

        action = KeyAction(key, "runs the prompt", run, False, slow_work(self.explorer))
        act_with_model_of(self, self.run, action)

    def action_next_layer(self) -> None:
        self.explorer.step(self._take_count())
        self.redraw()

    def action_run_on(self) -> None:
        self.explorer.run_on()
        self.redraw()

    def action_stop(self) -> None:
        self.explorer.call_off()

    def action_restart(self) -> None:
        self.explorer.restart()
        self.redraw()

    def action_sessions(self) -> None:
        opening.choose_session(self, self.explorer, self._open_session)

    def _open_session(self, file: SessionFile) -> None:
        """Put a kept session in the place of this one, which stays in its file."""
        sessions = self.explorer.sessions
        try:
            run, file = sessions.open(file)
        except DepthError as error:
            self.notify(printable_sentence(str(error)), severity="error", markup=False)
            return
        kept = file.session
        self.measure = MEASURE_BY_NAME.get(kept.measure, self.measure)
        self._return_to = run, Cursor(kept.layer, kept.token)
        opening.show_run(self, self.explorer, run, "sessions")
        if sessions.is_copy:
            self.notify(OPEN_ELSEWHERE, severity="warning", markup=False)
        self.run_worker(self._read_runs(), group="kept runs", exclusive=True)
        self.redraw()

    async def _read_runs(self) -> None:
        """Read what the cache has of the session's runs, one after the other."""
        explorer = self.explorer
        for run in list(explorer.session.runs):
            if run.state is RunState.KEPT:
                result = await asyncio.to_thread(explorer.sessions.result_of, run)
                explorer.open_run(run, result)
        self.redraw()

    def action_next_prompt(self, step: int) -> None:
        """Run the next prompt of the same task, or as many further as the count says."""
        step *= self._take_count()
        explorer, prompt = self.explorer, self.explorer.prompt
        found = neighbour(prompt, step, explorer.settings.seed, explorer.datasets)
        if found is None and prompt.task in DATASETS:
            title = DATASETS[prompt.task].title
            self.notify(f"The rows of {title} were not read yet: t does.", markup=False)
        elif found is None:
            self.notify("This prompt belongs to no task: t chooses one.", markup=False)
        else:
            self._run(found, key="next_prompt" if step > 0 else "prev_prompt")

    def action_prompts(self, tab: str) -> None:
        def chosen(choice: PromptChoice) -> None:
            key = "prompt" if tab == "write" else "task"
            self._run(choice.prompt, chat_template=choice.chat_template, key=key)

        opening.choose_prompt(self, self.explorer, tab, chosen)

    def action_models(self) -> None:
        opening.choose_model(self, self.explorer, self.explorer.load)

    def action_session(self) -> None:
        opening.show_session(self, self.explorer)

    def action_sweep(self) -> None:
        opening.show_sweep(self, self.explorer)

    def action_compare(self) -> None:
        self._compared_at = self.cursor
        opening.choose_partner(self, self.explorer)

    def _compare_if_ready(self) -> None:
        """Open the comparison that was waiting for another model, unless a dialog is open."""
        pair = self.explorer.compared
        if pair is not None and self.app.screen is self:
            self.explorer.compared = None
            opening.show_comparison(self, self.explorer, *pair, self._compared_at)

    def on_screen_resume(self) -> None:
        self.changed()

    def action_compute(self) -> None:
        """Compute what the pane with the focus lacks; where that is nothing, explain it."""
        if not self._compute(self.active_pane, "compute"):
            self.action_explain()

    def action_verdict(self) -> None:
        """Go to the verdict, and compute what it lacks; what takes long only from there.

        Before the first run it is remembered for the end of that.
        """
        if self.shown_result() is None:
            self._wants_verdict = True
            self.notify(VERDICT_AFTER_RUN, markup=False)
            return
        pane = self.query_one(VerdictPane)
        was_here = self.active_pane is pane
        self._activate(pane)
        if was_here or pane.computes_quickly:
            self._compute(pane, "verdict")

    @property
    def _has_run_ahead(self) -> bool:
        """Whether a run is on its way that has nothing to show yet."""
        return self.explorer.is_loading or self.explorer.phase is Phase.RUNNING

    def _compute(self, pane: Pane, key: str) -> bool:
        """Compute what a pane lacks, or say why not; False where it lacks nothing.

        `key` is the id of the key that asked.
        """
        run = self.run
        if run is None or run.result is None:
            return True
        changes = pane.computes_with()
        wanted, why_not = run.to_compute(pane.computes(), changes)
        if not wanted and not why_not:
            return False
        if not self.explorer.can_run:
            self.notify(WHY_BUSY[self.explorer.phase], severity="warning", markup=False)
        elif wanted:

            def compute() -> None:
                self.explorer.compute(*wanted, **changes)
                self.redraw()

            act_with_model_of(self, run, KeyAction(key, "computes", compute))
        else:
            self.notify(printable_sentence(why_not), markup=False)
        return True

    def action_mark_answer(self) -> None:
        """Let the answer begin at the token under the cursor, or take that back."""
        run, token = self.run, self.cursor.token
        if run is None or run.result is None:
            return
        self.explorer.make_way()
        if run.state.is_live:
            self._say_it_runs(run)
        elif token == 0:
            self.notify("Nothing predicts token 0, so no answer begins there.", markup=False)
        else:
            self.explorer.mark_answer(token)
            text = printable(run.result.tokens.texts[token][:80])
            where = f'The answer begins at token {token}, "{text}"'
            if run.settings.answer_start < 0:
                where = "The answer is the prompt's own again"
            metrics = "erasure, integrated gradients and context depth"
            self.notify(f"{where}: for {metrics}.", markup=False)
            self.redraw()

    def _say_it_runs(self, run: Run) -> None:
        halted = run.state is RunState.HALTED
        self.notify(STILL_HALTED if halted else STILL_RUNNING, markup=False)

    def action_skip_variant(self) -> None:
        """Choose what skip effects and the like leave out."""
        self.explorer.make_way()
        run = self.run
        if run is not None and run.state.is_live:
            self._say_it_runs(run)
        elif run is not None:
            opening.choose_skip(self, self.explorer, run)

    def action_part(self) -> None:
        """Choose which part of the slower metrics is computed."""
        self.explorer.make_way()
        run = self.run
        if run is not None and run.state.is_live:
            self._say_it_runs(run)
        elif run is not None:
            opening.choose_part(self, self.explorer, run)

    def action_what_if(self) -> None:
        """Leave layers out of the run on the screen."""
        run = self.run
        assert run is not None
        clean = self.explorer.session.clean_of(run)
        if clean is None:
            self.notify("The run with every layer on is gone: r runs it.", markup=False)
            return
        changes = run.settings

        def show() -> None:
            self.explorer.session.select(clean)
            opening.show_what_if(self, self.explorer, clean, changes)

        lost = slow_work(self.explorer)
        does = "opens the what-if, whose first change ends that" if lost else "opens the what-if"
        act_with_model_of(self, run, KeyAction("what_if", does, show, lost=lost))

    def action_generate(self) -> None:
        lost = lost_by_writing(self.explorer)

        def write() -> None:
            opening.show_generation(self, self.explorer)

        act_with_model_of(self, self.run, KeyAction("think", "writes", write, False, lost))

    def action_export(self) -> None:
        run = self.run
        if run is not None and run.result is not None:
            opening.export_run(self, self.explorer, run, run.result)

    def action_token_zero(self) -> None:
        self.explorer.reading.turn_token_0()
        self.redraw()
        settings = self.explorer.settings.summary_settings()
        words = settings.where_left_out("left out of every mean") or "averaged in"
        self.notify(f"Token 0 is {words}.", markup=False)

    def action_lens(self) -> None:
        """Read depths through the next lens."""
        run = self.run
        words = self.explorer.reading.turn_lens(*filter(None, [run.result if run else None]))
        self.redraw()
        self.notify(words, markup=False)

    @on(ThresholdTurned)
    def _turn_threshold(self, turned: ThresholdTurned) -> None:
        self.explorer.reading.turn_threshold(turned.option, turned.steps)
        self.redraw()

    def action_threshold(self, option: str, step: int) -> None:
        """Raise or lower a rule's threshold; a count turns it further."""
        self.explorer.reading.turn_threshold(option, step * self._take_count())
        self.redraw()

    def action_reset_thresholds(self) -> None:
        if not self.explorer.reading.thresholds_turned:
            self.notify(NOT_TURNED, markup=False)
        self.explorer.reading.reset_thresholds()
        self.redraw()

    def action_copy(self) -> None:
        """Copy the value under the cursor, and say what it was."""
        result, pane = self.shown_result(), self.active_pane
        measure = through(self.measure, self.lens_name)
        found = copied(measure, result, self.cursor) if result else None
        if isinstance(pane, VerdictPane) and pane.sentence:
            self.app.copy_to_clipboard(pane.sentence)
            self.notify(printable_sentence(pane.sentence), title="Copied", markup=False)
        elif found is not None:
            value, words = found
            self.app.copy_to_clipboard(value)
            self.notify(f"{value}: {words}", title="Copied", markup=False)
        else:
            self.notify(NO_VALUE, markup=False)


def _predicts_answer(result: RunResult) -> int:
    """The token that the answer follows, or the last one."""
    start, last = result.tokens.answer_start, len(result.tokens) - 1
    return start - 1 if 0 < start <= last else last
