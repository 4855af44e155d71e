"""Published data sets as tasks: their columns, their places on the hub, and their prompts.

The prompts of GSM8K, HellaSwag and AIME 2024 are those of "What Affects the
Effective Depth of Large Language Models?" (Hu, Zhou, Zhang, arXiv 2512.14064),
to the character, as its published code makes them. MATH, which this paper does
not measure, is asked like AIME. Two-hop questions are asked as in "Do Language
Models Use Their Depth Efficiently?" (Csordás, Manning, Potts, arXiv 2505.13898).
Questions with options are worded as lm-evaluation-harness 0.4.13 words them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from depthtui.data.run import Prompt
from depthtui.errors import DepthError
from depthtui.prompts.answer_forms import BOXED, PHRASE, TEXT, WORKED, AnswerForm

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
        to_choices: as `to_prompt`, with options to choose from; None where the set has none. The
            same function where the set is always asked with them.
        heading: makes the words before a row's question and before the shots, which are from rows
            with the same heading.
        form: the form of its answers.
        shots_split: the split whose first rows with the same heading are the shots, where it is at
            hand; empty where the shots are other rows of `split`.
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
    to_choices: Callable[[Row], Prompt | None] | None = None
    heading: Callable[[Row], str] = lambda row: ""
    form: AnswerForm = PHRASE
    shots_split: str = ""

    @property
    def has_choices(self) -> bool:
        """Whether it can be asked both with options to choose from and without."""
        return self.to_choices not in (None, self.to_prompt)


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
    endings, label = _endings(row)
    ending = endings[label]
    answer = ending if ending.startswith(",") else f" {ending}"
    return Prompt(context + answer, answer, "hellaswag")


def hellaswag_choices(row: Row) -> Prompt | None:
    """An activity and a context, and four endings, without the marks of how-to texts."""
    context = f"{_text(row, 'ctx_a')} {str(row.get('ctx_b') or '').capitalize()}"
    endings, label = _endings(row)
    question = _without_marks(f"{_text(row, 'activity_label')}: {context}")
    return _question("hellaswag", question, [_without_marks(ending) for ending in endings], label)


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


def arc_easy_choices(row: Row) -> Prompt | None:
    """A question of a science exam, and three to five answers."""
    return _arc("arc_easy", row)


def arc_challenge_choices(row: Row) -> Prompt | None:
    """A harder question of a science exam, and three to five answers."""
    return _arc("arc_challenge", row)


def openbookqa_choices(row: Row) -> Prompt | None:
    """The beginning of a statement, or a question, and four ways to end it."""
    return _question("openbookqa", _text(row, "question_stem"), *_labelled(row))


def piqa_choices(row: Row) -> Prompt | None:
    """An aim, and two ways to reach it."""
    solutions = [_text(row, "sol1"), _text(row, "sol2")]
    question = f"Question: {_text(row, 'goal')}\nAnswer:"
    return _question("piqa", question, solutions, _place(row, "label", len(solutions)))


def boolq_choices(row: Row) -> Prompt | None:
    """A passage, and a question whose answer is no or yes."""
    answer = row.get("label", row.get("answer"))
    label = _place({"label": int(answer) if isinstance(answer, bool) else answer}, "label", 2)
    question = f"{_text(row, 'passage')}\nQuestion: {_text(row, 'question')}?\nAnswer:"
    return _question("boolq", question, ["no", "yes"], label)


def winogrande_choices(row: Row) -> Prompt | None:
    """A sentence with a blank, and two words for it; the rest of the sentence is compared."""
    before, blank, after = _text(row, "sentence").partition("_")
    if not blank or not after.strip():
        raise DepthError("`sentence` has no blank `_` with words behind it.")
    ending = f" {after.strip()}"
    options = [f"{_text(row, name)}{ending}" for name in ("option1", "option2")]
    label = _place({"answer": _less_one(row.get("answer"))}, "answer", len(options))
    return _of_options("winogrande", before, options, label, ending)


def mmlu_choices(row: Row) -> Prompt | None:
    """A question of an exam with four lettered answers; the letters are the options."""
    answers, letters = _texts(row, "choices"), "ABCD"
    if len(answers) != len(letters):
        raise DepthError(f"`choices` has {len(answers)} answers, not {len(letters)}.")
    lines = [f"{letter}. {answer}" for letter, answer in zip(letters, answers, strict=True)]
    question = "\n".join([_text(row, "question").strip(), *lines, "Answer:"])
    label = row.get("answer")
    if isinstance(label, str) and len(label) == 1 and label in letters:
        label = letters.index(label)
    return _question("mmlu", question, [*letters], _place({"answer": label}, "answer", 4))


def mmlu_heading(row: Row) -> str:
    """The subject, which a row of a single subject's file may lack."""
    subject = str(row.get("subject") or "").replace("_", " ")
    about = f" about {subject}" if subject else ""
    return f"The following are multiple choice questions (with answers){about}.\n\n"


def _arc(task: str, row: Row) -> Prompt | None:
    return _question(task, f"Question: {_text(row, 'question')}\nAnswer:", *_labelled(row))


def _question(task: str, question: str, options: list[str], label: int) -> Prompt | None:
    """A question and its options, a space before each."""
    return _of_options(task, question, [f" {option}" for option in options], label)


def _of_options(
    task: str, question: str, options: list[str], label: int, ending: str = ""
) -> Prompt | None:
    """A question with options; None where one is empty, or equal to the right one.

    An option may be the beginning of another, as in lm-evaluation-harness.
    """
    if len(options) < 2:
        raise DepthError("there is one option, and nothing to choose from.")
    answer = options[label]
    if options.count(answer) > 1 or not all(option.strip() for option in options):
        return None
    choices = tuple(options)
    return Prompt(question + answer, answer, task, choices=choices, common_ending=ending)


def _labelled(row: Row) -> tuple[list[str], int]:
    """The answers in the column `choices`, and the place of the one that `answerKey` names."""
    choices = row.get("choices")
    # The library `datasets` may turn a list of records into a record of lists.
    if isinstance(choices, list) and all(isinstance(choice, Mapping) for choice in choices):
        choices = {name: [choice.get(name) for choice in choices] for name in ("text", "label")}
    if not isinstance(choices, Mapping):
        raise DepthError("`choices` has no texts and labels.")
    texts, labels = _texts(choices, "text"), _texts(choices, "label")
    key = str(row.get("answerKey")).strip()
    if key not in labels or len(labels) != len(texts):
        raise DepthError("`answerKey` does not say which of `choices` is right.")
    return texts, labels.index(key)


def _endings(row: Row) -> tuple[list[str], int]:
    """The endings of a row of HellaSwag, and the place of the right one."""
    endings = row.get("endings")
    if not isinstance(endings, list) or not all(isinstance(each, str) for each in endings):
        raise DepthError("`label` does not say which of `endings` is right.")
    return [str(ending) for ending in endings], _place(row, "label", len(endings), "endings")


def _place(row: Row, column: str, count: int, options: str = "options") -> int:
    """The place of the right one of `count` options, in the cell of a column."""
    # Parquet and JSON keep the label as a string or as a number, and a test set has none.
    label = str(row.get(column))
    if not re.fullmatch(r"[0-9]{1,3}", label):
        raise DepthError(f"`{column}` does not say which of `{options}` is right.")
    if int(label) >= count:
        raise DepthError(f"`{column}` is {label}, but there are {count} {options}.")
    return int(label)


def _less_one(label: object) -> int | None:
    """The place of a label 1 or 2; None for any other."""
    return int(str(label)) - 1 if str(label) in {"1", "2"} else None


def _without_marks(text: str) -> str:
    """A text of HellaSwag without marks in brackets; a title ends a sentence."""
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")


def _texts(row: Row, column: str) -> list[str]:
    """The texts in the list of a column.

    Raises:
        DepthError: the cell is no list of texts.
    """
    values = row.get(column)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise DepthError(f"`{column}` is no list of texts.")
    return values


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
            to_choices=hellaswag_choices,
            form=TEXT,
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
            form=WORKED,
        ),
        Dataset(
            "aime24",
            "AIME 2024",
            "A problem of a mathematics competition, with its solution.",
            (("Problem", "problem"), ("Solution", "solution")),
            aime24_prompt,
            "Maxwell-Jia/AIME_2024",
            "train",
            form=BOXED,
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
            form=BOXED,
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
        Dataset(
            "arc_easy",
            "ARC, easy",
            "A question of a science exam, with options.",
            (("question",), ("choices",), ("answerKey",)),
            arc_easy_choices,
            "allenai/ai2_arc",
            "test",
            "ARC-Easy",
            to_choices=arc_easy_choices,
        ),
        Dataset(
            "arc_challenge",
            "ARC, challenge",
            "A harder question of a science exam, with options.",
            (("question",), ("choices",), ("answerKey",)),
            arc_challenge_choices,
            "allenai/ai2_arc",
            "test",
            "ARC-Challenge",
            to_choices=arc_challenge_choices,
        ),
        Dataset(
            "piqa",
            "PIQA",
            "An aim in everyday life, with two ways to reach it as options.",
            (("goal",), ("sol1",), ("sol2",), ("label",)),
            piqa_choices,
            "baber/piqa",
            "validation",
            to_choices=piqa_choices,
        ),
        Dataset(
            "winogrande",
            "WinoGrande",
            "A sentence with a blank, with two words for it as options.",
            (("sentence",), ("option1",), ("option2",), ("answer",)),
            winogrande_choices,
            "allenai/winogrande",
            "validation",
            "winogrande_xl",
            to_choices=winogrande_choices,
        ),
        Dataset(
            "openbookqa",
            "OpenBookQA",
            "The beginning of a statement on science, with four ends as options.",
            (("question_stem",), ("choices",), ("answerKey",)),
            openbookqa_choices,
            "allenai/openbookqa",
            "test",
            "main",
            to_choices=openbookqa_choices,
        ),
        Dataset(
            "boolq",
            "BoolQ",
            "A passage and a question, with no and yes as options.",
            (("question",), ("passage",), ("label", "answer")),
            boolq_choices,
            "aps/super_glue",
            "validation",
            "boolq",
            to_choices=boolq_choices,
        ),
        Dataset(
            "mmlu",
            "MMLU",
            "A question of one of 57 exams, with four lettered options.",
            (("question",), ("choices",), ("answer",)),
            mmlu_choices,
            "cais/mmlu",
            "test",
            "all",
            to_choices=mmlu_choices,
            heading=mmlu_heading,
            shots_split="dev",
        ),
    )
}
"""Every data set by name: those of whole answers, easiest first, then those with options alone."""
