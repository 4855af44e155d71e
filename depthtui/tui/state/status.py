"""The status line's contents: the model, the prompt, and the engine's activity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from depthtui.data.model import ModelInfo
from depthtui.data.run import Prompt
from depthtui.report.skips import changes_of
from depthtui.sizes import about
from depthtui.tui.state.comparison import distinct_names
from depthtui.tui.state.dataset_prompts import Datasets
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.phase import Phase
from depthtui.tui.state.session import RunState, SessionRun, Work
from depthtui.tui.state.task_prompts import place, task_title

EngineState: TypeAlias = Literal[
    "starting",
    "loading",
    "idle",
    "ready",
    "running",
    "halted",
    "sweeping",
    "writing",
    "stopped",
    "gone",
]

_STATES: dict[Phase, EngineState] = {
    Phase.STARTING: "starting",
    Phase.LOADING: "loading",
    Phase.READY: "ready",
    Phase.RUNNING: "running",
    Phase.HALTED: "halted",
    Phase.SWEEPING: "sweeping",
    Phase.WRITING: "writing",
    Phase.NO_MODEL: "idle",
    Phase.DEAD: "gone",
}


@dataclass(frozen=True)
class Status:
    """The contents of the status line; anything unknown is left out.

    Attributes:
        model: the model of the run that is shown; the loaded one where there is no run.
        loads: the model that is being loaded.
        loaded: the loaded model's name where the run that is shown is another's.
        task: the task of the prompt that is shown.
        number: its number among its task's prompts, such as `1/12`.
        is_wrapped: whether it is wrapped in the chat template.
        state: the engine's activity.
        layer, layers: layers done, and layers of the run; 0 and 0 while it waits for the engine.
        seconds: the run's time so far.
        reported_at: when `seconds` was reported, by the monotonic clock; 0 where the run is over.
        origin: where the result is from, as in `SessionRun`.
        memory: bytes that the engine uses for that model, or 0.
        work: the metric that the run computes after its layers, or None.
        written: the number of tokens that are written, and the most; 0 and 0 where none are.
        swept: the number of prompts of a sweep that are done, and of all.
        stage: the progress of a load, of writing a model, or of what precedes a text.
        sweep_seconds_left: seconds that the sweep still takes; negative where unknown.
    """

    model: ModelInfo | None = None
    loads: str = ""
    loaded: str = ""
    task: str = ""
    number: str = ""
    is_wrapped: bool = False
    state: EngineState = "starting"
    layer: int = 0
    layers: int = 0
    seconds: float = 0.0
    reported_at: float = 0.0
    origin: str = ""
    memory: int = 0
    work: Work | None = None
    written: tuple[int, int] = (0, 0)
    swept: tuple[int, int] = (0, 0)
    stage: str = ""
    sweep_seconds_left: float = -1.0


def status_of(explorer: Explorer, datasets: Datasets | None = None) -> Status:
    """The status of the run that is shown and of the engine; numbers rows of data sets here."""
    run, live, sweep = explorer.session.current, explorer.session.live, explorer.work.sweep
    timed, loaded = live or run, explorer.engine.model
    model = run.model if run else loaded
    is_other = loaded is not None and loaded != model
    prompt = run.prompt if run else explorer.prompt
    changes = changes_of(run.settings) if run else ""
    return Status(
        model=model,
        loads=explorer.engine.spec.name if explorer.engine.is_loading else "",
        loaded=distinct_names(run.model, loaded)[1] if run and loaded and is_other else "",
        task=" · ".join(filter(None, (changes, task_title(prompt)))),
        number=_number(prompt, explorer.settings.seed, datasets),
        is_wrapped=run.settings.chat_template if run else explorer.chat_template,
        state=_state(explorer),
        layer=live.layers_done if live else 0,
        layers=live.model.n_layers if live and live.state is not RunState.WAITING else 0,
        seconds=timed.seconds if timed else 0,
        reported_at=live.reported_at if live else 0,
        origin=run.origin if run else "",
        memory=explorer.engine.memory.used
        if explorer.engine.memory and loaded and not is_other
        else 0,
        work=live.work if live else None,
        written=_written(live),
        swept=(sweep.n_done, sweep.n_prompts) if sweep else (0, 0),
        stage=_stage(explorer),
        sweep_seconds_left=sweep.seconds_left if sweep else -1.0,
    )


def _written(live: SessionRun | None) -> tuple[int, int]:
    if live is None or live.writing is None or not live.is_being_written:
        return 0, 0
    return live.n_written, live.writing.max_tokens


def _stage(explorer: Explorer) -> str:
    """The progress of a load, or of work without rows yet, such as `writing the model 40%`."""
    stage, live = explorer.engine.stage, explorer.session.live
    is_writing_model = explorer.phase is Phase.WRITING
    is_before_text = live is not None and live.is_being_written and not live.n_written
    if stage is None or not (is_writing_model or is_before_text or explorer.engine.is_loading):
        return ""
    progress = stage.progress
    share = f" {progress.done / progress.total:.0%}" if progress.total else ""
    has_time = not explorer.engine.is_loading and stage.seconds_left > 0
    left = f", {about(stage.seconds_left)} left" if has_time else ""
    return f"{progress.stage[:1].lower()}{progress.stage[1:]}{share}{left}"


def _number(prompt: Prompt, seed: int, datasets: Datasets | None) -> str:
    """The number of a prompt in its task, such as `1/12`."""
    number_of = place(prompt, seed, datasets)
    return f"{number_of[0] + 1}/{number_of[1]}" if number_of else ""


def _state(explorer: Explorer) -> EngineState:
    run = explorer.session.current
    if explorer.phase is Phase.READY and run is not None and run.state is RunState.STOPPED:
        return "stopped"
    return _STATES[explorer.phase]
