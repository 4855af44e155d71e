"""What ends running work asks first, in one line, and its key confirms."""

from __future__ import annotations

from pathlib import Path

import pytest

from depthtui.data.protocol import LoadModel, MetricRows, StartRun
from depthtui.data.run_settings import ModelSpec
from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.settings import Settings
from depthtui.tui.screens.dialogs.ask import Ask
from depthtui.tui.screens.dialogs.model_picker import ModelPicker
from depthtui.tui.screens.main_screen import MainScreen
from tests.builders.engines import FakeEngine
from tests.tui.app_helpers import Explored, explore


async def asks(it: Explored, words: str) -> None:
    """Wait for the question, which is one line of these words."""
    await it.until(lambda: isinstance(it.app.screen, Ask), "the question")
    await it.until(lambda: words in it.screen_text(), words)
    assert it.app.screen.query_one("#question").size.height == 1


async def halted(it: Explored) -> None:
    await it.press("s", until=lambda: it.status.state == "halted")


async def test_nothing_is_asked_where_nothing_runs(it: Explored) -> None:
    await it.press("q", until=lambda: it.engine.killed)


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
async def test_q_twice_quits_in_the_middle_of_a_run(it: Explored, key: str) -> None:
    await it.resize(80, 24)
    await halted(it)
    await it.press(key)
    await asks(it, "Run 2 is halted after layer 0. q quits, other keys go back.")
    await it.press("j", until=MainScreen)
    assert not it.engine.killed
    await it.press(key, key, until=lambda: it.engine.killed)


async def test_quitting_and_writing_ask_while_a_text_is_written(it: Explored) -> None:
    it.engine.manual = True
    await it.press("w")
    it.engine.advance(3)
    await it.until(lambda: "10 of 256" in it.screen_text())
    await it.press("q")
    await asks(it, "A text is being written")
    await it.press("escape", until=MainScreen)
    await it.press("w")
    await asks(it, "w writes, other keys")
    await it.press("w", until=lambda: len(it.engine.sent(StartRun)) == 3)


async def test_writing_asks_before_it_ends_a_run(it: Explored) -> None:
    await halted(it)
    await it.press("w")
    await asks(it, "w writes, other keys")
    await it.press("n", until=MainScreen)
    assert it.status.state == "halted"
    await it.press("w", "w", until=lambda: it.engine.sent(StartRun)[-1].write)


async def test_another_model_asks_before_it_ends_a_run(it: Explored) -> None:
    await halted(it)
    await it.press("m", until=ModelPicker)
    it.app.screen.dismiss(ModelSpec("other/model"))
    await asks(it, "m opens it, other keys")
    await it.press("escape", until=MainScreen)
    assert len(it.engine.sent(LoadModel)) == 1
    await it.press("m", until=ModelPicker)
    it.app.screen.dismiss(ModelSpec("other/model"))
    await asks(it, "m opens it, other keys")
    await it.press("m", until=lambda: len(it.engine.sent(LoadModel)) == 2)


async def test_a_slower_metric_is_not_ended_by_the_way(it: Explored) -> None:
    it.main.measure = MEASURE_BY_NAME["residual_erasure"]
    it.engine.manual = True
    await it.press("i")
    it.engine.advance(until=MetricRows)
    await it.until(lambda: it.session.live.work)
    runs = len(it.engine.sent(StartRun))
    await it.press("n")
    await asks(it, "Run 1 computes residual erasure. n runs the prompt, other keys")
    await it.press("escape", until=MainScreen)
    await it.press("x")
    await asks(it, "x opens the what-if, where the first change stops that work, other keys")
    await it.press("escape", until=MainScreen)
    assert len(it.engine.sent(StartRun)) == runs
    await it.press("n", "n", until=lambda: len(it.engine.sent(StartRun)) == runs + 1)


async def test_a_remapped_key_confirms(tmp_path: Path) -> None:
    settings = Settings(cache_dir=tmp_path, keys={"quit": "f9"})
    async with explore(tmp_path, lambda: FakeEngine(), settings=settings) as it:
        await halted(it)
        await it.press("f9")
        await asks(it, "f9 quits, other keys")
        await it.press("f9", until=lambda: it.engine.killed)
