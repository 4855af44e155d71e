"""Results in experiment trackers."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from accelerate import tracking
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from depthtui.cli import main
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.errors import DepthError
from depthtui.report.export import run_report
from depthtui.report.long_table import TableRows
from depthtui.trackers import TITLES, TrackerChoice, log_report, logged
from tests.builders.answers import answered_runs
from tests.builders.results import full_run, run

RUNS = answered_runs(at=5)


@dataclass
class Recorder:
    """A tracker that keeps what it is sent.

    Attributes:
        calls: the names of methods and their arguments.
    """

    project: str
    settings: Any = None
    calls: ClassVar[list[tuple[str, Any]]] = []
    requires_logging_directory: ClassVar[bool] = False
    name: ClassVar[str] = "wandb"
    fails_at: ClassVar[str] = ""
    error: ClassVar[BaseException] = OSError("no network\nat all")
    steps: list[int | None] = field(default_factory=list)

    def _call(self, name: str, *values: Any) -> None:
        if name == self.fails_at:
            raise self.error
        self.calls.append((name, *values))  # type: ignore[arg-type]

    def start(self) -> None:
        self._call("start", self.project)

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self._call("settings", values)

    def log(self, values: dict[str, float], step: int | None = None) -> None:
        self._call("log", values, step)

    def log_table(self, name: str, columns: list[str], data: list[list[Any]]) -> None:
        self._call("table", columns, data)

    def log_images(self, values: dict[str, Any]) -> None:
        self._call("images", values)

    def finish(self) -> None:
        self._call("finish")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    """The class of a tracker that is there under the name `wandb`."""
    monkeypatch.setattr(Recorder, "calls", [])
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "wandb", Recorder)
    return Recorder


def test_headline_curves_and_settings_are_logged(recorder: type[Recorder]) -> None:
    report = run_report(RUNS, SummarySettings())
    choice = TrackerChoice("wandb", "mine")
    assert log_report(report, [choice], pytest.fail) == [choice]
    names = [call[0] for call in recorder.calls]
    assert [names[0], names[1], names[-1]] == ["start", "settings", "finish"]
    assert recorder.calls[0] == ("start", "mine")
    assert recorder.calls[1][1]["settings/seed"] == RUNS[0].settings.seed
    logs = [call for call in recorder.calls if call[0] == "log"]
    # What has no step comes last: wandb counts on from there.
    assert [call[2] for call in logs] == [*range(len(logs) - 1), None]  # type: ignore[misc]
    (_, numbers, step) = logs[-1]  # type: ignore[misc]
    headline = reading_of(RUNS, SummarySettings()).verdict.headline
    assert step is None
    assert numbers["headline/layers"] == headline.count
    assert numbers["headline/layers/low"] == headline.low
    assert numbers["headline/layers/high"] == headline.high
    assert (numbers["answers/right"], numbers["answers/answers"]) == (34, 50)
    (table,) = (call for call in recorder.calls if call[0] == "table")
    curves = reading_of(RUNS, SummarySettings()).curves
    for name, curve in curves.items():
        column = table[1].index(f"curves/{name}")  # type: ignore[misc]
        values = [row[column] for row in table[2] if row[column] is not None]  # type: ignore[misc]
        np.testing.assert_array_equal(values, np.asarray(curve)[~np.isnan(curve)])
    pictures = [*chain.from_iterable(call[1] for call in recorder.calls if call[0] == "images")]
    assert len(pictures) == 100
    assert "knowledge-kept-answers" in pictures[0]


def test_values_of_several_models_and_tasks_are_told_apart() -> None:
    def rows(model: str, level: str, value: float) -> TableRows:
        keys = {"model": model, "changes": "", "task": "sums", "level": level}
        return TableRows(keys | {"metric": "means"}, {"measure": ["loss"], "value": [value]})

    values = logged([rows("a", "1", 0.5), rows("a", "2", 0.25), rows("b", "1", 2.0)], {})
    assert values.numbers == {"a/1/means/loss": 0.5, "a/2/means/loss": 0.25, "b/1/means/loss": 2.0}


def test_groups_are_told_apart_and_names_are_those_that_mlflow_takes() -> None:
    def rows(group: int, changes: str) -> TableRows:
        keys = {"model": "a", "changes": changes, "group": group, "metric": "evidence"}
        return TableRows(keys, {"measure": ["kl"], "value": [float(group)]})

    numbers = logged([rows(0, ""), rows(1, "without layer 1, layer 2 MLP")], {}).numbers
    assert numbers == {
        "group 0/evidence/kl": 0.0,
        "without layer 1_ layer 2 MLP/group 1/evidence/kl": 1.0,
    }


def test_settings_that_differ_between_runs_are_left_out() -> None:
    secret = dict.fromkeys(("order_texts", "baseline", "patch_from", "lens_texts"), "a secret")
    texts = secret | {"a": [1]}
    about = {"settings": [{"seed": 1} | texts, {"seed": 2} | texts], "reading": {"lens": None}}
    assert logged([], about).settings == {"settings/a": "[1]"}


@pytest.mark.parametrize(
    ("at", "error"),
    [
        ("start", OSError("no network\nat all")),
        ("log", OSError(2, "no network at all", "/board/1")),
        ("table", SystemExit("no network at all")),
        ("finish", OSError("no network\nat all")),
    ],
)
def test_a_tracker_that_fails_costs_itself(
    at: str,
    error: BaseException,
    recorder: type[Recorder],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recorder, "fails_at", at)
    monkeypatch.setattr(recorder, "error", error)
    notices: list[str] = []
    board = TrackerChoice("tensorboard", str(tmp_path / "board"))
    report = run_report([run("small")], SummarySettings())
    assert log_report(report, [TrackerChoice("wandb"), board], notices.append) == [board]
    assert notices == ["Weights & Biases (depthtui) took nothing more: no network at all"]


def test_an_error_in_a_trackers_thread_is_no_traceback(
    recorder: type[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed: list[object] = []
    monkeypatch.setattr(threading, "excepthook", printed.append)

    def fail_beside(self: Recorder) -> None:
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()

    monkeypatch.setattr(recorder, "finish", fail_beside)
    hook = threading.excepthook
    choice = TrackerChoice("wandb")
    assert log_report(run_report([run("small")], SummarySettings()), [choice], print) == [choice]
    assert threading.excepthook is hook
    assert printed == []


def test_tensorboard_is_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "board"
    run = full_run()
    log_report(
        run_report([run], SummarySettings()),
        [TrackerChoice("tensorboard", str(folder))],
        pytest.fail,
    )
    (of_run,) = folder.iterdir()
    board = EventAccumulator(str(of_run), {"scalars": 0, "images": 0})
    board.Reload()
    reading = reading_of([run], SummarySettings())
    steps = board.Scalars("curves/kl")
    assert [event.step for event in steps] == list(range(len(reading.curves["kl"])))
    np.testing.assert_allclose([event.value for event in steps], reading.curves["kl"], rtol=1e-6)
    (count,) = board.Scalars("evidence/cosine")
    counts = {one.measure: one.count for one in reading.verdict.evidence}
    assert count.value == counts["cosine"]
    (picture,) = board.Images("layer-contribution")
    assert picture.width > 400


def test_trackio_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    trackio = pytest.importorskip("trackio")
    choice = TrackerChoice("trackio", "readback")
    report = run_report(RUNS, SummarySettings())
    assert log_report(report, [choice], pytest.fail) == [choice]
    (run,) = trackio.Api().runs("readback")
    assert run.config["settings/seed"] == RUNS[0].settings.seed


def test_a_wrong_tracker_is_refused_before_anything_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["run", "demo", "--prompt", "a b", "--log", "comet"]) == 2
    assert "There is no tracker 'comet'. Choose trackio, wandb, " in capsys.readouterr().err
    monkeypatch.setattr("depthtui.trackers.find_spec", lambda name: None)
    for name, title in TITLES.items():
        with pytest.raises(DepthError, match=rf"{title} is not installed.*\[{name}\]"):
            TrackerChoice.of(name)


def test_a_tracker_that_failed_is_in_the_exit_status(
    recorder: type[Recorder], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from depthtui.cli.output import log_to

    report = run_report([full_run()], SummarySettings())
    choice = TrackerChoice("wandb", "a[/x]\x1b]0;b\x07")
    assert log_to([choice, choice], report)
    assert "(a[/x]␛]0;b␇)" in capsys.readouterr().out
    assert [call[0] for call in recorder.calls].count("start") == 1
    monkeypatch.setattr(recorder, "fails_at", "start")
    assert not log_to([choice], report)
    assert "took nothing more" in capsys.readouterr().err


def test_a_part_of_a_sweep_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sweep", "--model", "demo", "--task", "facts", "--log", "tensorboard"]
    assert main([*words, "--shard", "1/2"]) == 2
    assert "--log takes a whole sweep: log it with --merge." in capsys.readouterr().err
