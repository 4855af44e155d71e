"""The work between a key and the screen: no intervals, which are computed beside, and no more than
once what is drawn."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import Reading
from depthtui.metrics import resampling
from depthtui.tui.panes import prompt_pane
from depthtui.tui.panes.evidence_pane import EvidencePane
from depthtui.tui.panes.exit_pane import ExitPane
from depthtui.tui.panes.layer_part import PARTS, CellValues, LayerPart
from depthtui.tui.panes.left_out_pane import LeftOutPane
from depthtui.tui.panes.lines_pane import LinesPane
from depthtui.tui.panes.verdict_pane import VerdictPane
from depthtui.tui.screens.layer_screen import LayerScreen
from depthtui.tui.screens.pane_screen import PaneScreen
from tests.builders.engines import FakeEngine
from tests.builders.readings import verdict
from tests.tui.app_helpers import Explored, explore
from tests.tui.test_compare import compared

METRICS = ("ablation", "similarity", "kept", "context_depth")


def engine() -> FakeEngine:
    return FakeEngine(in_cache=METRICS)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Lets no reading be completed until it is set."""
    completed, gate = Reading.completed, threading.Event()

    def wait(reading: Reading) -> Reading:
        # Not for ever: a test that fails is to end.
        gate.wait(20)
        return completed(reading)

    monkeypatch.setattr(Reading, "completed", wait)
    yield gate
    gate.set()


def shown(it: Explored) -> EvidencePane:
    return it.main.query_one(EvidencePane)


def words(it: Explored) -> str:
    """The verdict on the screen, its lines joined."""
    return " ".join(it.main.query_one(VerdictPane).text.split())


async def with_intervals(it: Explored) -> None:
    """Wait until the verdict on the screen has its intervals."""
    pane = shown(it)
    await it.until(lambda: pane.view.verdict and not pane.view.verdict.is_pending, "intervals")
    await it.pilot.pause()


async def press_on(it: Explored, screen: PaneScreen, *panes: str) -> None:
    """Turn a threshold on these panes, and move the cursor."""
    for name in panes:
        screen.action_go_to(name)
        await it.press("plus", "left")


async def test_no_key_draws_a_resample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []
    drawn = resampling._drawn

    def spy(*about: Any) -> Any:
        threads.append(threading.current_thread())
        return drawn(*about)

    monkeypatch.setattr(resampling, "_drawn", spy)
    async with explore(tmp_path, engine) as it:
        await press_on(it, it.main, "heatmap", *it.main.PAGES)
        await it.press("n", until=lambda: len(it.session.results) == 2)
        await it.ready()
        screen = await compared(it)
        await press_on(it, screen, "curves", "depth-pair")
    assert threads
    assert threading.main_thread() not in threads


async def test_intervals_are_shown_once_they_are_there(
    tmp_path: Path, gate: threading.Event
) -> None:
    async with explore(tmp_path, engine, (120, 60)) as it:
        it.main.action_go_to("verdict")
        await it.until(lambda: "still being computed" in words(it))
        it.main.action_go_to("evidence")
        await it.until(lambda: "…" in shown(it).text)
        rows = [line for line in shown(it).text.split("\n") if "…" in line]
        assert not any(words in line for line in rows for words in ("firm", "holds", "fragile"))
        gate.set()
        await with_intervals(it)
        result = it.main.shown_result()
        assert result is not None
        assert shown(it).view.verdict == verdict([result], SummarySettings())
        assert "holds here" in shown(it).text
        it.main.action_go_to("verdict")
        await it.until(lambda: words(it))
        assert "still being computed" not in words(it)


async def test_intervals_of_another_threshold_are_not_shown(
    tmp_path: Path, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    async with explore(tmp_path, engine) as it:
        it.main.action_go_to("evidence")
        await it.until(lambda: shown(it).view.verdict)
        show = EvidencePane.show

        def spy(pane: EvidencePane, view: Any) -> None:
            if view.verdict is not None and not view.verdict.is_pending:
                seen.append((view.verdict, view.reading.settings))
            show(pane, view)

        monkeypatch.setattr(EvidencePane, "show", spy)
        await it.press("plus")
        settings = it.app.explorer.settings.summary_settings()
        assert settings != SummarySettings()
        gate.set()
        await with_intervals(it)
        result = it.main.shown_result()
        assert result is not None
        assert seen
        assert all(one == (verdict([result], settings), settings) for one in seen)


async def test_a_key_lays_out_each_pane_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out: list[str | None] = []
    for kind in (LeftOutPane, ExitPane):

        def spy(pane: LinesPane, lay_out: Any = kind.lay_out) -> Any:
            laid_out.append(pane.id)
            return lay_out(pane)

        monkeypatch.setattr(kind, "lay_out", spy)
    async with explore(tmp_path, engine) as it:
        await with_intervals(it)
        it.main.action_go_to("left-out")
        await it.until(lambda: "left-out" in laid_out)
        it.main.action_go_to("exits")
        await it.until(lambda: "exits" in laid_out)
        laid_out.clear()
        await it.press("left")
        assert laid_out == ["exits"]
        # Also one that is to be drawn anew.
        it.main.query_one(ExitPane).redraw()
        it.main.move(0, -1)
        await it.pilot.pause()
        assert laid_out == ["exits"] * 2


async def test_the_next_page_of_a_layer_is_laid_out_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out: list[str] = []
    flow = prompt_pane.lay_out

    def count(kind: type[LinesPane]) -> None:
        lay_out = kind.lay_out

        def counted(pane: LinesPane) -> Any:
            laid_out.append(str(pane.id))
            return lay_out(pane)

        monkeypatch.setattr(kind, "lay_out", counted)

    def flowed(*about: Any) -> Any:
        laid_out.append("prompt")
        return flow(*about)

    count(LayerPart)
    count(CellValues)
    monkeypatch.setattr(prompt_pane, "lay_out", flowed)
    async with explore(tmp_path, engine) as it:
        await it.press("enter", until=LayerScreen)
        screen = it.app.screen
        assert isinstance(screen, LayerScreen)
        await it.until(lambda: screen.page is not None and "page-heads" in laid_out)
        laid_out.clear()
        screen.move(-1, 0)
        # The page of the layer below comes later.
        await it.until(lambda: screen.page is not None and "page-heads" in laid_out)
        await it.pilot.pause()
        assert sorted(laid_out) == sorted(["values", *(part.id for part in PARTS)])
