"""A sweep in the engine process: its events, how it is stopped, what it leaves on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from depthtui.data import codec
from depthtui.data.model import ModelInfo
from depthtui.data.protocol import (
    Event,
    Notice,
    PromptDone,
    PromptFailed,
    StartSweep,
    SweepFinished,
    SweepProgress,
)
from depthtui.data.run_settings import ModelSpec
from depthtui.engine.control import Control
from depthtui.errors import DepthError, RunStopped
from depthtui.service.sweep import SweepService
from depthtui.sweep.records import read_record
from depthtui.sweep.saved import (
    default_folder,
    open_sweep,
    plan_from_text,
    plan_text,
    saved_sweeps,
)
from tests.builders.engines import ScriptedEngine, sweep_events
from tests.sweep.sweeps import count_prompts, make_plan, put_model, sweep

PLAN = make_plan(("alpha", "beta"), ("addition:1-2",))


def started(path: Path, plan=PLAN) -> StartSweep:  # type: ignore[no-untyped-def]
    return StartSweep(3, str(path), plan_text(plan))


def test_every_prompt_is_told_with_its_cell(tmp_path: Path) -> None:
    events, engine = sweep_events(started(tmp_path))
    events = [codec.decode(codec.encode(event)) for event in events]
    done = [event for event in events if isinstance(event, PromptDone)]
    assert len(done) == count_prompts(PLAN)
    for event in done:
        cell, record = PLAN.cells[event.cell], read_record(event.record.encode())
        assert (record.model.name, record.task, record.level) == (
            cell.model.name,
            cell.task.name,
            cell.task.level,
        )
    progress = [event for event in events if isinstance(event, SweepProgress)]
    assert (progress[-1].done, progress[-1].total) == (len(done), len(done))
    assert any("beta · addition, 2 digits · prompt 3" in event.now for event in progress)
    end = events[-1]
    assert isinstance(end, SweepFinished)
    assert not end.stopped
    assert not end.problem
    assert end.model == engine.model
    assert set(engine.limits) == {0}, "activations of a sweep are not worth their room"
    assert engine.activation_limit == -1


def test_what_is_there_is_told_and_not_run_again(tmp_path: Path) -> None:
    sweep(PLAN, tmp_path)
    events, engine = sweep_events(started(tmp_path))
    assert not engine.runs
    assert sum(isinstance(event, PromptDone) for event in events) == count_prompts(PLAN)


def test_a_sweep_that_is_stopped_is_on_disk(tmp_path: Path) -> None:
    events, engine = sweep_events(started(tmp_path), stops_at=4)
    end = events[-1]
    assert isinstance(end, SweepFinished)
    assert end.stopped
    assert sum(map(len, open_sweep(tmp_path, print).records.values())) == 4
    # Another one goes on from there.
    events, engine = sweep_events(started(tmp_path))
    assert len(engine.runs) == count_prompts(PLAN) - 4


def test_a_sweep_is_stopped_between_prompts_and_while_it_loads(tmp_path: Path) -> None:
    def stop(spec: ModelSpec) -> ModelInfo:
        raise RunStopped

    control = Control()
    control.stop()
    for engine in (ScriptedEngine(), ScriptedEngine(load=stop)):
        events: list[Event] = []
        SweepService(started(tmp_path), engine, control, events.append, tmp_path).serve()
        assert isinstance(events[-1], SweepFinished)
        assert events[-1].stopped
        assert not engine.runs


def test_a_sweep_is_stopped_while_it_reads_weights(tmp_path: Path) -> None:
    plan = make_plan((put_model(tmp_path / "model"),))
    engine, control, events = ScriptedEngine(), Control(), []
    control.stop()
    SweepService(started(tmp_path, plan), engine, control, events.append, tmp_path).serve()
    assert events[-1].stopped
    assert engine.loads == []


def test_the_model_that_is_loaded_is_not_loaded_again(tmp_path: Path) -> None:
    loaded = ScriptedEngine().load(PLAN.models[0])
    _, engine = sweep_events(started(tmp_path), loaded)
    assert engine.loads == ["beta"]


def test_failures_are_told_once_each(tmp_path: Path) -> None:
    plan = make_plan(("alpha", "missing"), ("addition:1-2",))
    events, _ = sweep_events(started(tmp_path, plan))
    failed = [event for event in events if isinstance(event, PromptFailed)]
    assert [(failure.model, failure.task, failure.prompt) for failure in failed] == [
        ("missing", "", None)
    ]
    assert "There is no model missing" in failed[0].message
    assert not [event for event in events if isinstance(event, Notice)]


def test_prompts_that_cannot_be_read_end_the_sweep(tmp_path: Path) -> None:
    plan = make_plan(("alpha",), ("mine",), data={"mine": str(tmp_path / "none.jsonl")})
    events, _ = sweep_events(started(tmp_path, plan))
    end = events[-1]
    assert isinstance(end, SweepFinished)
    assert "none.jsonl" in end.problem


# On disk ----------------------------------------------------------------------


def test_a_plan_survives_as_text() -> None:
    assert plan_from_text(plan_text(PLAN)) == PLAN


def test_saved_sweeps_are_listed_and_opened(tmp_path: Path) -> None:
    folder = default_folder(PLAN, tmp_path)
    outcome = sweep(PLAN, folder)
    (tmp_path / "sweeps" / "broken").mkdir()
    (tmp_path / "sweeps" / "broken" / "sweep.json").write_text("{")
    (saved_sweep,) = saved_sweeps(tmp_path)
    assert (saved_sweep.folder, saved_sweep.plan, saved_sweep.n_records) == (
        folder,
        PLAN,
        count_prompts(PLAN),
    )
    opened = open_sweep(folder, print)
    keys = [[record.key for record in records] for records in opened.records.values()]
    assert keys == [[record.key for record in records] for records in outcome.records.values()]


def test_records_that_are_damaged_are_told_and_left_out(tmp_path: Path) -> None:
    sweep(PLAN, tmp_path)
    damaged, gone = sorted((tmp_path / "records").rglob("*.json"))[:2]
    damaged.write_text(json.dumps({"checksum": "no"}))
    gone.unlink()
    notices: list[str] = []
    opened = open_sweep(tmp_path, notices.append)
    assert sum(map(len, opened.records.values())) == count_prompts(PLAN) - 2
    assert notices == ["2 of 12 records cannot be read: going on runs them again."]


def test_a_folder_without_a_sweep_says_so(tmp_path: Path) -> None:
    with pytest.raises(DepthError, match="holds no sweep"):
        open_sweep(tmp_path, print)
    (tmp_path / "sweep-1-of-2.json").write_text("{}")
    with pytest.raises(DepthError, match="--merge"):
        open_sweep(tmp_path, print)
    (tmp_path / "sweep.json").write_text("{}")
    with pytest.raises(DepthError, match="cannot be read"):
        open_sweep(tmp_path, print)
