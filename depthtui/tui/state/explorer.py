"""The explorer's state and actions, without a screen: model, engine, session.

The app hands it events and key presses; it sends commands, and hands toasts to the app. Nothing
here draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from depthtui.data.kept_session import KeptRun
from depthtui.data.model import ModelInfo
from depthtui.data.protocol import (
    Command,
    Configure,
    Continue,
    EngineReady,
    Event,
    Failed,
    Halted,
    LayerInspected,
    LoadModel,
    Memory,
    ModelFound,
    ModelLoaded,
    ModelsListed,
    Notice,
    Pace,
    Progress,
    RunFinished,
    RunStarted,
    StartGeneration,
    StartRun,
    StartSweep,
    Step,
    Stop,
    SweepFinished,
    TokensCounted,
    TrustModel,
    WriteModel,
)
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import CHOICES, GenerationSettings, ModelSpec, Repeated, RunSettings
from depthtui.data.trust import TrustedModels
from depthtui.errors import DepthError
from depthtui.metrics import sufficient
from depthtui.report.controls import kept_line
from depthtui.settings import Settings, lenses_dir, models_dir
from depthtui.tui.state.automatic_metrics import MOST_SECONDS, begins_by_itself, soonest_order
from depthtui.tui.state.engine_connection import EngineConnection, EngineDeath
from depthtui.tui.state.generation import GenerationState
from depthtui.tui.state.inspections import Inspections
from depthtui.tui.state.kept_paces import join_paces, pace_key
from depthtui.tui.state.model_list import ModelList, opened_last
from depthtui.tui.state.model_writing import ModelWriting
from depthtui.tui.state.phase import CodeQuestion, NotLoaded, Phase, Problem
from depthtui.tui.state.reading_choices import ReadingChoices
from depthtui.tui.state.run_pair import RunPair
from depthtui.tui.state.session import RunState, Session, SessionRun
from depthtui.tui.state.sessions import Sessions
from depthtui.tui.state.toast import Toast
from depthtui.tui.state.token_count import TokenCount

if TYPE_CHECKING:
    from depthtui.sweep.plan import Cell, SweepPlan
    from depthtui.sweep.records import Record
    from depthtui.tui.state.sweeping import Sweeping

    _Work: TypeAlias = GenerationState | Sweeping | ModelWriting


class Host(Protocol):
    """The explorer's interface to the app; the tests bring a silent one."""

    def start_engine(self) -> EngineConnection:
        """Create an engine that posts its messages to the app.

        Raises:
            OSError: it cannot be started.
        """

    def first_prompt(self) -> Prompt:
        """The prompt that runs once a model is loaded and nothing was chosen yet."""

    def show_toast(self, toast: Toast) -> None:
        """Show a toast."""

    def keep_session(self) -> bool:
        """Write the session into its file; False where it cannot be written."""

    def ask_for_trust(self, question: CodeQuestion) -> None:
        """Ask whether a model's own Python code may run; `Explorer.trust` is called for yes."""

    def keep_settings(self, changes: dict[str, Any]) -> None:
        """Write changed settings to the user's file."""


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
        model: the loaded model, or None.
        progress: the progress of a load, or None.
        memory: the engine's last report on its memory, or None.
        pace: the timings of the loaded model.
        paces: the timings of every timed model, by `pace_key`.
        problem: why there is no engine or no model, or None.
        not_loaded: the model that could not be loaded, until another one is; or None.
        loads: how many loads were begun.
        reading: how depths are read.
        generation_state: the current or last text, or None.
        sweep: the running or last opened sweep, or None.
        writing: the current or last writing of a model, or None.
        sessions: the session's file, and other sessions.
        token_count: how many tokens a prompt has.
        models: the models that can be opened.
        inspections: the layers of runs that were inspected at a token.
        pair: a run and its prompt's run on another model, to be compared.
        draft: the chosen prompt before it runs, and whether it is wrapped; or None.
        is_stepping: whether a run computes layers after which it halts again.
        automatic_run: the run for which work began by itself, or None.
        automatic_seconds: the longest work that begins by itself behind a run.
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
        self.spec = spec
        self.engine_command = engine_command
        self._trusted = TrustedModels(trusted)
        self.settings = settings
        self.given_options = given_options or {}
        self.session = Session()
        self.model: ModelInfo | None = None
        self.progress: Progress | None = None
        self.memory: Memory | None = None
        self.pace = Pace()
        self.paces: dict[str, Pace] = {}
        self.problem: Problem | None = None
        self.not_loaded: NotLoaded | None = None
        self.phase = Phase.STARTING
        self.loads = 0
        self.generation_state: GenerationState | None = None
        self.sweep: Sweeping | None = None
        self.writing: ModelWriting | None = None
        self.host = host
        self.reading = ReadingChoices(self)
        self.sessions = Sessions(self)
        self.token_count = TokenCount(self._free_engine)
        self.models = ModelList(self)
        self.inspections = Inspections(self._free_engine, lambda: self.model)
        self.pair = RunPair()
        self.draft: tuple[Prompt, bool] | None = None
        self._prompt_and_template: tuple[Prompt, bool] | None = None
        self._engine: EngineConnection | None = None
        self._further_steps = 0
        self.is_stepping = False
        self._once_loaded: Callable[[ModelInfo], None] | None = None
        self._controls: dict[str, str] = {}
        self.automatic_run: SessionRun | None = None
        self.automatic_seconds = MOST_SECONDS

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
    def can_run(self) -> bool:
        busy = self.is_loading or self.phase in (Phase.DEAD, Phase.SWEEPING, Phase.WRITING)
        return self.model is not None and not busy

    def _free_engine(self) -> EngineConnection | None:
        """The engine, where it can do work other than a sweep now."""
        return self._engine if self.can_run else None

    @property
    def can_sweep(self) -> bool:
        """Whether a sweep can be started; it brings its own models."""
        busy = self.is_loading or self.phase in (Phase.SWEEPING, Phase.WRITING)
        return self._engine is not None and not busy

    @property
    def cache_dir(self) -> Path:
        """The folder of models, results and sweeps."""
        return self.settings.cache_folder

    def controls_of(self, model: ModelInfo) -> str:
        """The kept controls of a model, in a line; empty where there are none."""
        if model.fingerprint not in self._controls:
            folder = lenses_dir(self.cache_dir)
            self._controls[model.fingerprint] = kept_line(folder, model)
        return self._controls[model.fingerprint]

    @property
    def is_loading(self) -> bool:
        return self.phase in (Phase.STARTING, Phase.LOADING)

    def start(self) -> None:
        """Start an engine and load the model."""
        self.phase, self.progress, self.problem = Phase.STARTING, None, None
        self.loads += 1
        try:
            self._engine = self.host.start_engine()
        except OSError as error:
            self._engine = None
            self.phase = Phase.DEAD
            name = f"`{self.engine_command}`" if self.engine_command else "The engine"
            self.problem = Problem(
                f"{name} could not be started ({error.strerror}).", "r tries again."
            )
            return
        self._engine.send(
            Configure(
                cache_dir=str(self.cache_dir) if self.settings.use_cache else "",
                models_dir=str(models_dir(self.cache_dir)),
                cache_limit=self.settings.cache_limit,
                cache_activations=self.settings.cache_activations,
                activation_limit=self.settings.activation_limit,
            )
        )
        self._send_load(self._engine, self.spec)
        self.token_count.drop_requests()
        self.inspections.drop_requests()

    def ask_engine(self, command: Command) -> None:
        """Send the engine a question that it answers at any time.

        Raises:
            DepthError: there is no engine.
        """
        if self._engine is None:
            raise DepthError("The engine is gone.", "esc, then r, connects again.")
        self._engine.send(command)

    def restart(self) -> None:
        """Start a fresh engine, whatever the state of the old one."""
        self._end_live("the engine was started again")
        self.close()
        self.start()

    def close(self) -> None:
        """End the engine at once."""
        if self._engine is not None:
            self._engine.kill()
            self._engine = None
        self.models.drop_requests()

    def load(self, spec: ModelSpec) -> None:
        """Switch to another model; the session stays."""
        self._cancel_waiting()
        self._load(spec)

    def run_on_model(self, run: SessionRun, spec: ModelSpec) -> None:
        """Run a run's prompt on another model, which is loaded first; `pair` then has both runs.

        Any run, load or stop in between cancels the comparison.
        """
        self._run_beside(run, spec, _with_marked_answer(run), run.settings.chat_template)

    def run_prompt_beside(self, run: SessionRun, prompt: Prompt, chat_template: bool) -> None:
        """Run another prompt on a run's model; `pair` then has both runs."""
        self._run_beside(run, run.model.spec, prompt, chat_template)

    def _run_beside(
        self, first: SessionRun, spec: ModelSpec, prompt: Prompt, chat_template: bool
    ) -> None:
        self._cancel_waiting()
        self._prompt_and_template, self.draft = (prompt, chat_template), None
        self._with_model(spec, partial(self._start_beside, first, prompt, chat_template))

    def _start_beside(
        self, first: SessionRun, prompt: Prompt, chat_template: bool, model: ModelInfo
    ) -> None:
        """Run a prompt as another run did, with every layer, without slower metrics."""
        is_same = prompt.text == first.prompt.text
        settings = replace(
            first.settings.clean,
            metrics=self.settings.run_settings().metrics,
            chat_template=chat_template,
            answer_start=-1,
            skip_positions=first.settings.skip_positions if is_same else (),
        )
        self.stop()
        second = self.session.start(model, prompt, settings)
        self.pair.wait(first, second)
        self._send(second)

    def _cancel_waiting(self) -> None:
        """Cancel the action that waits for a model, and a comparison that is not shown yet."""
        self._once_loaded = None
        self.pair.forget()

    def _recall(self, run: SessionRun, model: ModelInfo) -> None:
        """Compute a kept session's run that the cache no longer has."""
        if run not in self.session.runs:
            return
        self.session.recall(run, model)
        self._send(run)

    def with_model_of(self, run: SessionRun, then: Callable[[], None]) -> None:
        """Load a run's model unless it is loaded, then call `then`."""
        self._with_model(run.model.spec, lambda _: then())

    def begin_session(self, kept_runs: Sequence[KeptRun]) -> list[SessionRun]:
        """Replace the session's runs by those of a kept session; a live run is stopped."""
        if self.session.live is not None:
            self.stop()
            self.phase = Phase.READY
        self._cancel_waiting()
        self._prompt_and_template = None
        if self.is_loading:
            # The model being loaded is for these runs, not for a run of its own.
            self._once_loaded = lambda model: None
        return self.session.begin(kept_runs)

    def _with_model(self, spec: ModelSpec, then: Callable[[ModelInfo], None]) -> None:
        """Load a model unless it is loaded, then call `then` with it."""
        if self.model is not None and self.can_run and self.model.spec == spec:
            then(self.model)
            return
        self._once_loaded = then
        if not (self.is_loading and self.spec == spec):
            self._load(spec)

    def _load(self, spec: ModelSpec) -> None:
        self.spec = spec
        if self._engine is None or self.is_loading:
            # A load cannot be cancelled in any other way.
            self.restart()
            return
        self.stop()
        self.model, self.problem = None, None
        self.progress = None
        self.loads += 1
        self.phase = Phase.LOADING
        self._send_load(self._engine, spec)

    def _send_load(self, engine: EngineConnection, spec: ModelSpec) -> None:
        self._send_trust(engine, [spec])
        engine.send(LoadModel(spec))

    def _send_trust(self, engine: EngineConnection, specs: Iterable[ModelSpec]) -> None:
        """Let the engine run the code of the trusted models among these."""
        for spec in specs:
            if spec in self._trusted:
                engine.send(TrustModel(spec))

    def trust(self, question: CodeQuestion) -> None:
        """Load a model with its own Python code, which may run until the explorer ends."""
        self._trusted.add(question.spec)
        self._cancel_waiting()
        self._once_loaded = question.then
        self._load(question.spec)

    def run(
        self,
        prompt: Prompt | None = None,
        step: bool = False,
        chat_template: bool | None = None,
    ) -> None:
        """Run a prompt, by default the current one; a live run is stopped first.

        A prompt whose result is on the screen already is computed afresh.

        Args:
            prompt: the prompt; None for the current one, wrapped as it is.
            step: whether to halt after each layer.
            chat_template: whether it is wrapped in the chat template; None follows the user's
                settings where the prompt is not the current one.
        """
        requested, wrapped = self.prompt_and_template
        if prompt is not None:
            requested, wrapped = prompt, self.settings.chat_template
        if chat_template is not None:
            wrapped = chat_template
        self._prompt_and_template, self.draft = (requested, wrapped), None
        self._cancel_waiting()
        if self.model is None or self._free_engine() is None:
            return
        self.stop()
        settings = self._run_settings(requested, wrapped)
        current = self.session.current
        is_repeated = current is not None and current.answers(self.model, requested, settings)
        run = self.session.start(self.model, requested, settings)
        self._send(run, step, fresh=is_repeated)

    def compute(self, *metrics: str, run: SessionRun | None = None, **changes: Any) -> None:
        """Add metrics to a run; a live run is stopped first.

        Metrics that the engine is computing for the run are continued, too.

        Args:
            metrics: their names.
            run: the run; None for the one on the screen.
            changes: settings that replace the run's.
        """
        run = run or self.session.current
        if self._engine is None or run is None or not self.has_model_of(run):
            return
        if run.changed_by(changes):
            self.make_way()
            self.session.choose(run, **changes)
        self.automatic_run = None
        requested = dict.fromkeys([*run.settings.metrics, *metrics])
        run.recalled = tuple(name for name in run.recalled if name not in metrics)
        self.stop()
        self.session.extend(run, replace(run.settings, metrics=tuple(requested)))
        self._send(run)

    def _begin_automatic(self, run: SessionRun) -> None:
        """Compute sufficient layers after a finished run, where the count comes soon."""
        is_shown = run is self.session.current and not self.pair.is_expected
        result = run.result
        if result is None or not (is_shown and self.phase is Phase.READY):
            return
        if begins_by_itself(result, self.pace, self.automatic_seconds):
            self.compute(sufficient.NAME, **soonest_order(result, self.pace))
            self.automatic_run, run.recalled = run, (*run.recalled, sufficient.NAME)

    def make_way(self) -> None:
        """Stop work that began by itself; its run is as it was before."""
        run, self.automatic_run = self.automatic_run, None
        if run is not None and run is self.session.live:
            self.stop()
            self.session.withdraw(run)
            self._settle()

    def call_off(self) -> None:
        """Stop at the user's wish; a stop of work that began by itself turns such work off."""
        if self.automatic_run is not None and self.automatic_run is self.session.live:
            self.automatic_seconds = 0.0
        self.stop()

    def run_aside(self, prompt: Prompt, settings: RunSettings) -> SessionRun | None:
        """Run a prompt without listing it in the session or showing it on the main screen.

        A live run is stopped first. None while there is no model.
        """
        if self.model is None or self._free_engine() is None:
            return None
        self.stop()
        run = self.session.start_aside(self.model, prompt, settings)
        self._send(run)
        return run

    def generate(self, settings: GenerationSettings) -> None:
        """Let the model answer the current prompt; a live run or text is stopped first."""
        engine = self._free_engine()
        if engine is None or self.model is None:
            return
        self._cancel_waiting()
        self.stop()
        text = GenerationState(self.session.next_id(), self.model, self.prompt, settings)
        self.generation_state = text
        engine.send(StartGeneration(text.run_id, text.prompt, text.settings))

    def generation_settings(self) -> GenerationSettings:
        """The user's settings of texts; the current prompt is wrapped as it would be run."""
        return replace(self.settings.generation_settings(), chat_template=self.chat_template)

    def generates_for(self, generation_state: GenerationState) -> bool:
        """Whether a text was written by the loaded model for the current prompt."""
        return (generation_state.model, generation_state.prompt) == (self.model, self.prompt)

    def start_sweep(self, plan: SweepPlan, folder: Path) -> None:
        """Run the missing prompts of a sweep; a live run or text is stopped first."""
        from depthtui.sweep.saved import plan_text
        from depthtui.tui.state.sweeping import Sweeping

        if self._engine is None or not self.can_sweep:
            return
        self._cancel_waiting()
        self.stop()
        keeps = bool(self.engine_command)
        try:
            self.sweep = Sweeping(plan, folder, self.session.next_id(), keeps)
        except DepthError as error:
            self.host.show_toast(Toast(str(error), "error", "The sweep did not run"))
            return
        self.phase, self.problem = Phase.SWEEPING, None
        self._send_trust(self._engine, plan.models)
        self._engine.send(StartSweep(self.sweep.sweep_id, str(folder), plan_text(plan)))

    def write_model(
        self, left_out: Sequence[int], folder: Path, repeated: Sequence[Repeated] = ()
    ) -> None:
        """Write the loaded model without these layers and with these blocks twice.

        A live run or text is stopped first.
        """
        engine = self._free_engine()
        if engine is None:
            return
        self.stop()
        self.writing, self.phase = ModelWriting(self.session.next_id()), Phase.WRITING
        engine.send(WriteModel(self.writing.run_id, tuple(left_out), str(folder), tuple(repeated)))

    def open_record(self, cell: Cell, record: Record) -> None:
        """Show a sweep's prompt on the main screen; its model is loaded if need be."""
        for run in self.session.runs:
            if run.answers(record.model, record.prompt, record.settings):
                self.show_run(run)
                return
        wrapped = record.settings.chat_template
        if self.can_run and self.model is not None and self.model.spec == cell.model:
            self.run(record.prompt, chat_template=wrapped)
        else:
            self._prompt_and_template = record.prompt, wrapped
            self.load(cell.model)

    def show_run(self, run: SessionRun) -> bool:
        """Show a run; its prompt is the one that `run` runs from now on.

        False for a run of a kept session that the cache no longer has: see `compute_unopened`.
        """
        if run.state is RunState.UNOPENED:
            self.open_run(run, self.sessions.result_of(run))
        if run.state is RunState.UNOPENED:
            return False
        self.session.select(run)
        self._prompt_and_template = None
        return True

    def compute_unopened(self, run: SessionRun) -> None:
        """Compute a kept session's run with its model, which is loaded first."""
        self._cancel_waiting()
        self._prompt_and_template = run.prompt, run.settings.chat_template
        self._with_model(run.model.spec, partial(self._recall, run))

    def open_run(self, run: SessionRun, result: RunResult | None) -> None:
        """Set the result of a kept session's run; None where the cache no longer has it."""
        if result is not None and run.state is RunState.UNOPENED:
            self.session.open_run(run, result)
            if self.model is not None:
                self.session.adopt(self.model)

    def _swept(self, finished: SweepFinished) -> None:
        """Report how a sweep ended, and update the loaded model."""
        assert self.sweep is not None
        former, self.model = self.model, finished.model
        if not self.is_loading:
            self.phase = Phase.READY if self.model else Phase.NO_MODEL
            if self.model is None:
                self.problem = Problem("The sweep left no model loaded.", "m chooses one.")
            else:
                self.spec = self.model.spec
        is_other = self.model is not None and self.model != former
        loaded = self.model.name if self.model is not None and is_other else ""
        self.host.show_toast(self.sweep.end_toast(loaded))

    def has_model_of(self, run: SessionRun) -> bool:
        """Whether the loaded model is the run's."""
        return self.can_run and run.model == self.model

    def pace_of(self, run: SessionRun | None) -> Pace:
        """The timings of a run's model; of the loaded one without a run."""
        if run is None or run.model == self.model:
            return self.pace
        return self.paces.get(self._pace_key(run.model), Pace())

    def _pace_key(self, model: ModelInfo) -> str:
        return pace_key(model, self.engine_command)

    def _run_settings(self, prompt: Prompt, chat_template: bool) -> RunSettings:
        """The user's settings, the skipped layers, and the answer that is marked in this prompt."""
        settings = replace(self.settings.run_settings(), chat_template=chat_template)
        current = self.session.current
        if current is None:
            return settings
        names = ("skip_part", "skip_everywhere", *CHOICES)
        settings = replace(settings, **{name: getattr(current.settings, name) for name in names})
        current_key = current.prompt, current.settings.chat_template, current.model
        if current_key != (prompt, chat_template, self.model):
            return settings
        return replace(settings, answer_start=current.settings.answer_start)

    def _send(self, run: SessionRun, step: bool = False, fresh: bool = False) -> None:
        assert self._engine is not None
        self.phase, self._further_steps, self.is_stepping = Phase.RUNNING, 0, False
        recall = not (step or fresh)
        self._engine.send(StartRun(run.engine_id, run.prompt, run.settings, step, fresh, recall))

    def stop(self) -> None:
        """Stop the live run, text or sweep, whose parts so far stay, or a load."""
        works = self.session.live is not None or any(work.is_live for work in self._work)
        if self._engine is not None and (works or self.phase is Phase.LOADING):
            self._engine.send(Stop())
            self.inspections.drop_requests()

    def step(self, layers: int = 1) -> None:
        """Let a halted run compute more layers, one by default; a stepping run, as many more."""
        if self.is_stepping:
            self._further_steps += layers
        else:
            self._further_steps, self.is_stepping = layers - 1, True
            self._resume(Step())

    def run_on(self) -> None:
        """Let a halted run continue to its end."""
        self.is_stepping = False
        self._resume(Continue())

    def _halted(self) -> None:
        self.phase, self.is_stepping = Phase.HALTED, False
        if self._further_steps:
            self.step(self._further_steps)

    def _resume(self, command: Step | Continue) -> None:
        run = self.session.live
        if self._engine is not None and run is not None and run.state is RunState.HALTED:
            self.session.resume(run)
            self.phase = Phase.RUNNING
            self._engine.send(command)

    def delete(self, run: SessionRun) -> None:
        """Forget a run; a live one is stopped."""
        if run is self.session.live:
            self.stop()
            self.phase = Phase.READY
        if run is self.session.current:
            self._prompt_and_template = None
        self.session.delete(run)

    def change(self, **changes: Any) -> None:
        """Change some settings, and write them to the user's file."""
        changed = {k: v for k, v in changes.items() if getattr(self.settings, k) != v}
        if changed:
            self.settings = replace(self.settings, **changed)
            self.host.keep_settings(changed)

    def change_session(self, **changes: Any) -> None:
        """Change some settings for this session, as if it had begun with them."""
        self.settings = replace(self.settings, **changes)
        self.reading.begin_with(**changes)

    def handle(self, event: Event) -> None:
        """Update the state with an engine's event."""
        if self.engine_command and isinstance(event, RunFinished):
            event = replace(event, keys=self.sessions.keep_in_cache(event.result, event.keys))
        work = next((work for work in self._work if work.handle(event)), None)
        if work is not None:
            self._follow_work(work, event)
            return
        run = self.session.apply(event)
        match event:
            case EngineReady() if self.phase is Phase.STARTING:
                self.phase = Phase.LOADING
            case Progress():
                self.progress = event
                if self.generation_state is not None:
                    self.generation_state.prepare(event)
            case Memory():
                self.memory = event
            case Pace():
                self._timed(event)
            case ModelLoaded(model=model):
                # Another process may have computed these controls since.
                self._controls.clear()
                self._loaded(model)
            case RunStarted() if run is not None:
                self._settle()
            case RunFinished(result=result) if run is not None:
                self._settle()
                if run is self.automatic_run:
                    self.automatic_run = None
                if result.complete:
                    self._begin_automatic(run)
            case Halted() if run is not None and not self.is_loading:
                self._halted()
            case Failed():
                self._failed(run, event)
            case ModelsListed() | ModelFound():
                self.models.answered(event)
            case LayerInspected():
                self.inspections.answered(event)
            case TokensCounted():
                self.token_count.answered(event)
            case Notice(message=message):
                self.host.show_toast(Toast(message, "warning"))
        self.pair.follow(self.session)

    @property
    def _work(self) -> Iterator[_Work]:
        """The work of the engine beside runs, current or last."""
        works = (self.generation_state, self.sweep, self.writing)
        return (work for work in works if work is not None)

    def _follow_work(self, work: _Work, event: Event) -> None:
        """Report the result of a text, a sweep or a written model."""
        if isinstance(event, SweepFinished):
            self._swept(event)
        elif isinstance(work, ModelWriting) and work.outcome is not None:
            self.progress = None
            self._settle()
            self.host.show_toast(work.outcome)
        elif isinstance(event, Failed):
            self.host.show_toast(Toast(event.words, "error", "Nothing was written"))

    def engine_died(self, death: EngineDeath) -> None:
        """Handle the end of the process: keep every result and say how to continue."""
        self._engine, self._once_loaded = None, None
        self.models.drop_requests()
        self.pair.stop_waiting()
        self.phase, self.progress = Phase.DEAD, None
        state_words = "Every result is kept" if self.session.results else "Nothing was lost"
        self._end_live("the engine process ended")
        has_reason = death.last_line and (death.code >= 0 or death.problem)
        detail = f" It last said: {death.last_line}" if has_reason else ""
        where = f" Log: {death.log}" if death.log else ""
        end_words, key_words = "The engine process ended.", "starts it again"
        if self.engine_command:
            end_words, key_words = f"The engine is gone: `{self.engine_command}`.", "connects again"
        self.problem = Problem(
            f"{end_words} {death.reason}{detail}", f"{state_words}; r {key_words}.{where}"
        )

    def _loaded(self, model: ModelInfo) -> None:
        self.model, self.progress, self.problem = model, None, None
        self.phase = Phase.READY
        # The engine reports the preparations that its current model has.
        self.pace = replace(self.paces.get(self._pace_key(model), Pace()), prepared=())
        self.not_loaded = self.token_count.last = None
        self.session.adopt(model)
        recent = opened_last(model.spec.name, self.settings.recent_models)
        # The next start does not open another machine's models here.
        remember = self.change_session if self.engine_command else self.change
        remember(last_model=recent[0], recent_models=recent)
        then, self._once_loaded = self._once_loaded, None
        if then is not None:
            then(model)
            return
        current = self.session.current
        settings = self._run_settings(*self.prompt_and_template)
        if current is None or not current.answers(model, self.prompt, settings):
            self.run()

    def _timed(self, pace: Pace) -> None:
        """Add a timing of the loaded model, which becomes the last of those kept."""
        self.pace = join_paces(self.pace, pace)
        if self.model is not None:
            key = self._pace_key(self.model)
            self.paces.pop(key, None)
            self.paces[key] = self.pace

    def _failed(self, run: SessionRun | None, failed: Failed) -> None:
        words = failed.words
        if run is None:
            if self.is_loading:
                self.not_loaded = NotLoaded(self.spec, words)
            if self.is_loading and failed.code_in:
                question = CodeQuestion(self.spec, failed.code_in, self._once_loaded)
                self.host.ask_for_trust(question)
            self._once_loaded = None
            self.pair.stop_waiting()
        if run is not None:
            self._settle()
            title = "This prompt did not run" if run.result is None else "Not computed"
            self.host.show_toast(Toast(words, "error", title))
        elif failed.still_loaded is not None:
            self.model, self.progress, self.problem = failed.still_loaded, None, None
            self.spec, self.phase = failed.still_loaded.spec, Phase.READY
            if not failed.code_in:
                self.host.show_toast(Toast(words, "error", f"{self.model.name} stays"))
        elif self.is_loading:
            self.model, self.progress = None, None
            self.phase = Phase.NO_MODEL
            self.problem = Problem(failed.message, failed.hint or "m chooses another model.")
        else:
            self.host.show_toast(Toast(words, "error"))

    def _settle(self) -> None:
        """Set the phase after a run began or ended: ready, unless something is queued."""
        if self.is_loading:
            return
        if self.writing is not None and self.writing.is_live:
            self.phase = Phase.WRITING
        elif self.sweep is not None and self.sweep.is_live:
            self.phase = Phase.SWEEPING
        else:
            self.phase = Phase.RUNNING if self.session.live else Phase.READY

    def _end_live(self, reason: str) -> None:
        for work in self._work:
            work.end(reason)
        self.session.engine_died(reason)


def _with_marked_answer(run: SessionRun) -> Prompt:
    """A run's prompt with the marked answer as its own, for other tokens."""
    start, result, prompt = run.settings.answer_start, run.result, run.prompt
    if start < 0 or result is None:
        return prompt
    answer = "".join(result.tokens.texts[start:])
    return replace(prompt, answer=answer) if prompt.text.endswith(answer) else prompt
