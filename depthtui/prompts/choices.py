"""Options to choose from: what they must be, and those of generated prompts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, combinations, count, islice
from random import Random

from depthtui.data.run import Prompt
from depthtui.errors import DepthError, short_repr
from depthtui.prompts import vocabulary as words

WRONG = 3
"""Wrong options of a generated prompt."""


def problem_of(prompt: Prompt) -> str:
    """Why a prompt's choices cannot be compared, as a clause; empty where they can."""
    choices = prompt.choices
    if not choices:
        return ""
    if len(choices) < 2:
        return "there is one choice, not two or more"
    if not all(choice.strip() for choice in choices):
        return "a choice is empty"
    for one, other in combinations(choices, 2):
        if one.lstrip(" ") == other.lstrip(" "):
            return f"two choices are {short_repr(one)}"
        shorter, longer = sorted((one, other), key=len)
        # No text is likelier than its beginning.
        if longer.startswith(shorter):
            return f"the choice {short_repr(shorter)} is the beginning of {short_repr(longer)}"
    if prompt.answer not in choices:
        return f"the answer {short_repr(prompt.answer)} is none of the choices"
    if not prompt.question.strip():
        return "there is no question before the choices"
    return ""


def no_choices(where: str, named: Iterable[str]) -> DepthError:
    """The error for a source without options to choose from; `named` are those that have them."""
    return DepthError(
        f"{where} has no options to choose from.",
        f"Those that have: {', '.join(named)}; or a prompt file whose lines have `choices`.",
    )


def with_choices(prompt: Prompt, seed: int | str) -> Prompt:
    """A prompt of a generated task in `MAKERS`, with four options in an order by the seed.

    A word problem is asked for the number alone.
    """
    rng = Random(f"choices {seed} {prompt.text}")
    question, wrong = MAKERS[prompt.task](prompt, rng)
    number = prompt.answer.rsplit(" ", 1)[-1]
    answer = prompt.answer if question == prompt.question else f" {number}"
    choices = [answer, *wrong]
    rng.shuffle(choices)
    return replace(prompt, text=question + answer, answer=answer, choices=tuple(choices))


def _sum_choices(prompt: Prompt, rng: Random) -> tuple[str, list[str]]:
    """A carry too many or too few at any digit."""
    return prompt.question, _slipped(prompt.answer, [], rng)


def _product_choices(prompt: Prompt, rng: Random) -> tuple[str, list[str]]:
    """A factor once too often or too rarely, or a slipped digit."""
    factors = [int(number) for number in re.findall(r"\d+", prompt.question)[-2:]]
    return prompt.question, _slipped(prompt.answer, factors, rng)


def _slipped(answer: str, steps: Sequence[int], rng: Random) -> list[str]:
    """Three numbers of the answer's length that differ from it by likely mistakes."""
    places = [10**place for place in range(len(answer))]
    likely = {int(answer) + sign * step for step in (*steps, *places) for sign in (1, -1)}
    near = (int(answer) + sign * step for step in count(2) for sign in (1, -1))
    numbers = chain(rng.sample(sorted(likely), len(likely)), near)
    return _first_wrong(answer, (str(number) for number in numbers if number > 0), len(answer))


def _word_problem_choices(prompt: Prompt, rng: Random) -> tuple[str, list[str]]:
    """The results of single steps, and those where a step is left out or turned round."""
    problem = prompt.question.removeprefix(f"{words.INSTRUCTION}\n").removesuffix("\nSolution:\n")
    steps = [
        (int(value), sign, int(operand), int(result))
        for value, sign, operand, result in _STEP.findall(prompt.answer)
    ]
    answer, likely = steps[-1][-1], {value for value, *_ in steps}
    for place in range(len(steps)):
        likely |= _with_a_slip(steps, place)
    numbers = rng.sample(sorted(likely), len(likely))
    near = (answer + sign * step for step in count(1) for sign in (1, -1))
    texts = (f" {number}" for number in chain(numbers, near) if number > 0)
    return f"{problem}\nAnswer:", _first_wrong(f" {answer}", texts)


_STEP = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)\.")
_TURNED = {"+": "-", "-": "+", "*": "/", "/": "*"}


def _with_a_slip(steps: Sequence[tuple[int, str, int, int]], place: int) -> set[int]:
    """The whole results of a story where one step is left out, or turned round."""
    value, sign, operand, _ = steps[place]
    results = set()
    for result in (value, _applied(value, _TURNED[sign], operand)):
        for _, later_sign, later_operand, _ in steps[place + 1 :]:
            result = _applied(result, later_sign, later_operand)
        if result == int(result):
            results.add(int(result))
    return results


def _applied(value: float, sign: str, operand: int) -> float:
    match sign:
        case "+":
            return value + operand
        case "-":
            return value - operand
        case "*":
            return value * operand
        case _:
            return value / operand


def _fact_choices(prompt: Prompt, rng: Random) -> tuple[str, list[str]]:
    """The other chain's value, and values of the same kind that no fact has."""
    value = prompt.answer.strip()
    ending = next(ending for ending in words.ENDINGS if value in ending.values)
    others = [other for other in ending.values if other != value]
    stated = [other for other in others if re.search(rf"\b{other}\b", prompt.question)]
    rest = [other for other in others if other not in stated]
    return prompt.question, [f" {other}" for other in (*stated, *rng.sample(rest, WRONG))[:WRONG]]


def _first_wrong(answer: str, texts: Iterable[str], length: int = 0) -> list[str]:
    """The first three wrong texts of which none begins another; of a length where one is given."""

    def fitting() -> Iterator[str]:
        taken = [answer]
        for text in texts:
            is_free = not any(text.startswith(one) or one.startswith(text) for one in taken)
            if is_free and len(text) in (length, length or len(text)):
                taken.append(text)
                yield text

    return list(islice(fitting(), WRONG))


MAKERS: dict[str, Callable[[Prompt, Random], tuple[str, list[str]]]] = {
    "addition": _sum_choices,
    "multiplication": _product_choices,
    "word_problem": _word_problem_choices,
    "facts": _fact_choices,
}
"""By generated task, what makes a prompt's question and its wrong options."""
