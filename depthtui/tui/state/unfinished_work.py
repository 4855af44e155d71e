"""The engine's work that a command would end: a question comes first."""

from __future__ import annotations

from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.session import RunState, SessionRun


def unfinished_work(explorer: Explorer) -> str:
    """The engine's current work, in words; empty where there is none."""
    sweep, writing = explorer.work.sweep, explorer.work.writing
    if sweep is not None and sweep.is_live:
        return f"A sweep is running, {sweep.n_done} of {sweep.n_prompts} prompts are saved"
    if writing is not None and writing.is_live:
        return "A model is being written"
    run = explorer.session.live
    # Work that began by itself begins again: ending it loses nothing.
    return "" if run is None or run is explorer.automatic.run else _unfinished_run(run)


def _unfinished_run(run: SessionRun) -> str:
    if run.is_being_written:
        return "A text is being written"
    name = f"Run {run.number}" if run.number else "A what-if"
    if run.state is RunState.HALTED:
        return f"{name} is halted after layer {run.halted_at}"
    if run.work is not None:
        return f"{name} computes {METRIC_BY_NAME[run.work.metric].title.lower()}"
    return f"{name} is not finished"


def unfinished_text(explorer: Explorer) -> str:
    """The text that is being written, in words; empty for other work."""
    run = explorer.session.live
    return unfinished_work(explorer) if run is not None and run.is_being_written else ""


def slow_work(explorer: Explorer) -> str:
    """The engine's work where it takes long: a slower metric or a text; else empty."""
    run = explorer.session.live
    work = run.work if run is not None else None
    is_slow = work is not None and METRIC_BY_NAME[work.metric].on_demand
    return unfinished_work(explorer) if is_slow else unfinished_text(explorer)


def lost_by_opening(explorer: Explorer, run: SessionRun) -> str:
    """The work lost by opening a saved session's run: none for the loaded model's."""
    model = explorer.engine.model
    is_here = model is not None and model.spec == run.model.spec
    return "" if is_here and explorer.can_run else unfinished_work(explorer)
