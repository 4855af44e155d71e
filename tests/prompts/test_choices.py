"""Generated tasks with options to choose from."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations
from statistics import fmean

import pytest

from depthtui.api.keywords import prompts_of
from depthtui.data.run import Prompt
from depthtui.errors import DepthError
from depthtui.prompts.asking import Asking
from depthtui.prompts.choices import problem_of
from depthtui.prompts.tasks import TASKS, WITH_CHOICES, make_prompts
from depthtui.prompts.vocabulary import ENDINGS

WITH = Asking(choices=True)
DRAWN = [name for name in WITH_CHOICES if name in TASKS]
EVERY_LEVEL = [(name, level) for name in DRAWN for level in TASKS[name].levels]


@pytest.mark.parametrize(("name", "level"), EVERY_LEVEL)
def test_four_options_can_be_compared_at_every_level(name: str, level: int) -> None:
    prompts = make_prompts(name, level, 40, 3, WITH)
    for prompt in prompts:
        assert len(prompt.choices) == 4
        assert not problem_of(prompt)
        assert prompt.text.endswith(prompt.answer)
        assert (prompt.task, prompt.level) == (name, str(level))
    # The right one has no place of its own.
    assert {prompt.right_choice for prompt in prompts} == {0, 1, 2, 3}


@pytest.mark.parametrize("name", DRAWN)
def test_options_change_nothing_but_with_the_seed(name: str) -> None:
    prompts = make_prompts(name, None, 9, 3, WITH)
    assert prompts == make_prompts(name, None, 9, 3, WITH)
    assert prompts[:4] == make_prompts(name, None, 4, 3, WITH)
    assert prompts != make_prompts(name, None, 9, 4, WITH)
    plain = make_prompts(name, None, 9, 3)
    assert not any(prompt.choices for prompt in plain)
    if name != "word_problem":
        assert [prompt.text for prompt in prompts] == [prompt.text for prompt in plain]


@pytest.mark.parametrize("name", ["addition", "multiplication"])
def test_wrong_numbers_are_as_long_as_the_right_one(name: str) -> None:
    for level in TASKS[name].levels:
        for prompt in make_prompts(name, level, 40, 3, WITH):
            # But for those in the neighbourhood of 10 and 100.
            if int(prompt.answer) > 103:
                assert {len(choice) for choice in prompt.choices} == {len(prompt.answer)}
            assert all(choice.isdecimal() and choice[0] != "0" for choice in prompt.choices)


def middle(numbers: list[int]) -> int:
    return min(numbers, key=lambda number: abs(number - fmean(numbers)))


def commonest_digits(numbers: list[int]) -> int:
    """The number with the most digits that most numbers have at their places."""
    texts = [f"{number:030}" for number in numbers]
    votes = [Counter(digits) for digits in zip(*texts, strict=True)]
    counts = [sum(vote[digit] for vote, digit in zip(votes, text, strict=True)) for text in texts]
    return numbers[counts.index(max(counts))]


def closest_to_another(numbers: list[int]) -> int:
    return min(combinations(numbers, 2), key=lambda pair: abs(pair[0] - pair[1]))[0]


def unless_far(numbers: list[int]) -> int:
    """The largest where it is more than twice the least, else the least."""
    return max(numbers) if max(numbers) > 2 * min(numbers) else min(numbers)


GUESSERS = [middle, commonest_digits, closest_to_another, unless_far]
LEVELS = [("addition", (2, 3, 8)), ("multiplication", (2, 4)), ("word_problem", (1, 3, 8))]


@pytest.mark.parametrize(("name", "level"), [(name, n) for name, every in LEVELS for n in every])
def test_who_never_reads_the_question_guesses_a_quarter(name: str, level: int) -> None:
    prompts = make_prompts(name, level, 1000, 3, WITH)
    options = [[int(choice) for choice in prompt.choices] for prompt in prompts]
    right = [int(prompt.answer) for prompt in prompts]
    # Four standard errors.
    quarter = pytest.approx(0.25, abs=4 * (0.25 * 0.75 / len(prompts)) ** 0.5)
    pairs = list(zip(options, right, strict=True))
    ranks = Counter(sorted(numbers).index(answer) for numbers, answer in pairs)
    assert [ranks[rank] / len(prompts) for rank in range(4)] == [quarter] * 4
    for guess in GUESSERS:
        assert fmean(guess(numbers) == answer for numbers, answer in pairs) == quarter, guess


def test_a_word_problem_is_asked_for_its_number_alone() -> None:
    plain, asked = (make_prompts("word_problem", 4, 30, 3, how) for how in (Asking(), WITH))
    for solved, prompt in zip(plain, asked, strict=True):
        problem = re.search(r"\n(Problem: .*)\n", solved.text)
        assert problem is not None
        assert prompt.question == f"{problem[1]}\nAnswer:"
        assert f"The final answer is{prompt.answer}" in solved.text


def test_wrong_answers_of_a_story_are_those_with_other_numbers() -> None:
    solved, prompt = (make_prompts("word_problem", 1, 60, 3, how) for how in (Asking(), WITH))
    n_near = 0
    for story, asked in zip(solved, prompt, strict=True):
        value, sign = re.search(r"(\d+) ([-+*/]) ", story.answer).groups()  # type: ignore[union-attr]
        wrong = {int(choice) for choice in asked.choices} - {int(asked.answer)}
        if sign == "*":
            n_near += sum(number % int(value) == 0 for number in wrong)
        elif sign == "+":
            n_near += sum(3 <= number - int(value) <= 60 for number in wrong)
    assert n_near > 60


def test_wrong_facts_are_of_the_same_kind() -> None:
    for prompt in make_prompts("facts", 3, 30, 3, WITH):
        values = {choice.strip() for choice in prompt.choices}
        assert any(values <= set(ending.values) for ending in ENDINGS)
        told = [value for value in values if value in prompt.question]
        assert len(told) == 2


@pytest.mark.parametrize("name", sorted(set(TASKS) - set(DRAWN)))
def test_a_task_without_options_names_those_that_have_some(name: str) -> None:
    assert not TASKS[name].has_choices
    with pytest.raises(DepthError, match=f"The task {name} has no options") as caught:
        make_prompts(name, asking=WITH)
    assert all(other in caught.value.hint for other in WITH_CHOICES)


def test_choices_of_a_program_are_checked() -> None:
    good = Prompt("1 + 1 = 2", "2", choices=("2", "3"))
    assert prompts_of(good) == [good]
    with pytest.raises(DepthError, match="Prompt 0: the answer '2' is none of the choices"):
        prompts_of(Prompt("1 + 1 = 2", "2", choices=("3", "4")))


def test_choices_that_differ_by_a_space_alone_are_equal() -> None:
    """In a chat, where the space goes, they have the same tokens."""
    assert problem_of(Prompt("2 + 2 = 4", "4", choices=(" 4", "4"))) == "two choices are ' 4'"
