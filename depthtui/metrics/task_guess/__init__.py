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


@dataclass(frozen=True)
class PromptGuess:
    """The guess of the task at one prompt, and this prompt's part in the guesses at the others.

    Attributes:
        loss: of each token of the prompt's answer, in nats, `[A]`.
        influence: the change of the other prompts' losses, added up, as this prompt counts more:
            their derivative by its weight. Over the prompts of a task it adds up to 0.
    """

    loss: np.ndarray
    influence: float


def task_guesses(pooled: Pooled) -> list[PromptGuess | None]:
    """The guess of the task at each prompt's answer.

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
    guesses = {task: iter(_leave_one_out(of_task)) for task, of_task in by_task.items()}
    return [
        None if own is None else next(guesses[task])
        for task, own in zip(tasks, losses, strict=True)
    ]


def _leave_one_out(of_task: Sequence[ReducedTaskGuess]) -> list[PromptGuess | None]:
    """The guess at each prompt of a task by the outputs at the others."""
    if len(of_task) < FEWEST_UNITS:
        return [None] * len(of_task)
    losses, influence = [], np.zeros(len(of_task))
    for own in of_task:
        loss = own.guess.copy()
        for token in range(len(loss)):
            chances = np.array(
                [
                    np.exp(-other.loss[token, own.own])
                    if other is not own and len(other.loss) > token
                    else np.nan
                    for other in of_task
                ]
            )
            is_known = np.isfinite(chances)
            if is_known.any():
                mean = chances[is_known].mean()
                guess = (1 - _OF_TEXTS) * mean + _OF_TEXTS * np.exp(-own.guess[token])
                loss[token] = -np.log(guess)
                drawn = (1 - _OF_TEXTS) * (chances[is_known] - mean) / guess / is_known.sum()
                influence[is_known] -= drawn
        losses.append(loss)
    return [PromptGuess(*each) for each in zip(losses, influence.tolist(), strict=True)]


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
    losses = [guess.loss for guess in guesses]
    return {"loss": float(np.concatenate(losses).mean())} if losses else None


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
