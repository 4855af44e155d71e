"""Sweeps over the text that models write beside the given one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from depthtui import cli
from depthtui.data.lens import LogitLens
from depthtui.data.protocol import StartSweep, SweepFinished
from depthtui.data.run_settings import Drawing, ModelSpec, RunSettings, SummarySettings, Writing
from depthtui.data.store import open_store
from depthtui.engine.engine import Engine
from depthtui.prompts.tasks import make_prompts
from depthtui.sweep.folder import FAILURES, SweepFolder
from depthtui.sweep.merge import merge_sweeps
from depthtui.sweep.plan import SweepPlan, check_plan, with_written
from depthtui.sweep.questions import Question, questions
from depthtui.sweep.saved import default_folder, open_sweep, plan_from_text, plan_text
from depthtui.sweep.state import Shard
from depthtui.sweep.summary import summarise_sweep
from depthtui.tui.state.session import RunState, Session
from depthtui.tui.state.sweep_rows import SweepViewBuilder
from depthtui.tui.state.sweeping import sweep_of_session
from tests.builders.engines import ScriptedEngine, sweep_events
from tests.builders.results import full_result
from tests.builders.written import written_prompt
from tests.sweep.sweeps import contents, count_prompts, make_plan, sweep
from tests.tiny_models import tiny_folder

WRITING = Writing(max_tokens=3, temperature=0.5)


def written_plan(*models: str, examples: int = 3, writing: Writing = WRITING) -> SweepPlan:
    tasks = ("addition:1-2", "commonsense")
    given = make_plan(models or ("alpha",), tasks, Drawing(examples), seed=7)
    return check_plan(with_written(given, writing))


def test_each_task_has_a_cell_beside_it_whose_answers_the_model_writes(tmp_path: Path) -> None:
    plan, engine = written_plan(), ScriptedEngine()
    outcome = sweep(plan, tmp_path, engine)
    assert [cell.task.title for cell in outcome.records] == [
        "addition, 1 digit",
        "addition, 1 digit, written",
        "addition, 2 digits",
        "addition, 2 digits, written",
        "commonsense",
        "commonsense, written",
    ]
    assert engine.writings == [*[None] * 3, *[Writing(3, 0.5, seed=7)] * 3] * 3
    cells = iter(outcome.records.items())
    for (_, given), (cell, written) in zip(cells, cells, strict=True):
        for ours, theirs in zip(written, given, strict=True):
            assert ours.prompt.question == theirs.prompt.question
            assert ours.prompt.answer == " so the ferry"
            assert ours.task == f"{cell.task.name}, written"
            assert theirs.prompt.written is None
    assert plan_from_text(plan_text(plan)) == plan
    kept = open_sweep(tmp_path, pytest.fail).records
    for cell, records in outcome.records.items():
        assert [(record.key, record.prompt) for record in kept[cell]] == [
            (record.key, record.prompt) for record in records
        ]


def test_without_it_a_sweep_keeps_its_files_and_keys(tmp_path: Path) -> None:
    given = make_plan(("alpha",), seed=7)
    sweep(given, tmp_path / "given")
    assert "write" not in (tmp_path / "given" / "sweep.json").read_text()
    sweep(with_written(given, WRITING), tmp_path / "both")
    files, both = contents(tmp_path / "given"), contents(tmp_path / "both")
    assert files.items() <= both.items()
    assert len(both) == 2 * len(files)


def test_the_choices_of_a_greedy_text_that_do_not_matter_change_nothing(tmp_path: Path) -> None:
    plans = [written_plan(writing=writing) for writing in (Writing(3), Writing(3, top_k=5))]
    assert plans[0] == plans[1]
    longer = written_plan(writing=Writing(4))
    assert default_folder(plans[0], tmp_path) != default_folder(longer, tmp_path)
    sweep(plans[0], tmp_path)
    engine = ScriptedEngine()
    sweep(longer, tmp_path, engine)
    assert engine.writings == [Writing(4)] * 9


def test_a_sweep_goes_on_with_the_text_in_whose_pass_it_was_stopped(tmp_path: Path) -> None:
    plan = written_plan()
    command = StartSweep(3, str(tmp_path), plan_text(plan))
    events, engine = sweep_events(command, stops_at=4)
    assert engine.writings[-1] is not None
    assert isinstance(events[-1], SweepFinished)
    assert events[-1].stopped
    assert len(contents(tmp_path)) == 4
    assert not (tmp_path / f"{FAILURES}.json").exists()
    _, again = sweep_events(command)
    assert again.prompts[0] == engine.prompts[4]
    assert len(again.runs) == count_prompts(plan) - 4


def test_a_stopped_text_is_no_record_even_where_it_was_measured(tmp_path: Path) -> None:
    def stopped(prompt, model, settings):  # type: ignore[no-untyped-def]
        if prompt.written is not None:
            prompt = written_prompt(prompt, prompt.written.writing, stopped_by="user")
        return full_result(prompt, model, settings)

    with pytest.raises(KeyboardInterrupt):
        sweep(written_plan(), tmp_path, ScriptedEngine(results=stopped))
    assert len(contents(tmp_path)) == 3


def test_a_text_that_is_too_long_for_the_memory_is_a_failure(tmp_path: Path) -> None:
    def cut(prompt, model, settings):  # type: ignore[no-untyped-def]
        result = full_result(prompt, model, settings)
        result.complete = prompt.written is None
        return result

    class Cut(ScriptedEngine):
        def run(self, *arguments, **options):  # type: ignore[no-untyped-def]
            return cut(super().run(*arguments, **options).prompt, self.model, arguments[1])

    outcome = sweep(written_plan(), tmp_path, Cut())
    assert [failure.task for failure in outcome.failures[::3]] == [
        "addition, 1 digit, written",
        "addition, 2 digits, written",
        "commonsense, written",
    ]
    assert "too long for the memory" in outcome.failures[0].message
    assert sum(map(len, outcome.records.values())) == 9


def test_shards_are_merged(tmp_path: Path) -> None:
    plan = written_plan("alpha")
    for index in (1, 2):
        sweep(plan, tmp_path / "parts", shard=Shard(index, 2))
    whole = sweep(plan, tmp_path / "whole")
    merged = SweepFolder(tmp_path / "merged", pytest.fail)
    assert merge_sweeps([tmp_path / "parts"], merged, pytest.fail).records.keys() == (
        whole.records.keys()
    )
    assert contents(tmp_path / "merged") == contents(tmp_path / "whole")


def test_the_explorer_has_a_row_for_each_origin(tmp_path: Path) -> None:
    outcome = sweep(written_plan("alpha", "beta"), tmp_path)
    rows = SweepViewBuilder().rows(outcome, "levels")
    assert [row.short_task for row in rows] == [
        "addition 1",
        "addition 1, written",
        "addition 2",
        "addition 2, written",
        "commonsense",
        "commonsense, written",
    ]
    assert {(row.n_done, row.n_prompts) for row in rows} == {(6, 6)}
    assert len({row.key for row in SweepViewBuilder().rows(outcome, "cells")}) == 12


def test_a_sessions_written_runs_are_a_task_of_their_own() -> None:
    given = make_prompts("addition", "1", 1)[0]
    session = Session()
    for prompt in (given, written_prompt(given, WRITING)):
        result = full_result(prompt)
        run = session.start(result.model, prompt, result.settings)
        run.result, run.state = result, RunState.FINISHED
    opened = sweep_of_session(session, SummarySettings())
    assert [(cell.task.title, len(of_cell)) for cell, of_cell in opened.records.items()] == [
        ("addition, 1 digit", 1),
        ("addition, 1 digit, written", 1),
    ]


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Question]:
    """The questions of two models, which use two layers more on their own text."""

    def deeper(prompt, model, settings):  # type: ignore[no-untyped-def]
        result = full_result(prompt, model, settings)
        lens = result.get(LogitLens)
        lens.kl[:] = 1.0
        lens.kl[: 6 if prompt.written else 4] = 4.0
        return result

    folder = tmp_path_factory.mktemp("sweep")
    plan = written_plan("alpha", "beta", examples=6)
    summary = summarise_sweep(sweep(plan, folder, ScriptedEngine(results=deeper)))
    assert all(cell.accuracy is None for cell in summary.cells if cell.cell.task.write)
    assert any(cell.accuracy for cell in summary.cells)
    return {question.name: question for question in questions(summary)}


def test_own_text_is_compared_with_the_given_prompt_by_prompt(
    answered: dict[str, Question],
) -> None:
    answers = [answer for answer in answered["written"].answers if answer.number.name == "kl"]
    assert [(answer.subject.compared, answer.subject.on) for answer in answers] == [
        (f"{model}, written minus given", f"{task}, given and written")
        for task in ("addition, 1 to 2 digits", "commonsense", "all tasks")
        for model in ("alpha", "beta")
    ]
    for answer, n_prompts in zip(answers, (12, 12, 6, 6, 18, 18), strict=True):
        assert answer.subject.paired
        assert [group.prompts for group in answer.groups] == [n_prompts] * 2
        model = answer.subject.compared.split(",")[0]
        assert str(answer).startswith(
            f"Yes: on {answer.subject.on} (n {n_prompts}), {model} takes 4.7 ("
        )
        assert " of 8 layers by KL. From the first to the last +2.0 layers (" in str(answer)


def test_models_are_compared_on_what_each_wrote_to_the_same_question(
    answered: dict[str, Question],
) -> None:
    answers = [answer for answer in answered["models"].answers if answer.number.name == "kl"]
    assert [(answer.subject.on, answer.groups[0].prompts) for answer in answers] == [
        ("addition, 1 to 2 digits", 12),
        ("commonsense", 6),
        ("all tasks", 18),
        ("addition, 1 to 2 digits, written", 12),
        ("commonsense, written", 6),
        ("all tasks, written", 18),
    ]


def test_levels_are_compared_within_an_origin(answered: dict[str, Question]) -> None:
    subjects = {answer.subject.on for answer in answered["difficulty"].answers}
    assert {"addition, 1 to 2 digits", "addition, 1 to 2 digits, written"} <= subjects
    assert not any("written to " in subject for subject in subjects)


def test_a_real_model_writes_and_goes_on(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tiny_folder(home), home / "out"
    command = ["sweep", "--model", str(folder), "--task", "addition:1", "--examples", "2"]
    command += ["--device", "cpu", "--no-cache", "--write", "--max-new-tokens", "5"]
    command += ["--metrics", "contributions,logit_lens", "--out", str(out)]
    assert cli.main(command) == 0
    printed = capsys.readouterr().out
    assert "given and written" in printed
    assert "settled" not in printed, "the plan does not ask for it"
    note = "the model answers the same prompts itself, in at most 5 tokens, each the most probable"
    assert note in " ".join(printed.split())
    report = json.loads((out / "report.json").read_text())
    given, written = report["cells"]
    assert (given["task"], written["task"]) == ("addition", "addition, written")
    engine = Engine(open_store(None, 0, pytest.fail), home / "models", lambda _: None)
    engine.load(ModelSpec(str(folder), device="cpu"))
    runs = [
        engine.run(prompt, RunSettings(), write=Writing(5))
        for prompt in make_prompts("addition", "1", 2)
    ]
    kl = np.concatenate([run.get(LogitLens).kl for run in runs], axis=1).mean(axis=1)
    np.testing.assert_allclose(written["curves"]["kl"], kl, rtol=1e-5, atol=1e-6)
    (_, records) = open_sweep(out, pytest.fail).records.values()
    assert [record.prompt for record in records] == [run.prompt for run in runs]
    before = {path: path.stat().st_mtime_ns for path in (out / "records").rglob("*.json")}
    next(path for path in before if "written" in str(path)).unlink()
    assert cli.main(command) == 0
    after = {path: path.stat().st_mtime_ns for path in (out / "records").rglob("*.json")}
    assert sum(after[path] != before[path] for path in before) == 1
