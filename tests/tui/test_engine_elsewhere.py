"""The explorer and an engine elsewhere: a command whose connection breaks, and comes back."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import psutil
import pytest

from depthtui.data.lens import LogitLens
from depthtui.data.protocol import Command, PromptDone
from depthtui.data.run import Prompt
from depthtui.data.session_files import SessionFolder
from depthtui.data.store import open_store
from depthtui.report.saved_runs import read_run
from depthtui.settings import load_settings
from depthtui.sweep.records import record_bytes, record_of
from depthtui.sweep.saved import open_sweep, saved_sweeps
from depthtui.tui.engine_client import EngineClient
from depthtui.tui.messages import EngineEvent
from depthtui.tui.state.phase import Phase
from depthtui.tui.state.session import RunState
from depthtui.tui.state.sweeping import Sweeping
from tests.builders.results import full_result
from tests.sweep.sweeps import make_plan
from tests.tui.app_helpers import Explored, explore

COMMAND = shlex.join(["sh", "-c", f"{sys.executable} -m tests.tui.fake_engine; exit $?"])


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a child import these tests, which are not installed, and leave its log nowhere else."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def client(it: Explored) -> EngineClient:
    return cast(EngineClient, it.app.explorer.engine.connection)


def has_ended(process: psutil.Process) -> bool:
    """Whether a process is gone, or waits for its parent alone."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def problem_of(tmp_path: Path, command: Sequence[str]) -> str:
    """What the screen says of a command that reaches no engine."""
    async with explore(tmp_path, engine_command=shlex.join(command), wait=False) as it:
        await it.until(lambda: it.app.explorer.phase is Phase.DEAD)
        problem = it.app.explorer.engine.problem
        assert problem is not None
        return f"{problem.message} {problem.hint}"


async def test_a_connection_that_breaks_is_offered_again_and_the_session_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with explore(tmp_path, engine_command=COMMAND) as it:
        assert it.session.current.state is RunState.FINISHED
        sent: list[Command] = []
        monkeypatch.setattr(client(it), "send", sent.append)
        await it.press("down", "right", "G", "g", "tab", "up", "left")
        assert sent == []
        os.killpg(client(it).pid, signal.SIGTERM)
        await it.until(lambda: it.app.explorer.phase is Phase.DEAD)
        problem = it.app.explorer.engine.problem
        assert f"The engine is gone: `{COMMAND}`. It was ended by SIGTERM." in problem.message
        assert problem.hint.startswith("Every result is kept; r connects again.")
        assert it.main.shown_result() is not None
        await it.press("r")
        await it.ready()
        assert it.app.explorer.engine.problem is None
        assert [run.state for run in it.session.runs] == [RunState.FINISHED]
        await it.press("r", until=lambda: len(it.session.runs) == 2)
        await it.ready()
        (behind_shell,) = psutil.Process(client(it).pid).children()
        # The whole command ends, not its shell alone.
        client(it).kill()
        await it.until(lambda: has_ended(behind_shell))
    assert load_settings(tmp_path / "settings.toml").recent_models == ()


async def test_the_picker_lists_the_models_of_the_engine(tmp_path: Path) -> None:
    async with explore(tmp_path, engine_command=COMMAND) as it:
        await it.press("m", until="small  1.07 GB")
        assert "On the disk of `sh -c" in it.screen_text()
        await it.press(*"no/such", "enter", until="It is not there [/].")
        os.killpg(client(it).pid, signal.SIGKILL)
        await it.until(lambda: it.app.explorer.phase is Phase.DEAD)
        await it.press("enter", until="The engine is gone.")


async def test_results_and_records_are_saved_here(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    async with explore(tmp_path, engine_command=COMMAND) as it:
        it.app.explorer.run(Prompt("Seven plus five"))
        await it.until(lambda: it.session.current.prompt.text == "Seven plus five")
        await it.ready()
        result = it.session.current.result
        plan = make_plan(("us/own",))
        it.app.explorer.start_sweep(plan, cache / "sweeps" / "mine")
        sweep = it.app.explorer.work.sweep
        await it.until(lambda: not sweep.is_live)
    (saved,) = saved_sweeps(cache)
    for cell, records in open_sweep(saved.folder, pytest.fail).records.items():
        assert [record.key for record in records] == [
            record.key for record in sweep.outcome.records[cell]
        ]
    assert sweep.stage == "done"
    assert (tmp_path / "there" / "mine" / "sweep.json").exists()
    shutil.rmtree(tmp_path / "there")
    (file,) = SessionFolder(cache).files()
    store = open_store(cache, 1 << 30, pytest.fail)
    saved = read_run(store, file.session.runs[-1])
    assert saved.prompt == result.prompt
    np.testing.assert_array_equal(saved.get(LogitLens).kl, result.get(LogitLens).kl)
    assert saved.measured.keys() == result.measured.keys()


async def test_a_command_that_reaches_no_engine_says_why(tmp_path: Path) -> None:
    shell = "echo Welcome; echo 'ssh: connect to host \x1b[1mgpu\x1b[0m: refused' >&2; exit 255"
    said = await problem_of(tmp_path, ["sh", "-c", shell.replace("echo '", "printf '")])
    assert "It exited with status 255. It last said: ssh: connect to host gpu: refused" in said
    said = await problem_of(tmp_path, ["echo", "No such container"])
    assert "It exited with status 0. It last said: No such container" in said
    said = await problem_of(
        tmp_path, ["echo", 'depthtui engine greets: {"version": "7", "messages": ""}']
    )
    assert "The engine has depthtui 7 and this explorer 0.1.0: install the same" in said


async def test_what_a_command_waits_for_is_told(tmp_path: Path) -> None:
    go = tmp_path / "go"
    waits = f"echo 'srun: job 7 queued' >&2; until test -e {go}; do sleep 0.1; done; {COMMAND}"
    async with explore(tmp_path, engine_command=shlex.join(["sh", "-c", waits]), wait=False) as it:
        await it.until(lambda: "srun: job 7 queued" in it.screen_text())
        go.touch()
        await it.ready()


async def test_an_event_that_fits_nothing_ends_the_connection_alone(tmp_path: Path) -> None:
    async with explore(tmp_path, engine_command=COMMAND) as it:
        it.app.explorer.work.sweep = Sweeping(make_plan(("us/own",)), None, 7)
        it.app.post_message(EngineEvent(client(it), PromptDone(7, 99, "{}")))
        await it.until(lambda: it.app.explorer.phase is Phase.DEAD)
        assert "It sent an unusable message (IndexError" in it.app.explorer.engine.problem.message
        await it.press("r")
        await it.ready()


async def test_a_record_names_no_other_file(tmp_path: Path) -> None:
    sweep = Sweeping(make_plan(("us/own",)), tmp_path / "sweep", 7, saves=True)
    (cell, *_) = sweep.plan.cells
    record = record_of(full_result(Prompt("a b")), "../../../../x", cell, 0)
    with pytest.raises(ValueError, match="another file"):
        sweep.handle(PromptDone(7, 0, record_bytes(record).decode()))
    assert not list(tmp_path.rglob("*.json"))
