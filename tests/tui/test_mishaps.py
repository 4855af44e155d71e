"""Errors that nobody foresaw: told, written to the log, and gone on after."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from textual import events
from textual.message import Message

from depthtui.data.run import Prompt
from depthtui.data.session_files import SessionFile, SessionFolder
from depthtui.tui import app as app_module
from depthtui.tui.app import MOST_MISHAPS, DepthApp
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.panes.pane import BROKEN
from depthtui.tui.screens.main_screen import MainScreen
from tests.tui.app_helpers import Explored, explore


def fail(*_: object) -> NoReturn:
    raise RuntimeError("planned [/]")


class Planned(Message):
    """Its handler raises."""


class Fragile(DepthApp):
    """Raises on `!`, on `Planned` and in a worker."""

    BINDINGS = [("percent_sign", "crash", "crash")]  # noqa: RUF012

    action_crash = fail
    on_planned = fail

    async def work(self) -> None:
        fail()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What is written to the log."""
    written: list[str] = []

    def log_bug(error: Exception) -> str:
        written.append(str(error))
        return f"{error}. The details are in the log."

    monkeypatch.setattr(app_module, "log_bug", log_bug)
    return written


@asynccontextmanager
async def fragile(tmp_path: Path) -> AsyncIterator[Explored]:
    async with explore(tmp_path, kind=Fragile) as it:
        yield it


WAYS: dict[str, Callable[[Explored], object]] = {
    "key": lambda it: it.app.post_message(events.Key("percent_sign", "%")),
    "message": lambda it: it.app.post_message(Planned()),
    "widget's message": lambda it: it.main.query_one(HeatmapPane).post_message(
        events.Callback(callback=fail)
    ),
    "screen's message": lambda it: it.main.post_message(events.Callback(callback=fail)),
    "timer": lambda it: it.main.set_timer(0.001, fail),
    "after a refresh": lambda it: it.main.call_after_refresh(fail),
    "next": lambda it: it.main.call_next(fail),
    "worker": lambda it: it.app.run_worker(it.app.work()),
}


@pytest.mark.parametrize("way", WAYS)
async def test_an_error_is_told_and_the_session_goes_on(
    tmp_path: Path, log: list[str], way: str
) -> None:
    async with fragile(tmp_path) as it:
        WAYS[way](it)
        await it.until(it.toasts, "a toast")
        assert log == ["planned [/]"]
        assert it.toasts() == ["planned [/]. The details are in the log."]
        before = it.main.cursor
        await it.press("j")
        await it.until(lambda: it.main.cursor != before, "the cursor to move")
        assert it.app.error is None


async def test_a_pane_that_cannot_be_drawn_says_so_and_is_drawn_again_later(
    tmp_path: Path, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fragile(tmp_path) as it:
        with monkeypatch.context() as broken:
            broken.setattr(HeatmapPane, "draw_line", fail)
            it.main.query_one("#heatmap", HeatmapPane).redraw()
            await it.until(lambda: BROKEN[0] in it.screen_text(), "a word in the pane")
        assert log == ["planned [/]"]
        it.main.redraw()
        await it.until(lambda: BROKEN[0] not in it.screen_text(), "the heatmap again")


async def test_the_same_error_is_told_once_a_key(tmp_path: Path, log: list[str]) -> None:
    async with fragile(tmp_path) as it:
        for _ in range(3):
            it.main.post_message(events.Callback(callback=fail))
        await it.until(lambda: log, "the first")
        await it.pilot.pause()
        assert len(log) == 1
        await it.press("percent_sign")
        assert len(log) == 2


async def test_errors_without_end_end_the_explorer(tmp_path: Path, log: list[str]) -> None:
    def saved() -> list[SessionFile]:
        return SessionFolder(tmp_path / "cache").files()

    async def loop() -> None:
        async with fragile(tmp_path) as it:
            it.app.explorer.run(Prompt("Another one"))
            await it.until(saved, "a saved session")
            saved()[0].path.unlink()
            for _ in range(MOST_MISHAPS + 1):
                it.main.post_message(events.Callback(callback=fail))
            await it.until(lambda: it.app.error is not None, "the end")
            assert it.engine.killed

    with pytest.raises(RuntimeError, match="planned"):
        await loop()
    assert saved()


async def test_without_a_main_screen_there_is_nothing_to_go_on_with(
    tmp_path: Path, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MainScreen, "compose", fail)
    with pytest.raises(RuntimeError, match="planned"):
        async with explore(tmp_path, kind=DepthApp, wait=False) as it:
            await it.until(lambda: it.app.error is not None, "the end")


@pytest.mark.parametrize("dialog", ["", "question_mark"], ids=["main screen", "dialog"])
async def test_a_window_too_small_says_so_and_recovers(tmp_path: Path, dialog: str) -> None:
    async with explore(tmp_path) as it:
        await it.press(*filter(None, [dialog]))
        before = it.app.screen
        await it.pilot.resize_terminal(60, 18)
        await it.until(lambda: "60x18" in it.screen_text(), "the notice")
        await it.pilot.resize_terminal(40, 8)
        await it.until(lambda: "40x8" in it.screen_text(), "the new size")
        await it.press("j", "question_mark")
        await it.pilot.resize_terminal(120, 40)
        await it.until(lambda: it.app.screen is before, "what was there before")
        assert before.size == (120, 40)


async def test_a_window_may_be_too_small_from_the_start(tmp_path: Path) -> None:
    async with explore(tmp_path, size=(60, 18), wait=False) as it:
        await it.until(lambda: "60x18" in it.screen_text(), "the notice")
        await it.pilot.resize_terminal(100, 30)
        await it.ready()
        assert it.app.screen is it.main
