"""A run of a model that is not loaded: read as ever, and its model is loaded before it acts."""

from __future__ import annotations

from pathlib import Path

import pytest

from depthtui.data.protocol import Command, LoadModel, MetricRows, StartRun
from depthtui.data.run_settings import ModelSpec
from depthtui.metrics.registry import MEASURES, METRIC_BY_NAME
from depthtui.tui.screens.dialogs.ask import Ask
from depthtui.tui.screens.main_screen import MainScreen
from depthtui.tui.screens.what_if_screen import WhatIfScreen
from depthtui.tui.state.session import RunState
from tests.builders.engines import FakeEngine, loads
from tests.builders.models import model_info
from tests.tui.app_helpers import Explored, explore

SLOW = next(measure for measure in MEASURES if METRIC_BY_NAME[measure.metric].on_demand)
"""A measure that the runs lack."""

KEYS = ("r", "n", "i", "x", "w")


async def run_of_the_other_model(it: Explored) -> None:
    """The demo's run is on the screen, and another model is loaded."""
    it.app.explorer.load(ModelSpec("other/model"))
    await it.until(lambda: len(it.session.runs) == 2)
    await it.ready()
    await it.press("b", "down", "enter", until=lambda: it.session.current is it.session.runs[0])
    assert it.app.explorer.engine.model.name == "model"
    it.main.measure = SLOW


def acted(it: Explored) -> list[Command]:
    """What was asked of the engine beside loads."""
    return it.engine.sent(StartRun)


@pytest.mark.parametrize("key", KEYS)
async def test_a_key_asks_before_it_loads_and_acts(it: Explored, key: str) -> None:
    await run_of_the_other_model(it)
    before = len(it.engine.commands)
    await it.press(key, until=Ask)
    shown = it.screen_text()
    assert "This run is of SmolLM2-135M-Instruct, and model is loaded" in shown
    await it.press("escape", until=MainScreen)
    assert len(it.engine.commands) == before
    await it.press(key, until=Ask)
    await it.press(key, until=lambda: it.app.explorer.engine.model.name == "SmolLM2-135M-Instruct")
    after = it.engine.commands[before:]
    assert isinstance(after[0], LoadModel)
    if key == "x":
        await it.until(lambda: isinstance(it.app.screen, WhatIfScreen))
    else:
        await it.until(lambda: len(acted(it)) > 2)
        assert bool(it.engine.sent(StartRun)[-1].write) == (key == "w")


@pytest.mark.parametrize("key", ["r", "w"])
async def test_a_new_run_may_be_of_the_loaded_model(it: Explored, key: str) -> None:
    await run_of_the_other_model(it)
    loaded = len(it.engine.sent(LoadModel))
    await it.press(key, until=Ask)
    assert "on model, other keys go back" in " ".join(it.screen_text().split())
    await it.press("enter", until=lambda: len(acted(it)) == 3)
    assert len(it.engine.sent(LoadModel)) == loaded


@pytest.mark.parametrize("key", ["i", "x"])
async def test_other_weights_add_nothing_to_a_run(it: Explored, key: str) -> None:
    it.main.measure = SLOW
    run, result = it.session.current, it.session.current.result
    run.model = result.model = model_info(fingerprint="0" * 16)
    await it.press(key, until=lambda: any("other weights" in toast for toast in it.toasts()))
    assert len(acted(it)) == 1
    # As it says: a run of its own is another matter.
    await it.press("r", until=lambda: len(it.session.results) == 2)


async def test_what_waits_for_a_model_is_of_one_run(it: Explored) -> None:
    """While the model loads, the user may go elsewhere."""
    await run_of_the_other_model(it)
    it.engine.silent = True
    await it.press("x", until=Ask)
    await it.press("x", until=lambda: it.app.explorer.engine.is_loading)
    it.session.select(it.session.runs[1])
    it.engine.silent = False
    it.engine.say(*loads(ModelSpec()))
    await it.until(lambda: it.app.explorer.can_run)
    await it.pilot.pause()
    assert it.app.screen is it.main
    assert it.session.current is it.session.runs[1]


async def test_a_reloaded_model_of_the_same_weights_is_the_run_s(it: Explored) -> None:
    """Its name, the memory that it takes and how it was asked for may differ."""
    run = it.session.current
    run.model = run.result.model = model_info(ModelSpec("./demo"), name=run.model.name)
    it.app.explorer.load(ModelSpec())
    await it.until(lambda: it.app.explorer.has_model_of(run))
    assert run.result.model == it.app.explorer.engine.model


async def test_while_the_model_loads_a_key_says_so(it: Explored) -> None:
    it.main.measure = SLOW
    it.engine.silent = True
    it.app.explorer.load(ModelSpec("other/model"))
    await it.press("i", until=lambda: any("is being opened" in toast for toast in it.toasts()))


async def test_a_run_stays_finished_when_a_later_metric_is_stopped(tmp_path: Path) -> None:
    async with explore(tmp_path, make_engine=lambda: FakeEngine(manual=True), wait=False) as it:
        await it.until(lambda: it.session.live is not None)
        it.engine.advance()
        await it.ready()
        run = it.session.current
        it.app.explorer.compute("ablation")
        it.engine.advance(until=MetricRows)
        await it.until(lambda: run.work is not None and run.work.metric == "ablation")
        await it.press("escape", until=lambda: not run.state.is_live)
        assert run.state is RunState.FINISHED
        assert run.result.complete
        assert it.status.state == "ready"
        assert not run.result.has_all("ablation")
        assert run.to_compute(["ablation"]) == (["ablation"], "")
