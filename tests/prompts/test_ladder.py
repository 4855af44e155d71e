"""The written prompts: their shape, and every number in them."""

from __future__ import annotations

import builtins
import itertools
import math
import re
from fractions import Fraction
from typing import Any

import pytest

from depthtui.prompts.tasks import TASKS, make_prompts, written_rows

WRITTEN = [task.name for task in TASKS.values() if not task.is_generated]
WORKED = ["grade_school", "competition"]
WORKED_ROWS = [row for task in WORKED for row in written_rows(task)]
ROW_IDS = [row["id"] for row in WORKED_ROWS]

_ALLOWED = {
    **{name: getattr(math, name) for name in ("isqrt", "sqrt")},
    **{
        name: getattr(itertools, name)
        for name in ("accumulate", "combinations", "permutations", "product")
    },
    **{
        name: getattr(builtins, name)
        for name in "abs int list map max next pow range round set str sum".split()  # noqa: SIM905
    },
    "Fraction": Fraction,
    "__builtins__": {},
}


def value_of(expression: str) -> Any:
    return eval(expression, dict(_ALLOWED))


@pytest.mark.parametrize("task", WRITTEN)
def test_every_level_has_enough_different_prompts(task: str) -> None:
    rows = written_rows(task)
    assert len(rows) >= 12
    assert len({row["id"] for row in rows}) == len({row["text"] for row in rows}) == len(rows)
    for row in rows:
        assert row["id"].startswith(f"{task}-")
        assert row["answer"]
        assert row["text"].endswith(row["answer"])
        assert len(row["answer"]) < len(row["text"])
        assert row["text"].isascii()


def test_written_prompts_come_in_the_order_of_the_file() -> None:
    for task in WRITTEN:
        prompts = make_prompts(task, count=12, seed=1)
        assert [prompt.text for prompt in prompts] == [
            row["text"] for row in written_rows(task)[:12]
        ]
        assert {(prompt.task, prompt.level) for prompt in prompts} == {(task, "")}


def test_first_prompt_is_short_and_ends_in_one_word() -> None:
    first = make_prompts("commonsense")[0]
    assert 20 <= len(first.text.split()) <= 35
    assert re.fullmatch(r" \w+\.", first.answer)


@pytest.mark.parametrize("row", WORKED_ROWS, ids=ROW_IDS)
def test_final_answer_is_what_the_expression_gives(row: dict[str, Any]) -> None:
    assert value_of(row["expression"]) == Fraction(row["final"])
    assert row["answer"].endswith(f"\nThe final answer is {row['final']}")


_TERM = r"\d+(?:\^\d+)?(?:!)?"
_EQUATION = re.compile(
    rf"(?<![-+*/^(] )(?<![\w^/(.])({_TERM}(?: [-+*/] {_TERM})+) = (\d+)(?![\w^/]| [-+*/])"
)


@pytest.mark.parametrize("row", WORKED_ROWS, ids=ROW_IDS)
def test_every_equation_in_a_solution_holds(row: dict[str, Any]) -> None:
    equations = _EQUATION.findall(row["answer"])
    if row["id"].startswith("grade_school"):
        assert len(equations) >= 2
    for term, value in equations:
        term = re.sub(r"(\d+)!", lambda match: str(math.factorial(int(match[1]))), term)
        exact = re.sub(r"\d+", r"Fraction(\g<0>)", term.replace("^", "**"))
        assert value_of(exact) == Fraction(value), f"{term} = {value}"


def test_the_checks_see_a_wrong_equation() -> None:
    assert _EQUATION.findall("So 3 * 4 = 13 eggs, and 4! * 2 = 48.") == [
        ("3 * 4", "13"),
        ("4! * 2", "48"),
    ]
