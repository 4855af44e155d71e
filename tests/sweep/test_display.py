"""The progress of a sweep, and how long it still takes."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from depthtui.data.protocol import MetricRows, Notice, Progress
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError
from depthtui.report import progress_bars
from depthtui.sweep.display import SweepDisplay
from depthtui.sweep.eta import SweepPace, Waiting, time_words
from depthtui.sweep.folder import SweepFolder
from depthtui.sweep.in_process import run_sweep
from depthtui.sweep.plan import Cell
from depthtui.sweep.records import Record, record_of
from tests.builders.engines import ScriptedEngine
from tests.builders.results import full_result
from tests.sweep.sweeps import make_plan

PROMPT = Prompt("one two three four")
ROWS = MetricRows(1, "kept", None, 9, 9, 0.0, 70.0)
SMALL, LARGE = ModelSpec("small"), ModelSpec("large")


class TestPace:
    def test_seconds_a_token_are_each_models_own(self) -> None:
        pace = SweepPace()
        pace.add(SMALL, n_characters=400, n_tokens=100, seconds=1)
        pace.add(LARGE, n_characters=400, n_tokens=100, seconds=9)
        assert pace.seconds_for([(SMALL, 800)]) == pytest.approx(2)
        assert pace.seconds_for([(LARGE, 800)]) == pytest.approx(18)

    def test_a_model_that_has_not_run_is_like_the_others(self) -> None:
        pace = SweepPace()
        pace.add(SMALL, 400, 100, 2)
        assert pace.seconds_for([(LARGE, 400), (SMALL, 400)]) == pytest.approx(4)

    def test_a_prompt_that_is_not_known_is_like_the_others(self) -> None:
        pace = SweepPace()
        pace.add(SMALL, 100, 50, 1)
        pace.add(SMALL, 300, 150, 3)
        assert pace.seconds_for([(SMALL, None)]) == pytest.approx(2)

    def test_nothing_is_said_before_the_first(self) -> None:
        assert SweepPace().seconds_for([(SMALL, 100)]) is None

    def test_prompts_of_the_cache_tell_nothing(self) -> None:
        cell = make_plan().cells[0]
        waiting = Waiting([(cell, 100)] * 3)
        waiting.prompt_ends(cell, record(cell, cached=True), 0.001)
        assert (len(waiting), waiting.seconds) == (2, None)
        waiting.prompt_ends(cell, record(cell, cached=False), 4.0)
        assert waiting.seconds == pytest.approx(4.0 * 100 / len(PROMPT.text))

    def test_the_next_model_counts_with_its_size_and_its_order(self) -> None:
        *_, first, last = make_plan(("small", "large")).cells
        small, large = replace(last, model=SMALL), replace(first, model=LARGE)
        length = len(PROMPT.text)
        prompts = [*[(small, length)] * 3, *[(large, length)] * 2]
        waiting = Waiting(prompts, {SMALL: 1.0, LARGE: 9.0})
        waiting.clock(Progress("Loading weights", 1, 2, "weights"), 0.0)
        waiting.clock(ROWS, 10.0)
        waiting.prompt_begins()
        waiting.clock(Progress("Finding which layers can be left out", 0, 9, "steps"), 11.0)
        waiting.clock(ROWS, 61.0)
        waiting.prompt_ends(small, record(small, cached=False), 54.0)
        assert waiting.seconds == pytest.approx(2 * 4 + 9 * (2 * 4 + 60))
        waiting.prompt_ends(small, record(small, cached=False), 4.0)
        assert waiting.seconds == pytest.approx(4 + 9 * (2 * 4 + 60))

    @pytest.mark.parametrize(
        ("seconds", "words"),
        [(0.2, "1 s"), (59, "59 s"), (61, "1 min"), (3500, "58 min"), (12_000, "3 h 20 min")],
    )
    def test_times_are_rough(self, seconds: float, words: str) -> None:
        assert time_words(seconds) == words


def record(cell: Cell, cached: bool) -> Record:
    return record_of(full_result(PROMPT, cached=cached), "key", cell, 0)


class Terminal(io.StringIO):
    """Says that it is one, and keeps what it was shown."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_prompts_models_and_the_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(
        progress_bars,
        "Console",
        lambda stderr: Console(file=terminal, force_terminal=True, width=120),
    )
    notices: list[str] = []
    with SweepDisplay(notices.append) as display:
        prompt_ends = display.prompt_ends

        def end_soon(cell: Cell, record: Record | None, seconds: float) -> None:
            prompt_ends(cell, record, 0.01)

        monkeypatch.setattr(display, "prompt_ends", end_soon)

        def tell(prompt: Prompt) -> None:
            display.emit(Progress("Converting [/]\x1b[2J", 3, 10, "tensors"))
            display.emit(Notice("Something to know."))
            display._progress.refresh()
            display.emit(ROWS)
            display._progress.refresh()

        engine = ScriptedEngine()
        engine.before_run = tell

        def make_engine(emit: object) -> ScriptedEngine:
            display._progress.refresh()
            return engine

        folder = SweepFolder(tmp_path, notices.append)
        plan = make_plan(("alpha", "missing"), ("facts:1",))
        run_sweep(plan, folder, make_engine, tmp_path, display, notices.append, repr)
        display._progress.refresh()
    output = terminal.getvalue()
    assert "0 of 6 prompts" in output
    assert "Opening alpha" in output
    assert "2 of 6 prompts, 1 s left" in output
    assert "3 of 3 prompts" in output
    assert "3 of 10 tensors" in output
    # The next event may be far: no time left stands still, no full bar.
    assert "knowledge kept 9 of 9" in output
    assert "about 1 min left" not in output
    assert "\x1b[2J" not in output
    assert notices[0] == "Something to know."


def test_a_pipe_gets_a_line_for_each_prompt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notices: list[str] = []
    with SweepDisplay(notices.append) as display:
        display.emit(Progress("Loading", 1, 2, "weights"))
        plan = make_plan(("alpha", "missing"), ("facts:1",))
        folder = SweepFolder(tmp_path, notices.append)
        engine = ScriptedEngine()
        run_sweep(plan, folder, lambda emit: engine, tmp_path, display, notices.append, repr)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""
    lines = [line for line in notices if " of " in line]
    assert [line.partition(",")[0].partition(":")[0] for line in lines] == [
        "1 of 6 prompts",
        "2 of 6 prompts",
        "3 of 6 prompts",
    ]
    assert re.fullmatch(r"2 of 6 prompts, \d+ s left: alpha · .+, \d+\.\d s", lines[1])


def test_a_pipe_hears_how_far_a_load_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("depthtui.report.progress.LOG_PACE", 0.0)
    notices: list[str] = []
    with SweepDisplay(notices.append) as display:
        display.emit(Progress("Loading", 1, 2, "weights"))
    assert notices == ["Loading, 1 of 2 weights"]


def test_a_pipe_hears_of_what_failed(tmp_path: Path) -> None:
    notices: list[str] = []
    with SweepDisplay(notices.append) as display:

        def fail(prompt: Prompt) -> None:
            raise DepthError("It does not fit.")

        engine = ScriptedEngine()
        engine.before_run = fail
        plan = make_plan(("alpha",), ("facts:1",))
        folder = SweepFolder(tmp_path, notices.append)
        run_sweep(plan, folder, lambda emit: engine, tmp_path, display, notices.append, repr)
    assert any(re.fullmatch(r"0 of \d prompts: alpha · .+, failed", line) for line in notices), (
        notices
    )


def test_a_terminal_gets_no_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        progress_bars, "Console", lambda stderr: Console(file=Terminal(), force_terminal=True)
    )
    notices: list[str] = []
    with SweepDisplay(notices.append) as display:
        folder = SweepFolder(tmp_path, notices.append)
        plan = make_plan(("alpha",), ("facts:1",))
        engine = ScriptedEngine()
        run_sweep(plan, folder, lambda emit: engine, tmp_path, display, notices.append, repr)
    assert notices == []
