"""The last session: kept whole, offered at the next start, never in the way of it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from depthtui.data.protocol import LoadModel, StartRun
from depthtui.data.remarks import Remarks
from depthtui.data.run_settings import ModelSpec
from depthtui.metrics import MEASURE_BY_NAME
from depthtui.settings import Settings
from depthtui.tui.app import DepthApp
from depthtui.tui.panes.verdict_pane import VerdictPane
from depthtui.tui.screens.dialogs.session_screen import SessionScreen
from depthtui.tui.state.kept_session import kept_session, session_path, words_of
from depthtui.tui.state.last_session import has_own_runs, session_to_keep
from depthtui.tui.state.session import RunState
from depthtui.tui.state.task_prompts import first_prompt, neighbour
from tests.builders.engines import SECONDS_A_TOKEN, FakeEngine
from tests.tui.app_helpers import Explored, explore
from tests.tui.test_dialogs import three_runs


async def a_session(it: Explored) -> None:
    """Three prompts, the second on the screen, cursor, measure and threshold moved."""
    await three_runs(it)
    await it.press("b", "down", "enter")
    await it.until(lambda: it.session.current is it.session.runs[1])
    await it.press("5", "G", "0", "2", "l")
    it.main.measure = MEASURE_BY_NAME["kl"]
    it.app.explorer.reading.turn_threshold("kl_threshold", 2)
    it.session.runs[2].remarks = Remarks("to be looked at again")
    await it.press("q")
    await it.until(lambda: it.engine.killed)


async def test_the_last_session_is_offered_and_r_brings_it_back(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await a_session(it)
    async with explore(tmp_path, size=(80, 24)) as it:
        assert len(it.session.runs) == 1
        assert it.session.current.prompt == first_prompt()
        await it.until(lambda: "ession of 3 runs from a moment ago: R brings it back" in text(it))
        await it.press("R")
        second = neighbour(first_prompt(), 1, 123)
        await it.until(lambda: it.session.current.prompt == second)
        await it.ready()
        await it.until(lambda: it.main.cursor == (5, 2))
        assert it.main.measure.name == "kl"
        assert it.app.explorer.settings.kl_threshold == pytest.approx(0.6)
        assert "brings it back" not in text(it)
        # The first prompt is here already; the third is opened when it is looked at.
        states = [run.state for run in it.session.runs]
        assert states == [RunState.FINISHED, RunState.FINISHED, RunState.KEPT]
        assert it.session.runs[2].remarks.note == "to be looked at again"
        await it.press("b")
        await it.until(lambda: "not op" in text(it))
        await it.press("home", "enter")
        await it.until(lambda: it.session.runs[2].state is RunState.FINISHED)
        assert it.session.current is it.session.runs[2]
        assert len(it.engine.sent(StartRun)) == 3


def text(it: Explored) -> str:
    return it.screen_text()


async def test_a_start_alone_does_not_take_the_place_of_the_last_session(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await a_session(it)
    before = session_path(tmp_path / "cache").read_bytes()
    async with explore(tmp_path) as it:
        await it.press("q")
        await it.until(lambda: it.engine.killed)
    assert session_path(tmp_path / "cache").read_bytes() == before
    async with explore(tmp_path) as it:
        await it.press("b")
        await it.until(lambda: isinstance(it.app.screen, SessionScreen))
        await it.until(lambda: "R brings back the last session of 3 runs" in text(it))
        await it.press("R")
        await it.until(lambda: len(it.session.runs) == 3)


async def test_what_the_cache_has_of_a_run_is_shown_at_once(tmp_path: Path) -> None:
    known = ("ablation", "order")

    def engine() -> FakeEngine:
        return FakeEngine(in_cache=known)

    async with explore(tmp_path) as it:
        await it.press("r")
        await it.until(lambda: len(it.session.results) == 2)
        await it.ready()
        it.app.explorer.compute(*known)
        await it.ready()
        await it.until(lambda: set(known) <= set(it.session.current.result.measured))
        await it.press("q")
        await it.until(lambda: it.engine.killed)
    async with explore(tmp_path, make_engine=engine) as it:
        run = it.session.current
        assert set(known) <= set(run.result.measured)
        assert set(it.engine.sent(StartRun)[0].settings.metrics).isdisjoint(known)
        measures = {found.measure for found in it.main.query_one(VerdictPane)._verdict.evidence}
        assert set(known) <= measures
        await it.press("R")
        await it.ready()
        # Nothing slow is asked for, whatever the cache has.
        for command in it.engine.sent(StartRun):
            assert set(command.settings.metrics).isdisjoint(known)
    before = session_path(tmp_path / "cache").read_bytes()
    async with explore(tmp_path, make_engine=engine) as it:
        assert not has_own_runs(it.app.explorer)
        await it.press("q")
        await it.until(lambda: it.engine.killed)
    # What came by itself is no session of its own.
    assert session_path(tmp_path / "cache").read_bytes() == before


async def test_estimates_are_there_again_before_anything_was_timed(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await it.press("q")
        await it.until(lambda: it.engine.killed)
    async with explore(tmp_path, make_engine=lambda: FakeEngine(manual=True), wait=False) as it:
        await it.until(lambda: it.session.live is not None)
        assert it.app.explorer.pace.forward == SECONDS_A_TOKEN


async def test_a_run_of_another_model_loads_it(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        it.app.explorer.load(ModelSpec("other/model"))
        await it.until(lambda: len(it.session.runs) == 2)
        await it.ready()
        await it.press("q")
        await it.until(lambda: it.engine.killed)
    async with explore(tmp_path) as it:
        await it.press("R")
        await it.until(lambda: it.session.current.model.name == "model")
        await it.ready()
        assert [load.spec.name for load in it.engine.sent(LoadModel)] == ["demo", "other/model"]
        assert len(it.session.runs) == 2


async def test_without_a_cache_nothing_is_kept(tmp_path: Path) -> None:
    settings = Settings(cache_dir=tmp_path / "cache", use_cache=False)
    async with explore(tmp_path, settings=settings) as it:
        await three_runs(it)
        await it.press("q")
        await it.until(lambda: it.engine.killed)
    assert not session_path(tmp_path / "cache").exists()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every toast, also of those that are gone again."""
    messages: list[str] = []
    monkeypatch.setattr(DepthApp, "show_toast", lambda app, toast: messages.append(toast.message))
    return messages


async def test_a_session_that_cannot_be_kept_is_said_once(tmp_path: Path, told: list[str]) -> None:
    (tmp_path / "cache").write_text("")
    async with explore(tmp_path) as it:
        await three_runs(it)
        assert sum("is not kept" in message for message in told) == 1


async def test_what_is_damaged_is_said_and_set_aside(tmp_path: Path, told: list[str]) -> None:
    async with explore(tmp_path) as it:
        await a_session(it)
    path = session_path(tmp_path / "cache")
    whole = path.read_bytes()
    content = json.loads(whole)
    assert content["schema"] == 1
    told.clear()
    found = kept_session(path, told.append)
    assert found is not None
    assert not told
    assert len(found.runs) == 3
    damaged = [whole[:-40], b"", b"\xff\xfe", b"[]", b'{"schema": 1, "session": {"$type": "Run"}}']
    damaged.append(100_000 * b"[")
    damaged.append(json.dumps({**content, "schema": 2}).encode())
    for changes in ({"measure": "?"}, {"shown": 9}, {"kl_threshold": "high"}, {"runs": 3}):
        fields = {**content["session"]["fields"], **changes}
        session = {**content["session"], "fields": fields}
        damaged.append(json.dumps({**content, "session": session}).encode())
    for data in damaged:
        told.clear()
        path.write_bytes(data)
        assert kept_session(path, told.append) is None
        assert len(told) == 1
        assert "set aside" in told[0]
        assert not path.exists()
        assert path.with_name("session-damaged.json").read_bytes() == data
    path.write_bytes(damaged[0])
    async with explore(tmp_path) as it:
        assert any("set aside" in message for message in told)
        assert it.app.explorer.offered is None


def test_how_old_it_is_in_words(tmp_path: Path) -> None:
    from tests.tui.state.test_status import started

    explorer = started(Settings())
    kept = session_to_keep(explorer, 1, 2, "kl")
    then = datetime.fromisoformat(kept.kept)
    ages = {0: "a moment ago", 61: "1 minute ago", 7300: "2 hours ago", 260_000: "3 days ago"}
    for seconds, words in ages.items():
        now = datetime.fromtimestamp(then.timestamp() + seconds)
        assert words_of(kept, now) == f"session of 1 run from {words}"
