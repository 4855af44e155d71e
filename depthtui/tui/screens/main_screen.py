"""The explorer's main screen: every pane of one run, and the keys that rule them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Footer, Static

from depthtui.data.depth import DepthSummary
from depthtui.data.lens import LogitLens
from depthtui.data.protocol import Progress
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec
from depthtui.depth.effective_depth import summarise
from depthtui.metrics import MEASURE_BY_NAME, METRIC_BY_NAME, OF_THE_PASS
from depthtui.metrics.skip_effects import SkipEffects
from depthtui.metrics.spec import Measure
from depthtui.report.silenced import without
from depthtui.token_text import printable
from depthtui.tui import keymap
from depthtui.tui.draw.text import sentence
from depthtui.tui.panes.curves import DepthCurves
from depthtui.tui.panes.decided_pane import DecidedPane
from depthtui.tui.panes.depth_table import DepthTable
from depthtui.tui.panes.exit_pane import ExitPane
from depthtui.tui.panes.heatmap import Heatmap
from depthtui.tui.panes.layer_bars import LayerBars
from depthtui.tui.panes.lens_table import LensTable
from depthtui.tui.panes.pane import Pane
from depthtui.tui.panes.progress_pane import ProgressPane
from depthtui.tui.panes.prompt_pane import PromptPane
from depthtui.tui.panes.prune_pane import PrunePane
from depthtui.tui.panes.status_line import EngineState, Status, StatusLine
from depthtui.tui.screens.dialogs.dialog import MUTED
from depthtui.tui.screens.dialogs.safe_text_area import stand_ins
from depthtui.tui.screens.dialogs.session_screen import run_card, task_title
from depthtui.tui.screens.paged_screen import PagedScreen
from depthtui.tui.screens.pane_screen import PaneTabs
from depthtui.tui.state.explorer import Explorer, Phase
from depthtui.tui.state.ladder import neighbour, place
from depthtui.tui.state.session import Run, RunState
from depthtui.tui.state.what_if import can_be_changed

SWEEPING = "A sweep is running: esc stops it, then r runs the prompt. S shows the sweep."


class MainScreen(PagedScreen):
    """Shows the explorer's current run.

    Args:
        explorer: what is shown and what the keys act on.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*keymap.MAIN]
    CSS_PATH = "../main.tcss"
    PAGES = ("depths", "decided", "exits", "pruning")
    PANE_ORDER = ("heatmap", "lens", "curves", *PAGES, "means", "useful", "prompt")

    def __init__(self, explorer: Explorer) -> None:
        super().__init__()
        self.explorer = explorer
        self._shown: Run | None = None
        self._moved = False
        self._load = 0
        self._keys_depend_on: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        yield StatusLine(id="status")
        yield PromptPane(id="prompt", name="Prompt", classes="always")
        yield PaneTabs(id="tabs")
        with Horizontal(id="panes"):
            with Vertical(classes="column", id="left"):
                yield Heatmap(id="heatmap", name="Heatmap")
                yield DepthCurves(id="curves", name="Curves")
            with Vertical(classes="column", id="right"):
                yield LensTable(id="lens", name="Lens")
                yield DepthTable(id="depths", name="Depth", classes="page")
                yield DecidedPane(id="decided", name="Decided", classes="page")
                yield ExitPane(id="exits", name="Exit", classes="page")
                yield PrunePane(id="pruning", name="Prune", classes="page")
            with Vertical(classes="column", id="extra"):
                yield Heatmap(id="means", name="Means", classes="spare")
                yield LayerBars(id="useful", name="Usefulness", classes="spare")
                yield Static(id="session")
        yield ProgressPane(id="progress", name="Loading")
        yield Static(id="problem")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        super().on_mount()
        settings = self.explorer.settings
        self.query_one("#means", Heatmap).mode = "means"
        self.query_one("#session").border_title = "Session"
        for pane in self.query(Pane):
            pane.ramp = settings.ramp  # type: ignore[assignment]
        self.measure = MEASURE_BY_NAME.get(settings.measure, self.measure)
        self.layer_order = settings.layer_order
        self.redraw()

    # Showing ----------------------------------------------------------------

    @property
    def run(self) -> Run | None:
        return self.explorer.session.current

    def extent(self) -> tuple[int, int]:
        result = self.shown_result()
        if result is None:
            return 0, 0
        has_output = result.get(LogitLens) is not None
        return result.model.n_layers - (not has_output), len(result.tokens) - 1

    def shown_result(self) -> RunResult | None:
        return self.run.result if self.run else None

    def draw(self) -> None:
        """Bring every pane up to date with the explorer."""
        run, result = self.run, self.shown_result()
        summary = summarise([result], self.explorer.settings.summary_settings()) if result else None
        self._follow(run, summary)
        for pane in self.query(Pane):
            pane.show(result, summary)
        self._show_session()
        self._show_status()
        self._show_load()
        self._compare_if_ready()
        # The footer composes itself anew, so only when another key works.
        keys_depend_on = (
            self.explorer.phase,
            result is None,
            can_be_changed(run),
            len(self.explorer.session.results),
        )
        if keys_depend_on != self._keys_depend_on:
            self._keys_depend_on = keys_depend_on
            self.refresh_bindings()

    def _follow(self, run: Run | None, summary: DepthSummary | None) -> None:
        """Put the cursor where there is something to see, unless the user moved it."""
        if run is None or run.result is None:
            return
        if run is not self._shown:
            same_tokens = (
                self._shown is not None
                and self._shown.result is not None
                and self._shown.result.tokens.texts == run.result.tokens.texts
            )
            self._shown = run
            if not same_tokens:
                self._moved = False
                self.go(self.cursor.layer, _predicts_answer(run.result))
        if run.state is RunState.HALTED:
            self.go(run.halted_at, self.cursor.token)
        elif run.result.complete and not self._moved and summary is not None:
            layers = [each.layer for each in summary.depths if each.layer is not None]
            self._moved = True
            self.go(max(layers, default=self.extent()[0]), self.cursor.token)
        else:
            self.go(*self.cursor)

    def watch_measure(self, measure: Measure) -> None:
        super().watch_measure(measure)
        # What must be computed first is nothing to open with.
        if self.is_mounted and measure.metric in OF_THE_PASS:
            self.explorer.change(measure=measure.name)

    def watch_layer_order(self, order: str) -> None:
        super().watch_layer_order(order)
        if self.is_mounted:
            self.explorer.change(layer_order=order)

    def _show_session(self) -> None:
        session = self.explorer.session
        lines = [run_card(run, session) for run in reversed(list(session.shown()))]
        empty = Content.styled("Every run stays here.", MUTED)
        listing = self.query_one("#session", Static)
        if listing.display:
            listing.update(Content("\n").join(lines) if lines else empty, layout=False)

    def _show_status(self) -> None:
        explorer, run = self.explorer, self.run
        live = explorer.session.live
        shown = live or run
        ran = explorer.model is not None and run is not None and run.state is RunState.FINISHED
        found = place(explorer.prompt, explorer.settings.seed)
        self.query_one(StatusLine).show(
            Status(
                model=explorer.model,
                model_name=explorer.spec.name if explorer.is_loading else "",
                task=self._task_title(),
                number=f"{found[0] + 1}/{found[1]}" if found else "",
                state=self._engine_state(),
                layer=live.layers_done if live else 0,
                layers=live.model.n_layers if live else 0,
                seconds=shown.seconds if shown else 0,
                cached=run.cached if run and ran else None,
                memory=explorer.memory.used if explorer.memory else 0,
                work=live.work if live else None,
                swept=(explorer.sweep.done, explorer.sweep.total) if explorer.sweep else (0, 0),
            )
        )

    def _task_title(self) -> str:
        """The prompt's task, and what a what-if on the screen leaves out."""
        left_out = without(self.run.settings.silenced) if self.run else ""
        return " · ".join(filter(None, (left_out, task_title(self.explorer.prompt))))

    def _engine_state(self) -> EngineState:
        phase, run = self.explorer.phase, self.run
        stopped = run is not None and run.state is RunState.STOPPED
        states: dict[Phase, EngineState] = {
            Phase.STARTING: "starting",
            Phase.LOADING: "loading",
            Phase.READY: "stopped" if stopped else "ready",
            Phase.RUNNING: "running",
            Phase.HALTED: "halted",
            Phase.SWEEPING: "sweeping",
            Phase.NO_MODEL: "idle",
            Phase.DEAD: "gone",
        }
        return states[phase]

    def _show_load(self) -> None:
        """How far a load is, or why there is no model: full size until there is a run."""
        explorer = self.explorer
        progress = self._progress_pane()
        problem = self.query_one("#problem", Static)
        loading = explorer.is_loading
        progress.display = loading
        problem.display = explorer.problem is not None and not loading
        if explorer.problem is not None:
            problem.update(
                Content.assemble(
                    (stand_ins(explorer.problem.message), "bold $text-error"),
                    "\n",
                    stand_ins(explorer.problem.hint),
                )
            )
        covers = self.run is None and (progress.display or problem.display)
        panes = self.query_one("#panes")
        if panes.display == covers:
            panes.display = not covers
            if not covers:
                # Panes that are hidden lose the focus.
                self._activate(self.query_one(Heatmap))
        self.query_one(PaneTabs).set_class(covers, "covered")
        for each in (progress, problem):
            each.set_class(covers, "full")

    def advance(self, progress: Progress) -> None:
        """Show how far a load is."""
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
                return phase in (Phase.RUNNING, Phase.HALTED, Phase.LOADING, Phase.SWEEPING)
            case "restart":
                return phase in (Phase.DEAD, Phase.NO_MODEL)
            case "run" | "run_stepping":
                return self.explorer.can_run and phase is not Phase.HALTED
            case "ladder" | "think":
                return self.explorer.can_run
            case "compute" | "mark_answer" | "skip_variant":
                return self.shown_result() is not None
            case "export" | "copy":
                return self.shown_result() is not None
            case "what_if":
                return can_be_changed(self.run) and self.explorer.can_run
            case "compare":
                return self.shown_result() is not None
        return True

    def action_move(self, rows: int, tokens: int) -> None:
        self._moved = True
        super().action_move(rows, tokens)

    def action_edge(self, where: str) -> None:
        self._moved = True
        super().action_edge(where)

    def action_run(self) -> None:
        self._run()

    def action_run_stepping(self) -> None:
        self._run(step=True)

    def _run(self, prompt: Prompt | None = None, step: bool = False) -> None:
        self.explorer.run(prompt, step)
        if self.explorer.phase is Phase.SWEEPING:
            self.notify(SWEEPING, severity="warning", markup=False)
        self.redraw()

    def action_next_layer(self) -> None:
        self.explorer.step(self._take_count())
        self.redraw()

    def action_run_on(self) -> None:
        self.explorer.run_on()
        self.redraw()

    def action_stop(self) -> None:
        self.explorer.stop()

    def action_restart(self) -> None:
        self.explorer.restart()
        self.redraw()

    def action_ladder(self, step: int) -> None:
        """Run the next prompt of the same task, or as many further as the count says."""
        step *= self._take_count()
        found = neighbour(self.explorer.prompt, step, self.explorer.settings.seed)
        if found is None:
            self.notify("This prompt belongs to no task: t chooses one.", markup=False)
        else:
            self._run(found)

    def action_prompts(self, tab: str) -> None:
        from depthtui.tui.screens.dialogs.prompt_picker import PromptChoice, PromptPicker

        def chosen(choice: PromptChoice | None) -> None:
            if choice is not None:
                self.explorer.change(chat_template=choice.chat_template)
                self._run(choice.prompt)

        model, settings = self.explorer.model, self.explorer.settings
        template = model.has_chat_template if model else None
        picker = PromptPicker(
            self.explorer.prompt, settings.seed, settings.chat_template, template, tab
        )
        self.app.push_screen(picker, chosen)

    def action_models(self) -> None:
        self._choose_model(self.explorer.load)

    def _choose_model(self, then: Callable[[ModelSpec], None]) -> None:
        from depthtui.models.catalog import on_disk
        from depthtui.settings import models_dir
        from depthtui.tui.screens.dialogs.model_picker import ModelPicker

        def chosen(spec: ModelSpec | None) -> None:
            if spec is not None:
                then(spec)
                self.redraw()

        folder = models_dir(self.explorer.cache_dir)
        self.app.push_screen(ModelPicker(self.explorer.spec, lambda: on_disk(folder)), chosen)

    def action_session(self) -> None:
        from depthtui.tui.screens.dialogs.session_screen import SessionChoice, SessionScreen

        def chosen(choice: SessionChoice | None) -> None:
            if choice is not None and choice.run is not None:
                self.explorer.session.select(choice.run)
            self.redraw()
            session = self.explorer.session
            other = session.marked or session.before(session.current)
            if choice is not None and choice.compare and session.current and other:
                self._compare(session.current, other)

        self.app.push_screen(SessionScreen(self.explorer), chosen)

    def action_sweep(self) -> None:
        """Show the sweep, or the session's runs as one."""
        from depthtui.tui.screens.sweep_screen import SweepScreen

        self.app.push_screen(SweepScreen(self.explorer), lambda _: self.redraw())

    def action_compare(self) -> None:
        """Ask what to compare the run on the screen with."""
        from depthtui.tui.screens.dialogs.compare_choice import CompareChoice, Partner

        def chosen(partner: Partner | None) -> None:
            run = self.run
            if partner is None or run is None:
                return
            if partner.run is None:
                self._choose_model(lambda spec: self.explorer.run_on_model(run, spec))
            else:
                self._compare(run, partner.run)

        self.app.push_screen(CompareChoice(self.explorer.session), chosen)

    def _compare(self, a: Run, b: Run) -> None:
        from depthtui.tui.screens.compare_screen import CompareScreen

        self.app.push_screen(CompareScreen(self.explorer, a, b, self.measure))

    def _compare_if_ready(self) -> None:
        """Open the comparison that was waiting for another model, unless a dialog is open."""
        pair = self.explorer.compared
        if pair is not None and self.app.screen is self:
            self.explorer.compared = None
            self._compare(*pair)

    def on_screen_resume(self) -> None:
        self.changed()

    def action_compute(self) -> None:
        """Compute what the pane with the focus shows."""
        run, names = self.run, self.active_pane.computes()
        result = self.shown_result()
        if run is None or result is None:
            return
        missing = [name for name in names if name not in result.measured]
        can_be_had = [each for each in missing if each not in result.unavailable]
        on_demand = [name for name in names if METRIC_BY_NAME[name].on_demand]
        stopped = on_demand if run.state is RunState.STOPPED else []
        if self.explorer.phase is Phase.SWEEPING:
            self.notify(SWEEPING, severity="warning", markup=False)
        elif not self.explorer.has_model_of(run):
            self.notify("This run is of another model: m loads that one.", markup=False)
        elif can_be_had or stopped:
            self.explorer.compute(*(can_be_had or stopped))
            self.redraw()
        elif missing:
            why = sentence(result.unavailable[missing[0]])
            metric = METRIC_BY_NAME[missing[0]]
            hint = " A marks the token that the answer begins with." * metric.needs_answer
            self.notify(f"{metric.title} cannot be had: {why}.{hint}", markup=False)
        elif names:
            self.notify("This is computed already.", markup=False)
        else:
            self.notify("This pane has all it shows; v chooses a measure.", markup=False)

    def action_mark_answer(self) -> None:
        """Let the answer begin at the token under the cursor, or take that back."""
        run, token = self.run, self.cursor.token
        if run is None or run.result is None:
            return
        if run.state.is_live:
            self.notify("The run goes on: esc stops it.", markup=False)
        elif token == 0:
            self.notify("Nothing predicts token 0, so no answer begins there.", markup=False)
        else:
            self.explorer.mark_answer(token)
            text = printable(run.result.tokens.texts[token][:80])
            where = f'The answer begins at token {token}, "{text}"'
            if run.settings.answer_start < 0:
                where = "The answer is the prompt's own again"
            self.notify(f"{where}: for erasure and integrated gradients.", markup=False)
            self.redraw()

    def action_skip_variant(self) -> None:
        """Choose what skip effects and ablation leave out."""
        from depthtui.tui.screens.dialogs.skip_picker import SkipChoice, SkipPicker

        run = self.run
        if run is None:
            return
        if run.state.is_live:
            self.notify("The run goes on: esc stops it.", markup=False)
            return

        def chosen(choice: SkipChoice | None) -> None:
            if choice is not None:
                self.explorer.choose_skip(*choice)
                self.redraw()

        current = SkipChoice(run.settings.skip_part, run.settings.skip_everywhere)
        self.app.push_screen(SkipPicker(current, run.model), chosen)

    def action_what_if(self) -> None:
        """Leave layers out of the run on the screen."""
        from depthtui.tui.screens.what_if_screen import WhatIfScreen

        run = self.run
        assert run is not None
        if not self.explorer.has_model_of(run):
            self.notify("This run is of another model: m loads that one.", markup=False)
            return
        clean = self.explorer.session.clean_of(run)
        if clean is None:
            self.notify("The run with every layer on is gone: r runs it.", markup=False)
            return
        self.explorer.session.select(clean)
        self.app.push_screen(
            WhatIfScreen(self.explorer, clean, self.cursor, self.layer_order, run.settings.silenced)
        )

    def action_think(self) -> None:
        """Let the model answer the prompt, and watch it."""
        from depthtui.tui.screens.thinking_screen import ThinkingScreen

        self.app.push_screen(ThinkingScreen(self.explorer, self.layer_order))

    def action_export(self) -> None:
        from depthtui.tui.screens.dialogs.export_screen import open_export

        run, result = self.run, self.shown_result()
        if run is not None and result is not None:
            open_export(self.app, self.explorer, f"this run ({run.number})", [result])

    def action_first_token(self) -> None:
        included = not self.explorer.settings.include_first_token
        self.explorer.include_first_token(included)
        self.redraw()
        words = "averaged in" if included else "left out of every mean"
        self.notify(f"Token 0 is {words}.", markup=False)

    def action_copy(self) -> None:
        """Copy the value under the cursor, and say what it was."""
        result = self.shown_result()
        values = self.measure.values(result) if result else None
        if result is None or values is None:
            return
        layer = min(self.cursor.layer, len(values) - 1)
        effects = result.get(SkipEffects)
        if effects is not None and not self.measure.by_token:
            value = f"{float(effects.output[layer]):.6g}"
            self.app.copy_to_clipboard(value)
            words = f"{value}: output effect of skipping layer {layer}"
            self.notify(words, title="Copied", markup=False)
            return
        value = f"{float(values[layer, self.cursor.token]):.6g}"
        token = printable(result.tokens.texts[self.cursor.token])
        self.app.copy_to_clipboard(value)
        self.notify(
            f"{value}: {self.measure.title}, layer {layer}, token {self.cursor.token} ({token})",
            title="Copied",
            markup=False,
        )


def _predicts_answer(result: RunResult) -> int:
    """The token that the answer follows, or the last one."""
    start, last = result.tokens.answer_start, len(result.tokens) - 1
    return start - 1 if 0 < start <= last else last
