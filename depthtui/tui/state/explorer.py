"""The explorer's state and actions, without a screen: model, engine, session.

The app hands it events and key presses; it sends commands, and hands toasts to the app. Nothing
here draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthtui.data import protocol
from depthtui.data.model import ModelInfo
from depthtui.data.pieces import Piece
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, Repeated, RunSettings, Writing
from depthtui.data.saved_session import SavedRun
from depthtui.metrics.needed_settings import with_lens_metric
from depthtui.settings import Settings, lenses_dir
from depthtui.tui.state.automatic_metrics import AutomaticWork
from depthtui.tui.state.engine_connection import EngineDeath
from depthtui.tui.state.engine_life import EngineLife
from depthtui.tui.state.host import Host
from depthtui.tui.state.inspections import Inspections
from depthtui.tui.state.model_list import ModelList, opened_last
from depthtui.tui.state.next_run import settings_after, settings_beside, with_marked_answer
from depthtui.tui.state.phase import CodeQuestion, Phase, Then
from depthtui.tui.state.reading_choices import ReadingChoices
from depthtui.tui.state.run_pair import RunPair
from depthtui.tui.state.saved_controls import SavedControls
from depthtui.tui.state.session import RunState, Session, SessionRun
from depthtui.tui.state.sessions import Sessions
from depthtui.tui.state.side_work import SideWork
from depthtui.tui.state.stepping import Stepping
from depthtui.tui.state.toast import Toast
from depthtui.tui.state.token_count import TokenCount

if TYPE_CHECKING:
    from depthtui.sweep.plan import Cell, SweepPlan
    from depthtui.sweep.records import Record

_BUSY = (Phase.STARTING, Phase.LOADING, Phase.SWEEPING, Phase.WRITING, Phase.DEAD)
"""The phases in which no work can begin."""


class Explorer:
    """The session and the engine behind it.

    Args:
        spec: the model to open with.
        settings: the user's settings.
        host: the app.
        given_options: the settings that the command line names.
        trusted: the models whose own Python code the command line lets run.
        engine_command: the command that reaches an engine elsewhere; empty for one on this machine.

    Attributes:
        engine: the engine and its model.
        reading: how depths are read.
        work: the engine's work beside runs.
        sessions: the session's file, and other sessions.
        token_count: how many tokens a prompt has.
        models: the models that can be opened.
        inspections: the layers of runs that were inspected at a token.
        controls: what the layers that are kept mean on each model.
        pair: a run and its prompt's run on another model, to be compared.
        draft: the chosen prompt before it runs, and whether it is wrapped; or None.
        writing: how the model writes answers.
        stepping: lets a halted run go on.
        automatic: the work that begins by itself behind a run.
        own_command: title of the user's own command that is running; empty for none.
    """

    def __init__(
        self,
        spec: ModelSpec,
        settings: Settings,
        host: Host,
        given_options: Mapping[str, Any] | None = None,
        trusted: Iterable[ModelSpec] = (),
        engine_command: str = "",
    ) -> None:
        self.settings = settings
        self.given_options = given_options or {}
        self.session = Session()
        listeners = self._run_unless_shown, self._engine_ended
        self.engine = EngineLife(
            spec, lambda: self.settings, host, trusted, engine_command, *listeners
        )
        self.host = host
        self.work = SideWork(self.engine, host)
        self.stepping = Stepping(self.session, self.engine.send)
        self.automatic = AutomaticWork(self)
        self.reading = ReadingChoices(self)
        self.sessions = Sessions(self)
        self.token_count = TokenCount(self._free_engine)
        self.models = ModelList(self.engine, lambda: self.settings)
        self.inspections = Inspections(self._free_engine, lambda: self.engine.model)
        self.pair = RunPair()
        self.writing = settings.writing()
        self.own_command = ""
        self.draft: tuple[Prompt, bool] | None = None
        self._prompt_and_template: tuple[Prompt, bool] | None = None
        self.controls = SavedControls(lambda: lenses_dir(self.cache_dir))

    @property
    def prompt_and_template(self) -> tuple[Prompt, bool]:
        """The prompt that `run` would run, and whether it is wrapped in the chat template."""
        current = self.session.current
        if self._prompt_and_template is not None:
            return self._prompt_and_template
        if current is not None:
            return current.prompt, current.settings.chat_template
        return self.host.first_prompt(), self.settings.chat_template

    @property
    def prompt(self) -> Prompt:
        """The prompt that `run` would run."""
        return self.prompt_and_template[0]

    @property
    def chat_template(self) -> bool:
        """Whether `run` would wrap the prompt in the chat template."""
        return self.prompt_and_template[1]

    @property
    def phase(self) -> Phase:
        """The engine's activity."""
        live = self.session.live
        if self.engine.is_loading or self.engine.phase is Phase.DEAD:
            return self.engine.phase
        if self.work.phase is not None:
            return self.work.phase
        if live is not None:
            return Phase.HALTED if live.state is RunState.HALTED else Phase.RUNNING
        return self.engine.phase

    @property
    def can_run(self) -> bool:
        return self.engine.model is not None and self.can_sweep

    @property
    def can_sweep(self) -> bool:
        """Whether a sweep can be started; it brings its own models."""
        return self.phase not in _BUSY

    def _free_engine(self) -> EngineLife | None:
        """The engine, where it can do work other than a sweep now."""
        return self.engine if self.can_run else None

    @property
    def cache_dir(self) -> Path:
        """The folder of models, results and sweeps."""
        return self.settings.cache_folder

    def close(self) -> None:
        """End the engine at once."""
        self.engine.close()
        self.models.drop_requests()

    def load(self, spec: ModelSpec, then: Then | None = None) -> None:
        """Switch to another model; the session stays.

        Args:
            spec: the model.
            then: follows the load; None for what follows by itself.
        """
        self.pair.forget()
        if not self.engine.is_loading:
            self.stop()
        self.engine.load(spec, then)

    def trust(self, question: CodeQuestion) -> None:
        """Load a model with its own Python code, which may run until the explorer ends."""
        self.engine.trust(question.spec)
        self.load(question.spec, question.then)

    def with_model(self, spec: ModelSpec, then: Then) -> None:
        """Load a model unless it is loaded, then call `then` with it."""
        model = self.engine.model
        if model is not None and self.can_run and model.spec == spec:
            then(model)
        elif self.engine.is_loading and self.engine.spec == spec:
            self.engine.follow_with(then)
        else:
            self.load(spec, then)

    def run_on_model(self, run: SessionRun, spec: ModelSpec) -> None:
        """Run a run's prompt on another model; `pair` then has both runs."""
        self.run_beside(run, with_marked_answer(run), run.settings.chat_template, spec)

    def run_beside(
        self, first: SessionRun, prompt: Prompt, chat_template: bool, spec: ModelSpec | None = None
    ) -> None:
        """Run another prompt beside a run, on its model or another; `pair` then has both runs.

        Any run, load or stop in between cancels the comparison.
        """
        spec = spec or first.model.spec
        self.pair.forget()
        self._prompt_and_template, self.draft = (prompt, chat_template), None
        self.with_model(spec, partial(self._start_beside, first, prompt, chat_template))

    def _start_beside(
        self, first: SessionRun, prompt: Prompt, chat_template: bool, model: ModelInfo
    ) -> None:
        metrics = self.settings.run_settings().metrics
        settings = settings_beside(first, prompt, chat_template, metrics)
        self.stop()
        second = self.session.start(model, prompt, settings)
        self.pair.wait(first, second)
        self._send(second)

    def _recall(self, run: SessionRun, model: ModelInfo) -> None:
        """Compute a saved session's run that the cache no longer has."""
        if run not in self.session.runs:
            return
        self.session.recall(run, model)
        self._send(run)

    def begin_session(self, saved_runs: Sequence[SavedRun]) -> list[SessionRun]:
        """Replace the session's runs by those of a saved session; a live run is stopped."""
        if self.session.live is not None:
            self.stop()
        self.pair.forget()
        self._prompt_and_template = None
        if self.engine.is_loading:
            # The model being loaded is for these runs, not for a run of its own.
            self.engine.follow_with(self.automatic.follow_shown)
        return self.session.begin(saved_runs)

    def run(
        self,
        prompt: Prompt | None = None,
        step: bool = False,
        chat_template: bool | None = None,
        write: Writing | None = None,
    ) -> None:
        """Run a prompt, by default the current one; a live run is stopped first.

        A prompt whose result is on the screen already is computed afresh; a text that was written
        in the same way before comes from the cache, unless it is that result.

        Args:
            prompt: the prompt; None for the current one, wrapped as it is.
            step: whether to halt after each layer.
            chat_template: whether it is wrapped in the chat template; None follows the user's
                settings where the prompt is not the current one.
            write: how the model writes the answer first; None for the prompt's own answer.
        """
        requested, wrapped = self.prompt_and_template
        if prompt is not None:
            requested, wrapped = prompt, self.settings.chat_template
        if chat_template is not None:
            wrapped = chat_template
        self._prompt_and_template, self.draft = (requested, wrapped), None
        self.pair.forget()
        # While a model is loaded: this prompt then runs by itself.
        self.engine.follow_with(None)
        model = self.engine.model
        if model is None or not self.can_run:
            return
        self.stop()
        settings = self._run_settings(requested, wrapped)
        current = self.session.current
        if write is not None:
            requested = requested.unanswered
            settings = with_lens_metric(
                replace(settings, answer_start=-1, patch_from=""), self.settings.lens
            )
        is_repeated = current is not None and current.answers(model, requested, settings, write)
        run = self.session.start(model, requested, settings, write)
        self._send(run, step, fresh=is_repeated)

    def compute(self, *metrics: str, run: SessionRun | None = None, **changes: Any) -> None:
        """Add metrics to a run; a live run is stopped first.

        Metrics that the engine is computing for the run are continued, too. Nothing is added to a
        run whose answer is being written.

        Args:
            metrics: their names.
            run: the run; None for the one on the screen.
            changes: settings that replace the run's.
        """
        run = run or self.session.current
        if run is None or run.is_being_written or not self.has_model_of(run):
            return
        if run.changed_by(changes):
            self.automatic.make_way()
            self.session.choose(run, **changes)
        self.automatic.run = None
        requested = dict.fromkeys([*run.settings.metrics, *metrics])
        run.recalled = tuple(name for name in run.recalled if name not in metrics)
        self.stop()
        self.session.extend(run, replace(run.settings, metrics=tuple(requested)))
        self._send(run)

    def run_aside(self, prompt: Prompt, settings: RunSettings) -> SessionRun | None:
        """Run a prompt without listing it in the session or showing it on the main screen.

        A live run is stopped first. None while there is no model.
        """
        model = self.engine.model
        if model is None or not self.can_run:
            return None
        self.stop()
        run = self.session.start_aside(model, prompt, settings)
        self._send(run)
        return run

    def start_sweep(self, plan: SweepPlan, folder: Path) -> None:
        """Run the missing prompts of a sweep; a live run or text is stopped first."""
        if self.can_sweep:
            self.pair.forget()
            self.stop()
            self.work.start_sweep(self.session.next_id(), plan, folder)

    def write_model(
        self,
        left_out: Sequence[int],
        folder: Path,
        repeated: Sequence[Repeated] = (),
        heals: bool = False,
        piece: Piece = "layer",
    ) -> None:
        """Write the loaded model without these pieces, healed or not, and with these blocks twice.

        A live run or text is stopped first.
        """
        if self.can_run:
            self.stop()
            work_id = self.session.next_id()
            self.work.write_model(work_id, left_out, folder, repeated, heals, piece)

    def open_record(self, cell: Cell, record: Record) -> None:
        """Show a sweep's prompt on the main screen; its model is loaded if need be."""
        for run in self.session.runs:
            if run.answers(record.model, record.prompt, record.settings):
                self.show_run(run)
                return
        wrapped = record.settings.chat_template
        model = self.engine.model
        if self.can_run and model is not None and model.spec == cell.model:
            self.run(record.prompt, chat_template=wrapped)
        else:
            self._prompt_and_template = record.prompt, wrapped
            self.load(cell.model)

    def show_run(self, run: SessionRun) -> bool:
        """Show a run; its prompt is the one that `run` runs from now on.

        False for a run of a saved session that the cache no longer has: see `compute_unopened`.
        """
        if run.state is RunState.UNOPENED:
            self.open_run(run, self.sessions.result_of(run))
        if run.state is RunState.UNOPENED:
            return False
        self.session.select(run)
        self._prompt_and_template = None
        # A count that was interrupted begins again.
        self.automatic.follow(run)
        return True

    def compute_unopened(self, run: SessionRun) -> None:
        """Compute a saved session's run with its model, which is loaded first."""
        self.pair.forget()
        self._prompt_and_template = run.prompt, run.settings.chat_template
        self.with_model(run.model.spec, partial(self._recall, run))

    def open_run(self, run: SessionRun, result: RunResult | None) -> None:
        """Set the result of a saved session's run; None where the cache no longer has it."""
        if result is not None and run.state is RunState.UNOPENED:
            self.session.open_run(run, result)
            if self.engine.model is not None:
                self.session.adopt(self.engine.model)

    def has_model_of(self, run: SessionRun) -> bool:
        """Whether the loaded model is the run's."""
        return self.can_run and run.model == self.engine.model

    def pace_of(self, run: SessionRun | None) -> protocol.Pace:
        """The timings of a run's model; of the loaded one without a run."""
        return self.engine.pace if run is None else self.engine.pace_of(run.model)

    def _run_settings(self, prompt: Prompt, chat_template: bool) -> RunSettings:
        settings = replace(self.settings.run_settings(), chat_template=chat_template)
        return settings_after(self.session.current, settings, prompt, self.engine.model)

    def _send(self, run: SessionRun, step: bool = False, fresh: bool = False) -> None:
        self.stepping.begin()
        self.engine.stage = None
        recall = not (step or fresh)
        write = None if run.prompt.written else run.writing
        self.engine.send(
            protocol.StartRun(run.engine_id, run.prompt, run.settings, step, fresh, recall, write)
        )

    def stop(self) -> None:
        """Stop the live run, text or sweep, whose parts so far stay, or a load."""
        works = self.session.live is not None or self.work.is_live
        if works or self.phase is Phase.LOADING:
            self.engine.send(protocol.Stop())
            self.inspections.drop_requests()

    def delete(self, run: SessionRun) -> None:
        """Forget a run; a live one is stopped."""
        if run is self.session.live:
            self.stop()
        if run is self.session.current:
            self._prompt_and_template = None
        self.session.delete(run)

    def change(self, **changes: Any) -> None:
        """Change some settings, and write them to the user's file."""
        changed = {k: v for k, v in changes.items() if getattr(self.settings, k) != v}
        if changed:
            self.settings = replace(self.settings, **changed)
            self.host.save_settings(changed)

    def change_session(self, **changes: Any) -> None:
        """Change some settings for this session, as if it had begun with them."""
        self.settings = replace(self.settings, **changes)
        self.reading.begin_with(**changes)

    def handle(self, event: protocol.Event) -> None:
        """Update the state with an engine's event."""
        if self.engine.command and isinstance(event, protocol.RunFinished):
            event = replace(event, keys=self.sessions.save_in_cache(event.result, event.keys))
        if self.work.handle(event):
            return
        run = self.session.apply(event)
        match event:
            case protocol.EngineReady() | protocol.Progress() | protocol.Memory() | protocol.Pace():
                self.engine.handle(event)
            case protocol.ModelLoaded(model=model):
                then = self.engine.loaded(model)
                self._adopt(model)
                then(model)
            case protocol.RunFinished() if run is not None:
                self.automatic.follow(run)
            case protocol.Halted() if run is not None and not self.engine.is_loading:
                self.stepping.halted()
            case protocol.Failed():
                self._failed(run, event)
            case protocol.ModelsListed() | protocol.ModelFound():
                self.models.answered(event)
            case protocol.LayerInspected():
                self.inspections.answered(event)
            case protocol.TokensCounted():
                self.token_count.answered(event)
            case protocol.Notice(message=message):
                self.host.show_toast(Toast(message, "warning"))
        self.pair.follow(self.session)

    def _adopt(self, model: ModelInfo) -> None:
        """Make the loaded model the session's, and remember it for the next start."""
        self.controls.forget()
        self.token_count.last = None
        self.session.adopt(model)
        recent = opened_last(model.spec.name, self.settings.recent_models)
        # The next start does not open another machine's models here.
        remember = self.change_session if self.engine.command else self.change
        remember(last_model=recent[0], recent_models=recent)

    def _run_unless_shown(self, model: ModelInfo) -> None:
        """Run the current prompt on a model that was loaded, unless that run is on the screen."""
        current = self.session.current
        settings = self._run_settings(*self.prompt_and_template)
        if current is None or not current.answers(model, self.prompt, settings):
            self.run()

    def _failed(self, run: SessionRun | None, failed: protocol.Failed) -> None:
        """Report the failure of a run, of a load, or of something else."""
        if run is not None:
            title = "This prompt did not run" if run.result is None else "Not computed"
            self.host.show_toast(Toast(failed.words, "error", title))
            return
        self.pair.stop_waiting()
        if self.engine.is_loading or failed.still_loaded is not None:
            self.engine.load_failed(failed)
        else:
            self.host.show_toast(Toast(failed.words, "error"))

    def engine_died(self, death: EngineDeath) -> None:
        """Handle the end of the process: keep every result and say how to continue."""
        self.pair.stop_waiting()
        has_results = bool(self.session.results)
        self.engine.died(death, "Every result is kept" if has_results else "Nothing was lost")

    def _engine_ended(self, reason: str) -> None:
        """End the work of a process that has ended, and the questions to it."""
        self.work.end(reason)
        self.session.engine_died(reason)
        for questions in (self.models, self.token_count, self.inspections):
            questions.drop_requests()
