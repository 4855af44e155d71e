"""What a status line says: the model, the prompt, and what the engine does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from depthtui.data.model import ModelInfo
from depthtui.report.skips import without
from depthtui.tui.state.explorer import Explorer, Phase
from depthtui.tui.state.session import RunState, Work
from depthtui.tui.state.task_prompts import place

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
    """What the status line says; anything unknown is left out.

    Attributes:
        model: the loaded model.
        model_name: what is being loaded while there is no model yet.
        task: where the prompt comes from.
        number: which of its prompts, such as `1/12`.
        state: what the engine is doing.
        layer, layers: how far a run is, in layers.
        seconds: how long the run took so far.
        cached: whether the result came from the cache; None while there is none.
        memory: bytes that the engine holds, or 0.
        work: the slower metric that a run is at, or None.
        swept: how many prompts of a sweep are done, and how many there are.
        stage: how far a model is that is being written.
    """

    model: ModelInfo | None = None
    model_name: str = ""
    task: str = ""
    number: str = ""
    state: EngineState = "starting"
    layer: int = 0
    layers: int = 0
    seconds: float = 0.0
    cached: bool | None = None
    memory: int = 0
    work: Work | None = None
    swept: tuple[int, int] = (0, 0)
    stage: str = ""


def status_of(explorer: Explorer, task: str) -> Status:
    """What there is to say of the run on the screen and of the engine.

    Args:
        explorer: what it is about.
        task: the title of the current prompt's task; what a what-if leaves out goes before it.
    """
    run, live, sweep = explorer.session.current, explorer.session.live, explorer.sweep
    timed = live or run
    left_out = without(run.settings.skipped) if run else ""
    is_cached = None
    if run is not None and run.state is RunState.FINISHED and explorer.model is not None:
        is_cached = run.cached
    return Status(
        model=explorer.model,
        model_name=explorer.spec.name if explorer.is_loading else "",
        task=" · ".join(filter(None, (left_out, task))),
        number=_number(explorer),
        state=_state(explorer),
        layer=live.layers_done if live else 0,
        layers=live.model.n_layers if live else 0,
        seconds=timed.seconds if timed else 0,
        cached=is_cached,
        memory=explorer.memory.used if explorer.memory else 0,
        work=live.work if live else None,
        swept=(sweep.done, sweep.total) if sweep else (0, 0),
        stage=stage_of(explorer),
    )


def stage_of(explorer: Explorer) -> str:
    """How far a model is that is being written, such as `writing the model 40%`, or empty."""
    progress = explorer.progress
    if explorer.phase is not Phase.WRITING or progress is None:
        return ""
    share = f" {progress.done / progress.total:.0%}" if progress.total else ""
    return f"{progress.stage.lower()}{share}"


def _number(explorer: Explorer) -> str:
    """Which of its task's prompts the current one is."""
    found = place(explorer.prompt, explorer.settings.seed)
    return f"{found[0] + 1}/{found[1]}" if found else ""


def _state(explorer: Explorer) -> EngineState:
    run = explorer.session.current
    if explorer.phase is Phase.READY and run is not None and run.state is RunState.STOPPED:
        return "stopped"
    return _STATES[explorer.phase]
