"""Right answers in logs of lm-evaluation-harness: those of one model, or of two compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from depthtui.data.lm_eval_results import LoggedAnswers, paired
from depthtui.errors import DepthError
from depthtui.metrics.accuracy.answer_statistics import PairedAnswers, share_range, wilson
from depthtui.report.blocks import Block, Chapter, Column, Note, Table

_TITLE = "Right answers, by lm-evaluation-harness"


@dataclass(frozen=True)
class LoggedCount:
    """Right answers to a task by one metric of the harness.

    Attributes:
        task: the task; untrusted, like the next two.
        filter: the filter that read the answers; `none` without any.
        metric: the metric, such as `acc`.
        right: number of right answers.
        questions: the number of questions.
    """

    task: str
    filter: str
    metric: str
    right: int
    questions: int

    @property
    def title(self) -> str:
        """The task and the filter, where there is one."""
        return self.task if self.filter == "none" else f"{self.task}, {self.filter}"

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of the share of right answers."""
        return wilson(self.right, self.questions)

    @property
    def words(self) -> str:
        """The right answers and the interval of their share, such as `3 of 4 (30% to 95%)`."""
        return f"{self.right} of {self.questions} ({share_range(self.interval)})"


@dataclass(frozen=True)
class LoggedPair:
    """Right answers of two models to the same documents.

    Attributes:
        before, after: right answers of each.
        pair: how they differ.
        documents: the documents of each log; more than the questions where not both have all.
    """

    before: LoggedCount
    after: LoggedCount
    pair: PairedAnswers
    documents: tuple[int, int]


def logged_counts(answers: LoggedAnswers) -> list[LoggedCount]:
    """Right answers by each metric."""
    return [_count(answers, metric, right) for metric, right in answers.right.items()]


def _count(answers: LoggedAnswers, metric: str, right: np.ndarray) -> LoggedCount:
    return LoggedCount(answers.task, answers.filter, metric, int(right.sum()), len(right))


def logged_pairs(
    before: Sequence[LoggedAnswers], after: Sequence[LoggedAnswers]
) -> list[LoggedPair]:
    """The answers of two logs by each task, filter and metric that both have.

    Raises:
        DepthError: there is none.
    """
    others = {(answers.task, answers.filter): answers for answers in after}
    pairs = [
        pair
        for answers in before
        if (other := others.get((answers.task, answers.filter))) is not None
        for pair in _pairs(answers, other)
    ]
    if not pairs:
        raise DepthError(
            "The logs have no task, filter and metric in common.",
            "Compare logs of one task, such as those of a whole model and a pruned one.",
        )
    return pairs


def _pairs(before: LoggedAnswers, after: LoggedAnswers) -> Iterator[LoggedPair]:
    first, second = paired(before, after)
    documents = (len(before.ids), len(after.ids))
    for metric, right in first.right.items():
        if metric in second.right:
            changed = second.right[metric]
            counts = (_count(first, metric, right), _count(second, metric, changed))
            yield LoggedPair(*counts, PairedAnswers.of(right, changed), documents)


def model_words(answers: Sequence[LoggedAnswers]) -> str:
    """The model of a log by its arguments, such as `hf, pretrained=demo`; empty where unknown."""
    first = answers[0]
    arguments = (f"{name}={value}" for name, value in first.model_args.items())
    return ", ".join([first.model, *arguments]) if first.model else ""


def logged_blocks(answers: Sequence[LoggedAnswers]) -> Iterator[Block]:
    """A chapter on the right answers of a log; nothing without one."""
    if not answers:
        return
    counts = [count for of_task in answers for count in logged_counts(of_task)]
    columns = [Column("task", style="name"), Column("metric"), Column("right", style="strong")]
    table = Table(columns, [[count.title, count.metric, count.words] for count in counts])
    words = "In brackets the 95% interval of the share."
    if model := model_words(answers):
        words = f"Of {model}. {words}"
    yield Chapter(_TITLE, [table, Note(words)], is_open=True)


def logged_dict(answers: Sequence[LoggedAnswers]) -> dict[str, Any]:
    """The right answers of a log as JSON values; nothing without one."""
    if not answers:
        return {}
    first = answers[0]
    return {
        "model": first.model,
        "model_args": dict(first.model_args),
        "answers": [
            {
                "task": count.task,
                "filter": count.filter,
                "metric": count.metric,
                "questions": count.questions,
                "right": count.right,
                "interval": list(count.interval),
            }
            for of_task in answers
            for count in logged_counts(of_task)
        ],
    }
