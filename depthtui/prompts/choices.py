"""Options to choose from: what they must be, and those of generated prompts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, combinations, count, islice, product
from random import Random

from depthtui.data.run import Prompt
from depthtui.errors import short_repr
from depthtui.prompts import vocabulary as words
from depthtui.prompts.generators import BEGINS, another_end
from depthtui.prompts.task import MakeChoices

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


def with_choices(prompt: Prompt, make_choices: MakeChoices, seed: int | str) -> Prompt:
    """A prompt of a generated task, with the options of its task in an order by the seed.

    A word problem is asked for the number alone.
    """
    rng = Random(f"choices {seed} {prompt.text}")
    question, wrong = make_choices(prompt, rng)
    number = prompt.answer.rsplit(" ", 1)[-1]
    answer = prompt.answer if question == prompt.question else f" {number}"
    choices = [answer, *wrong]
    rng.shuffle(choices)
    return replace(prompt, text=question + answer, answer=answer, choices=tuple(choices))


def of_sum(prompt: Prompt, rng: Random) -> tuple[str, list[str]]:
    """Slips at any digit."""
    return prompt.question, _slipped(prompt.answer, 0, rng)


def of_product(prompt: Prompt, rng: Random) -> tuple[str, list[str]]:
    """Slips at any digit but the last, which is even for most products."""
    return prompt.question, _slipped(prompt.answer, 1, rng)


_SLIPS = (1, 2, 3)
_SIGNS = tuple(product((1, -1), repeat=2))


def _slipped(answer: str, first_place: int, rng: Random) -> list[str]:
    """Three numbers that differ from the answer by one slip, by another, and by both.

    From each of the four the others look the same: neither its rank nor its digits tell the
    answer. Slips are small beside it, so that they may go up and down. The numbers are of its
    length where that is possible both ways.

    Args:
        answer: the right number.
        first_place: the last digit that may slip, from the end; where there is no other, it is
            the end itself.
        rng: draws the slips.
    """
    number = int(answer)
    places = range(first_place, len(answer) - 1) or range(1)
    slips = [slip * 10**place for place in places for slip in _SLIPS]
    pairs = [pair for pair in combinations(slips, 2) if sum(pair) < number]
    as_long = [
        pair for pair in pairs if len(str(number - sum(pair))) == len(str(number + sum(pair)))
    ]
    one, other = rng.choice(as_long or pairs or [_SLIPS[:2]])
    ways = rng.sample(_SIGNS, len(_SIGNS))
    moves = ((sign * one, other_sign * other) for sign, other_sign in ways)
    wrong = ((number + move, number + another, number + move + another) for move, another in moves)
    return [str(value) for value in next(values for values in wrong if min(values) > 0)]


def of_word_problem(prompt: Prompt, rng: Random) -> tuple[str, list[str]]:
    """The answers of the same story with other numbers, from the same beginning if there are."""
    problem = prompt.question.removeprefix(f"{words.INSTRUCTION}\n").removesuffix("\nSolution:\n")
    steps = _STEP.findall(prompt.answer)
    begins = chain([int(steps[0][0])] * _TRIES, (rng.choice(BEGINS) for _ in count()))
    signs = [sign for _, sign, _ in steps]
    ends = (another_end(begin, signs, rng) for begin in begins)
    texts = (f" {end}" for end in ends if end is not None)
    return f"{problem}\nAnswer:", _first_wrong(f" {steps[-1][-1]}", texts)


_STEP = re.compile(r"(\d+) ([-+*/]) \d+ = (\d+)\.")

_TRIES = 50
"""Stories from the same beginning; a division may have no three others that end elsewhere."""


def of_facts(prompt: Prompt, rng: Random) -> tuple[str, list[str]]:
    """The other chain's value, and values of the same kind that no fact has."""
    value = prompt.answer.strip()
    ending = next(ending for ending in words.ENDINGS if value in ending.values)
    others = [other for other in ending.values if other != value]
    stated = [other for other in others if re.search(rf"\b{other}\b", prompt.question)]
    rest = [other for other in others if other not in stated]
    return prompt.question, [f" {other}" for other in (*stated, *rng.sample(rest, WRONG))[:WRONG]]


def _first_wrong(answer: str, texts: Iterable[str]) -> list[str]:
    """The first three wrong texts of which none begins another."""

    def fitting() -> Iterator[str]:
        taken = [answer]
        for text in texts:
            if not any(text.startswith(one) or one.startswith(text) for one in taken):
                taken.append(text)
                yield text

    return list(islice(fitting(), WRONG))
