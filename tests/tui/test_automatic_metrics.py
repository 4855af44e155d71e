"""Knowledge kept is measured by itself behind a run, where it comes soon."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from depthtui.data.protocol import Pace, RunFinished, StartRun, Stop
from depthtui.data.run import Prompt
from depthtui.data.run_settings import RunSettings
from depthtui.data.saved_session import SavedRun
from depthtui.data.session_files import SessionFile, SessionFolder
from depthtui.metrics.kept import NAME
from depthtui.metrics.kept.result import Kept
from depthtui.metrics.pooling import FEWEST_TOKENS
from depthtui.tui.panes.left_out_pane import LeftOutPane
from depthtui.tui.state.automatic_metrics import MOST_SECONDS, begins_by_itself
from depthtui.tui.state.session import RunState
from tests.builders import engines, sessions
from tests.builders.engines import FakeEngine
from tests.builders.models import model_info
from tests.builders.results import make_result
from tests.tui.app_helpers import Explored, explore

LONG = 1e9
NOON = "2026-01-02T12:00:00"


def of_before(folder: Path) -> SessionFile:
    """A session of a former start."""
    sessions.save(folder / "before", SavedRun(model_info(), Prompt("Rain."), RunSettings(), NOON))
    (file,) = SessionFolder(folder / "before").files()
    return file


@asynccontextmanager
async def begun(tmp_path: Path) -> AsyncIterator[Explored]:
    """The explorer while an engine that answers step by step does work that nobody asked for."""
    async with explore(
        tmp_path, lambda: FakeEngine(manual=True), wait=False, automatic_seconds=LONG
    ) as it:
        await it.until(lambda: it.engines and it.engine.sent(StartRun), "the first run")
        it.engine.advance(until=RunFinished)
        await it.until(lambda: len(it.engine.sent(StartRun)) == 2, "work that begins by itself")
        it.engine.advance(5)
        await it.until(lambda: it.session.current.state is RunState.RUNNING)
        yield it


async def test_knowledge_kept_is_measured_by_itself(tmp_path: Path) -> None:
    async with explore(tmp_path, automatic_seconds=LONG) as it:
        await it.until(lambda: it.session.current.result.get(Kept) is not None)
        await it.ready()
        first, second = it.engine.sent(StartRun)
        assert NAME not in first.settings.metrics
        assert second.settings.metrics == (*first.settings.metrics, NAME)
        assert second.prompt == first.prompt
        await it.until(lambda: "keeps nine tenths" in it.screen_text())


async def test_the_models_order_begins_where_the_draft_before_it_comes_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "SECONDS_A_TOKEN", 0.02)
    async with explore(tmp_path, automatic_seconds=MOST_SECONDS) as it:
        await it.until(lambda: it.session.current.result.get(Kept) is not None)
        await it.ready()
        begun = it.engine.sent(StartRun)[-1].settings
        assert (begun.order_source, begun.order_search) == ("model", "lazy")
        # It is the run of every start still, which does not take a session's place.
        it.app.explorer.sessions.offered = of_before(tmp_path)
        assert not it.app.explorer.sessions._is_worth_saving


async def test_the_verdict_gives_the_reason_why_nothing_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "SECONDS_A_TOKEN", 100.0)
    async with explore(tmp_path, automatic_seconds=MOST_SECONDS) as it:
        assert len(it.engine.sent(StartRun)) == 1
        await it.until(lambda: "over 2 min" in it.screen_text())


async def test_what_takes_long_waits_for_a_key(tmp_path: Path) -> None:
    async with explore(tmp_path, automatic_seconds=0.01) as it:
        assert len(it.engine.sent(StartRun)) == 1
        assert it.session.current.result.get(Kept) is None


async def test_escape_ends_it_and_nothing_begins_by_itself_again(tmp_path: Path) -> None:
    async with begun(tmp_path) as it:
        run = it.session.current
        await it.press("escape", until=lambda: run.state is RunState.FINISHED)
        assert NAME not in run.settings.metrics
        await it.press("r")
        it.engine.advance(until=RunFinished)
        await it.until(lambda: it.session.current is not run)
        await it.until(lambda: it.session.current.state is RunState.FINISHED)
        await it.pilot.pause()
        assert len(it.engine.sent(StartRun)) == 3


async def test_what_began_by_itself_is_kept_once_a_key_has_begun_it(tmp_path: Path) -> None:
    async with begun(tmp_path) as it:
        run, explorer = it.session.current, it.app.explorer
        await it.press("escape", until=lambda: run.state is RunState.FINISHED)
        explorer.sessions.offered = of_before(tmp_path)
        assert not explorer.sessions._is_worth_saving
        explorer.compute(NAME)
        assert explorer.sessions._is_worth_saving


async def test_it_gives_way_to_what_the_user_changes(tmp_path: Path) -> None:
    async with begun(tmp_path) as it:
        run = it.session.current
        await it.press("tab", "right", "right", "L", "A", "enter")
        await it.until(lambda: run.settings.answer_start > 0)
        assert run.state is RunState.FINISHED
        assert it.engine.sent(Stop)
        assert it.status.state == "ready"


async def test_another_run_goes_before_it(tmp_path: Path) -> None:
    async with begun(tmp_path) as it:
        first = it.session.current
        await it.press("r", until=lambda: len(it.engine.sent(StartRun)) == 3)
        it.engine.advance(until=RunFinished)
        await it.until(lambda: it.session.current is not first)
        await it.until(lambda: len(it.engine.sent(StartRun)) == 4)
        assert first.state is RunState.FINISHED
        assert it.engine.sent(StartRun)[-1].settings.metrics[-1] == NAME


async def test_a_key_on_the_page_takes_the_models_order_instead_of_the_prompts(
    tmp_path: Path,
) -> None:
    async with explore(tmp_path) as it:
        it.app.explorer.compute(NAME, order_source="own", order_search="ranked")
        await it.until(lambda: it.session.current.result.get(Kept) is not None)
        await it.ready()
        it.main.action_go_to("left-out")
        pane = it.main.query_one(LeftOutPane)
        for words in ("i computes right answers", "i computes speed", "i finds the model's order"):
            await it.until(lambda words=words: words in pane.text, words)
            await it.ready()
            await it.press("i")
        await it.until(lambda: len(it.engine.sent(StartRun)) == 5)
        asked = it.engine.sent(StartRun)[-1].settings
        assert (asked.order_source, asked.order_search) == ("model", "lazy")
        assert NAME in asked.metrics


@pytest.mark.parametrize("tokens", [FEWEST_TOKENS - 1, FEWEST_TOKENS])
def test_a_text_too_short_for_a_verdict_waits_for_a_key(tokens: int) -> None:
    result = make_result(tokens=tokens)
    assert begins_by_itself(result, Pace(), math.inf) is (tokens == FEWEST_TOKENS)
