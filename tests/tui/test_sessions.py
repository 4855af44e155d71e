"""Sessions in the explorer: saved whole, listed by R, opened from the cache; none overwritten."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from threading import Timer
from unittest.mock import patch

import pytest
from textual.widgets import Input

from depthtui.data.protocol import EngineReady, LoadModel, ModelLoaded, RunStarted, StartRun
from depthtui.data.remarks import Remarks
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec
from depthtui.data.saved_session import PASS, SHIPPED
from depthtui.data.session_files import SessionFile, SessionFolder
from depthtui.data.store import open_store
from depthtui.errors import DepthError
from depthtui.metrics import kept
from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.settings import Settings
from depthtui.tui.app import DepthApp
from depthtui.tui.panes.verdict_pane import VerdictPane
from depthtui.tui.screens.dialogs.ask import Ask
from depthtui.tui.screens.dialogs.export_screen import ExportScreen
from depthtui.tui.screens.dialogs.run_list import RunList
from depthtui.tui.screens.dialogs.session_picker import SessionPicker
from depthtui.tui.screens.main_screen import MainScreen
from depthtui.tui.state.session import RunState
from depthtui.tui.state.sessions import time_ago, words_of
from depthtui.tui.state.task_prompts import first_prompt, neighbour
from tests.builders.engines import SECONDS_A_TOKEN, FakeEngine, loads
from tests.tui.app_helpers import Explored, explore
from tests.tui.test_dialogs import three_runs

small = partial(explore, size=(80, 24))
"""An explorer in a small window, which is drawn sooner."""

saving = partial(FakeEngine, saves=True)
"""An engine whose results are in the cache at the next start."""

OFFERED = "3 runs from .*: b, tab lists the sessions"


def files(tmp_path: Path) -> list[SessionFile]:
    return SessionFolder(tmp_path / "cache").files(pytest.fail)


async def quit_(it: Explored) -> None:
    await it.press("q", until=lambda: it.engine.killed)


async def a_session(it: Explored) -> None:
    """Three prompts, the second on the screen, cursor, measure and threshold moved."""
    await three_runs(it)
    await it.press("b", "down", "enter", until=lambda: it.session.current is it.session.runs[1])
    await it.press("5", "G", "0", "2", "l")
    it.main.measure = MEASURE_BY_NAME["kl"]
    it.app.explorer.reading.turn_threshold("kl_threshold", 2)
    it.session.runs[2].remarks = Remarks("to be looked at again")
    await quit_(it)


async def one_session(tmp_path: Path) -> None:
    async with small(tmp_path) as it:
        await a_session(it)


async def session_in_cache(tmp_path: Path) -> None:
    async with small(tmp_path, make_engine=saving) as it:
        await a_session(it)


async def save(tmp_path: Path, sessions: Callable[[Path], Awaitable[None]]) -> None:
    """Save sessions, which are made once and then copied."""
    saved = tmp_path.parent / sessions.__name__
    if saved.exists():
        shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
        return
    await sessions(tmp_path)
    shutil.copytree(tmp_path, saved)


async def listed(it: Explored) -> SessionPicker:
    """Open the list of sessions."""
    await it.press("b", "R", until=SessionPicker)
    picker = it.app.screen
    assert isinstance(picker, SessionPicker)
    await it.until(lambda: not picker.listing.loading)
    return picker


async def opened(it: Explored, runs: int = 3) -> None:
    """Open the latest session."""
    await listed(it)
    await it.press("enter", until=lambda: len(it.session.runs) == runs)


@pytest.mark.parametrize("sessions", [one_session, session_in_cache])
async def test_a_session_is_offered_and_opened_as_it_was(
    tmp_path: Path, sessions: Callable[[Path], Awaitable[None]]
) -> None:
    """From the cache, and with its models where the cache has nothing."""
    await save(tmp_path, sessions)
    engine = saving if sessions is session_in_cache else FakeEngine
    # A measure that not every run has is shown for its run alone.
    measure = "patch" if sessions is session_in_cache else "kl"
    for file in (tmp_path / "cache").rglob("*.json"):
        text_of_file = file.read_text()
        file.write_text(text_of_file.replace('"measure": "kl"', f'"measure": "{measure}"'))
    async with small(tmp_path, make_engine=engine) as it:
        before = it.main.measure.name
        assert len(it.session.runs) == 1
        assert it.session.current.prompt == first_prompt()
        await it.until(lambda: re.search(OFFERED, text(it)))
        await opened(it)
        second = neighbour(first_prompt(), 1, 123)
        await it.until(lambda: it.session.current and it.session.current.prompt == second)
        await it.ready()
        await it.until(lambda: it.main.cursor == (5, 2))
        assert it.main.measure.name == measure
        assert it.app.explorer.settings.kl_threshold == pytest.approx(0.6)
        assert "b, tab lists the sessions" not in text(it)
        assert [run.number for run in it.session.runs] == [1, 2, 3]
        assert it.session.runs[2].remarks.note == "to be looked at again"
        await it.press("n", until=lambda: len(it.session.runs) == 4)
        await it.ready()
        assert it.main.measure.name == ("kl" if measure == "kl" else before)


async def test_a_start_shows_what_was_last_on_the_screen_before_there_is_an_engine(
    tmp_path: Path,
) -> None:
    await save(tmp_path, session_in_cache)
    async with small(tmp_path, make_engine=saving, continues=True) as it:
        await it.press("d", "d", "d", until=lambda: it.main.look.page == "left-out")
        await quit_(it)
    silent = partial(FakeEngine, load=lambda spec: iter(()))
    async with small(tmp_path, make_engine=silent, continues=True, wait=False) as it:
        await it.until(lambda: it.engines and it.main.shown_result() is not None)
        assert it.session.current is it.session.runs[1]
        assert (*it.main.cursor, it.main.look.page) == (5, 2, "left-out")
        assert it.app.explorer.engine.model is None
        await it.press("h", until=lambda: it.main.cursor == (5, 1))
        await it.press("r")
        assert any("run begins when it is there" in toast for toast in it.toasts())
        assert not it.engine.sent(StartRun)
        it.engine.say(*loads(it.session.current.model.spec))
        await it.until(lambda: it.engine.sent(StartRun))


async def test_a_first_start_shows_the_shipped_run_until_the_model_is_here(tmp_path: Path) -> None:
    def engine() -> FakeEngine:
        return FakeEngine(load=lambda spec: iter(()))

    async with explore(tmp_path, engine, size=(80, 24), continues=True, wait=False) as it:
        await it.until(lambda: it.engines and it.main.shown_result() is not None)
        assert it.main.active_pane.id == "verdict"
        run, result = it.session.current, it.main.shown_result()
        assert (run.prompt, run.origin) == (first_prompt(), SHIPPED)
        first = Settings().run_settings()
        assert result.settings == replace(first, metrics=(*first.metrics, kept.NAME))
        assert it.main.view().verdict.headline.count is not None
        # The engine, and the next start, open the same cache.
        assert open_store(tmp_path / "cache", 10**9, pytest.fail).info().entries == len(run.keys)
        it.engine.say(ModelLoaded(run.model))
        await it.until(lambda: "ready · shipped" in text(it))
        assert not it.engine.sent(StartRun)
        # Of another device, it is computed afresh.
        it.app.explorer.load(run.model.spec)
        it.engine.say(*loads(run.model.spec))
        await it.until(lambda: it.engine.sent(StartRun))


async def test_a_killed_explorer_leaves_its_session_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depthtui.tui.app.SAVE_SECONDS", 0.02)
    async with small(tmp_path) as it:
        await it.press("5", "G")
        await it.until(lambda: files(tmp_path) and files(tmp_path)[0].session.layer == 5)


async def test_a_session_has_all_the_time_to_be_written_at_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timers: list[Timer] = []

    def begin(*about: object) -> Timer:
        timers.append(Timer(0, lambda: None))
        return timers[-1]

    monkeypatch.setattr("depthtui.tui.app.end_for_certain", begin)
    async with small(tmp_path) as it:
        ends_meanwhile: list[bool] = []
        monkeypatch.setattr(
            it.app,
            "save_session",
            lambda: ends_meanwhile.extend(not timer.finished.is_set() for timer in timers),
        )
        # Two signals, such as those of a logout.
        it.app._end_for_certain(signal.SIGHUP)
        it.app._end_for_certain(signal.SIGTERM)
        it.app._signalled(signal.SIGHUP)
        assert ends_meanwhile[:2] == [False, False]
        assert not timers[-1].finished.is_set()


async def test_runs_come_from_the_cache_and_a_session_that_is_looked_at_keeps_its_age(
    tmp_path: Path,
) -> None:
    await save(tmp_path, session_in_cache)
    (before,) = files(tmp_path)
    async with small(tmp_path, make_engine=saving) as it:
        await opened(it)
        await it.until(lambda: all(run.result is not None for run in it.session.runs))
        assert {run.state for run in it.session.runs} == {RunState.FINISHED}
        assert len(it.engine.sent(StartRun)) == 1
        # They are runs of the loaded model: more can be asked of them.
        assert all(it.app.explorer.has_model_of(run) for run in it.session.runs)
        await it.press("b", until=RunList)
        assert "not opened" not in text(it)
        await it.press("escape", "g", "h")
        await quit_(it)
    (looked_at,) = files(tmp_path)
    assert looked_at.session.layer != before.session.layer
    assert looked_at.session.saved == before.session.saved
    async with small(tmp_path, make_engine=saving) as it:
        await opened(it)
        it.session.runs[0].remarks = Remarks("something new")
        await quit_(it)
    (changed,) = files(tmp_path)
    assert changed.session.saved > before.session.saved


async def test_a_run_that_is_not_in_the_cache_is_named_and_computed_when_it_is_looked_at(
    tmp_path: Path,
) -> None:
    await save(tmp_path, one_session)
    async with small(tmp_path) as it:
        await opened(it)
        await it.until(lambda: it.session.current is it.session.runs[1])
        await it.ready()
        # The first prompt is here already; the third waits.
        states = [run.state for run in it.session.runs]
        assert states == [RunState.FINISHED, RunState.FINISHED, RunState.UNOPENED]
        await it.press("e")
        await it.until(
            lambda: "the whole session, 2 of 3 runs; the files name the missing ones" in text(it)
        )
        await it.press("escape")
        (words,) = (await exported(it, tmp_path))["missing_runs"]
        assert words.startswith("run 3, “")
        assert words.endswith("is not in the cache")
        await it.press("b", until=lambda: "not op" in text(it))
        await it.press("home", "enter", until=lambda: it.session.runs[2].state is RunState.FINISHED)
        assert it.session.current is it.session.runs[2]
        assert len(it.engine.sent(StartRun)) == 3


async def test_a_text_that_is_being_written_is_saved_as_far_as_it_is(tmp_path: Path) -> None:
    async with small(tmp_path) as it:
        it.engine.manual = True
        await it.press("w", until=lambda: len(it.engine.sent(StartRun)) == 2)
        it.engine.advance(2)
        await it.until(lambda: it.session.current.is_being_written, "the first words")
        words = it.session.current.result.tokens.texts[it.session.current.result.answer_start :]
        await it.press("q", "q", until=lambda: it.engine.killed)
    async with small(tmp_path) as it:
        await opened(it, 2)
        await it.ready()
        await it.until(lambda: it.session.runs[1].state is RunState.FINISHED)
        command = it.engine.sent(StartRun)[-1]
        assert command.write is None
        assert command.prompt.written.stopped_by == "user"
        assert command.prompt.answer == "".join(words)


def text(it: Explored) -> str:
    return it.screen_text()


async def test_two_windows_keep_two_sessions(tmp_path: Path) -> None:
    async with small(tmp_path) as a:
        await three_runs(a)
        # One that is only looked at elsewhere is not copied.
        async with small(tmp_path) as b:
            await opened(b)
            await b.ready()
            await quit_(b)
        assert len(files(tmp_path)) == 1
        # One that is open elsewhere is continued in another file.
        async with small(tmp_path) as b:
            await opened(b)
            await b.until(lambda: any("nother window may" in toast for toast in b.toasts()))
            await b.ready()
            await b.press("n", until=lambda: len(b.session.results) >= 2)
            await b.ready()
            await quit_(b)
        async with small(tmp_path) as b:
            await b.press("n", until=lambda: len(b.session.results) == 2)
            await quit_(b)
        await quit_(a)
    assert sorted(len(file.session.runs) for file in files(tmp_path)) == [2, 3, 4]


async def test_an_opened_session_goes_on_in_its_file_and_is_exported_whole(tmp_path: Path) -> None:
    await save(tmp_path, session_in_cache)
    (before,) = files(tmp_path)
    async with small(tmp_path, make_engine=saving) as it:
        await opened(it)
        await it.until(lambda: it.session.current is it.session.runs[1])
        run = it.session.runs[2]
        await it.until(lambda: run.result is not None)
        run.state, run.result = RunState.UNOPENED, None
        summary = await exported(it, tmp_path)
        texts = [run.prompt.text for run in it.session.runs]
        assert [prompt["text"] for prompt in summary["prompts"]] == texts
        assert "missing_runs" not in summary
        await it.press("n", until=lambda: len(it.session.runs) == 4)
        await it.ready()
        await quit_(it)
    (after,) = files(tmp_path)
    assert after.path == before.path
    assert len(after.session.runs) == 4
    # The third was never on the screen, and is there still.
    assert after.session.runs[2] == before.session.runs[2]


async def test_another_session_is_saved_in_its_file_when_one_is_opened_or_stays_open(
    tmp_path: Path,
) -> None:
    await save(tmp_path, one_session)
    async with small(tmp_path) as it:
        await it.press("n", until=lambda: len(it.session.results) == 2)
        await it.ready()
        runs = list(it.session.runs)
        # The open one is the latest.
        await listed(it)
        write = "depthtui.data.session_files.write_whole"
        with patch(write, side_effect=DepthError("The disk is full.")):
            await it.press("down", "enter")
            await it.until(lambda: any("so it stays open" in toast for toast in it.toasts()))
        assert it.session.runs == runs
        await it.until(lambda: it.app.screen is it.main, "the main screen")
        await listed(it)
        await it.press("down", "enter", until=lambda: len(it.session.runs) == 3)
        await it.ready()
        await quit_(it)
    assert sorted(len(file.session.runs) for file in files(tmp_path)) == [2, 3]


async def test_what_runs_is_not_ended_without_a_question(tmp_path: Path) -> None:
    await save(tmp_path, one_session)
    async with small(tmp_path) as it:
        it.engine.manual = True
        await it.press("r", until=lambda: it.session.live is not None)
        await listed(it)
        await it.press("enter", until=Ask)
        await it.press("x")
        assert it.session.live is not None
        await listed(it)
        await it.press("enter", until=Ask)
        it.engine.manual = False
        await it.press("b", until=lambda: len(it.session.runs) == 3)
        await it.ready()


async def test_a_start_alone_is_no_session(tmp_path: Path) -> None:
    await save(tmp_path, one_session)
    before = files(tmp_path)
    async with small(tmp_path) as it:
        await it.press("b", until=RunList)
        await it.until(lambda: "R other sessions" in text(it))
        await it.press("R", until=SessionPicker)
        await it.press("escape", until=MainScreen)
        await quit_(it)
    assert files(tmp_path) == before


# The list ---------------------------------------------------------------------


async def two_sessions(tmp_path: Path) -> None:
    """One of three prompts, then one of two models."""
    await one_session(tmp_path)
    async with small(tmp_path) as it:
        it.app.explorer.load(ModelSpec("other/model"))
        await it.until(lambda: len(it.session.runs) == 2)
        await it.ready()
        await quit_(it)


async def test_the_list_shows_titles_runs_models_and_prompts(tmp_path: Path) -> None:
    await save(tmp_path, two_sessions)
    async with explore(tmp_path) as it:
        await listed(it)
        shown = text(it)
        assert "SmolLM2-135M-Instruct, model" in shown
        (second, first) = files(tmp_path)
        for file in (first, second):
            assert f"{len(file.session.runs)}  {file.title[:30]}" in shown
        assert "  3  " not in text(it).split(" ─────")[-1]
        await it.press("down", until=lambda: "  3  " in text(it).split(" ─────")[-1])


async def test_a_title_moves_no_cursor(tmp_path: Path) -> None:
    await save(tmp_path, one_session)
    (file,) = files(tmp_path)
    SessionFolder(tmp_path / "cache").rename(file, "A\x1b]0;B\x07\x1b[5;5H\u202e\n" + 9999 * "C")
    async with small(tmp_path) as it:
        picker = await listed(it)
        assert "]0;B" in text(it)
        await it.press("r")
        assert picker.query_one("#title", Input).value.isprintable()
        await it.press("escape", "d", until=Ask)
        shown = "".join(strip.text for strip in it.app.screen._compositor.render_strips())
        assert not set("\x1b\x07\u202e") & set(shown)


async def test_the_filter_finds_prompts_and_models_or_says_that_there_are_none(
    tmp_path: Path,
) -> None:
    await save(tmp_path, two_sessions)
    async with small(tmp_path) as it:
        picker = await listed(it)
        await it.press("slash", *"xyz", until=lambda: "No session matches “xyz”" in text(it))
        await it.press("escape", until=lambda: picker.listing.option_count == 2)
        assert it.app.screen is picker
        await it.press("slash", *"instruct, model", until=lambda: picker.listing.option_count == 1)
        await it.press("enter", "enter", until=lambda: len(it.session.runs) == 2)


async def test_a_session_is_renamed_and_deleted_after_a_question(tmp_path: Path) -> None:
    await save(tmp_path, two_sessions)
    async with small(tmp_path) as it:
        picker = await listed(it)
        await it.press("r", "escape")
        assert not picker.query_one("#title").display
        await it.press("r")
        picker.query_one("#title", Input).value = "Two models"
        await it.press("f5", until=lambda: "Two models" in text(it))
        assert files(tmp_path)[0].title == "Two models"
        await it.press("d", until=Ask)
        await it.press("n")
        assert len(files(tmp_path)) == 2
        await it.press("d", "y", until=lambda: len(files(tmp_path)) == 1)
        await it.until(lambda: "Two models" not in text(it))


async def test_the_open_session_is_renamed_as_it_is_now_and_not_deleted(tmp_path: Path) -> None:
    """A run that has ended behind the list stays."""
    async with small(tmp_path) as it:
        await three_runs(it)
        picker = await listed(it)
        await it.press("d", until=lambda: "This is the open session" in text(it))
        assert it.app.screen is picker
        it.app.explorer.run(Prompt("Another one"))
        await it.until(lambda: len(it.session.results) == 4)
        await it.press("r")
        picker.query_one("#title", Input).value = "Mine"
        await it.press("enter", until=lambda: files(tmp_path)[0].title == "Mine")
        await it.until(lambda: "Mine" in text(it))
        assert len(files(tmp_path)[0].session.runs) == 4
        await it.press("enter")
        assert len(it.session.runs) == 4
        await it.press("escape", until=MainScreen)
        it.app.explorer.run(Prompt("And one more"))
        await it.until(lambda: len(it.session.results) == 5)
        await it.ready()
        await quit_(it)
    (file,) = files(tmp_path)
    assert (file.title, len(file.session.runs)) == ("Mine", 5)


async def test_a_damaged_file_is_named_and_the_others_open(tmp_path: Path) -> None:
    await save(tmp_path, one_session)
    bad = tmp_path / "cache" / "sessions" / "bad.json"
    bad.write_bytes(b'{"schema": 1, "session": {"$type": "Run"}}')
    async with small(tmp_path) as it:
        assert it.app.explorer.sessions.offered is not None
        await listed(it)
        await it.until(lambda: "bad.json" in text(it))
        await it.press("enter", until=lambda: len(it.session.runs) == 3)
        await it.ready()
    assert bad.exists()


# What is saved -----------------------------------------------------------------


async def test_what_the_cache_has_of_a_run_is_shown_at_once(tmp_path: Path) -> None:
    known = ("ablation", "order")

    def engine() -> FakeEngine:
        return FakeEngine(in_cache=known)

    async with small(tmp_path) as it:
        await it.press("r", until=lambda: len(it.session.results) == 2)
        await it.ready()
        it.app.explorer.compute(*known)
        await it.ready()
        await it.until(lambda: set(known) <= set(it.session.current.result.measured))
        await quit_(it)
    async with small(tmp_path, make_engine=engine) as it:
        run = it.session.current
        assert set(known) <= set(run.result.measured)
        assert set(it.engine.sent(StartRun)[0].settings.metrics).isdisjoint(known)
        measures = {found.measure for found in it.main.query_one(VerdictPane).view.verdict.evidence}
        assert set(known) <= measures
        await opened(it, runs=2)
        await it.ready()
        # Nothing slow is asked for, whatever the cache has.
        for command in it.engine.sent(StartRun):
            assert set(command.settings.metrics).isdisjoint(known)
        await quit_(it)
    count = len(files(tmp_path))
    async with small(tmp_path, make_engine=engine) as it:
        await quit_(it)
    # What came by itself is no session of its own.
    assert len(files(tmp_path)) == count


async def test_a_note_is_saved_at_once(tmp_path: Path) -> None:
    """A window that is killed after it has lost nothing."""
    async with small(tmp_path) as it:
        await it.press("M", *"here", "enter", until=lambda: files(tmp_path))
        (mark,) = files(tmp_path)[0].session.runs[0].remarks.bookmarks
        assert mark.note == "here"
        await it.press("M", "tab", *"note", "escape")
        await it.until(lambda: files(tmp_path)[0].session.runs[0].remarks.note == "note")


async def test_estimates_are_there_again_before_anything_was_timed(tmp_path: Path) -> None:
    async with small(tmp_path) as it:
        await quit_(it)
    async with small(tmp_path, make_engine=lambda: FakeEngine(manual=True), wait=False) as it:
        await it.until(lambda: it.session.live is not None)
        assert it.app.explorer.engine.pace.forward == SECONDS_A_TOKEN


async def test_a_lost_run_of_another_model_loads_it_after_a_question(tmp_path: Path) -> None:
    async with small(tmp_path) as it:
        it.app.explorer.load(ModelSpec("other/model"))
        await it.until(lambda: len(it.session.runs) == 2)
        await it.ready()
        await quit_(it)
    async with small(tmp_path) as it:
        await listed(it)
        await it.press("enter", until=Ask)
        assert "Run 2 is not in the cache. b loads model and computes it" in text(it)
        await it.press("escape", until=MainScreen)
        # Its file opens all the same.
        assert [run.state for run in it.session.runs] == [RunState.FINISHED, RunState.UNOPENED]
        await it.press("b", "home", "enter", until=Ask)
        assert len(it.engine.sent(LoadModel)) == 1
        await it.press("b")
        await it.until(lambda: it.session.current and it.session.current.model.name == "model")
        await it.ready()
        assert [load.spec.name for load in it.engine.sent(LoadModel)] == ["demo", "other/model"]
        assert len(it.session.runs) == 2


async def test_a_session_that_is_opened_while_a_model_loads_is_not_run_on_it(
    tmp_path: Path,
) -> None:
    await save(tmp_path, session_in_cache)
    async with small(tmp_path, make_engine=lambda: FakeEngine(silent=True), wait=False) as it:
        await it.until(lambda: it.app.explorer.engine.is_loading)
        await opened(it)
        await it.until(lambda: all(run.result is not None for run in it.session.runs))
        it.engine.silent = False
        it.engine.say(EngineReady("2", "5"), *loads(ModelSpec()))
        await it.until(lambda: it.app.explorer.can_run)
        await it.pilot.pause()
        assert it.engine.sent(StartRun) == []
        assert len(it.session.runs) == 3


async def test_values_of_other_settings_do_not_come_back(tmp_path: Path) -> None:
    async with small(tmp_path, make_engine=saving) as it:
        await three_runs(it)
        run = it.session.current
        for part in ("layer", "mlp"):
            it.session.choose(run, skip_part=part, skip_everywhere=False)
            it.app.explorer.compute("skip_effects")
            await it.until(lambda: run.state is RunState.FINISHED and run.work is None)
        mlp = run.keys["skip_effects"]
        it.session.choose(run, skip_part="layer", skip_everywhere=False)
        layer = run.keys["skip_effects"]
        assert layer != mlp
        await quit_(it)
    (file,) = files(tmp_path)
    saved = file.session.runs[-1]
    assert (saved.settings.skip_part, saved.keys["skip_effects"]) == ("layer", layer)
    async with small(tmp_path, make_engine=saving) as it:
        await opened(it)
        await it.until(lambda: it.session.current is it.session.runs[2])
        it.session.choose(it.session.current, skip_part="attention", skip_everywhere=False)
        await quit_(it)
    (file,) = files(tmp_path)
    assert "skip_effects" not in file.session.runs[-1].keys
    async with small(tmp_path, make_engine=saving) as it:
        await opened(it)
        await it.until(lambda: it.session.current is it.session.runs[2])
        assert "skip_effects" not in it.session.current.result.measured


async def test_a_stopped_metric_takes_no_other_along(tmp_path: Path) -> None:
    async with small(tmp_path, make_engine=saving) as it:
        run = it.session.current
        it.app.explorer.compute("order")
        await it.until(lambda: "order" in run.keys)
        it.engine.manual = True
        it.app.explorer.compute("ablation")
        it.engine.advance(until=RunStarted)
        await it.press("escape", until=lambda: not run.state.is_live)
        assert {PASS, "order"} <= set(run.keys)


async def test_without_a_cache_nothing_is_saved(tmp_path: Path) -> None:
    settings = Settings(cache_dir=tmp_path / "cache", use_cache=False)
    async with small(tmp_path, settings=settings) as it:
        await three_runs(it)
        await it.press("b", until=RunList)
        assert "other sessions" not in text(it)
        await it.press("escape")
        await quit_(it)
    assert files(tmp_path) == []


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every toast, also of those that are gone again."""
    messages: list[str] = []
    monkeypatch.setattr(DepthApp, "show_toast", lambda app, toast: messages.append(toast.message))
    return messages


async def test_a_session_that_cannot_be_saved_is_said_once(tmp_path: Path, told: list[str]) -> None:
    (tmp_path / "cache").write_text("")
    async with small(tmp_path) as it:
        await three_runs(it)
        assert sum("is not saved" in message for message in told) == 1


async def test_its_age_in_words(tmp_path: Path) -> None:
    await save(tmp_path, one_session)
    (file,) = files(tmp_path)
    then = datetime.fromisoformat(file.session.saved)
    ages = {0: "a moment ago", 61: "1 minute ago", 7300: "2 hours ago", 260_000: "3 days ago"}
    for seconds, words in ages.items():
        assert time_ago(seconds) == words
        now = datetime.fromtimestamp(then.timestamp() + seconds)
        assert words_of(file.session, now) == f"session of 3 runs from {words}"


async def exported(it: Explored, tmp_path: Path) -> dict[str, object]:
    """The summary of the whole session, written by the dialog."""
    await it.press("e", until=ExportScreen)
    it.app.screen.query_one("#file-name", Input).value = "all"
    it.app.screen.query("#what RadioButton")[1].value = True
    await it.press("f5", until=MainScreen)
    summary: dict[str, object] = json.loads((tmp_path / "exports" / "all.json").read_bytes())
    return summary
