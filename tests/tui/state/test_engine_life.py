"""What follows a load of the engine: once, and never after another load than its own."""

from __future__ import annotations

import pytest

from depthtui.data.model import ModelInfo
from depthtui.data.protocol import EngineReady, Failed
from depthtui.data.run_settings import ModelSpec
from depthtui.settings import Settings
from depthtui.tui.state.engine_connection import EngineDeath
from depthtui.tui.state.engine_life import EngineLife
from depthtui.tui.state.phase import Phase
from tests.builders.engines import FakeEngine
from tests.builders.models import model_info
from tests.tui.state.test_explorer import SilentHost

OTHER = ModelSpec("org/other")


def by_itself(model: ModelInfo) -> None:
    raise AssertionError("it is returned, not called")


def waiting(model: ModelInfo) -> None:
    raise AssertionError("it is returned, not called")


@pytest.fixture
def life() -> EngineLife:
    """An engine with a model, and another model on its way that something waits for."""
    host = SilentHost(FakeEngine(silent=True))
    life = EngineLife(ModelSpec(), Settings, host, (), "", by_itself, lambda reason: None)
    life.start()
    life.handle(EngineReady("2", "5"))
    assert life.loaded(model_info()) is by_itself
    life.load(OTHER, waiting)
    return life


def test_it_follows_its_own_load_alone(life: EngineLife) -> None:
    assert life.loaded(model_info(OTHER)) is waiting
    life.load(ModelSpec())
    assert life.loaded(model_info()) is by_itself


@pytest.mark.parametrize("end", ["it fails", "the engine dies", "another", "a run of its own"])
def test_it_is_forgotten_with_its_load(end: str, life: EngineLife) -> None:
    match end:
        case "it fails":
            life.load_failed(Failed("No such model.", still_loaded=model_info()))
            assert life.phase is Phase.READY
            life.restart()
        case "the engine dies":
            life.died(EngineDeath(-9, ""), "Every result is kept")
            assert life.phase is Phase.DEAD
            life.restart()
        case "another":
            life.load(ModelSpec("org/third"))
        case "a run of its own":
            life.follow_with(None)
    assert life.is_loading
    assert life.loaded(model_info(life.spec)) is by_itself


def test_a_load_that_is_started_again_keeps_it(life: EngineLife) -> None:
    life.restart()
    assert life.loaded(model_info(OTHER)) is waiting
