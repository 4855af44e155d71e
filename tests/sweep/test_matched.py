"""Sweeps whose prompts are filled up to one length."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from depthtui.data.run import Prompt
from depthtui.data.run_settings import Drawing, Writing
from depthtui.engine.tokens import Vocabulary, tokenise
from depthtui.prompts.tasks import make_prompts
from depthtui.sweep.cell_orders import order_bytes, run_order
from depthtui.sweep.folder import SweepFolder
from depthtui.sweep.plan import Cell, SweepPlan, TaskChoice, with_written
from depthtui.sweep.prompts import filled_up
from depthtui.sweep.records import Record, read_record
from depthtui.sweep.report.phrases import matching_note
from depthtui.sweep.state import Shard, SweepState
from depthtui.sweep.summary import summarise_sweep
from tests.builders.engines import ScriptedEngine
from tests.builders.results import tokens_of
from tests.sweep.sweeps import contents, make_plan, sweep
from tests.tiny_models import tiny_tokenizer

TARGET = 150
LADDER = ("facts:1-3",)


def matched_plan(*tasks: str, models: tuple[str, ...] = ("alpha",), seed: int = 3) -> SweepPlan:
    return make_plan(models, tasks or LADDER, Drawing(4, matched=TARGET), seed=seed)


def texts_of(records: list[Record]) -> list[str]:
    return [record.prompt.text for record in records]


def n_words(prompt: Prompt) -> int:
    return len(tokens_of(prompt))


def test_levels_agree_in_length_to_within_one_prompt(tmp_path: Path) -> None:
    outcome = sweep(matched_plan(), tmp_path)
    for cell, records in outcome.records.items():
        asked = make_prompts("facts", cell.task.level, 4, 3)
        longest = max(map(n_words, make_prompts("facts", cell.task.level, 100))) + 2
        assert max(map(n_words, asked)) + longest < TARGET
        for record, prompt in zip(records, asked, strict=True):
            assert TARGET - longest <= record.n_tokens <= TARGET
            *others, last = record.prompt.text.split("\n\n")
            assert (last, record.prompt.answer) == (prompt.text, prompt.answer)
            assert len({last, *others}) == len(others) + 1
            assert all(other.startswith("Facts: ") for other in others)
    lengths = [record.n_tokens for records in outcome.records.values() for record in records]
    note = matching_note(summarise_sweep(outcome))
    assert f"up to {TARGET} tokens in all ({min(lengths)} to {max(lengths)} in fact)." in note


def test_the_answer_has_the_last_tokens(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    (records,) = sweep(matched_plan("addition:2"), tmp_path).records.values()
    for record in records:
        tokens = tokenise(tokenizer, record.prompt, False, Vocabulary(tokenizer))
        assert "".join(tokens.texts[tokens.answer_start :]) == record.prompt.answer


def test_a_finished_sweep_goes_on_without_the_model(tmp_path: Path) -> None:
    first = sweep(matched_plan("facts:1", "commonsense"), tmp_path)
    next((tmp_path / "records").rglob("0001-*.json")).unlink()
    engine = ScriptedEngine()
    sweep(matched_plan("facts:1", "commonsense"), tmp_path, engine)
    assert len(engine.runs) == 1
    engine = ScriptedEngine()
    again = sweep(matched_plan("facts:1", "commonsense"), tmp_path, engine)
    assert not engine.loads
    for cell, records in first.records.items():
        assert [record.key for record in again.records[cell]] == [record.key for record in records]


@pytest.fixture
def own(tmp_path: Path) -> dict[str, str]:
    """A file of prompts, all more than are asked, one of them there twice."""
    path = tmp_path / "own.jsonl"
    rows = [{"text": f"row {n % 29} says {n % 29}", "answer": f" {n % 29}"} for n in range(30)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return {"own": str(path)}


def test_other_processes_and_models_fill_prompts_alike(tmp_path: Path, own: dict[str, str]) -> None:
    tasks, drawing = ("facts:2", "commonsense", "own"), Drawing(4, matched=TARGET)
    plan = make_plan(("alpha", "beta"), tasks, drawing, own)
    whole = sweep(plan, tmp_path / "whole")
    sweep(plan, tmp_path / "part", shard=Shard(2, 3))
    assert contents(tmp_path / "part").items() <= contents(tmp_path / "whole").items()
    alpha, beta = plan.models
    for task in plan.tasks:
        records = whole.records[Cell(alpha, task)]
        assert texts_of(records) == texts_of(whole.records[Cell(beta, task)])
    state = SweepState(plan, SweepFolder(tmp_path / "sent", pytest.fail), lambda _: None, Shard())
    for cell, records in whole.records.items():
        messages = run_order(ScriptedEngine, order_bytes(state, cell, [1, 3]), str)
        sent = [read_record(data) for kind, data in messages if kind == "record"]
        assert [record.key for record in sent] == [records[1].key, records[3].key]


def test_a_stored_task_gives_all_other_rows_and_never_the_prompt(
    tmp_path: Path, own: dict[str, str]
) -> None:
    plan = make_plan(("alpha",), ("own",), Drawing(2, matched=10_000), own)
    (records,) = sweep(plan, tmp_path).records.values()
    for record in records:
        *others, last = record.prompt.text.split("\n\n")
        assert last not in others
        assert len(others) == 28 + (last != "row 0 says 0")


def test_others_depend_on_the_seed(tmp_path: Path) -> None:
    first, second = (
        sweep(matched_plan("commonsense", seed=seed), tmp_path / str(seed)) for seed in (1, 2)
    )
    ((ours,), (theirs,)) = (outcome.records.values() for outcome in (first, second))
    assert not set(texts_of(ours)) & set(texts_of(theirs))
    assert [text.split("\n\n")[-1] for text in texts_of(ours)] == [
        text.split("\n\n")[-1] for text in texts_of(theirs)
    ]


def test_both_texts_of_a_pair_follow_the_same_others() -> None:
    task = TaskChoice("addition_contrast", "1", matched=40)
    (prompt,) = make_prompts("addition_contrast", 1)
    filled = filled_up(task, prompt, (), n_words, 0)
    front = filled.text.removesuffix(prompt.text)
    assert front
    assert filled.contrast == front + prompt.contrast
    rows = [prompt, Prompt(prompt.contrast), Prompt("another row")]
    filled = filled_up(TaskChoice("own", matched=99), prompt, rows, n_words, 0)
    assert filled.text == f"another row\n\n{prompt.text}"


def test_a_prompt_that_is_too_long_stays_as_it_is() -> None:
    (prompt,) = make_prompts("facts", 3)
    task = TaskChoice("facts", "3", matched=n_words(prompt) + 1)
    assert filled_up(task, prompt, (), n_words, 0) == prompt


def test_models_answer_filled_prompts_too(tmp_path: Path) -> None:
    plan = with_written(matched_plan("addition:1"), Writing(max_tokens=3))
    given, written = sweep(plan, tmp_path).records.values()
    assert [record.prompt.question for record in written] == [
        record.prompt.question for record in given
    ]
