"""Generated prompts with a dial: arithmetic, word problems, chains of facts and copying.

Each generator draws one prompt from a random number generator; the same state
gives the same prompt. `level` is the dial, and grows with the difficulty.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from random import Random

from depthtui.data.run import Prompt
from depthtui.prompts import vocabulary as words


def addition(digits: int, rng: Random) -> Prompt:
    """The sum of two numbers of `digits` digits (paper's format)."""
    return _arithmetic("addition", "+", operator.add, digits, rng)


def multiplication(digits: int, rng: Random) -> Prompt:
    """The product of two numbers of `digits` digits (paper's format)."""
    return _arithmetic("multiplication", "*", operator.mul, digits, rng)


def _arithmetic(
    task: str, sign: str, apply: Callable[[int, int], int], digits: int, rng: Random
) -> Prompt:
    smallest, beyond = 10 ** (digits - 1), 10**digits
    a, b = rng.randrange(smallest, beyond), rng.randrange(smallest, beyond)
    return _sum(task, sign, apply, a, b)


def _sum(task: str, sign: str, apply: Callable[[int, int], int], a: int, b: int) -> Prompt:
    answer = str(apply(a, b))
    text = f"Give the answer directly: {a} {sign} {b} = {answer}"
    return Prompt(text, answer, task, str(len(str(a))))


def addition_contrast(digits: int, rng: Random) -> Prompt:
    """A sum, and as contrast the same with one digit changed; the results are equally long."""
    while True:
        prompt = addition(digits, rng)
        a, b = (int(number) for number in re.findall("[0-9]+", prompt.question))
        others = [
            other
            for other in _with_a_digit_changed(str(a))
            if len(str(other + b)) == len(prompt.answer)
        ]
        # 9 + 1 has no contrast.
        if others:
            break
    contrast = _sum("addition", "+", operator.add, rng.choice(others), b)
    return replace(prompt, task="addition_contrast", contrast=contrast.text)


def _with_a_digit_changed(number: str) -> list[int]:
    """All numbers with equally many digits that differ from a number in one digit."""
    return [
        int(number[:place] + digit + number[place + 1 :])
        for place, present in enumerate(number)
        for digit in "0123456789"
        if digit != present and (place or digit != "0")
    ]


@dataclass(frozen=True)
class _Step:
    """One operation of a story: its sentence, and its name in the solution."""

    sentence: str
    reason: str
    sign: str
    operand: int
    result: int


_MOST = 400
"""Largest quantity in a story."""

BEGINS = range(12, 60)
"""The quantities that a story begins with."""


def word_problem(steps: int, rng: Random) -> Prompt:
    """A story in which one quantity changes `steps` times, with the worked solution.

    Every intermediate value is a whole number of at least 2.
    """
    story = rng.choice(words.STORIES)
    fill = rng.choice(words.PEOPLE).fields() | {"things": rng.choice(story.things)}
    value = rng.choice(BEGINS)
    opening = story.opening.format(**fill, n=value)
    chain = _chain(story, value, steps, rng, fill)
    problem = " ".join([opening, *(step.sentence for step in chain), story.question.format(**fill)])
    lines = []
    for step in chain:
        lines.append(f"{step.reason}: {value} {step.sign} {step.operand} = {step.result}.")
        value = step.result
    answer = "\n".join([*lines, f"The final answer is {value}"])
    text = f"{words.INSTRUCTION}\nProblem: {problem}\nSolution:\n{answer}"
    return Prompt(text, answer, "word_problem", str(steps))


def _chain(
    story: words.Story, value: int, steps: int, rng: Random, fill: dict[str, str]
) -> list[_Step]:
    chain: list[_Step] = []
    unused: list[words.Event] = []
    for _ in range(steps):
        # No event is repeated before every other possible event has come once.
        possible = [event for event in unused if _operands(event.sign, value)]
        if not possible:
            unused = list(story.events)
            possible = [event for event in unused if _operands(event.sign, value)]
        event = rng.choice(possible)
        unused.remove(event)
        operand = rng.choice(_operands(event.sign, value))
        result = _APPLY[event.sign](value, operand)
        filled = {**fill, "x": str(operand), "times": words.TIMES.get(operand, "")}
        sentence = event.sentence.format(**filled)
        chain.append(_Step(sentence, event.reason.format(**filled), event.sign, operand, result))
        value = result
    return chain


_APPLY: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,
}


def _operands(sign: str, value: int) -> list[int]:
    """The operands that keep a story's quantity whole, at least 2 and at most `_MOST`."""
    match sign:
        case "+":
            return list(range(3, min(60, _MOST - value) + 1))
        case "-":
            return list(range(3, min(60, value - 2) + 1))
        case "*":
            return [x for x in words.TIMES if value * x <= _MOST]
        case _:
            return [x for x in range(2, 7) if value % x == 0 and value // x >= 2]


def another_end(value: int, signs: Iterable[str], rng: Random) -> int | None:
    """The last quantity of a story with other numbers; None where an operation has none.

    Args:
        value: the quantity at the beginning.
        signs: the operations.
        rng: draws the numbers.
    """
    for sign in signs:
        operands = _operands(sign, value)
        if not operands:
            return None
        value = _APPLY[sign](value, rng.choice(operands))
    return value


def facts(hops: int, rng: Random) -> Prompt:
    """Invented facts, a question that takes `hops` of them to answer, and the answer.

    A second chain of the same shape, about other people, forces the model to
    follow the right one; all facts are shuffled.
    """
    people = rng.sample(words.INVENTED_NAMES, 2 * hops)
    relations = rng.sample(words.RELATIONS, hops - 1)
    ending = rng.choice(words.ENDINGS)
    values = rng.sample(ending.values, 2)
    chains = (people[:hops], people[hops:])
    stated = [
        fact
        for chain, value in zip(chains, values, strict=True)
        for fact in _facts_of(chain, relations, ending.fact.format(name=chain[-1], value=value))
    ]
    rng.shuffle(stated)
    subject = chains[0][0]
    for relation in relations:
        subject = f"the {relation} of {subject}"
    question = ending.question.format(name=subject)
    answer = f" {values[0]}"
    text = f"Facts: {' '.join(stated)}\nQuestion: {question}\nAnswer:{answer}"
    return Prompt(text, answer, "facts", str(hops))


def copying(length: int, rng: Random) -> Prompt:
    """A list of `length` things, and the same list again: every token stands in the context."""
    things = rng.sample([thing for story in words.STORIES for thing in story.things], length)
    answer = f" {', '.join(things)}"
    text = f"A list:{answer}\nThe same list:{answer}"
    return Prompt(text, answer, "copying", str(length))


def facts_contrast(hops: int, rng: Random) -> Prompt:
    """A true statement that takes `hops` facts to know, and as contrast one about another country.

    The names in the two questions have about the same length, so mostly equally many tokens.
    """
    question, entity, answer = words.HOPS[hops - 1]
    while True:
        country, other = rng.sample(words.COUNTRIES, 2)
        first, second = (getattr(place, entity) for place in (country, other))
        fact, other_fact = (getattr(place, answer) for place in (country, other))
        if abs(len(first) - len(second)) <= 1 and fact != other_fact:
            break
    text, contrast = (
        f"{question.format(name=name)} {ending}"
        for name, ending in ((first, fact), (second, other_fact))
    )
    return Prompt(text, f" {fact}", "facts_contrast", str(hops), contrast)


def _facts_of(chain: list[str], relations: list[str], last: str) -> list[str]:
    links = zip(chain, relations, chain[1:], strict=False)
    return [*(f"The {relation} of {a} is {b}." for a, relation, b in links), last]
