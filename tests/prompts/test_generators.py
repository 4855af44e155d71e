"""The generated prompts, checked by reading them back."""

from __future__ import annotations

import re
from random import Random

import pytest

from depthtui.data.run import Prompt
from depthtui.prompts import generators
from depthtui.prompts import vocabulary as words
from depthtui.prompts.tasks import TASKS, make_prompts

GENERATED = [task for task in TASKS.values() if task.is_generated]
EVERY_LEVEL = [(task.name, level) for task in GENERATED for level in task.levels]


@pytest.mark.parametrize(("task", "level"), EVERY_LEVEL)
def test_every_level_gives_different_reproducible_prompts(task: str, level: int) -> None:
    prompts = make_prompts(task, level, 20)
    assert prompts == make_prompts(task, str(level), 20, seed=123)
    assert make_prompts(task, level, 7) == prompts[:7]
    assert len({prompt.text for prompt in prompts}) == 20
    assert prompts != make_prompts(task, level, 20, seed=124)
    for prompt in prompts:
        assert (prompt.task, prompt.level) == (task, str(level))
        assert prompt.answer
        assert prompt.text == prompt.question + prompt.answer


@pytest.mark.parametrize("task", [task.name for task in GENERATED])
def test_a_higher_level_is_longer(task: str) -> None:
    levels = TASKS[task].levels
    lengths = [
        sum(len(prompt.text) for prompt in make_prompts(task, level, 20))
        for level in (levels[0], levels[len(levels) // 2], levels[-1])
    ]
    assert lengths == sorted(set(lengths))


@pytest.mark.parametrize(("task", "sign"), [("addition", "+"), ("multiplication", "*")])
def test_arithmetic_is_right_and_has_the_digits_asked_for(task: str, sign: str) -> None:
    for digits in TASKS[task].levels:
        for prompt in make_prompts(task, digits, 20):
            pattern = rf"Give the answer directly: (\d+) {re.escape(sign)} (\d+) = (\d+)"
            match = re.fullmatch(pattern, prompt.text)
            assert match
            a, b, answer = match.groups()
            assert len(a) == len(b) == digits
            assert a[0] != "0" != b[0]
            assert int(answer) == (int(a) + int(b) if sign == "+" else int(a) * int(b))
            assert prompt.answer == answer


_LINE = re.compile(r"(.+): (\d+) ([-+*/]) (\d+) = (\d+)\.")


@pytest.mark.parametrize("steps", TASKS["word_problem"].levels)
def test_worked_solution_follows_the_story(steps: int) -> None:
    for prompt in make_prompts("word_problem", steps, 100):
        assert "{" not in prompt.text
        problem = prompt.question.split("\nProblem: ")[1]
        *lines, last = prompt.answer.split("\n")
        assert len(lines) == steps
        numbers = [int(item) for item in re.findall(r"\d+", _with_factors_as_digits(problem))]
        value = numbers[0]
        for line, number in zip(lines, numbers[1:], strict=True):
            match = _LINE.fullmatch(line)
            assert match, line
            before, sign, operand, after = int(match[2]), match[3], int(match[4]), int(match[5])
            assert before == value
            assert operand == number
            # Division is checked by multiplication: it must leave no remainder.
            assert {
                "+": before + operand == after,
                "-": before - operand == after,
                "*": before * operand == after,
                "/": after * operand == before,
            }[sign]
            assert 2 <= after <= 400
            value = after
        assert last == f"The final answer is {value}"


def _with_factors_as_digits(text: str) -> str:
    for factor, word in words.TIMES.items():
        text = text.replace(f" {word}", f" {factor}")
    return text


def test_sentences_say_the_operation() -> None:
    signs = {event.sentence: event.sign for story in words.STORIES for event in story.events}
    for sentence, sign in signs.items():
        assert ("{times}" in sentence or "multiplies" in sentence) == (sign == "*"), sentence
        assert any(name in sentence for name in ("equal", "evenly", "divides")) == (sign == "/")
        assert ("{x}" in sentence) != ("{times}" in sentence)


def test_word_problems_are_varied() -> None:
    prompts = make_prompts("word_problem", 4, 200)
    signs = "".join(re.findall(r" ([-+*/]) \d+ =", "".join(prompt.answer for prompt in prompts)))
    assert {sign: signs.count(sign) > 40 for sign in "+-*/"} == dict.fromkeys("+-*/", True)
    openings = {
        re.sub(r"\d+", "N", prompt.text.split("Problem: ")[1].split(".")[0]) for prompt in prompts
    }
    assert len(openings) > 60


def test_no_story_runs_dry() -> None:
    for seed in range(300):
        assert generators.word_problem(10, Random(seed)).answer.count("\n") == 10


def follow(prompt: Prompt) -> tuple[str, int]:
    """Answer the question from the facts alone, and count the facts needed."""
    facts, question, _ = prompt.text.split("\n")
    link = re.compile(r"The ([a-z ]+) of (\w+) is (\w+)\.")
    people = {(relation, a): b for relation, a, b in link.findall(facts)}
    ends = dict(
        re.findall(r"(\w+) (?:lives in|plays the|has a pet|always wears|grows) (\w+)\.", facts)
    )
    assert len(people) + len(ends) == facts.count(".")
    chain = re.findall(r"the ([a-z ]+?) of (?=the |[A-Z])", question)
    person = re.findall(r"[A-Z]\w+", question)[-1]
    for relation in reversed(chain):
        person = people[relation, person]
    return ends[person], len(chain) + 1


@pytest.mark.parametrize("hops", TASKS["facts"].levels)
def test_facts_lead_to_the_answer_in_as_many_hops(hops: int) -> None:
    for prompt in make_prompts("facts", hops, 50):
        answer, hops_needed = follow(prompt)
        assert prompt.answer == f" {answer}"
        assert hops_needed == hops
        # The other chain ends in another value, and its facts are as many.
        assert prompt.text.split("\n")[0].count(".") == 2 * hops


@pytest.mark.parametrize("length", [2, 20])
def test_a_list_is_copied_and_names_nothing_twice(length: int) -> None:
    for prompt in make_prompts("copying", length, 50):
        first, again = (line.partition(":")[2] for line in prompt.text.split("\n"))
        assert first == again == prompt.answer
        assert len(set(first.split(", "))) == length


def test_facts_are_in_no_order() -> None:
    begins_with_the_first_link = 0
    for prompt in make_prompts("facts", 3, 100):
        facts, question, _ = prompt.text.split("\n")
        name = re.findall(r"[A-Z]\w+", question)[-1]
        begins_with_the_first_link += name in facts.split(".")[0]
    assert 5 < begins_with_the_first_link < 50


def test_words_are_distinct() -> None:
    assert len(set(words.INVENTED_NAMES)) == len(words.INVENTED_NAMES)
    assert len(words.INVENTED_NAMES) >= 2 * TASKS["facts"].levels[-1]
    assert len(set(words.RELATIONS)) == len(words.RELATIONS) >= TASKS["facts"].levels[-1] - 1


@pytest.mark.parametrize("digits", TASKS["addition_contrast"].levels)
def test_a_sum_and_its_contrast_differ_in_one_digit_and_the_answer(digits: int) -> None:
    for prompt in make_prompts("addition_contrast", digits, 50):
        sums = []
        for text in (prompt.text, prompt.contrast):
            a, b, answer = map(int, re.findall(r"\d+", text))
            assert a + b == answer
            assert len(str(a)) == digits
            sums.append((str(a), b, str(answer)))
        (ours, b, answer), (theirs, same, other) = sums
        assert sum(x != y for x, y in zip(ours, theirs, strict=True)) == 1
        assert b == same
        assert len(answer) == len(other)
        assert answer != other
        assert prompt.answer == answer


@pytest.mark.parametrize("hops", TASKS["facts_contrast"].levels)
def test_a_fact_and_its_contrast_differ_in_a_name_and_the_answer(hops: int) -> None:
    for prompt in make_prompts("facts_contrast", hops, 25):
        ours, theirs = prompt.text.split(), prompt.contrast.split()
        apart = [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]]
        assert len(apart) == 2
        assert f" {ours[-1]}" == prompt.answer
        assert ours[-1] != theirs[-1]
        assert abs(len(apart[0][0]) - len(apart[0][1])) <= 1
        (country,) = (
            candidate
            for candidate in words.COUNTRIES
            if apart[0][0] in (candidate.name, candidate.city)
        )
        assert ours[-1] == (country.language if hops == 3 else country.capital)
