"""Sweeps whose prompts have options to choose from, and solved others before them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from depthtui.data.run import Prompt
from depthtui.data.run_settings import Drawing, RunSettings, SummarySettings
from depthtui.errors import DepthError
from depthtui.metrics.needed_settings import with_other_prompts
from depthtui.prompts.asking import Asking
from depthtui.prompts.tasks import make_prompts
from depthtui.report.groups import group_runs
from depthtui.sweep.plan import SweepPlan, TaskChoice, check_plan
from depthtui.sweep.prompts import Candidates, choose, filled_up
from depthtui.sweep.records import read_record, record_bytes
from depthtui.sweep.subjects import trends
from depthtui.sweep.summary import summarise_sweep
from depthtui.tui.state.session import RunState, Session
from depthtui.tui.state.sweep_rows import SweepViewBuilder
from depthtui.tui.state.sweeping import sweep_of_session
from tests.builders.results import full_result, tokens_of
from tests.sweep.sweeps import make_plan, sweep

ROWS = [{"goal": f"{n}", "sol1": "this", "sol2": "that", "label": 0} for n in range(40)]


def own_file(folder: Path) -> str:
    path = folder / "own.jsonl"
    rows = [{"text": f"{n}: a", "answer": "a", "choices": ["b", "a"]} for n in range(12)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def asked_plan(folder: Path, shots: int = 2) -> SweepPlan:
    piqa = folder / "piqa.jsonl"
    piqa.write_text("\n".join(map(json.dumps, ROWS)))
    data = {"piqa": str(piqa), "own": own_file(folder)}
    return make_plan(
        ("alpha",), ("facts:1-2", "piqa", "own"), Drawing(3, 0, True, 0, True, shots), data
    )


def test_records_keep_the_choices(tmp_path: Path) -> None:
    outcome = sweep(asked_plan(tmp_path), tmp_path / "sweep")
    assert not outcome.failures
    records = [record for cell in outcome.records.values() for record in cell]
    assert len(records) == 12
    for record in records:
        prompt = record.prompt
        assert prompt.choices[prompt.right_choice] == prompt.answer
        assert len(set(prompt.text.split("\n\n"))) == 3
        assert read_record(record_bytes(record)).prompt == prompt
    facts = [record.prompt for record in records[:3]]
    assert facts == make_prompts("facts", 1, 3, 123, Asking(True, 2))


def test_earlier_prompts_stay_where_more_are_asked(tmp_path: Path) -> None:
    for task in asked_plan(tmp_path).tasks:
        few, many = (
            choose(replaced, Candidates(replaced, 1), lambda prompt: 1)
            for replaced in (task, replace(task, examples=7))
        )
        assert many[:3] == few


def test_prompts_with_choices_are_filled_with_their_like() -> None:
    task = TaskChoice("word_problem", "1", matched=200, choices=True)
    (prompt,) = make_prompts("word_problem", 1, 1, 3, Asking(True))
    filled = filled_up(task, prompt, [], lambda prompt: len(tokens_of(prompt)), 3)
    others = filled.text.split("\n\n")
    assert len(others) > 2
    assert all("\nAnswer: " in other for other in others)
    assert (filled.choices, filled.answer) == (prompt.choices, prompt.answer)


def asked_both_ways() -> list[Prompt]:
    plain, asked = (make_prompts("addition", 2, 6, 3, Asking(choices)) for choices in (False, True))
    return [*plain, *asked]


def test_runs_of_a_session_with_options_are_a_task_of_their_own() -> None:
    session = Session()
    for prompt in asked_both_ways():
        result = full_result(prompt)
        run = session.start(result.model, prompt, result.settings)
        run.result, run.state = result, RunState.FINISHED
    opened = sweep_of_session(session, SummarySettings())
    assert opened is not None
    assert [(cell.task.title, len(of_cell)) for cell, of_cell in opened.records.items()] == [
        ("addition, 2 digits", 6),
        ("addition, 2 digits, with options", 6),
    ]


def test_runs_with_options_are_no_pool_with_others() -> None:
    prompts = asked_both_ways()
    (group,) = group_runs([full_result(prompt) for prompt in prompts], SummarySettings(), "task")
    assert [[run.prompt for run in part.results] for part in group.parts] == [
        prompts[:6],
        prompts[6:],
    ]
    # The answers by which the task is guessed, too.
    settings = with_other_prompts(RunSettings(metrics=("kept",)), prompts, 0)
    assert settings.task_answers == tuple(prompt.answer for prompt in prompts[:6])


def test_a_sweep_asks_a_task_both_ways(tmp_path: Path) -> None:
    ways = [
        TaskChoice("addition", str(n), examples=3, choices=way)
        for way in (False, True)
        for n in (1, 2)
    ]
    plan = check_plan(replace(make_plan(("alpha",), ("facts",)), tasks=tuple(ways)))
    outcome = sweep(plan, tmp_path / "sweep")
    assert [len(records) for records in outcome.records.values()] == [3] * 4
    assert [subject.on for subject in trends(summarise_sweep(outcome))] == [
        "addition, 1 to 2 digits",
        "addition, 1 to 2 digits, with options",
    ]
    rows = SweepViewBuilder().rows(outcome, "levels")
    assert [row.short_task for row in rows] == [
        "addition 1",
        "addition 2",
        "addition 1, with options",
        "addition 2, with options",
    ]


def test_a_set_that_is_always_asked_with_options_is_one_task() -> None:
    plan = make_plan(("alpha",), ("facts",))
    both = (TaskChoice("piqa"), TaskChoice("piqa", choices=True))
    assert check_plan(replace(plan, tasks=both)).tasks == both[1:]


@pytest.mark.parametrize("name", ["commonsense", "gsm8k"])
def test_a_plan_refuses_options_where_there_are_none(name: str) -> None:
    plan = make_plan(("alpha",), ("facts",))
    with pytest.raises(DepthError, match=f"{name} has no options"):
        check_plan(replace(plan, tasks=(TaskChoice(name, choices=True),)))
