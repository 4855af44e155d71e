"""Solved others before a question."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from depthtui.data.run import Prompt
from depthtui.errors import DepthError
from depthtui.prompts.asking import Asking
from depthtui.prompts.tasks import TASKS, make_prompts, written_rows

STORED = [Prompt(f"Question {n}? Answer {n}", f"Answer {n}", "own") for n in range(40)]


def parts(prompt: Prompt) -> list[str]:
    return prompt.text.split("\n\n")


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_asked_behind_others(name: str) -> None:
    plain, asked = (make_prompts(name, None, 6, 3, Asking(shots=n, seed=3)) for n in (0, 3))
    texts = {prompt.text for prompt in plain}
    for prompt, behind in zip(plain, asked, strict=True):
        *shots, question = parts(behind)
        assert (question, behind.answer) == (prompt.text, prompt.answer)
        assert len(set(shots)) == 3
        assert not texts.intersection(shots)
        assert bool(behind.contrast) == bool(prompt.contrast)
        if prompt.contrast:
            assert behind.contrast.split("\n\n") == [*shots, prompt.contrast]


def test_shots_depend_on_the_seed_and_the_prompt() -> None:
    asked = Asking(shots=2).ask_stored(STORED, "x")
    assert asked == Asking(shots=2).ask_stored(STORED, "x")
    assert asked != Asking(shots=2, seed=4).ask_stored(STORED, "x")
    assert len({tuple(parts(prompt)[:2]) for prompt in asked}) > 20
    assert Asking().ask_stored(STORED, "x") == STORED


def test_shots_are_from_the_rows_that_are_asked_last() -> None:
    last = {prompt.text for prompt in STORED[30:]}
    for prompt in Asking(shots=5).ask_stored(STORED, "x"):
        *shots, own = parts(prompt)
        assert len(shots) == len(set(shots)) == 5
        assert set(shots) < last - {own}


HALVES = Asking(shots=2, in_halves=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: HALVES.ask_stored(STORED[:8], "x"),
        lambda: make_prompts("grade_school", None, 9, asking=HALVES),
        # All 81 sums of one digit are asked.
        lambda: make_prompts("addition", 1, 81, asking=HALVES),
    ],
)
def test_no_question_of_one_half_is_a_shot_of_the_other(make: Callable[[], list[Prompt]]) -> None:
    prompts = make()
    asked = {parts(prompt)[-1]: place for place, prompt in enumerate(prompts)}
    shots = [(place, shot) for place, prompt in enumerate(prompts) for shot in parts(prompt)[:-1]]
    of_asked = [(place, asked[shot]) for place, shot in shots if shot in asked]
    assert of_asked
    assert not [pair for pair in of_asked if sum(pair) % 2]


def test_prompts_without_an_answer_are_no_shots() -> None:
    unanswered = [Prompt(f"Line {n}", task="own") for n in range(40)]
    for prompt in Asking(shots=3).ask_stored([*STORED[:4], *unanswered], "x"):
        assert not any(shot.startswith("Line") for shot in parts(prompt)[:3])


def test_small_tasks_give_all_they_have() -> None:
    n_rows = len(written_rows("grade_school"))
    prompts = make_prompts("grade_school", None, n_rows, asking=Asking(shots=n_rows - 1))
    assert all(prompt.text.count("\nProblem: ") == n_rows for prompt in prompts)
    with pytest.raises(DepthError, match=f"has {n_rows - 1} other prompts") as caught:
        make_prompts("grade_school", asking=Asking(shots=n_rows))
    assert "--shots" in caught.value.hint
    # All 81 sums of one digit are asked: others of them are the shots.
    every = make_prompts("addition", 1, 81, asking=Asking(shots=2))
    assert all(len(set(parts(prompt))) == 3 for prompt in every)


def test_shots_of_a_prompt_with_choices_are_asked_alike() -> None:
    (prompt,) = make_prompts("word_problem", 2, 1, 3, Asking(True, 2))
    assert [part[:9] for part in parts(prompt)] == ["Problem: "] * 3
    assert all("\nAnswer: " in part for part in parts(prompt))
    assert prompt.question + prompt.choices[prompt.right_choice] == prompt.text
