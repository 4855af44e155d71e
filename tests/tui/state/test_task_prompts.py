"""Where a prompt stands in its task."""

from __future__ import annotations

from depthtui.data.run import Prompt
from depthtui.prompts.tasks import TASKS, make_prompts
from depthtui.tui.state.task_prompts import first_prompt, neighbour, place, prompts_of, task_title


def test_the_first_prompt_is_the_first_of_commonsense() -> None:
    assert place(first_prompt(), 123) == (0, len(prompts_of("commonsense", None, 123)))


def test_neighbours_go_around_the_end() -> None:
    first = first_prompt()
    last = neighbour(first, -1, 123)
    assert last == prompts_of("commonsense", None, 123)[-1]
    assert last is not None
    assert neighbour(last, 1, 123) == first


def test_a_generated_prompt_has_neighbours_of_its_level() -> None:
    prompt = make_prompts("addition", 2, 1, 9)[0]
    after = neighbour(prompt, 1, 9)
    assert after is not None
    assert (after.task, after.level) == ("addition", "2")


def test_a_prompt_with_choices_has_neighbours_with_choices() -> None:
    prompts = prompts_of("facts", 2, 9, choices=True)
    assert all(prompt.choices for prompt in prompts)
    assert place(prompts[3], 9) == (3, len(prompts))
    assert neighbour(prompts[3], 1, 9) == prompts[4]


def test_the_title_says_the_level_in_what_the_task_counts() -> None:
    titles = [task_title(Prompt("x", task="addition", level=level)) for level in ("1", "3", "")]
    assert titles == ["Addition, 1 digit", "Addition, 3 digits", "Addition"]
    assert task_title(Prompt("x", task="math", level="1")) == "MATH, level 1"


def test_a_typed_prompt_has_no_place() -> None:
    assert place(Prompt("hello"), 123) is None
    assert neighbour(Prompt("hello"), 1, 123) is None
    assert place(Prompt("x", task="addition", level="many"), 123) is None


def test_every_level_of_every_task_offers_prompts() -> None:
    for task in TASKS.values():
        for level in task.levels or (None,):
            assert prompts_of(task.name, level, 123)
