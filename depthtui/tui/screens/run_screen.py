"""The commands of a screen of the current run: run, compute, choose, and go on from it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, Writing
from depthtui.metrics import patch
from depthtui.prompts.dataset_formats import DATASETS
from depthtui.settings import datasets_dir
from depthtui.token_text import printable, printable_sentence
from depthtui.tui.panes.pane import Pane
from depthtui.tui.panes.verdict_page import VerdictPage
from depthtui.tui.panes.verdict_pane import VerdictPane
from depthtui.tui.screens.dialogs.ask import ask_first
from depthtui.tui.screens.model_question import act_with_model_of
from depthtui.tui.screens.places_screen import PlacesScreen
from depthtui.tui.screens.prompt_question import choose_prompt
from depthtui.tui.screens.stepped_screen import SteppedScreen
from depthtui.tui.state.dataset_prompts import Datasets
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.phase import WHY_BUSY, Phase
from depthtui.tui.state.session import RunState, SessionRun
from depthtui.tui.state.task_prompts import neighbour
from depthtui.tui.state.unfinished_work import unfinished_work
from depthtui.tui.state.what_if import can_be_changed

if TYPE_CHECKING:
    from depthtui.tui.screens.dialogs.prompt_picker import PromptChoice

STOPPABLE = (Phase.RUNNING, Phase.HALTED, Phase.LOADING, Phase.SWEEPING, Phase.WRITING)
GONE = (Phase.DEAD, Phase.NO_MODEL)

PLAIN_AGAIN = (
    "The chat template belonged to the prompt before; this one has none. p switches it on."
)
JUST_BEGUN = "The run has only begun: wait for its first layer."
NOTHING_YET = "Nothing has been run yet: r runs the prompt."
NOT_WHOLE = "A what-if starts from a run through every layer: r runs the prompt."
CLEAN_RUN_GONE = "The run with every layer on is gone: r runs it."
VERDICT_AFTER_RUN = "The verdict is computed once the run is through."
STILL_RUNNING = "The run goes on: esc stops it."
STILL_HALTED = "The run is halted: space runs one more layer, r all of them, esc stops it."
ANSWER_METRICS = "erasure, integrated gradients and context depth"


class RunScreen(PlacesScreen, SteppedScreen):
    """Runs prompts, and computes what the shown run lacks.

    Attributes:
        datasets: the published data sets that are here, and the rows that were read of them.
        wants_verdict: whether the verdict is computed at the end of the run.
    """

    def __init__(self, explorer: Explorer) -> None:
        super().__init__(explorer)
        self.datasets = Datasets(datasets_dir(explorer.settings.cache_folder))
        self.wants_verdict = False

    def act_with_model(self, name: str, act: Callable[[], None]) -> None:
        """Act for a command with the model of the shown run."""
        act_with_model_of(self, self.run, self.commands[name], act)

    # When commands work -------------------------------------------------------

    @property
    def can_stop(self) -> bool:
        """Whether the engine has work that can be stopped."""
        return self.explorer.phase in STOPPABLE

    @property
    def can_go_back(self) -> bool:
        """Whether a search or a zoomed pane can be left."""
        return self.is_searching or self.is_zoomed

    def why_no_result(self) -> str:
        """Why there is no run to act on."""
        if self.shown_result() is not None:
            return ""
        has_begun = self.explorer.phase is Phase.RUNNING
        return self.why_busy() or (JUST_BEGUN if has_begun else NOTHING_YET)

    def why_not_run(self) -> str:
        """Why no prompt can be run, no run continued, no engine started."""
        return "" if self.explorer.phase in (Phase.HALTED, *GONE) else self.why_busy()

    def why_not_stepping(self) -> str:
        """Why no run can be begun that halts after each layer."""
        return STILL_HALTED if self.explorer.phase is Phase.HALTED else self.why_busy()

    def why_not_compute(self) -> str:
        """Why nothing can be computed, now or at the end of a run that is coming."""
        explorer = self.explorer
        has_run_ahead = explorer.engine.is_loading or explorer.phase is Phase.RUNNING
        return "" if has_run_ahead else self.why_no_result()

    def why_not_next(self) -> str:
        """Why there is no next prompt or match to go to."""
        return "" if self.is_searching else self.why_busy()

    def why_not_what_if(self) -> str:
        """Why no layer can be left out."""
        is_whole = can_be_changed(self.run)
        return self.why_busy() or self.why_no_result() or ("" if is_whole else NOT_WHOLE)

    # Running ------------------------------------------------------------------

    def call_off(self) -> None:
        """Stop the engine's work, and keep its results so far."""
        self.explorer.automatic.call_off()

    def run_on(self) -> None:
        """Run the prompt, continue a halted run, or start an engine that is gone."""
        explorer = self.explorer
        if explorer.phase in GONE:
            explorer.engine.restart()
            self.redraw()
        elif explorer.phase is Phase.HALTED:
            explorer.stepping.run_on()
            self.redraw()
        else:
            self._run_prompt("run")

    def run_stepping(self) -> None:
        """Run the prompt, and halt after each layer."""
        self._run_prompt("run_stepping", step=True)

    def _run_prompt(
        self,
        name: str,
        prompt: Prompt | None = None,
        step: bool = False,
        chat_template: bool | None = None,
    ) -> None:
        """Run a prompt, by default the current one; `name` is the command that does so."""

        def run() -> None:
            explorer = self.explorer
            was_wrapped = explorer.chat_template
            explorer.run(prompt, step, chat_template)
            if explorer.phase is Phase.SWEEPING:
                self.notify(WHY_BUSY[Phase.SWEEPING], severity="warning", markup=False)
            elif chat_template is None and was_wrapped and not explorer.chat_template:
                self.notify(PLAIN_AGAIN, markup=False)
            self.redraw()

        self.act_with_model(name, run)

    def go_on(self, step: int) -> None:
        """Go by matches of a search, or else by the task's prompts."""
        if self.is_searching:
            self.next_match(step)
        else:
            self._next_prompt(step * self.pop_count())

    def _next_prompt(self, step: int) -> None:
        """Run the prompt of the same task that comes `step` prompts later."""
        explorer, prompt = self.explorer, self.explorer.prompt
        later = neighbour(prompt, step, explorer.settings.seed, self.datasets)
        if later is None and prompt.task in DATASETS:
            title = DATASETS[prompt.task].title
            self.notify(f"The rows of {title} have not been read yet: p reads them.", markup=False)
        elif later is None:
            self.notify("This prompt belongs to no task: p chooses one.", markup=False)
        else:
            self._run_prompt("next_prompt" if step > 0 else "prev_prompt", later)

    def back(self) -> None:
        """Leave the search, or else the zoomed pane."""
        if self.is_searching:
            self.end_search()
        else:
            self.minimize()

    # Computing ----------------------------------------------------------------

    def compute(self) -> None:
        """Compute the metrics that the pane with the focus lacks, then those of the verdict.

        Without a result yet, or while the answer is written, the verdict is computed at the end of
        the run.
        """
        run = self.run
        if self.shown_result() is None or (run is not None and run.is_being_written):
            self.wants_verdict = True
            self.notify(VERDICT_AFTER_RUN, markup=False)
        elif not self._compute_for(self.active_pane):
            self.compute_verdict()

    def compute_verdict(self) -> None:
        """Go to the verdict and compute what it lacks; slow metrics only if it was focused."""
        active = self.active_pane
        was_here = isinstance(active, VerdictPage)
        pane = active if isinstance(active, VerdictPage) else self.query_one(VerdictPane)
        self.go_to_pane(pane)
        if not (was_here or pane.computes_quickly):
            return
        if not self._compute_for(pane) and was_here:
            self.notify("The verdict lacks nothing.", markup=False)

    def _compute_for(self, pane: Pane) -> bool:
        """Compute what a pane lacks, or notify why not; False where it lacks nothing."""
        run = self.run
        if run is None or run.result is None:
            return True
        changes = pane.computes_with()
        metrics, why_not = run.to_compute(pane.computes(), changes)
        if not metrics and not why_not:
            return False
        if not self.explorer.can_run:
            if not self.waits_for_model("compute"):
                self.notify(WHY_BUSY[self.explorer.phase], severity="warning", markup=False)
        elif patch.NAME in pane.computes() and not run.result.source_text:
            self._ask_for_source(run, pane)
        elif metrics:

            def compute() -> None:
                self.explorer.compute(*metrics, **changes)
                self.redraw()

            self.act_with_model("compute", compute)
        else:
            self.notify(printable_sentence(why_not), markup=False)
        return True

    def _ask_for_source(self, run: SessionRun, pane: Pane) -> None:
        """Ask for the text to patch from, then compute what a pane lacks."""

        def compute() -> None:
            if run.result is not None and run.result.source_text:
                self._compute_for(pane)

        self._ask_measured(run, "patch_from", compute)

    # Writing ------------------------------------------------------------------

    def write(self) -> None:
        """Let the model answer the prompt."""
        self._write("write", self.explorer.chat_template)

    def choose_writing(self) -> None:
        """Ask how the model writes, and let it."""
        from depthtui.tui.screens.dialogs.writing_form import WritingForm

        explorer, model = self.explorer, self.explorer.engine.model

        def chosen(values: dict[str, Any] | None) -> None:
            if values is not None:
                wrapped = values.pop("chat_template")
                explorer.writing = Writing(**values)
                self._write("write_with", wrapped)

        has_template = model is not None and model.has_chat_template
        form = WritingForm(explorer.writing, explorer.chat_template, has_template)
        self.app.push_screen(form, chosen)

    def _write(self, name: str, chat_template: bool) -> None:
        def write() -> None:
            explorer = self.explorer
            explorer.run(explorer.prompt, chat_template=chat_template, write=explorer.writing)
            self.redraw()

        self.act_with_model(name, write)

    # Choosing -----------------------------------------------------------------

    def choose_prompt(self) -> None:
        """Ask for a prompt, and run it."""

        def chosen(choice: PromptChoice) -> None:
            self._run_prompt("prompt", choice.prompt, chat_template=choice.chat_template)

        choose_prompt(self, self.datasets, chosen)

    def choose_model(self) -> None:
        """Ask for a model, and open it."""
        self.ask_for_model(self.explorer.load)

    def ask_for_model(self, then: Callable[[ModelSpec], None]) -> None:
        """Ask for a model; `then` is called once the user agreed to the loss of work."""
        from depthtui.tui.screens.dialogs.model_picker import ModelPicker

        explorer = self.explorer

        def chosen(spec: ModelSpec | None) -> None:
            if spec is not None:
                lost = unfinished_work(explorer)
                ask_first(self.app, lost, "model", "opens it", partial(opened, spec))

        def opened(spec: ModelSpec) -> None:
            then(spec)
            self.redraw()

        failed = explorer.engine.not_loaded
        picker = ModelPicker(
            failed.spec if failed else explorer.engine.spec,
            explorer.models.on_disk,
            explorer.models.check,
            failed.reason if failed else "",
            explorer.engine.command,
        )
        self.app.push_screen(picker, chosen)

    def choose_measured(self) -> None:
        """Ask for the settings of the run's slower metrics."""
        if self.run is not None:
            self._ask_measured(self.run)

    def _ask_measured(
        self, run: SessionRun, first: str = "", then: Callable[[], object] = lambda: None
    ) -> None:
        """Ask for the settings of a run's slower metrics.

        Args:
            run: the run.
            first: the field that has the focus; empty for the first one.
            then: called once the values are taken.
        """
        from depthtui.tui.screens.dialogs.measured_form import MeasuredForm

        explorer = self.explorer

        def chosen(settings: dict[str, Any] | None) -> None:
            if settings is None or run.result is None:
                return
            start = settings.pop("answer_start")
            explorer.session.choose(run, **settings)
            if start != run.settings.answer_start:
                explorer.session.mark_answer(run, start)
                words = answer_words(run.result, start)
                self.notify(f"{words}: for {ANSWER_METRICS}.", markup=False)
            self.redraw()
            then()

        explorer.automatic.make_way()
        if run.state.is_live:
            halted = run.state is RunState.HALTED
            self.notify(STILL_HALTED if halted else STILL_RUNNING, markup=False)
        elif run.result is not None:
            form = MeasuredForm(run.settings, run.result, self.cursor.token, first)
            self.app.push_screen(form, chosen)

    # Other screens ------------------------------------------------------------

    def what_if(self) -> None:
        """Leave layers out of the run that is shown: those of the page Left out where it is on."""
        run, explorer = self.run, self.explorer
        assert run is not None
        clean = explorer.session.clean_of(run)
        if clean is None:
            self.notify(CLEAN_RUN_GONE, markup=False)
            return

        changes = self.active_pane.what_if_settings(run.settings)

        def show() -> None:
            explorer.session.select(clean)
            self.app.open_screen("What-if", clean, self.cursor, self.layer_order, changes)

        self.act_with_model("what_if", show)


def answer_words(result: RunResult, start: int) -> str:
    """The start of the answer, in words."""
    if start < 0:
        return "The answer is again the one that the prompt marks"
    text = printable(result.tokens.readable_texts[start][:80])
    return f'The answer begins at token {start}, "{text}"'
