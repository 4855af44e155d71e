"""Published data sets as tasks: their columns, their places on the hub, and their prompts.

The prompts of GSM8K, HellaSwag and AIME 2024 are those of "What Affects the
Effective Depth of Large Language Models?" (Hu, Zhou, Zhang, arXiv 2512.14064),
to the character, as its published code makes them. MATH, which this paper does
not measure, is asked like AIME. Two-hop questions are asked as in "Do Language
Models Use Their Depth Efficiently?" (Csordás, Manning, Potts, arXiv 2505.13898).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from depthtui.data.run import Prompt
from depthtui.errors import DepthError

Row = Mapping[str, Any]
"""A row of a data set: its cells by column."""


@dataclass(frozen=True)
class Dataset:
    """A published data set that can be a task.

    Attributes:
        name: its key, such as `gsm8k`.
        title: a short title, such as `GSM8K`.
        sentence: description of its prompts, in one sentence.
        columns: the columns that are read, each with its known spellings.
        to_prompt: makes a row's prompt, or None where the row is left out; raises
            `DepthError` where a cell is invalid.
        hub_id: its name on the hub.
        split: the split that is read.
        config: the configuration that is read; empty where it has only one.
        dial: unit of the level; empty without levels.
        levels: the levels, easiest first; empty where it has none.
    """

    name: str
    title: str
    sentence: str
    columns: tuple[tuple[str, ...], ...]
    to_prompt: Callable[[Row], Prompt | None]
    hub_id: str
    split: str
    config: str = ""
    dial: str = ""
    levels: range = range(0)


def gsm8k_prompt(row: Row) -> Prompt:
    """A grade-school problem, its solution and "The final answer is".

    The solution keeps its calculator marks, such as `<<6*7=42>>`, since the
    paper's prompts do; only the line `#### 42` is put into words.
    """
    solution, mark, final = _text(row, "answer").partition("####")
    if not mark or not final.strip():
        raise DepthError("`answer` has no line with #### and the final answer.")
    question = _instruction(_text(row, "question"), "The final answer is [answer]")
    answer = f"{solution}The final answer is {final.strip()}"
    return Prompt(question + answer, answer, "gsm8k")


def hellaswag_prompt(row: Row) -> Prompt:
    """A context and its right ending, a space between them unless a comma begins the ending."""
    if "ctx" in row:
        context = _text(row, "ctx")
    else:
        context = f"{_text(row, 'ctx_a')} {row.get('ctx_b') or ''}".rstrip()
    endings, label = row.get("endings"), str(row.get("label"))
    # Parquet and JSON keep the label as a string or as a number, and a test set has none.
    if not isinstance(endings, list) or not re.fullmatch(r"\d{1,3}", label):
        raise DepthError("`label` does not say which of `endings` is right.")
    if int(label) >= len(endings):
        raise DepthError(f"`label` is {label}, but there are {len(endings)} endings.")
    ending = str(endings[int(label)])
    answer = ending if ending.startswith(",") else f" {ending}"
    return Prompt(context + answer, answer, "hellaswag")


def aime24_prompt(row: Row) -> Prompt:
    """A competition problem and its solution, which ends in a box."""
    return _boxed_answer(
        "aime24", _text(row, "Problem", "problem"), _text(row, "Solution", "solution")
    )


def math_prompt(row: Row) -> Prompt:
    """A competition problem of a level from 1 to 5; an unknown level is empty."""
    level = str(row["level"]).removeprefix("Level ")
    return _boxed_answer(
        "math",
        _text(row, "problem"),
        _text(row, "solution"),
        level if level.isdecimal() else "",
    )


def two_hop_prompt(row: Row) -> Prompt | None:
    """A question that takes two facts, and its answer before any edit; None for more facts.

    MQuAKE words each question in three ways, of which the first is used. The
    facts are not in the prompt: the model has to know them.
    """
    hops = row["single_hops"] if "single_hops" in row else row["new_single_hops"]
    # The library `datasets` may turn a list of records into a record of lists.
    if isinstance(hops, Mapping):
        hops = next(iter(hops.values()), [])
    questions = row.get("questions")
    if not isinstance(hops, list) or not isinstance(questions, list) or not questions:
        raise DepthError("`questions` or the hops are not lists.")
    if len(hops) != 2:
        return None
    answer = f" {_text(row, 'answer')}"
    return Prompt(f"Question: {questions[0]}\nAnswer:{answer}", answer, "two_hop")


def _instruction(problem: str, ending: str) -> str:
    """The paper's instruction around a problem; `ending` is the required end of the response."""
    return (
        "Given the following problem, reason and give a final answer to the problem.\n"
        f"Problem: {problem}\n"
        f'Your response should end with "{ending}" where [answer] is the response to the '
        "problem.\n\n"
    )


def _boxed_answer(task: str, problem: str, solution: str, level: str = "") -> Prompt:
    return Prompt(_instruction(problem, r"\boxed{[answer]}") + solution, solution, task, level)


def _text(row: Row, *spellings: str) -> str:
    """The text in the cell of a column.

    Raises:
        DepthError: the cell is no text.
    """
    name = next((spelling for spelling in spellings if spelling in row), spellings[0])
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise DepthError(f"`{name}` holds no text.")
    return value


DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "hellaswag",
            "HellaSwag",
            "An everyday situation, and its right ending.",
            (("ctx", "ctx_a"), ("endings",), ("label",)),
            hellaswag_prompt,
            "Rowan/hellaswag",
            "validation",
        ),
        Dataset(
            "gsm8k",
            "GSM8K",
            "A grade-school problem, with its solution.",
            (("question",), ("answer",)),
            gsm8k_prompt,
            "openai/gsm8k",
            "test",
            "main",
        ),
        Dataset(
            "aime24",
            "AIME 2024",
            "A problem of a mathematics competition, with its solution.",
            (("Problem", "problem"), ("Solution", "solution")),
            aime24_prompt,
            "Maxwell-Jia/AIME_2024",
            "train",
        ),
        Dataset(
            "math",
            "MATH",
            "A problem of school competitions at five levels, with its solution.",
            (("problem",), ("solution",), ("level",)),
            math_prompt,
            "DigitalLearningGmbH/MATH-lighteval",
            "test",
            dial="level",
            levels=range(1, 6),
        ),
        Dataset(
            "two_hop",
            "MQuAKE, two hops",
            "A question that takes two facts, which are not told, and its answer.",
            (("questions",), ("answer",), ("single_hops", "new_single_hops")),
            two_hop_prompt,
            "henryzhongsc/MQuAKE-Remastered",
            "CF3k",
        ),
    )
}
"""Every data set by name, easiest first."""
