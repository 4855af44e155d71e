"""What the header says: of the run that is shown, and of what the engine does beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from depthtui.data.protocol import (
    EngineReady,
    Memory,
    ModelLoaded,
    Progress,
    RunFinished,
    RunStarted,
    TokensWritten,
)
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, Writing
from depthtui.settings import Settings
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.status import status_of
from depthtui.tui.state.task_prompts import first_prompt, neighbour
from tests.builders.engines import FakeEngine
from tests.builders.models import model_info
from tests.builders.results import full_result, tokens_of
from tests.tui.state.test_explorer import SilentHost, tell

OTHER = model_info(ModelSpec("other/model"), 12)


@pytest.fixture
def explorer() -> Explorer:
    """A model is loaded and its first run is finished."""
    return started(Settings())


def started(settings: Settings) -> Explorer:
    explorer = Explorer(ModelSpec(), settings, SilentHost(FakeEngine(silent=True)))
    explorer.engine.start()
    tell(explorer, EngineReady("2", "5"), ModelLoaded(model_info()))
    finish(explorer)
    return explorer


def finish(explorer: Explorer) -> None:
    """Let the run that was sent last be done."""
    run = explorer.session.live
    assert run is not None
    tell(explorer, RunStarted(run.engine_id, tokens_of(run.prompt)))
    tell(explorer, RunFinished(run.engine_id, full_result(run.prompt, run.model, run.settings)))


def test_the_header_is_of_the_run_that_is_shown(explorer: Explorer) -> None:
    first = explorer.session.current
    explorer.run(first_prompt())
    finish(explorer)
    explorer.load(OTHER.spec)
    tell(explorer, ModelLoaded(OTHER), Memory(5, 9))
    finish(explorer)
    assert first is not None
    status = status_of(explorer)
    assert (status.model, status.loaded, status.memory) == (OTHER, "", 5)
    assert status.number.startswith("1/")
    explorer.show_run(first)
    status = status_of(explorer)
    assert (status.model, status.loaded, status.memory) == (first.model, "model", 0)
    assert (status.task, status.number) == ("typed", "")
    # What is shown is what is run again.
    assert explorer.prompt == first.prompt


def test_a_lens_that_is_fitted_before_a_text_has_its_time_left(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("depthtui.tui.state.stage.monotonic", lambda: now[0])
    tell(explorer, Progress("Fitting the Jacobian lens", 9, 10, "steps"))
    assert not status_of(explorer).stage, "nothing waits"
    explorer.run(write=Writing())
    assert not status_of(explorer).stage, "the stage of other work"
    for done in (0, 10, 30):
        tell(explorer, Progress("Fitting the Jacobian lens", done, 90, "steps"))
        now[0] += 5
    assert status_of(explorer).stage == "fitting the Jacobian lens 33%, about 30 s left"
    run = explorer.session.live
    assert run is not None
    question = tokens_of(run.prompt)
    tell(explorer, RunStarted(run.engine_id, replace(question, answer_start=len(question))))
    assert status_of(explorer).stage.startswith("fitting")
    ids, texts = np.array([7], np.int64), [" a"]
    tell(explorer, TokensWritten(run.engine_id, ids, texts, {}, 1.0))
    assert status_of(explorer).written[0] == 1
    assert not status_of(explorer).stage


def test_another_model_that_loads_is_named(explorer: Explorer) -> None:
    explorer.load(OTHER.spec)
    status = status_of(explorer)
    assert (status.model, status.loads, status.loaded) == (model_info(), "other/model", "")


def test_the_run_after_a_deleted_one_is_what_is_run_again(explorer: Explorer) -> None:
    first = explorer.session.current
    assert first is not None
    explorer.run(Prompt("four five"))
    finish(explorer)
    second = explorer.session.current
    assert second is not None
    explorer.delete(second)
    assert explorer.prompt == first.prompt


def test_the_chat_template_belongs_to_the_prompt(explorer: Explorer) -> None:
    explorer.run(first_prompt(), chat_template=True)
    finish(explorer)
    assert status_of(explorer).is_wrapped
    # The same again, and another model's run of it.
    explorer.run()
    finish(explorer)
    assert status_of(explorer).is_wrapped
    assert explorer.chat_template
    following = neighbour(first_prompt(), 1, 123)
    assert following is not None
    explorer.run(following)
    finish(explorer)
    assert not status_of(explorer).is_wrapped
    assert not explorer.settings.chat_template


def test_a_marked_answer_is_of_the_prompt_as_it_is_wrapped(explorer: Explorer) -> None:
    run = explorer.session.current
    assert run is not None
    explorer.session.mark_answer(run, 1)
    explorer.run(chat_template=True)
    finish(explorer)
    run = explorer.session.current
    assert run is not None
    assert run.settings.answer_start == -1


def test_the_user_s_settings_may_wrap_every_prompt() -> None:
    explorer = started(Settings(chat_template=True))
    assert status_of(explorer).is_wrapped
    explorer.run(first_prompt())
    finish(explorer)
    assert status_of(explorer).is_wrapped
