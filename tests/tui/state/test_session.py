"""The list of runs, without a screen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from depthtui.data.arrays import arrays_of
from depthtui.data.lens import LogitLens
from depthtui.data.protocol import (
    Failed,
    Halted,
    MetricRows,
    Rows,
    RunFinished,
    RunStarted,
)
from depthtui.data.run import Prompt
from depthtui.data.run_settings import RunSettings
from depthtui.metrics.ablation import Ablation
from depthtui.metrics.contributions import Contributions
from depthtui.metrics.patch import NO_SOURCE
from depthtui.metrics.registry import empty_result
from depthtui.metrics.residual_erasure import ResidualErasure
from depthtui.tui.state.session import RunState, Session, Work
from tests.builders.engines import rows_of
from tests.builders.metrics import ablation
from tests.builders.models import model_info
from tests.builders.results import full_result, tokens_of

PROMPT = Prompt("The capital of France is Paris", " Paris", "commonsense")


@pytest.fixture
def session() -> Session:
    return Session()


def finished(session: Session, text: str = "a b c") -> None:
    prompt = Prompt(text)
    run = session.start(model_info(), prompt, RunSettings())
    session.apply(RunFinished(run.number, full_result(prompt)))


def test_a_run_fills_row_by_row_and_ends_complete(session: Session) -> None:
    run = session.start(model_info(), PROMPT, RunSettings())
    full = full_result(PROMPT)
    assert session.current is None
    session.apply(RunStarted(run.number, tokens_of(PROMPT)))
    assert session.current is run
    assert run.result is not None
    assert run.result.get(Contributions) is not None
    assert full.get(Contributions) is not None
    rows = Contributions(*(values[:2] for _, values in arrays_of(full.get(Contributions))))
    session.apply(Rows(run.number, "contributions", 0, rows, 2, 0.5))
    cosine = run.result.get(Contributions).layer_cosine
    assert not np.isnan(cosine[:2]).any()
    assert np.isnan(cosine[2:]).all()
    assert (run.state, run.seconds, run.layers_done) == (RunState.RUNNING, 0.5, 2)
    assert run.result.get(LogitLens) is not None
    assert full.get(LogitLens) is not None
    lens = rows_of(full.get(LogitLens), 3, 4)
    session.apply(Rows(run.number, "logit_lens", 3, lens, 2, 0.6))
    assert not np.isnan(run.result.get(LogitLens).kl[3]).any()
    session.apply(RunFinished(run.number, full))
    assert run.state is RunState.FINISHED
    assert run.result is full


def test_behind_the_layers_it_is_the_lens_that_runs(session: Session) -> None:
    run = session.start(model_info(), PROMPT, RunSettings())
    session.apply(RunStarted(run.number, tokens_of(PROMPT)))
    full, layers = full_result(PROMPT), run.model.n_layers
    session.apply(Rows(run.number, "contributions", 0, full.get(Contributions), layers, 1.0))
    assert run.work is None
    lens, tokens = full.get(LogitLens), len(full.tokens)
    total = (layers + 1) * tokens
    output, half = rows_of(lens, layers, layers + 1), rows_of(lens, 0, layers // 2)
    session.apply(Rows(run.number, "logit_lens", layers, output, layers, 2.0))
    assert run.work == Work("logit_lens", tokens, total, -1.0)
    session.apply(Rows(run.number, "logit_lens", 0, half, layers, 4.0))
    done = (1 + layers // 2) * tokens
    left = 2.0 * (total - done) / (done - tokens)
    assert run.work == Work("logit_lens", done, total, pytest.approx(left))
    session.apply(Rows(run.number, "logit_lens", 0, lens, layers, 5.0))
    assert run.work is not None
    assert run.work.done == run.work.total
    session.apply(RunFinished(run.number, full))
    assert run.work is None


def test_rows_of_a_part_of_the_tokens(session: Session) -> None:
    run = session.start(model_info(), PROMPT, RunSettings())
    session.apply(RunStarted(run.number, tokens_of(PROMPT)))
    full = full_result(PROMPT).get(LogitLens)
    part = LogitLens(**{name: values[2:4, 1:3] for name, values in arrays_of(full)})
    session.apply(Rows(run.number, "logit_lens", 2, part, 2, 0.6, from_token=1))
    assert run.result is not None
    for name, values in arrays_of(run.result.get(LogitLens)):
        np.testing.assert_array_equal(values[2:4, 1:3], getattr(full, name)[2:4, 1:3])
        known = values >= 0 if values.dtype.kind == "i" else ~np.isnan(values)
        assert known.sum() == known[2:4, 1:3].sum()


def test_an_incomplete_end_is_a_stop(session: Session) -> None:
    run = session.start(model_info(), PROMPT, RunSettings())
    session.apply(RunStarted(run.number, tokens_of(PROMPT)))
    full = full_result(PROMPT)
    full.complete = False
    session.apply(RunFinished(run.number, full))
    assert run.state is RunState.STOPPED
    assert session.live is None


def test_a_halt_waits_and_goes_on(session: Session) -> None:
    run = session.start(model_info(), PROMPT, RunSettings())
    session.apply(RunStarted(run.number, tokens_of(PROMPT)))
    session.apply(Halted(run.number, 4))
    assert (run.state, run.halted_at, session.live) == (RunState.HALTED, 4, run)
    session.resume(run)
    assert (run.state, run.halted_at) == (RunState.RUNNING, -1)


def test_a_failure_before_any_token_leaves_no_run(session: Session) -> None:
    finished(session)
    before = session.current
    run = session.start(model_info(), PROMPT, RunSettings())
    session.apply(Failed("too long", run_id=run.number))
    assert session.current is before
    assert len(session.runs) == 1


def test_the_death_of_the_engine_keeps_what_was_computed(session: Session) -> None:
    finished(session)
    run = session.start(model_info(), PROMPT, RunSettings())
    session.apply(RunStarted(run.number, tokens_of(PROMPT)))
    session.engine_died("killed")
    assert (run.state, run.problem) == (RunState.STOPPED, "killed")
    assert len(session.results) == 2


def test_a_run_in_the_background_does_not_take_the_screen(session: Session) -> None:
    finished(session)
    first = session.current
    run = session.start(model_info(), PROMPT, RunSettings())
    session.apply(RunStarted(run.number, tokens_of(PROMPT)))
    assert first is not None
    session.select(first)
    session.apply(RunFinished(run.number, full_result(PROMPT)))
    assert session.current is first


def test_deleting_moves_to_a_neighbour(session: Session) -> None:
    for text in ("a", "b", "c"):
        finished(session, text)
    first, second, third = session.runs
    session.mark(second)
    session.delete(third)
    assert session.current is second
    assert session.marked is None
    session.delete(second)
    session.delete(first)
    assert session.current is None


def test_marking_twice_takes_it_back_and_showing_the_marked_run_too(session: Session) -> None:
    finished(session, "a")
    finished(session, "b")
    first = session.runs[0]
    session.mark(first)
    session.mark(first)
    assert session.marked is None
    session.mark(first)
    session.select(first)
    assert session.marked is None


def test_the_run_before_is_what_a_comparison_takes(session: Session) -> None:
    assert session.neighbour_of(None) is None
    for text in ("a", "b", "c"):
        finished(session, text)
    first, second, third = session.runs
    assert session.neighbour_of(third) is second
    assert session.neighbour_of(first) is second


def test_events_of_unknown_runs_are_ignored(session: Session) -> None:
    assert session.apply(Halted(7, 1)) is None


def test_a_run_that_is_added_to_keeps_what_it_had_when_that_is_stopped(session: Session) -> None:
    finished(session)
    run = session.runs[0]
    before, old_id = run.result, run.engine_id
    wanted = replace(run.settings, metrics=(*run.settings.metrics, "ablation", "similarity"))
    session.extend(run, wanted)
    assert session.live is run
    # What the engine says of the former work is not heard any more.
    assert session.apply(RunFinished(old_id, full_result(Prompt("other")))) is None
    session.apply(RunStarted(run.engine_id, tokens_of(run.prompt)))
    found = ablation(np.ones((30, 2), "f4"))
    session.apply(MetricRows(run.engine_id, "ablation", found, 1, 1, 0.5))
    assert run.work == Work("ablation", 1, 1)
    stopped = empty_result(run.model, run.prompt, wanted, before.tokens)
    session.apply(RunFinished(run.engine_id, stopped))
    # What it had is whole: the run is no less finished than before.
    assert run.state is RunState.FINISHED
    assert run.result.complete
    assert run.work is None
    assert run.result.get(Ablation) is found
    assert run.result.get(Contributions) is before.get(Contributions)
    assert run.settings.metrics == ("contributions", "logit_lens", "ablation")


def test_a_run_with_more_metrics_answers_for_one_with_less(session: Session) -> None:
    finished(session)
    run = session.runs[0]
    more = replace(run.settings, metrics=(*run.settings.metrics, "ablation"))
    assert not run.answers(run.model, run.prompt, more)
    run.settings = more
    assert run.answers(run.model, run.prompt, RunSettings())
    assert not run.answers(run.model, run.prompt, RunSettings(answer_start=2))


def test_a_run_has_the_settings_of_what_was_recalled(session: Session) -> None:
    run = session.start(model_info(), PROMPT, RunSettings())
    own = RunSettings(metrics=(*run.settings.metrics, "kept"), order_source="own")
    session.apply(RunFinished(run.number, full_result(PROMPT, settings=own)))
    assert run.settings == own
    assert run.recalled == ("kept",)


def test_an_aside_is_live_but_nowhere_listed(session: Session) -> None:
    finished(session)
    run = session.start_aside(model_info(), PROMPT, RunSettings())
    session.apply(RunStarted(run.engine_id, tokens_of(PROMPT)))
    assert session.live is run
    assert run not in session.runs
    assert session.current is session.runs[0]
    session.apply(RunFinished(run.engine_id, full_result(PROMPT)))
    assert session.live is None
    assert session.asides == []
    assert run.result.complete


def test_an_aside_that_fails_leaves_nothing(session: Session) -> None:
    run = session.start_aside(model_info(), PROMPT, RunSettings())
    session.apply(Failed("no", "", run.engine_id))
    assert (run.state, run.problem, session.asides) == (RunState.FAILED, "no", [])


def test_another_answer_drops_what_depends_on_it(session: Session) -> None:
    finished(session)
    run = session.runs[0]
    effect = np.zeros((31, 3), np.float32)
    run.result.put("residual_erasure", ResidualErasure(effect, 2, 0.0))
    run.result.put("ablation", ablation(effect))
    run.result.unavailable = {"integrated_gradients": "no answer", "similarity": "why"}
    run.settings = replace(run.settings, metrics=("logit_lens", "residual_erasure", "ablation"))
    session.mark_answer(run, 1)
    assert run.result.get(ResidualErasure) is None
    assert run.result.get(Ablation) is not None
    assert run.result.unavailable == {"similarity": "why"}
    assert run.settings.metrics == ("logit_lens", "ablation")
    assert run.result.answer_start == 1


def test_a_pane_asks_for_what_is_neither_there_nor_impossible(session: Session) -> None:
    finished(session)
    run = session.current
    assert run is not None
    assert run.result is not None
    assert run.to_compute(("contributions", "similarity")) == (["similarity"], "")
    assert run.to_compute(("contributions",)) == ([], "")
    assert run.to_compute(()) == ([], "")
    run.result.unavailable = {"residual_erasure": "there is no answer"}
    wanted, why_not = run.to_compute(("residual_erasure",))
    assert wanted == []
    assert why_not.startswith("Residual erasure is unavailable: there is no answer.")
    assert "L sets the token" in why_not
    run.result.unavailable = {"patch": NO_SOURCE}
    assert run.to_compute(("patch",))[1].endswith(f"{NO_SOURCE}. L names one.")


def test_what_failed_is_asked_for_again(session: Session) -> None:
    finished(session)
    run = session.current
    assert run is not None
    assert run.result is not None
    effect = np.zeros((31, 3), np.float32)
    run.result.put("residual_erasure", ResidualErasure(effect, 2, 0.0))
    for metric in ("ablation", "residual_erasure"):
        run.result.fail(metric, "the memory ran out")
    run.result.unavailable["similarity"] = "there is no answer"
    again = ["ablation", "residual_erasure"]
    assert run.to_compute(("ablation", "similarity", "residual_erasure")) == (again, "")
    session.extend(run, replace(run.settings, metrics=("logit_lens", *again)))
    assert run.result.unavailable == {"similarity": "there is no answer"}
    assert run.result.failed == ()
    assert run.result.get(ResidualErasure) is not None


def test_what_was_stopped_half_way_is_asked_for_again(session: Session) -> None:
    finished(session)
    run = session.current
    assert run is not None
    assert run.result is not None
    whole = ablation(np.ones((30, 2), "f4"))
    run.result.put("ablation", whole)
    assert run.to_compute(("contributions", "ablation"))[0] == []
    for lacking in (
        replace(whole, loss_change=np.full((30, 2), np.nan, "f4")),
        replace(whole, together=np.full(30, -1, np.int8)),
    ):
        run.result.put("ablation", lacking)
        assert run.to_compute(("contributions", "ablation"))[0] == ["ablation"]
    run.result.put("ablation", whole)
    run.state = RunState.STOPPED
    assert run.to_compute(("contributions", "ablation"))[0] == ["ablation"]
