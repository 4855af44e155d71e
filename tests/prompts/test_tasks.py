"""The registry of tasks, its errors, and the titles of prompts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from depthtui.data.run import Prompt
from depthtui.errors import DepthError
from depthtui.prompts.tasks import TASKS, level_words, make_prompts, prompt_title
from tests.hostile import HOSTILE, HOSTILE_PROMPT


def test_tasks_are_described() -> None:
    assert list(TASKS) == [
        "commonsense",
        "grade_school",
        "competition",
        "addition",
        "multiplication",
        "word_problem",
        "facts",
        "copying",
        "addition_contrast",
        "facts_contrast",
    ]
    for name, task in TASKS.items():
        assert task.name == name
        assert task.title
        assert task.sentence.endswith(".")
        assert (task.is_generated) == bool(task.levels) == bool(task.dial)
        assert task.default_level is None if not task.is_generated else True
        assert not task.levels or task.default_level in task.levels
        assert len(make_prompts(name, count=12)) == 12


@pytest.mark.parametrize("level", [None, ""])
def test_no_level_means_the_default(level: str | None) -> None:
    assert make_prompts("addition", level) == make_prompts(
        "addition", TASKS["addition"].default_level
    )


def test_a_level_is_told_in_what_the_task_counts() -> None:
    addition, facts = TASKS["addition"], TASKS["facts"]
    words = [addition.level_words(1), addition.level_words("3"), facts.level_words("1")]
    assert words == ["1 digit", "3 digits", "1 hop"]
    assert TASKS["commonsense"].level_words("1") == "1"


def test_unknown_task_names_the_tasks() -> None:
    with pytest.raises(DepthError) as caught:
        make_prompts("poetry")
    assert "'poetry'" in caught.value.message
    assert all(name in caught.value.hint for name in TASKS)


@pytest.mark.parametrize("level", [0, 21, -1, "x", "3.5", "१x", "9" * 5000])
def test_unknown_level_names_the_levels(level: int | str) -> None:
    with pytest.raises(DepthError) as caught:
        make_prompts("addition", level)
    assert caught.value.hint == "Levels: 1 to 20 digits."
    assert len(caught.value.message) < 200


def test_a_written_task_has_no_level() -> None:
    with pytest.raises(DepthError, match="has no levels"):
        make_prompts("commonsense", 3)


@pytest.mark.parametrize("count", [0, -1, 10_001])
def test_bad_count(count: int) -> None:
    with pytest.raises(DepthError, match="1 to 10,000"):
        make_prompts("addition", 3, count)


def test_a_written_task_says_how_many_it_has() -> None:
    available = len(make_prompts("competition", count=15))
    with pytest.raises(DepthError, match=f"has {available} prompts, not {available + 1}"):
        make_prompts("competition", count=available + 1)


def test_a_generator_that_runs_out_says_so() -> None:
    every = make_prompts("addition", 1, 81)
    assert len({prompt.text for prompt in every}) == 81
    with pytest.raises(DepthError, match="only 81 prompts"):
        make_prompts("addition", 1, 82)


@pytest.mark.parametrize("task", list(TASKS))
def test_titles_tell_prompts_apart(task: str) -> None:
    prompts = make_prompts(task, count=12)
    titles = [prompt_title(prompt) for prompt in prompts]
    assert all(0 < len(title) <= 60 and title.isprintable() for title in titles)
    assert len({prompt_title(prompt, 200) for prompt in prompts}) == 12


def test_title_leaves_the_instruction_out() -> None:
    assert prompt_title(Prompt("Give the answer directly: 2 + 2 = 4", "4")) == "2 + 2 = 4"
    assert prompt_title(make_prompts("facts")[0]).endswith("?")
    two = "Give the answer directly: 1 + 1 = 2\n\nGive the answer directly: 2 + 3 = 5"
    assert prompt_title(Prompt(two, "5")) == "2 + 3 = 5"
    assert prompt_title(Prompt("Solve.\nProblem: Two ducks.\nSolution: 2")) == "Two ducks."
    assert prompt_title(Prompt("Question: Who leads?\nAnswer: Ada", " Ada")) == "Who leads?"


def test_title_of_hostile_text_is_one_printable_line() -> None:
    for text in (*HOSTILE.values(), HOSTILE_PROMPT):
        title = prompt_title(Prompt(text), 30)
        assert title.isprintable()
        assert 0 < len(title) <= 30


def test_title_of_nothing() -> None:
    assert prompt_title(Prompt(" \n")) == "(empty)"


def test_import_is_light() -> None:
    code = (
        "import sys, depthtui.prompts\n"
        "print({'torch', 'transformers', 'textual', 'rich'} & set(sys.modules))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert process.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (Prompt("", task="addition", level="1"), "1 digit"),
        (Prompt("", task="word_problem", level="3"), "3 steps"),
        (Prompt("", task="commonsense"), ""),
        (Prompt("", task="mine", level="hard"), "hard"),
    ],
)
def test_levels_are_said_with_what_they_count(prompt, words):
    assert level_words(prompt) == words
