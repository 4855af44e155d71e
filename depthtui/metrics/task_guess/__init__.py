"""The guess of the task: how likely the answers of a task's prompts are at one of its prompts.

Knowledge kept counts what the model knows of an answer beyond the task by it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run import RunResult
from depthtui.metrics import needs
from depthtui.metrics.costs import head, row_of_logits
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import Reduced
from depthtui.metrics.resampling import FEWEST_UNITS
from depthtui.metrics.spec import Metric

NAME = "task_guess"

_OF_TEXTS = 0.01
"""The share of the guess without context in the guess of the task."""


@dataclass
class TaskGuess(MetricResult):
    """The losses of the answers of N prompts of a task, each in place of the prompt's own.

    Attributes:
        loss: of the k-th token of each answer, where the prompt's own k-th is predicted, in nats;
            NaN behind the answer's end.
        guess: of the prompt's own answer by the guess without context.
        own: the index of the prompt's own answer.
    """

    loss: Annotated[np.ndarray, Shape("A", "N")]
    guess: Annotated[np.ndarray, Shape("A")]
    own: int


@dataclass(frozen=True, kw_only=True)
class ReducedTaskGuess(Reduced):
    """The same of one prompt.

    Attributes:
        tokens: the number of tokens of the answer.
    """

    loss: Annotated[np.ndarray, Shape("A", "N", dtype=np.float64)]
    guess: Annotated[np.ndarray, Shape("A", dtype=np.float64)]
    own: int


def task_guesses(pooled: Pooled) -> list[np.ndarray | None]:
    """The loss of each prompt's answer by the guess of its task, `[A]` each, in nats.

    The guess at the k-th token is the mean output at the k-th answer token of the other prompts of
    the task, with a hundredth of the guess without context. None for a prompt whose task has fewer
    than five prompts.
    """
    losses: list[ReducedTaskGuess | None] = pooled.reduced(METRIC)
    tasks = [
        (prompt.prompt.source, prompt.prompt.level, prompt.settings.task_answers)
        for prompt in pooled.prompts
    ]
    by_task: dict[object, list[ReducedTaskGuess]] = defaultdict(list)
    for task, reduced in zip(tasks, losses, strict=True):
        if reduced is not None:
            by_task[task].append(reduced)
    return [
        None if own is None else _leave_one_out(own, by_task[task])
        for task, own in zip(tasks, losses, strict=True)
    ]


def _leave_one_out(own: ReducedTaskGuess, of_task: Sequence[ReducedTaskGuess]) -> np.ndarray | None:
    """The loss of a prompt's answer by the outputs at the other prompts of the task, `[A]`."""
    if len(of_task) < FEWEST_UNITS:
        return None
    by_texts, guess = np.exp(-own.guess), own.guess.copy()
    for token in range(len(guess)):
        chances = [
            np.exp(-other.loss[token, own.own])
            for other in of_task
            if other is not own
            and len(other.loss) > token
            and np.isfinite(other.loss[token, own.own])
        ]
        if chances:
            mean = (1 - _OF_TEXTS) * np.mean(chances) + _OF_TEXTS * by_texts[token]
            guess[token] = -np.log(mean)
    return np.asarray(guess)


def _reduce(result: TaskGuess, run: RunResult, tokens: slice) -> ReducedTaskGuess:
    return ReducedTaskGuess.of(result, tokens=len(result.guess), own=result.own)


def _answers_of_task(result: RunResult) -> str:
    """A need: the answers of other prompts of the task are known."""
    settings = result.settings
    if not settings.task_answers:
        return "no other prompts of its task are run with it"
    is_given = result.prompt.answer in settings.task_answers and settings.answer_start < 0
    return "" if is_given else "its answer is not one of its task's"


def _work(result: RunResult) -> float:
    return (len(result.tokens) - result.answer_start) * head(result) / len(result.tokens)


def _pool(reduced: Sequence[ReducedTaskGuess], pooled: Pooled) -> Mapping[str, float] | None:
    guesses = [guess for guess in task_guesses(pooled) if guess is not None]
    return {"loss": float(np.concatenate(guesses).mean())} if guesses else None


METRIC = Metric(
    name=NAME,
    title="Guess of the task",
    description="The loss of an answer by the outputs at the answers of the task's other prompts.",
    formula=(
        "at the k-th token of an answer the mean of `p` at the k-th answer tokens of the other "
        "prompts, with a hundredth of the guess without context"
    ),
    reading=(
        "Knowledge kept counts by it, which knows the task and not the question: the form of the "
        "answer is not what is asked."
    ),
    look_for=(
        "Where its loss is as low as the model's own, the answers are the task's, and little is "
        "known beyond it."
    ),
    source="Defined here",
    cost="the LM head at the answer's tokens",
    work=_work,
    result=TaskGuess,
    needs=(needs.clean_run, needs.lens, needs.answer, _answers_of_task),
    memory=row_of_logits,
    depends_on=("task_answers", "answer_start"),
    reduced=ReducedTaskGuess,
    reduce=_reduce,
    pool=_pool,
    summary=lambda value, pooled: value,
)
