"""Questions about a sweep: the paper's on size, training and difficulty, and others.

Each is answered first by the mean depth of what the models keep, then by other numbers: the paper's
rules among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import NamedTuple

import numpy as np

from depthtui.data.sentence import Sentence, listed
from depthtui.depth.reading import Reading
from depthtui.sweep import subjects
from depthtui.sweep.answers import Answer, Group
from depthtui.sweep.comparisons import (
    Comparison,
    as_one_family,
    compare,
    too_few_words,
)
from depthtui.sweep.numbers import MEAN_DEPTH, NINE_TENTHS, WITH_TASK, Number, numbers_by
from depthtui.sweep.plan import Cell
from depthtui.sweep.subjects import Subject
from depthtui.sweep.summary import CellSummary, SweepSummary, rules_of

_UNLIKE = (
    "these models are of different families, so that size is not all that differs between them; "
    "a `family` in the plan's file says which belong together"
)


@dataclass(frozen=True)
class Question:
    """A question and the sweep's answers; none where the question was not asked.

    Attributes:
        name, title: such as `size`, and the question in words.
        answers: the headline's, then those by each other number.
        reason: why nothing is compared; empty where something is.
        cells: the cells that the reason is about.
    """

    name: str
    title: str
    answers: Sequence[Answer]
    reason: str = ""
    cells: Sequence[Cell] = ()

    @property
    def headline(self) -> list[Answer]:
        """The first answers, by the mean depth; none where what is kept was not measured."""
        return [answer for answer in self.answers if answer.is_headline]

    @property
    def others(self) -> list[Answer]:
        """The answers by other numbers."""
        return [answer for answer in self.answers if not answer.is_headline]


class _Form(NamedTuple):
    """A question that may be asked: what it compares, and whether it asks for more depth."""

    name: str
    title: str
    subjects: Callable[[SweepSummary], Iterable[Subject]]
    has_direction: bool = True


_QUESTIONS = (
    _Form("size", "Does effective depth grow with size?", subjects.sizes),
    _Form("training", "Does effective depth grow with training?", subjects.trainings),
    _Form("models", "Do the models differ on the same prompts?", subjects.pairs, False),
    _Form("precision", "Do fewer bits change effective depth?", subjects.precisions, False),
    _Form("difficulty", "Do harder tasks use more depth?", subjects.trends),
    _Form(
        "written",
        "Do the models use more depth on their own text than on the given?",
        subjects.origins,
    ),
)


def questions(summary: SweepSummary) -> list[Question]:
    """The questions that can be asked of the sweep's models and tasks."""
    answered = (_answered(form, summary) for form in _QUESTIONS)
    return [question for question in answered if question.answers or question.reason]


def _answered(form: _Form, summary: SweepSummary) -> Question:
    """A question with its answers: the headline's are one family of tests, all others another."""
    compared = list(form.subjects(summary))
    if form.name == "size" and not compared:
        return _unlike_sizes(form, summary)
    numbers, answers = numbers_by(rules_of(summary.cells)), []
    for subject in compared:
        of_known, left_out = subject.of_known_tasks()
        by_number = [
            _answer(of_known, number, form.has_direction, left_out)
            if number in (MEAN_DEPTH, NINE_TENTHS)
            else _answer(subject, number, form.has_direction)
            for number in numbers
        ]
        answers += _with_nine_tenths([answer for answer in by_number if answer is not None])
    question = Question(form.name, form.title, answers)
    return replace(question, answers=[*_corrected(question.headline), *_corrected(question.others)])


def _unlike_sizes(form: _Form, summary: SweepSummary) -> Question:
    """The question on size, and why models of other sizes are not compared."""
    question, everyone = Question(form.name, form.title, []), summary.models
    if not any(subjects.by_size(summary, everyone, task) for task in summary.plan.tasks):
        return question
    titles = ", ".join(summary.of_model(model)[0].title for model in everyone)
    cells = [summarised.cell for summarised in summary.cells]
    return replace(question, reason=f"{titles} on all tasks: {_UNLIKE}.", cells=cells)


def _corrected(answers: Sequence[Answer]) -> list[Answer]:
    family = as_one_family([answer.comparison for answer in answers])
    return [
        replace(
            answer,
            comparison=one,
            with_task=answer.with_task and answer.with_task.at_level(one.level),
        )
        for answer, one in zip(answers, family, strict=True)
    ]


def _with_nine_tenths(answers: Sequence[Answer]) -> list[Answer]:
    """The answers of a subject; the headline's has the layers that keep nine tenths beside it."""
    beside = ""
    for answer in answers:
        if answer.number is NINE_TENTHS and answer.is_known:
            layers = listed(answer.number.each_in_words(answer.comparison.groups))
            beside = f"Nine tenths of it are there with at most {layers}."
    return [replace(answer, beside=beside) if answer.is_headline else answer for answer in answers]


def _answer(
    subject: Subject, number: Number, has_direction: bool, left_out: Sequence[str] = ()
) -> Answer | None:
    """The answer by a number, before its correction; None where no group has the number."""
    readings, with_task = subject.readings(), None
    some = [reading for reading in readings if reading is not None]
    has_it = number.has(some or subject.cells)
    if not any(map(any, has_it)):
        return None
    if len(some) < len(readings):
        comparison = Comparison(number=number, problem=too_few_words([np.empty(0)]))
    elif not all(map(any, has_it)):
        comparison = Comparison(number=number, problem=Sentence("not measured everywhere"))
    else:
        some = _that_have(some, has_it, subject.paired)
        readings, comparison = list(some), _comparison(subject, number, some)
        if number is MEAN_DEPTH and all(group.is_beyond_task for group in comparison.groups):
            with_task = _comparison(subject, WITH_TASK, some)
    groups = [Group.of(name, one) for name, one in zip(subject.names, readings, strict=True)]
    return Answer(
        subject, has_direction, groups, comparison, with_task=with_task, left_out=left_out
    )


def _that_have(
    readings: Sequence[Reading], has_it: Sequence[Sequence[bool]], paired: bool
) -> list[Reading]:
    """The prompts of each group that have a number; where paired, those that have it in all."""
    if paired:
        has_it = [[all(of_text) for of_text in zip(*has_it, strict=True)]] * len(readings)
    return [
        reading
        if all(of_group)
        else Reading(list(compress(reading.prompts, of_group)), reading.settings)
        for reading, of_group in zip(readings, has_it, strict=True)
    ]


def _comparison(subject: Subject, number: Number, readings: Sequence[Reading]) -> Comparison:
    if not all(reading.prompts for reading in readings):
        return Comparison(number=number, problem=too_few_words([np.empty(0)]))
    comparison = compare(
        number,
        number.of_groups(readings),
        paired=subject.paired,
        is_trend=subject.is_trend,
        names=subject.names,
        seed=subject.cells[0].settings.seed,
    )
    ends = subject.groups if subject.is_trend else (subject.groups[0], subject.groups[-1])
    doubts = _doubts([cell for cells in ends for cell in cells], number)
    return replace(comparison, doubt=max(doubts, default=(0.0, "")))


def _doubts(cells: Iterable[CellSummary], number: Number) -> Iterator[tuple[float, str]]:
    """How far each fragile count moves, as a share of L, and a clause that calls it fragile."""
    for cell in cells:
        for row in cell.evidence:
            if row.measure != number.name or not row.is_fragile:
                continue
            if row.low is not None and row.high is not None:
                ends = f"{row.low} to {row.high} of {cell.n_layers} layers"
                words = f"the count of {cell.place} is fragile ({ends})"
                yield (row.high - row.low) / cell.n_layers, words
