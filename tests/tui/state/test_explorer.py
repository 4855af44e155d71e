"""The explorer's state when late events cross with keys: of a run that is over, or forgotten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from depthtui.data.codec import CodecError
from depthtui.data.controls import ControlRow, Controls, save_controls
from depthtui.data.protocol import (
    EngineReady,
    Event,
    Failed,
    Halted,
    LoadModel,
    ModelLoaded,
    RunFinished,
    RunStarted,
    StartRun,
    TokensWritten,
    TrustModel,
)
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, Writing
from depthtui.settings import Settings, lenses_dir
from depthtui.tui.state.engine_connection import EngineDeath
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.next_run import with_marked_answer
from depthtui.tui.state.phase import CodeQuestion, Phase
from depthtui.tui.state.session import RunState, SessionRun
from depthtui.tui.state.toast import Toast
from depthtui.tui.state.unfinished_work import slow_work, unfinished_work
from tests.builders.engines import FakeEngine
from tests.builders.models import model_info
from tests.builders.results import full_result, tokens_of
from tests.builders.written import columns_of, tokens_written, with_settling, written_prompt
from tests.sweep.sweeps import make_plan


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(silent=True)


class SilentHost:
    """An app that starts an engine and shows nothing."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self.questions: list[CodeQuestion] = []

    def ask_for_trust(self, question: CodeQuestion) -> None:
        self.questions.append(question)

    def start_engine(self) -> FakeEngine:
        return self._engine

    def first_prompt(self) -> Prompt:
        return Prompt("one two three")

    def show_toast(self, toast: Toast) -> None:
        pass

    def save_session(self) -> bool:
        return True

    def save_settings(self, changes: dict[str, Any]) -> None:
        pass


@pytest.fixture
def explorer(engine: FakeEngine) -> Explorer:
    """A model is loaded and its first run computes."""
    explorer = Explorer(ModelSpec(), Settings(), SilentHost(engine))
    explorer.engine.start()
    tell(explorer, EngineReady("2", "5"), ModelLoaded(model_info()))
    tell(explorer, RunStarted(1, tokens_of(explorer.prompt)))
    assert explorer.phase is Phase.RUNNING
    return explorer


def tell(explorer: Explorer, *events: Event) -> None:
    for event in events:
        explorer.handle(event)


def stopped(run: SessionRun) -> RunFinished:
    result = full_result(run.prompt, run.model)
    result.complete = False
    return RunFinished(run.number, result)


def test_a_run_that_ends_while_another_model_loads_leaves_the_load_alone(
    explorer: Explorer,
) -> None:
    run = explorer.session.live
    assert run is not None
    explorer.load(ModelSpec("other"))
    tell(explorer, Halted(run.number, 3), stopped(run))
    assert explorer.phase is Phase.LOADING
    assert run.state is RunState.STOPPED
    tell(explorer, Failed("There is no such model."))
    assert explorer.phase is Phase.NO_MODEL
    assert explorer.engine.problem is not None


def test_a_run_that_waits_while_another_model_is_chosen_leaves_the_load_alone(
    explorer: Explorer,
) -> None:
    explorer.run(Prompt("four five"))
    first, second = explorer.session.runs
    explorer.load(ModelSpec("other"))
    tell(explorer, stopped(first), RunStarted(second.number, tokens_of(second.prompt)))
    assert explorer.phase is Phase.LOADING
    tell(explorer, stopped(second))
    assert explorer.phase is Phase.LOADING


def test_late_events_of_a_forgotten_run_change_nothing(explorer: Explorer) -> None:
    run = explorer.session.live
    assert run is not None
    explorer.delete(run)
    tell(explorer, Halted(run.number, 3))
    assert explorer.phase is Phase.READY
    tell(explorer, RunStarted(run.number, tokens_of(run.prompt)), stopped(run))
    assert explorer.phase is Phase.READY


def test_nothing_runs_before_a_restarted_engine_has_its_model(
    explorer: Explorer, engine: FakeEngine
) -> None:
    tell(explorer, stopped(explorer.session.runs[0]))
    explorer.engine_died(EngineDeath(-9, "", "engine.log"))
    explorer.load(ModelSpec("other"))
    engine.commands.clear()
    assert not explorer.can_run
    explorer.run()
    assert not any(isinstance(command, StartRun) for command in engine.commands)


def test_a_model_that_is_being_written_is_given_up_with_its_engine(
    explorer: Explorer, tmp_path: Path
) -> None:
    tell(explorer, stopped(explorer.session.runs[0]))
    explorer.write_model([1], tmp_path / "model")
    assert explorer.phase is Phase.WRITING
    explorer.load(ModelSpec("other"))
    explorer.load(ModelSpec("a third"))  # the first load is called off with the engine
    assert not unfinished_work(explorer)
    tell(explorer, EngineReady("2", "5"), ModelLoaded(model_info()))
    run = explorer.session.live
    assert run is not None
    tell(explorer, RunStarted(run.engine_id, tokens_of(run.prompt)), whole(run))
    assert explorer.phase is Phase.READY


# A prompt on another model --------------------------------------------------

OTHER = ModelSpec("org/other")


def whole(run: SessionRun) -> RunFinished:
    return RunFinished(run.engine_id, full_result(run.prompt, run.model, run.settings))


@pytest.fixture
def first(explorer: Explorer) -> SessionRun:
    """A finished run, of settings that are not the present ones."""
    run = explorer.session.live
    assert run is not None
    tell(explorer, whole(run))
    explorer.change(lens_top_k=3)
    return run


def test_the_same_prompt_is_run_on_another_model_as_it_was_run(
    explorer: Explorer, engine: FakeEngine, first: SessionRun
) -> None:
    explorer.run_on_model(first, OTHER)
    assert engine.commands[-1] == LoadModel(OTHER)
    tell(explorer, ModelLoaded(model_info(OTHER)))
    second = explorer.session.live
    assert second is not None
    assert (second.prompt, second.settings) == (first.prompt, first.settings)
    assert second.model.name == "other"
    assert explorer.pair.ready is None
    tell(explorer, whole(second))
    assert explorer.pair.ready == (first, second)
    assert explorer.session.runs == [first, second]


def test_a_marked_answer_goes_along_to_another_model(explorer: Explorer, first: SessionRun) -> None:
    explorer.session.mark_answer(first, 1)
    explorer.run_on_model(first, OTHER)
    tell(explorer, ModelLoaded(model_info(OTHER)))
    second = explorer.session.live
    assert second is not None
    assert second.prompt.text == first.prompt.text
    assert second.prompt.answer == " two three"
    assert second.settings.answer_start == -1


def test_a_model_that_is_there_is_not_loaded_again(
    explorer: Explorer, engine: FakeEngine, first: SessionRun
) -> None:
    before = len([command for command in engine.commands if isinstance(command, LoadModel)])
    explorer.run_on_model(first, ModelSpec())
    second = explorer.session.live
    assert second is not None
    assert len([command for command in engine.commands if isinstance(command, LoadModel)]) == before
    tell(explorer, whole(second))
    assert explorer.pair.ready == (first, second)


@pytest.mark.parametrize(
    "what", ["the load fails", "it is stopped", "another run", "another model", "the engine dies"]
)
def test_a_comparison_is_called_off(explorer: Explorer, first: SessionRun, what: str) -> None:
    explorer.run_on_model(first, OTHER)
    other = ModelLoaded(model_info(OTHER))
    match what:
        case "the load fails":
            tell(explorer, Failed("No such model.", "", -1, model_info()))
            explorer.run(Prompt("another"))
        case "it is stopped":
            tell(explorer, other)
            assert explorer.session.live is not None
            tell(explorer, stopped(explorer.session.live))
            assert explorer.pair.ready is None
            explorer.run(Prompt("another"))
        case "another run":
            tell(explorer, other)
            explorer.run(Prompt("another"))
        case "another model":
            explorer.load(ModelSpec("org/third"))
            tell(explorer, ModelLoaded(model_info(ModelSpec("org/third"))))
        case "the engine dies":
            explorer.engine_died(EngineDeath(-9, "", "engine.log"))
            explorer.engine.restart()
            tell(explorer, EngineReady("2", "5"), other)
            explorer.run(Prompt("another"))
    while explorer.session.live is not None:
        tell(explorer, whole(explorer.session.live))
    assert explorer.pair.ready is None
    assert first in explorer.session.runs


def test_a_comparison_that_nobody_took_is_forgotten_with_the_next_run(
    explorer: Explorer, first: SessionRun
) -> None:
    explorer.run_on_model(first, ModelSpec())
    assert explorer.session.live is not None
    tell(explorer, whole(explorer.session.live))
    explorer.run(Prompt("another"))
    assert explorer.pair.ready is None


def test_what_waited_for_a_model_with_code_is_done_after_a_yes(
    explorer: Explorer, engine: FakeEngine
) -> None:
    (run,) = explorer.session.runs
    tell(explorer, RunFinished(1, full_result(run.prompt, run.model, run.settings)))
    other = ModelSpec("us/own")
    explorer.run_on_model(run, other)
    tell(explorer, Failed("It needs code.", "", code_in="/folder", still_loaded=run.model))
    (question,) = explorer.host.questions
    assert (question.spec, question.folder) == (other, "/folder")
    assert explorer.engine.model == run.model
    assert engine.sent(TrustModel) == []
    explorer.trust(question)
    assert engine.commands[-2:] == [TrustModel(other), LoadModel(other)]
    tell(explorer, ModelLoaded(model_info(other)))
    assert [run.model.spec for run in explorer.session.runs] == [ModelSpec(), other]
    # A sweep's model is trusted by then, any other one is not.
    tell(explorer, RunFinished(2, full_result(run.prompt, model_info(other), run.settings)))
    explorer.start_sweep(make_plan(("us/own", "alpha")), Path("nowhere"))
    assert engine.sent(TrustModel) == [TrustModel(other)] * 2


def test_controls_are_read_again_once_a_model_is_loaded(engine: FakeEngine, tmp_path: Path) -> None:
    explorer = Explorer(ModelSpec(), Settings(cache_dir=tmp_path), SilentHost(engine))
    explorer.engine.start()
    model = model_info()
    tell(explorer, EngineReady("2", "5"), ModelLoaded(model))
    assert explorer.controls.of(model) == ""
    rows = (ControlRow("model", layers=24.0), ControlRow("untrained", too_little="nothing"))
    controls = Controls(model.name, 30, 49152, ("text",), 10, 90, 123, 1, rows)
    lenses_dir(tmp_path).mkdir()
    save_controls(lenses_dir(tmp_path), model.fingerprint, controls)
    tell(explorer, ModelLoaded(model))
    assert "untrained too little known" in explorer.controls.of(model)


def being_written(explorer: Explorer) -> tuple[SessionRun, RunResult]:
    """A run of which two words are written; and how it ends where it is stopped there."""
    first = explorer.session.runs[0]
    tell(explorer, RunFinished(1, full_result(first.prompt, first.model, first.settings)))
    writing = Writing(max_tokens=6)
    explorer.run(explorer.prompt, write=writing)
    run = explorer.session.runs[-1]
    text = full_result(written_prompt(run.prompt, writing), run.model, with_settling(run.settings))
    tell(explorer, RunStarted(run.engine_id, tokens_of(run.prompt)))
    tell(explorer, *tokens_written(text, run.engine_id, words=2))
    assert run.result is not None
    assert run.is_being_written
    end = replace(run.result)
    end.end_writing(writing, "user")
    return run, end


def test_a_stopped_text_is_measured_once_and_can_be_stopped_again(
    explorer: Explorer, engine: FakeEngine
) -> None:
    run, end = being_written(explorer)
    explorer.automatic.call_off()
    tell(explorer, RunFinished(run.engine_id, end))
    measured = engine.sent(StartRun)[-1]
    assert (measured.prompt, measured.write) == (end.prompt, None)
    explorer.automatic.call_off()
    tell(explorer, RunFinished(run.engine_id, replace(end)))
    assert run.state is RunState.STOPPED
    assert engine.sent(StartRun)[-1] is measured


def test_a_text_keeps_its_end_where_the_engine_dies_in_the_pass(explorer: Explorer) -> None:
    run, _ = being_written(explorer)
    nothing = np.zeros(0, np.int64)
    tell(explorer, TokensWritten(run.engine_id, nothing, [], {}, 1.0, stopped_by="limit"))
    assert not run.is_being_written
    explorer.engine_died(EngineDeath(-9, "Out of memory", "engine.log"))
    assert run.state is RunState.STOPPED
    assert run.prompt.written is not None
    assert run.prompt.written.stopped_by == "limit"


def test_metrics_are_not_added_while_the_answer_is_written(
    explorer: Explorer, engine: FakeEngine
) -> None:
    run, _ = being_written(explorer)
    engine.commands.clear()
    explorer.compute("ablation")
    assert run.is_being_written
    assert not engine.commands


def test_a_text_behind_a_prompt_on_the_screen_may_come_from_the_cache(
    explorer: Explorer, engine: FakeEngine
) -> None:
    run, _ = being_written(explorer)
    command = engine.sent(StartRun)[-1]
    assert command.run_id == run.engine_id
    assert not command.fresh


def test_what_ends_a_text_asks_first(explorer: Explorer) -> None:
    being_written(explorer)
    assert slow_work(explorer) == "A text is being written"


@pytest.mark.parametrize(("words", "columns"), [(1, 2), (2, 4)])
def test_tokens_that_do_not_fit_leave_a_text_as_it_is(
    explorer: Explorer, words: int, columns: int
) -> None:
    run, end = being_written(explorer)
    assert run.result is not None
    readings = {
        name: columns_of(value, slice(0, columns)) for name, value in run.result.measured.items()
    }
    with pytest.raises(CodecError, match=r"other numbers|another size"):
        tell(explorer, TokensWritten(run.engine_id, np.arange(2), ["a"] * words, readings, 1.0))
    assert run.result.tokens is end.tokens


def test_a_marked_part_of_a_written_answer_is_a_given_answer(explorer: Explorer) -> None:
    run, end = being_written(explorer)
    tell(explorer, RunFinished(run.engine_id, end))
    explorer.session.mark_answer(run, end.answer_start + 1)
    marked = with_marked_answer(run)
    assert end.prompt.answer.endswith(marked.answer)
    assert marked.written is None
    explorer.session.mark_answer(run, end.answer_start)
    assert with_marked_answer(run) == end.prompt
