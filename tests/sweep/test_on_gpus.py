"""A sweep on two GPUs that are pretended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from depthtui import cli
from depthtui.data.run_settings import Drawing
from depthtui.engine.factory import Storage
from depthtui.models import devices
from depthtui.settings import models_dir
from depthtui.sweep.folder import SweepFolder
from depthtui.sweep.on_gpus import GpuEngine, run_on_gpus
from depthtui.sweep.plan import SweepPlan
from depthtui.sweep.state import Outcome
from tests.sweep.gpu_engines import LOG, loads_of, runs_of
from tests.sweep.sweeps import QuietWatcher, contents, make_plan, sweep
from tests.tiny_models import tiny_folder

Output = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("home")

GPUS = ("3", "GPU-5f")


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of what the GPUs ran."""
    path = tmp_path / "runs"
    monkeypatch.setenv(LOG, str(path))
    return path


def run(plan: SweepPlan, folder: Path, notices: list[str] | None = None) -> Outcome:
    notices = [] if notices is None else notices
    cache = folder / "cache"
    return run_on_gpus(
        plan,
        SweepFolder(folder, notices.append),
        GPUS,
        GpuEngine(Storage(cache, models_dir(cache), save_results=False), trusts_code=False),
        QuietWatcher(),
        notices.append,
        module="tests.sweep.gpu_engines",
    )


def test_both_give_what_one_process_gives(log: Path, tmp_path: Path) -> None:
    drawing = Drawing(4, matched=99)
    plan = make_plan(("alpha", "missing", "./nowhere"), ("addition:1-2", "commonsense"), drawing)
    notices: list[str] = []
    outcome = run(plan, tmp_path / "gpus", notices)
    assert {gpu for gpu, _ in runs_of(log)} == set(GPUS)
    loads = loads_of(log)
    assert len(loads) == len(set(loads))
    local = sweep(plan, tmp_path / "local")
    assert contents(tmp_path / "gpus") == contents(tmp_path / "local")
    assert {
        cell: [record.key for record in of_cell] for cell, of_cell in outcome.records.items()
    } == {cell: [record.key for record in of_cell] for cell, of_cell in local.records.items()}
    assert sorted(map(str, outcome.failures)) == sorted(map(str, local.failures))
    assert notices.count("A damaged cache entry was dropped.") == 1
    run(plan, tmp_path / "gpus")
    assert len(runs_of(log)) == 12


def test_one_cell_is_run_in_parts(log: Path, tmp_path: Path) -> None:
    plan = make_plan(("alpha",), ("addition:1",), Drawing(5))
    (records,) = run(plan, tmp_path / "gpus").records.values()
    assert [record.number for record in records] == [0, 1, 2, 3, 4]
    assert sorted(len([gpu for gpu, _ in runs_of(log) if gpu == name]) for name in GPUS) == [2, 3]


def test_a_process_that_dies_loses_only_what_it_had_begun(log: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"text": "crash once"}\n{"text": "fine"}\n{"text": "crash"}\n')
    plan = make_plan(("alpha",), ("mine", "addition:1"), Drawing(3), {"mine": str(path)})
    notices: list[str] = []
    outcome = run(plan, tmp_path / "gpus", notices)
    mine, addition = outcome.records.values()
    assert [record.number for record in mine] == [0, 1]
    assert len(addition) == 3
    (failure,) = outcome.failures
    assert failure.task == "mine"
    assert failure.message == "Its process was lost 3 times (exit status 3)."
    assert sum("what it lacks is sent out again" in text for text in notices) == 2
    assert [text for _, text in runs_of(log)].count("'fine'") == 1


@pytest.mark.by_hand
def test_the_command_runs_a_real_model(
    tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "visible_gpus", lambda: ["0"])
    command = ["sweep", "--model", str(tiny_folder(tmp_path)), "--task", "addition:1"]
    command += ["--examples", "2", "--no-cache", "--out", str(tmp_path / "out"), "--gpus", "all"]
    assert cli.main(command) == 0
    assert "2 of 2 prompts: " in capsys.readouterr().err
    (cell,) = json.loads((tmp_path / "out" / "report.json").read_text())["cells"]
    assert cell["prompts"] == 2


@pytest.mark.parametrize(
    ("there", "arguments", "status", "problem"),
    [
        ([], ("--gpus", "all"), 1, "this machine has: no CUDA GPU. Leave --gpus out"),
        (["0", "1"], ("--gpus", "3"), 1, "this machine has: 2 CUDA GPUs. --gpus all uses all"),
        (["0"], ("--gpus", "0"), 2, "'0' is neither a number of GPUs nor all"),
        (["0"], ("--gpus", "1", "--device", "cuda:1"), 2, "--gpus chooses the devices"),
        (["0"], ("--gpus", "1", "--merge", "."), 2, "--gpus runs a sweep: without --merge"),
    ],
)
def test_wrong_usage(
    there: list[str],
    arguments: tuple[str, ...],
    status: int,
    problem: str,
    home: Path,
    capsys: Output,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "visible_gpus", lambda: there)
    command = ["sweep", "--model", "demo", "--task", "facts", "--out", str(home / "out")]
    assert cli.main([*command, *arguments]) == status
    assert problem in capsys.readouterr().err
