"""What the explorer knows and does, without a screen: model, engine, session.

The app hands it events and key presses; it sends commands, and tells the app
what deserves a toast. Nothing here draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from depthtui.data.kept_session import KeptRun, KeptSession
from depthtui.data.lens import LENS_CLASSES
from depthtui.data.lens_view import lens_title
from depthtui.data.model import ModelInfo
from depthtui.data.protocol import (
    Configure,
    Continue,
    CountTokens,
    EngineReady,
    Event,
    Failed,
    Halted,
    LoadModel,
    Memory,
    ModelLoaded,
    ModelWritten,
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
    WriteModel,
)
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import CHOICES, GenerationSettings, ModelSpec, RunSettings
from depthtui.metrics import METRIC_BY_NAME
from depthtui.metrics.lens_view import next_lens
from depthtui.settings import Settings, datasets_dir, models_dir
from depthtui.tui.state.datasets import Datasets
from depthtui.tui.state.engine import Engine, EngineDeath
from depthtui.tui.state.generation import GenerationState
from depthtui.tui.state.kept_paces import joined, pace_key
from depthtui.tui.state.session import Run, RunState, Session
from depthtui.tui.state.toast import Toast

_MOST_RECENT = 12
"""Models opened before that are remembered."""

LONGEST_TYPED = 30_000
"""Characters that are pasted at once, and that can be edited: with more, keys take seconds."""

_THRESHOLD_STEPS = 20
"""Steps of a threshold between 0 and 1; neither end is a threshold."""

if TYPE_CHECKING:
    from depthtui.models.catalog import ModelListing
    from depthtui.sweep.plan import Cell, SweepPlan
    from depthtui.sweep.records import Record
    from depthtui.tui.state.sweeping import Sweeping


class Phase(Enum):
    """What the engine is busy with; the value is the word that people read."""

    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    RUNNING = "running"
    HALTED = "halted"
    SWEEPING = "sweeping"
    WRITING = "writing"
    NO_MODEL = "no model"
    DEAD = "engine gone"


@dataclass(frozen=True)
class Problem:
    """Why there is no engine or no model, and what to do about it; untrusted texts."""

    message: str
    hint: str


@dataclass(frozen=True)
class NotLoaded:
    """The model that could not be loaded last, and why; untrusted text."""

    spec: ModelSpec
    reason: str


class Host(Protocol):
    """What the explorer needs of the app; the tests bring a silent one."""

    def start_engine(self) -> Engine:
        """A new engine that tells the app what happens.

        Raises:
            OSError: it cannot be started.
        """

    def first_prompt(self) -> Prompt:
        """What runs when a model is there and nothing was chosen yet."""

    def show_toast(self, toast: Toast) -> None:
        """Show a toast."""

    def keep_settings(self, changes: dict[str, Any]) -> None:
        """Write changed settings to the user's file."""


class Explorer:
    """The session and the engine behind it.

    Args:
        spec: the model to open with.
        settings: the user's settings.
        host: the app.
        given: those of them that the command line names.

    Attributes:
        model: the loaded model, or None.
        progress: how far a load is, or None.
        memory: what the engine last said about its memory, or None.
        pace: how quick the loaded model is, as far as that was timed.
        paces: the same of every model that was, by `pace_key`.
        problem: why there is no engine or no model, or None.
        not_loaded: what could not be loaded, until another model is; or None.
        loads: how many loads were begun.
        generation_state: the text that is being written, or was last; or None.
        sweep: the sweep that is running, or was opened last; or None.
        last_export: the file to read of what was exported last, or None.
        datasets: the published data sets that are here, and what was read of them.
        offered: the last session, until it is brought back; or None.
        counted: what was counted last, or None.
        compared: a run and its prompt's run on another model, once that is finished, until
            somebody takes them; or None.
    """

    def __init__(
        self,
        spec: ModelSpec,
        settings: Settings,
        host: Host,
        given: Mapping[str, Any] | None = None,
    ) -> None:
        self.spec = spec
        self.settings = settings
        self.given = given or {}
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
        self.counted: TokensCounted | None = None
        self.compared: tuple[Run, Run] | None = None
        self.last_export: Path | None = None
        self.offered: KeptSession | None = None
        self.datasets = Datasets(datasets_dir(settings.cache_folder))
        self._host = host
        self._first_thresholds = (settings.kl_threshold, settings.overlap_threshold)
        self._asked: tuple[Prompt, bool] | None = None
        self._engine: Engine | None = None
        self._steps_left = 0
        self._awaited: tuple[Run, Run | None] | None = None
        self._writing_id = -1
        self._recalled: Run | None = None
        self._counting: CountTokens | None = None
        self._to_count: CountTokens | None = None

    @property
    def asked(self) -> tuple[Prompt, bool]:
        """What `run` would run: a prompt, and whether it is wrapped in the chat template."""
        current = self.session.current
        if self._asked is not None:
            return self._asked
        if current is not None:
            return current.prompt, current.settings.chat_template
        return self._host.first_prompt(), self.settings.chat_template

    @property
    def prompt(self) -> Prompt:
        """The prompt that `run` would run."""
        return self.asked[0]

    @property
    def chat_template(self) -> bool:
        """Whether that prompt is wrapped in the chat template."""
        return self.asked[1]

    @property
    def can_run(self) -> bool:
        busy = self.is_loading or self.phase in (Phase.DEAD, Phase.SWEEPING, Phase.WRITING)
        return self.model is not None and not busy

    @property
    def can_sweep(self) -> bool:
        """Whether a sweep can be started; it brings its own models."""
        busy = self.is_loading or self.phase in (Phase.SWEEPING, Phase.WRITING)
        return self._engine is not None and not busy

    @property
    def cache_dir(self) -> Path:
        """Where models, results and sweeps are kept."""
        return self.settings.cache_folder

    def models_on_disk(self) -> list[ModelListing]:
        """The models that need no download, first those opened before; slow: a thread asks."""
        from depthtui.models.catalog import on_disk, recent_first

        return recent_first(on_disk(models_dir(self.cache_dir)), self.settings.recent_models)

    def check_model(self, spec: ModelSpec) -> None:
        """See that a model is at hand, as far as that can be told without opening it; slow.

        Raises:
            DepthError: it is not.
        """
        from depthtui.models.reach import check_at_hand

        check_at_hand(spec, models_dir(self.cache_dir))

    @property
    def is_loading(self) -> bool:
        return self.phase in (Phase.STARTING, Phase.LOADING)

    def start(self) -> None:
        """Start an engine and load the model."""
        self.phase, self.progress, self.problem = Phase.STARTING, None, None
        self.loads += 1
        try:
            self._engine = self._host.start_engine()
        except OSError as error:
            self._engine = None
            self.phase = Phase.DEAD
            self.problem = Problem(
                f"The engine could not be started ({error.strerror}).", "R tries again."
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
        self._engine.send(LoadModel(self.spec))
        self._counting = self._to_count = None

    def restart(self) -> None:
        """Start a fresh engine, whatever became of the old one."""
        self._end_live("the engine was started again")
        self.close()
        self.start()

    def close(self) -> None:
        """End the engine at once."""
        if self._engine is not None:
            self._engine.kill()
            self._engine = None

    def load(self, spec: ModelSpec) -> None:
        """Switch to another model; the session stays."""
        self._expect_nothing()
        self._load(spec)

    def run_on_model(self, run: Run, spec: ModelSpec) -> None:
        """Run a run's prompt on another model, which is loaded first; `compared` has both then.

        The comparison is called off by whatever is run, loaded or stopped in between.
        """
        self._expect_nothing()
        self._asked, self._awaited = (run.prompt, run.settings.chat_template), (run, None)
        if self.model is not None and self.can_run and self.model.spec == spec:
            self._run_awaited(self.model)
        else:
            self._load(spec)

    def _run_awaited(self, model: ModelInfo) -> None:
        """Run the awaited run's prompt as it was run, with every layer, without slower metrics."""
        assert self._awaited is not None
        first, _ = self._awaited
        metrics = self.settings.run_settings().metrics
        settings = replace(first.settings, metrics=metrics, answer_start=-1, skipped=())
        self.stop()
        run = self.session.start(model, first.prompt, settings)
        self._awaited = (first, run)
        self._send(run)

    def _follow_awaited(self) -> None:
        """Hand the pair over when its second run is finished; forget it when that ended early."""
        if self._awaited is None:
            return
        first, second = self._awaited
        if second is None or second.state.is_live:
            return
        self._awaited = None
        if second.state is RunState.FINISHED and first in self.session.runs:
            self.compared = (first, second)

    def _expect_nothing(self) -> None:
        """Call off what waits for another model, and a comparison that nobody has taken."""
        self._awaited = self.compared = self._recalled = None

    def bring_back(self) -> Run | None:
        """List the runs of the last session, and open the one that was on the screen: that one."""
        kept, self.offered = self.offered, None
        if kept is None:
            return None
        runs = self.session.restore(kept.runs)
        self.settings = replace(
            self.settings,
            kl_threshold=kept.kl_threshold,
            overlap_threshold=kept.overlap_threshold,
        )
        if kept.shown < 0:
            return None
        self.show_run(runs[kept.shown])
        return runs[kept.shown]

    def _recall(self, run: Run) -> None:
        """Take a run of a former session from the cache, or compute it; its model is loaded."""
        self._expect_nothing()
        self._asked = run.prompt, run.settings.chat_template
        model, spec = self.model, run.model.spec
        if model is not None and self.can_run and model.spec == spec:
            self.session.recall(run, model)
            self._send(run)
            return
        self._recalled = run
        if not (self.is_loading and self.spec == spec):
            self._load(spec)

    def lost_by_opening(self, run: Run | KeptRun) -> str:
        """What ends where a run of a former session is opened, in words; empty for nothing."""
        is_here = self.model is not None and self.model.spec == run.model.spec
        return "" if is_here and self.can_run else self.unfinished

    @property
    def has_own_runs(self) -> bool:
        """Whether there is more than every start brings by itself."""
        runs = list(self.session.listed())
        by_itself = self._host.first_prompt(), self.settings.run_settings().metrics

        def asked(run: Run) -> tuple[Prompt, tuple[str, ...]]:
            metrics = run.settings.metrics
            return run.prompt, tuple(name for name in metrics if name not in run.recalled)

        return len(runs) > 1 or any(run.remarks or asked(run) != by_itself for run in runs)

    def kept_session(self, layer: int, token: int, measure: str) -> KeptSession:
        """The session as it is kept, with the cursor and the measure on the screen."""
        runs = list(self.session.listed())
        current = self.session.current
        return KeptSession(
            datetime.now().isoformat(timespec="seconds"),
            tuple(
                KeptRun(run.model, run.prompt, run.settings, run.started.isoformat(), run.remarks)
                for run in runs
            ),
            runs.index(current) if current in runs else -1,
            layer,
            token,
            measure,
            self.settings.kl_threshold,
            self.settings.overlap_threshold,
        )

    def _load(self, spec: ModelSpec) -> None:
        self.spec = spec
        if self._engine is None or self.is_loading:
            # A load cannot be called off in any other way.
            self.restart()
            return
        self.stop()
        self.model, self.problem = None, None
        self.progress = None
        self.loads += 1
        self.phase = Phase.LOADING
        self._engine.send(LoadModel(spec))

    def run(
        self,
        prompt: Prompt | None = None,
        step: bool = False,
        chat_template: bool | None = None,
    ) -> None:
        """Run a prompt, by default the current one; a live run is stopped first.

        A prompt whose result is on the screen already is computed afresh.

        Args:
            prompt: what to run; None for the current one, wrapped as it is.
            step: whether to halt after each layer.
            chat_template: whether it is wrapped in the chat template; None for what the user's
                settings say of another prompt than the current one.
        """
        asked, wrapped = self.asked
        if prompt is not None:
            asked, wrapped = prompt, self.settings.chat_template
        if chat_template is not None:
            wrapped = chat_template
        self._asked = asked, wrapped
        self._expect_nothing()
        if self._engine is None or self.model is None or not self.can_run:
            return
        self.stop()
        settings = self._run_settings(asked, wrapped)
        current = self.session.current
        again = current is not None and current.answers(self.model, asked, settings)
        run = self.session.start(self.model, asked, settings)
        self._send(run, step, fresh=again)

    def compute(self, *metrics: str) -> None:
        """Add metrics to the run on the screen; a live run is stopped first.

        What the engine is computing for it goes on, too.
        """
        run = self.session.current
        if self._engine is None or run is None or not self.has_model_of(run):
            return
        wanted = dict.fromkeys([*run.settings.metrics, *metrics])
        self.stop()
        self.session.extend(run, replace(run.settings, metrics=tuple(wanted)))
        self._send(run)

    def count_tokens(self, prompt: Prompt, chat_template: bool) -> None:
        """Ask how many tokens a prompt has; `counted` tells, where a model is loaded.

        One question is on its way at a time: of those in between, the last is asked next.
        """
        self._to_count = CountTokens(prompt, chat_template)
        self._count_next()

    def _count_next(self) -> None:
        if self._engine is None or not self.can_run or self._counting is not None:
            return
        self._counting, self._to_count = self._to_count, None
        if self._counting is not None:
            self._engine.send(self._counting)

    def run_aside(self, prompt: Prompt, settings: RunSettings) -> Run | None:
        """Run something that neither the session lists nor the main screen shows.

        A live run is stopped first. None while there is no model.
        """
        if self._engine is None or self.model is None or not self.can_run:
            return None
        self.stop()
        run = self.session.start_aside(self.model, prompt, settings)
        self._send(run)
        return run

    def generate(self, settings: GenerationSettings) -> None:
        """Let the model answer the current prompt; a live run or text is stopped first."""
        if self._engine is None or self.model is None or not self.can_run:
            return
        self._expect_nothing()
        self.stop()
        self.generation_state = GenerationState(
            self.session.next_id(), self.model, self.prompt, settings
        )
        self._engine.send(
            StartGeneration(
                self.generation_state.run_id,
                self.generation_state.prompt,
                self.generation_state.settings,
            )
        )

    def generation_settings(self) -> GenerationSettings:
        """The user's settings of texts; the current prompt is wrapped as it is run."""
        return replace(self.settings.generation_settings(), chat_template=self.chat_template)

    def generates_for(self, generation_state: GenerationState) -> bool:
        """Whether a text is the loaded model's, after the current prompt."""
        return (generation_state.model, generation_state.prompt) == (self.model, self.prompt)

    def start_sweep(self, plan: SweepPlan, folder: Path) -> None:
        """Run what a sweep lacks; a live run or text is stopped first."""
        from depthtui.sweep.saved import plan_text
        from depthtui.tui.state.sweeping import Sweeping

        if self._engine is None or not self.can_sweep:
            return
        self._expect_nothing()
        self.stop()
        self.sweep = Sweeping(plan, folder, self.session.next_id())
        self.phase, self.problem = Phase.SWEEPING, None
        self._engine.send(StartSweep(self.sweep.sweep_id, str(folder), plan_text(plan)))

    def write_model(self, left_out: Sequence[int], folder: Path) -> None:
        """Write the loaded model without these layers; a live run or text is stopped first."""
        if self._engine is None or not self.can_run:
            return
        self.stop()
        self._writing_id, self.phase = self.session.next_id(), Phase.WRITING
        self._engine.send(WriteModel(self._writing_id, tuple(left_out), str(folder)))

    def _wrote(self, event: ModelWritten | Failed) -> None:
        """A model was written, or could not be."""
        self._writing_id, self.progress = -1, None
        if self.phase is Phase.WRITING:
            self.phase = Phase.RUNNING if self.session.live else Phase.READY
        if isinstance(event, Failed):
            self._host.show_toast(Toast(f"{event.message} {event.hint}".strip(), "error"))
        else:
            words = f"{event.layers} layers, {event.parameters:,} parameters in {event.folder}"
            self._host.show_toast(Toast(words, title="The model is written"))

    def open_record(self, cell: Cell, record: Record) -> None:
        """Put a sweep's prompt on the main screen; its model is loaded if need be."""
        for run in self.session.runs:
            if run.answers(record.model, record.prompt, record.settings):
                self.show_run(run)
                return
        wrapped = record.settings.chat_template
        if self.can_run and self.model is not None and self.model.spec == cell.model:
            self.run(record.prompt, chat_template=wrapped)
        else:
            self._asked = record.prompt, wrapped
            self.load(cell.model)

    def show_run(self, run: Run) -> None:
        """Put a run on the screen; its prompt is what `run` runs from now on."""
        if run.state is RunState.KEPT:
            self._recall(run)
            return
        self.session.select(run)
        self._asked = None

    def _swept(self, finished: SweepFinished) -> None:
        """A sweep has ended: say how, and which model is loaded now."""
        assert self.sweep is not None
        before, self.model = self.model, finished.model
        if not self.is_loading:
            self.phase = Phase.READY if self.model else Phase.NO_MODEL
            if self.model is None:
                self.problem = Problem("The sweep left no model loaded.", "m chooses one.")
            else:
                self.spec = self.model.spec
        words = f"{self.sweep.done} of {self.sweep.total} prompts are there."
        if self.model is not None and self.model != before:
            words += f" {self.model.name} is loaded now."
        if finished.problem:
            self._host.show_toast(Toast(finished.problem, "error", "The sweep did not run"))
        elif finished.stopped:
            self._host.show_toast(Toast(words, title="The sweep was stopped"))
        else:
            n_failed = len(self.sweep.failures)
            words += f" {n_failed} could not be done." if n_failed else ""
            self._host.show_toast(
                Toast(words, "warning" if n_failed else "information", "The sweep is done")
            )

    def has_model_of(self, run: Run) -> bool:
        """Whether the loaded model is the one that a run is of."""
        return self.can_run and run.model == self.model

    def mark_answer(self, token: int) -> None:
        """Let the answer of the run on the screen begin at a token, or take that back."""
        run = self.session.current
        if run is not None:
            self.session.mark_answer(run, -1 if run.settings.answer_start == token else token)

    def choose_skip(self, part: str, everywhere: bool) -> None:
        """Let skip effects and the like of the run on the screen leave out something else."""
        run = self.session.current
        if run is not None:
            self.session.choose_skip(run, part, everywhere)

    def choose_part(self, settings: Mapping[str, Any]) -> None:
        """Let slower metrics of the run on the screen go through a part, as `CHOICES` say."""
        run = self.session.current
        if run is not None:
            self.session.choose(run, **settings)

    def _run_settings(self, prompt: Prompt, chat_template: bool) -> RunSettings:
        """The user's settings, what is skipped, and the answer that is marked in this prompt."""
        settings = replace(self.settings.run_settings(), chat_template=chat_template)
        current = self.session.current
        if current is None:
            return settings
        names = ("skip_part", "skip_everywhere", *CHOICES)
        settings = replace(settings, **{name: getattr(current.settings, name) for name in names})
        shown = current.prompt, current.settings.chat_template, current.model
        if shown != (prompt, chat_template, self.model):
            return settings
        return replace(settings, answer_start=current.settings.answer_start)

    def _send(self, run: Run, step: bool = False, fresh: bool = False) -> None:
        assert self._engine is not None
        self.phase, self._steps_left = Phase.RUNNING, 0
        recall = not (step or fresh)
        self._engine.send(StartRun(run.engine_id, run.prompt, run.settings, step, fresh, recall))

    @property
    def unfinished(self) -> str:
        """What would end with the engine's work, in words; empty where it does none."""
        if self.sweep is not None and self.sweep.is_live:
            return f"A sweep goes on, {self.sweep.done} of {self.sweep.total} prompts are kept"
        if self.generation_state is not None and self.generation_state.is_live:
            return "A text is being written"
        if self._writing_id >= 0:
            return "A model is being written"
        run = self.session.live
        if run is None:
            return ""
        name = f"Run {run.number}" if run.number else "A what-if"
        if run.state is RunState.HALTED:
            return f"{name} is halted after layer {run.halted_at}"
        if run.work is not None:
            return f"{name} computes {METRIC_BY_NAME[run.work.metric].title.lower()}"
        return f"{name} is not finished"

    @property
    def slow_work(self) -> str:
        """The same where that is a slower metric: what takes long is not ended by the way."""
        run = self.session.live
        work = run.work if run is not None else None
        is_slow = work is not None and METRIC_BY_NAME[work.metric].on_demand
        return self.unfinished if is_slow else ""

    @property
    def would_write(self) -> bool:
        """Whether there is no text yet that answers the current prompt."""
        return self.generation_state is None or not self.generates_for(self.generation_state)

    def stop(self) -> None:
        """Stop the live run, text or sweep, of which all stays that there is, or a load."""
        writes = self.generation_state is not None and self.generation_state.is_live
        sweeps = self.sweep is not None and self.sweep.is_live
        loads = self.phase is Phase.LOADING
        busy = writes or sweeps or loads or self._writing_id >= 0 or self.session.live is not None
        if self._engine is not None and busy:
            self._engine.send(Stop())

    def step(self, layers: int = 1) -> None:
        """Let a halted run compute more layers, one by default."""
        self._steps_left = layers - 1
        self._resume(Step())

    def run_on(self) -> None:
        """Let a halted run go on to its end."""
        self._resume(Continue())

    def _halted(self) -> None:
        self.phase = Phase.HALTED
        if self._steps_left:
            self.step(self._steps_left)

    def _resume(self, command: Step | Continue) -> None:
        run = self.session.live
        if self._engine is not None and run is not None and run.state is RunState.HALTED:
            self.session.resume(run)
            self.phase = Phase.RUNNING
            self._engine.send(command)

    def delete(self, run: Run) -> None:
        """Forget a run; a live one is stopped."""
        if run is self.session.live:
            self.stop()
            self.phase = Phase.READY
        if run is self.session.current:
            self._asked = None
        self.session.delete(run)

    def change(self, **changes: Any) -> None:
        """Replace some of the settings, for good."""
        changed = {k: v for k, v in changes.items() if getattr(self.settings, k) != v}
        if changed:
            self.settings = replace(self.settings, **changed)
            self._host.keep_settings(changed)

    def take(self, **changes: Any) -> None:
        """Replace some of the settings in this session, as if it had begun with them."""
        self.settings = replace(self.settings, **changes)
        if changes.keys() & {"kl_threshold", "overlap_threshold"}:
            kl, overlap = self._first_thresholds
            self._first_thresholds = (
                changes.get("kl_threshold", kl),
                changes.get("overlap_threshold", overlap),
            )

    def turn_lens(self, *results: RunResult) -> str:
        """Read depths through the next lens that there is for these runs; in words, for people."""
        lens = next_lens(self.settings.lens, results)
        if lens == self.settings.lens:
            return "There is no other lens."
        self.change(lens=lens)
        words = f"Depths are read through the {lens_title(lens)}."
        if any(result.get(LENS_CLASSES[lens]) is None for result in results):
            words += " It has not read this run yet: i has it read."
        return words

    def include_first_token(self, included: bool) -> None:
        """Average with or without token 0, in this session."""
        self.settings = replace(self.settings, include_first_token=included)

    def turn_threshold(self, name: str, steps: int) -> None:
        """Raise or lower `kl_threshold` or `overlap_threshold` by steps, in this session."""
        turned: dict[str, Any] = {name: _turned(getattr(self.settings, name), steps)}
        self.settings = replace(self.settings, **turned)

    def reset_thresholds(self) -> None:
        """Take the thresholds that the session began with."""
        kl, overlap = self._first_thresholds
        self.settings = replace(self.settings, kl_threshold=kl, overlap_threshold=overlap)

    @property
    def thresholds_turned(self) -> bool:
        """Whether they are others than the session began with."""
        now = (self.settings.kl_threshold, self.settings.overlap_threshold)
        return now != self._first_thresholds

    def handle(self, event: Event) -> None:
        """Bring everything up to date with what the engine said."""
        if self.generation_state is not None and self.generation_state.handle(event):
            if isinstance(event, Failed):
                self._host.show_toast(
                    Toast(self.generation_state.problem, "error", "Nothing was written")
                )
            return
        if self.sweep is not None and self.sweep.handle(event):
            if isinstance(event, SweepFinished):
                self._swept(event)
            return
        if isinstance(event, ModelWritten | Failed) and event.run_id == self._writing_id >= 0:
            self._wrote(event)
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
                self._loaded(model)
            case RunStarted() | RunFinished() if run is not None:
                self._settle()
            case Halted() if run is not None and not self.is_loading:
                self._halted()
            case Failed():
                self._failed(run, event)
            case TokensCounted():
                self.counted, self._counting = event, None
                self._count_next()
            case Notice(message=message):
                self._host.show_toast(Toast(message, "warning"))
        self._follow_awaited()

    def engine_died(self, death: EngineDeath) -> None:
        """The process is gone: keep every result and say how to go on."""
        self._engine, self._awaited, self._recalled, self._writing_id = None, None, None, -1
        self.phase, self.progress = Phase.DEAD, None
        kept = "Every result is kept" if self.session.results else "Nothing was lost"
        self._end_live("the engine process ended")
        detail = f" It last said: {death.last_line}" if death.last_line and death.code >= 0 else ""
        self.problem = Problem(
            f"The engine process ended. {death.reason}{detail}",
            f"{kept}; R starts it again. Log: {death.log}",
        )

    def _loaded(self, model: ModelInfo) -> None:
        self.model, self.progress, self.problem = model, None, None
        self.phase, self.pace = Phase.READY, self.paces.get(pace_key(model), Pace())
        self.not_loaded = self.counted = None
        self._remember(model.spec.name)
        if self._awaited is not None:
            self._run_awaited(model)
            return
        if self._recalled is not None:
            self._recall(self._recalled)
            return
        current = self.session.current
        settings = self._run_settings(*self.asked)
        if current is None or not current.answers(model, self.prompt, settings):
            self.run()

    def _timed(self, pace: Pace) -> None:
        """Take a new timing of the loaded model, which comes last among those kept."""
        self.pace = joined(self.pace, pace)
        if self.model is not None:
            key = pace_key(self.model)
            self.paces.pop(key, None)
            self.paces[key] = self.pace

    def _remember(self, name: str) -> None:
        """Keep a model's name: it is what the explorer opens with, and listed as opened before."""
        from depthtui.models.catalog import lasting_name

        name = lasting_name(name)
        recent = tuple(dict.fromkeys((name, *self.settings.recent_models)))
        self.change(last_model=name, recent_models=recent[:_MOST_RECENT])

    def _failed(self, run: Run | None, failed: Failed) -> None:
        words = f"{failed.message} {failed.hint}".strip()
        if run is None:
            self._awaited = self._recalled = None
            if self.is_loading:
                self.not_loaded = NotLoaded(self.spec, words)
        if run is not None:
            self._settle()
            title = "This prompt did not run" if run.result is None else "Not computed"
            self._host.show_toast(Toast(words, "error", title))
        elif failed.still_loaded is not None:
            self.model, self.progress, self.problem = failed.still_loaded, None, None
            self.spec, self.phase = failed.still_loaded.spec, Phase.READY
            self._host.show_toast(Toast(words, "error", f"{self.model.name} stays"))
        elif self.is_loading:
            self.model, self.progress = None, None
            self.phase = Phase.NO_MODEL
            self.problem = Problem(failed.message, failed.hint or "m chooses another model.")
        else:
            self._host.show_toast(Toast(words, "error"))

    def _settle(self) -> None:
        """A run began or ended: the engine is free, unless something has been queued."""
        if self.is_loading:
            return
        if self._writing_id >= 0:
            self.phase = Phase.WRITING
        elif self.sweep is not None and self.sweep.is_live:
            self.phase = Phase.SWEEPING
        else:
            self.phase = Phase.RUNNING if self.session.live else Phase.READY

    def _end_live(self, reason: str) -> None:
        if self.generation_state is not None:
            self.generation_state.end(reason)
        if self.sweep is not None:
            self.sweep.end(reason)
        self.session.engine_died(reason)


def _turned(threshold: float, steps: int) -> float:
    """A threshold some steps up or down; one between two steps goes to the next first."""
    place = round(threshold * _THRESHOLD_STEPS, 6)
    turned = math.floor(place) + steps if steps > 0 else math.ceil(place) + steps
    return min(max(turned, 1), _THRESHOLD_STEPS - 1) / _THRESHOLD_STEPS
