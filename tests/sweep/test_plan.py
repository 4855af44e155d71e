"""What a sweep is asked for: on the command line and in a file."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from depthtui.data.run import Prompt
from depthtui.data.run_settings import Drawing, ModelSpec, RunSettings, SummarySettings, Writing
from depthtui.errors import DepthError
from depthtui.prompts.tasks import make_prompts
from depthtui.sweep.paper import with_paper_protocol
from depthtui.sweep.plan import (
    SweepPlan,
    TaskChoice,
    check_plan,
    parse_data,
    parse_task,
    population,
    with_absolute_paths,
    with_written,
)
from depthtui.sweep.plan_file import read_plan
from depthtui.sweep.prompts import Candidates, choose
from depthtui.sweep.saved import default_folder, plan_from_text, plan_text

EMPTY = SweepPlan((), ())


def levels(text: str, all_levels: bool = False) -> list[str]:
    return [item.level for item in parse_task(text, {}, Drawing(), all_levels)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("addition", ["3"]),
        ("addition:1", ["1"]),
        ("addition:1,3,3,5", ["1", "3", "5"]),
        ("addition:2-4", ["2", "3", "4"]),
        ("multiplication:*", [str(index) for index in range(1, 11)]),
        ("commonsense", [""]),
        ("commonsense:*", [""]),
        ("math:*", ["1", "2", "3", "4", "5"]),
        ("math", [""]),
    ],
)
def test_levels_of_a_task(text: str, expected: list[str]) -> None:
    assert levels(text) == expected


def test_all_levels_where_none_is_named() -> None:
    assert len(levels("facts", all_levels=True)) == 8
    assert levels("facts:2", all_levels=True) == ["2"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("poetry", "no task 'poetry'"),
        ("addition:0", "no level '0'"),
        ("addition:5-2", "Write addition:2-5"),
        ("addition:1-99", "no level '1-99'"),
        ("addition:hard", "no level 'hard'"),
        ("commonsense:2", "no levels"),
    ],
)
def test_a_wrong_task_is_refused(text: str, problem: str) -> None:
    with pytest.raises(DepthError, match=problem):
        levels(text)


def test_a_file_is_a_task_of_its_own() -> None:
    data = parse_data(["mine=some/file.jsonl", "gsm8k=rows.jsonl"])
    assert parse_task("mine", data, Drawing(4)) == [TaskChoice("mine", "", "some/file.jsonl", 4)]
    assert parse_task("gsm8k", data, Drawing())[0].data == "rows.jsonl"
    with pytest.raises(DepthError, match="task of depthtui's own"):
        parse_task("addition", {"addition": "x.jsonl"}, Drawing())
    with pytest.raises(DepthError, match="names no file"):
        parse_data(["mine"])


def test_titles_say_the_level_in_its_unit() -> None:
    assert [TaskChoice("addition", name).title for name in ("1", "4")] == [
        "addition, 1 digit",
        "addition, 4 digits",
    ]
    assert TaskChoice("math", "3").title == "math, level 3"
    assert TaskChoice("commonsense").title == "commonsense"


def test_a_plan_without_models_or_tasks_is_refused() -> None:
    with pytest.raises(DepthError, match="no model"):
        check_plan(EMPTY)
    with pytest.raises(DepthError, match="no task"):
        check_plan(SweepPlan((ModelSpec(),), ()))
    twice = (TaskChoice("gsm8k", examples=1), TaskChoice("gsm8k", examples=2))
    with pytest.raises(DepthError, match="gsm8k is there twice"):
        check_plan(SweepPlan((ModelSpec(),), twice))
    doubled = SweepPlan((ModelSpec(), ModelSpec()), (TaskChoice("facts", "1"),) * 2)
    assert len(check_plan(doubled).cells) == 1


PLAN = """
examples = 7
metrics = ["logit_lens"]
seed = 5
kl_threshold = 0.4
include_first_token = false

[[model]]
name = "Qwen/Qwen2.5-7B"
quantize = "8bit"

[[model]]
name = "demo"
family = "SmolLM2"

[[task]]
name = "addition"
level = [1, "3-4"]

[[task]]
name = "facts"
examples = 2

[[task]]
name = "gsm8k"
data = "rows.jsonl"
max_tokens = 400
sample = true
matched = 512

[[task]]
name = "piqa"
choices = true
shots = 5
"""


def file_plan(tmp_path: Path, text: str) -> SweepPlan:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    return read_plan(path, EMPTY, Drawing(), Writing())


def test_a_file_says_it_all(tmp_path: Path) -> None:
    plan = file_plan(tmp_path, PLAN)
    assert plan.models == (ModelSpec("Qwen/Qwen2.5-7B", quantize="8bit"), ModelSpec("demo"))
    assert plan.tasks == (
        TaskChoice("addition", "1", examples=7),
        TaskChoice("addition", "3", examples=7),
        TaskChoice("addition", "4", examples=7),
        TaskChoice("facts", "2", examples=2),
        TaskChoice("gsm8k", "", str(tmp_path / "rows.jsonl"), 7, 400, True, 512),
        TaskChoice("piqa", examples=7, choices=True, shots=5),
    )
    assert plan.run == RunSettings(metrics=("logit_lens",), seed=5)
    assert plan.summary == SummarySettings(0.4, include_first_token=False, seed=5)
    assert plan.families == (("demo", "SmolLM2"),)
    assert check_plan(plan).families == plan.families
    assert plan_from_text(plan_text(plan)) == plan


def test_a_file_lets_models_write(tmp_path: Path) -> None:
    text = f"write = true\nmax_new_tokens = 4\ntop_p = 0.8\ntemperature = 1\n{PLAN}"
    plan = file_plan(tmp_path, text)
    assert plan.tasks[::2] == file_plan(tmp_path, PLAN).tasks
    assert [task.unwritten for task in plan.tasks[1::2]] == list(plan.tasks[::2])
    assert {task.write for task in plan.tasks[1::2]} == {Writing(4, 1, top_p=0.8, seed=5)}
    assert with_written(plan, Writing()) == plan
    assert check_plan(plan) == plan
    off = text.replace("write = true", "write = false")
    assert file_plan(tmp_path, off) == file_plan(tmp_path, PLAN)


def test_a_family_changes_no_folder(tmp_path: Path) -> None:
    plan = file_plan(tmp_path, PLAN)
    assert default_folder(plan, tmp_path) == default_folder(replace(plan, families=()), tmp_path)
    other = replace(plan, models=plan.models[:1])
    assert default_folder(plan, tmp_path) != default_folder(other, tmp_path)
    before = json.loads(plan_text(plan))
    del before["families"]
    assert plan_from_text(json.dumps(before)) == replace(plan, families=())


def test_prompts_that_are_not_filled_leave_no_trace_in_a_plan() -> None:
    plain = SweepPlan((ModelSpec("a"),), (TaskChoice("facts"),))
    assert set(json.loads(plan_text(plain))["tasks"][0]) == {
        *("name", "level", "data", "examples", "max_tokens", "sample"),
    }


def test_a_kept_plan_is_read_strictly() -> None:
    plan = SweepPlan((ModelSpec("a"),), (TaskChoice("facts"),))
    body = json.loads(plan_text(plan))
    what_if = {**body, "run": {**body["run"], "skipped": [{"layer": 1}]}}
    assert plan_from_text(json.dumps(what_if)) == plan
    for changes, problem in (
        ({"tasks": [{"name": "facts", "examples": "3"}]}, "tasks[0].examples must be a whole"),
        ({"later": 1}, "it has an unknown key, 'later'"),
        ({"tasks": [{"name": "facts", "later": 1}]}, "tasks[0] has an unknown key, 'later'"),
        ({"models": [{"name": 3}]}, "models[0].name must be a text"),
        ({"summary": {"lens": None}}, "summary.lens must be a text"),
        ({"families": [["a"]]}, "families[0] must be a list of 2"),
    ):
        with pytest.raises(ValueError, match=re.escape(problem)):
            plan_from_text(json.dumps(body | changes))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model = 3", "model is no list of tables"),
        ("exmples = 3", "no key exmples"),
        ("examples = 0", "examples must be a whole number from 1 to 1000000, not 0"),
        ("examples = true", "examples must be"),
        ("matched = -1", "matched must be a whole number of at least 1, not -1"),
        ("kl_threshold = 2", "kl_threshold must be a number from 0 to 1, not 2"),
        ('metrics = ["logit_lense"]', "metrics must be"),
        ("[[model]]\ndtype = 'float32'", "model 1 has no name"),
        ("[[model]]\nname = 'a'\ndtype = 'fp8'", 'model 1: dtype must be "auto" or'),
        ("[[task]]\nlevel = 3", "task 1 has no name"),
        (
            "[[task]]\nname = 'facts'\n[[task]]\nname = 'addition'\nlevel = 99",
            "task 2: .*level '99'",
        ),
        ("[[model]]\nname = 'demo'\nfamily = 3", "model 1: family must be text in quotes"),
        ("[[task]]\nname = 'facts'\nlevel = true", "task 1: level must be"),
        ("[[task]]\nname = 'addition'\ndata = ''", "data must be text in quotes"),
        ("[[task]]\nname = 'facts'\nlevle = 1", "task 1: there is no key levle"),
        ("top_k = 3", "top_k needs write = true"),
        ("examples =", "not valid TOML"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(DepthError, match=problem):
        file_plan(tmp_path, text)


def test_files_and_folders_are_named_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "mine.jsonl").write_text("")
    monkeypatch.chdir(tmp_path)
    models = (ModelSpec("model"), ModelSpec("some/model"), ModelSpec("demo"))
    tasks = (TaskChoice("mine", data="mine.jsonl"), TaskChoice("facts", "1"))
    families = (("model", "x"), ("some/model", "x"))
    plan = with_absolute_paths(SweepPlan(models, tasks, families=families))
    assert plan.families == ((str(tmp_path / "model"), "x"), ("some/model", "x"))
    assert [model.name for model in plan.models] == [str(tmp_path / "model"), "some/model", "demo"]
    assert [choice.data for choice in plan.tasks] == [str(tmp_path / "mine.jsonl"), ""]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DepthError, match="no file"):
        read_plan(tmp_path / "none.toml", EMPTY, Drawing(), Writing())


def test_the_papers_protocol() -> None:
    own = SweepPlan((ModelSpec(),), (TaskChoice("facts", "1"), TaskChoice("gsm8k", examples=3)))
    plan = with_paper_protocol(own, {"gsm8k": "g.jsonl"})
    assert plan.tasks == (
        TaskChoice("hellaswag"),
        TaskChoice("gsm8k", data="g.jsonl"),
        TaskChoice("aime24", examples=5, max_tokens=400),
        TaskChoice("facts", "1"),
    )


def test_of_the_papers_data_sets_those_are_taken_that_can_be_had() -> None:
    plan = with_paper_protocol(SweepPlan((), ()), {"gsm8k": "g.jsonl"}, ["hellaswag", "aime24"])
    assert plan.tasks == (TaskChoice("gsm8k", data="g.jsonl"),)
    with pytest.raises(DepthError, match="None of the paper's data sets"):
        with_paper_protocol(SweepPlan((), ()), {}, ["hellaswag", "gsm8k", "aime24"])


class TestChoosing:
    def test_generated_prompts_are_those_of_the_task(self) -> None:
        task = TaskChoice("addition", "2", examples=4)
        chosen = choose(task, Candidates(task, 7), lambda _: 0)
        assert chosen == make_prompts("addition", 2, 4, 7)

    def test_long_prompts_make_room_for_the_next(self) -> None:
        task = TaskChoice("commonsense", examples=3, max_tokens=60)
        prompts = make_prompts("commonsense", count=17)
        long = len(prompts[1].text)
        task = TaskChoice("commonsense", examples=3, max_tokens=long - 1)
        chosen = choose(task, Candidates(task, 0), lambda prompt: len(prompt.text))
        assert chosen == [text for text in prompts if len(text.text) < long][:3]

    def test_prompts_are_made_only_as_far_as_asked(self, tmp_path: Path) -> None:
        path = tmp_path / "gsm8k.jsonl"
        path.write_text(
            '{"question": "1?", "answer": "a\\n#### 1"}\n{"question": "2?", "answer": "x"}\n'
        )
        task = TaskChoice("gsm8k", "", str(path), examples=1)
        candidates = Candidates(task, 0)
        assert len(choose(task, candidates, lambda _: 0)) == 1
        with pytest.raises(DepthError, match="row 2"):
            list(candidates)

    def test_a_sample_depends_on_the_seed_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.jsonl"
        path.write_text("".join(f'{{"text": "t{n}"}}\n' for n in range(40)))
        task = TaskChoice("mine", "", str(path), examples=5, sample=True)
        first, again, other = (list(Candidates(task, seed))[:5] for seed in (1, 1, 2))
        assert first == again != other
        assert first[0].task == "mine"

    def test_no_prompt_at_all_is_an_error(self) -> None:
        task = TaskChoice("commonsense", max_tokens=1)
        with pytest.raises(DepthError, match="no prompt of at most 1 token"):
            choose(task, [Prompt("a b")], lambda _: 2)


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([("addition", "1"), ("addition", "2")], "draws of this generator"),
        ([("addition", "1"), ("facts", "2")], "draws of these generators"),
        ([("gsm8k", "")], "prompts of this data set"),
        ([("commonsense", ""), ("gsm8k", "")], "prompts of these data sets"),
        (
            [("facts", "1"), ("commonsense", "")],
            "draws of this generator and prompts of this data set",
        ),
        ([("facts", "1", "mine.jsonl")], "prompts of this data set"),
    ],
)
def test_a_population_is_of_generators_and_of_data_sets(
    tasks: list[tuple[str, ...]], expected: str
) -> None:
    assert population(TaskChoice(*task) for task in tasks) == expected
