"""A sweep as rows of a table: single cells, or cells pooled by model or by level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from depthtui.data.depth import DepthEstimate
from depthtui.data.verdict import Headline, Verdict
from depthtui.depth.right_answers import RightAnswers
from depthtui.sweep.answers import Answer
from depthtui.sweep.folder import Failure, model_title
from depthtui.sweep.plan import Cell
from depthtui.sweep.questions import Question, questions
from depthtui.sweep.records import Record
from depthtui.sweep.report.phrases import absences, cautions, failures, reasons_of
from depthtui.sweep.state import Outcome
from depthtui.sweep.summary import (
    CellSummary,
    PublishedDepth,
    SweepSummary,
    titles_of,
)

Grouping: TypeAlias = Literal["cells", "models", "levels"]

GROUPINGS: dict[Grouping, str] = {
    "cells": "every model on every task",
    "models": "pooled by model",
    "levels": "pooled by task and level",
}
"""The groupings of rows, in words."""

RowKey: TypeAlias = tuple[object, ...]


@dataclass(frozen=True)
class SweepRow:
    """A row of the table.

    Attributes:
        key: identifies the row; the same while a sweep runs.
        model, task: names; untrusted.
        short_task: the task with its level, in short, such as `addition 3`.
        n_done, n_prompts: numbers of prompts that ran, and of all.
        failures: the work that failed, and why.
        first: the cell and the record of its first prompt that ran; None while there is none.
        summary: the curves and depths of its prompts; None while there is no prompt.
        cells: its cells.
    """

    key: RowKey
    model: str
    task: str
    short_task: str
    n_done: int
    n_prompts: int
    failures: tuple[Failure, ...]
    first: tuple[Cell, Record] | None
    summary: CellSummary | None
    cells: tuple[Cell, ...] = ()

    @property
    def is_pooled(self) -> bool:
        """Whether it pools several cells."""
        return len(self.cells) > 1

    @property
    def n_layers(self) -> int | None:
        """L; None where unknown."""
        return None if self.summary is None else self.summary.model.n_layers

    @property
    def verdict(self) -> Verdict | None:
        """The verdict of this row; None where unknown."""
        return None if self.summary is None else self.summary.verdict

    @property
    def headline(self) -> Headline | None:
        """The headline of this row; None where unknown."""
        return None if self.summary is None else self.summary.headline

    @property
    def title(self) -> str:
        """Model and task together."""
        return f"{self.model} · {self.task}"

    @property
    def accuracy(self) -> RightAnswers | None:
        """How many answers are right; None where unknown."""
        return None if self.summary is None else self.summary.accuracy

    def depth(self, rule: str) -> DepthEstimate | None:
        """The depth by a rule."""
        return None if self.summary is None else self.summary.depth(rule)

    def published(self, rule: str) -> PublishedDepth | None:
        """The paper's depth of this model on this task; None for several cells."""
        if self.summary is None or self.is_pooled:
            return None
        return self.summary.published(rule)


@dataclass(frozen=True)
class SweepFinding:
    """A sentence about the sweep.

    Attributes:
        text: the sentence; untrusted.
        kind: a `title`, a `subject` that sentences are about, a sentence that is `clear`,
            `unclear` or `disputed` by a test, or a `doubt`.
        cells: the cells that it is about.
        number: name of the number that it is by, or empty.
        details: further sentences; untrusted.
    """

    text: str
    kind: Literal["title", "subject", "clear", "unclear", "disputed", "doubt"]
    cells: Sequence[Cell] = ()
    number: str = ""
    details: str = ""

    @property
    def is_head(self) -> bool:
        """Whether it only names the subject of the sentences beneath it."""
        return self.kind in ("title", "subject")

    def is_about(self, row: SweepRow) -> bool:
        """Whether a row contains any of its cells."""
        return not set(self.cells).isdisjoint(row.cells)


@dataclass(frozen=True)
class SweepView:
    """A sweep's results as they are shown.

    Attributes:
        rows: the rows, in the plan's order.
        findings: the answers to the paper's questions, then doubts.
        summary: the summary of every cell.
        questions: the paper's questions.
    """

    rows: tuple[SweepRow, ...] = ()
    findings: tuple[SweepFinding, ...] = ()
    summary: SweepSummary | None = None
    questions: Sequence[Question] = ()


@dataclass
class SweepViewBuilder:
    """Builds views of a sweep, and reuses the unchanged parts of the last one."""

    _summaries: dict[object, CellSummary] = field(default_factory=dict)
    _answered: tuple[object, Sequence[Question]] = (None, ())

    def rows(self, outcome: Outcome, grouping: Grouping) -> tuple[SweepRow, ...]:
        """The rows alone, which take less time."""
        groups = self._groups(outcome, grouping)
        return tuple(self._row(key, cells, outcome) for key, cells in groups)

    def build(
        self, outcome: Outcome, grouping: Grouping, is_session: bool, live: bool
    ) -> SweepView:
        """Rows and sentences; while a sweep is live, only complete cells are compared."""
        settings = outcome.plan.summary
        cells = [
            self._pooled((cell,), outcome)
            for cell, records in outcome.records.items()
            if records and not (live and len(records) < cell.task.examples)
        ]
        summary = SweepSummary(
            outcome.plan,
            [cell for cell in cells if cell is not None],
            [cell for cell, records in outcome.records.items() if not records],
            outcome.failures,
        )
        counts = tuple((cell.cell, len(cell.records)) for cell in summary.cells)
        if self._answered[0] != (counts, settings):
            self._answered = (counts, settings), questions(summary)
        paper_questions = self._answered[1]
        findings = tuple(
            _findings(summary, paper_questions, with_absences=not (live or is_session))
        )
        return SweepView(self.rows(outcome, grouping), findings, summary, paper_questions)

    def _groups(
        self, outcome: Outcome, grouping: Grouping
    ) -> list[tuple[RowKey, tuple[Cell, ...]]]:
        by_key: dict[RowKey, list[Cell]] = {}
        for cell in outcome.plan.cells:
            records = outcome.records.get(cell, [])
            n_layers = records[0].model.n_layers if records else None
            keys: dict[Grouping, RowKey] = {
                "cells": (cell.model, cell.task.source, cell.task.level),
                "models": (cell.model,),
                # Curves of different depth have no mean.
                "levels": (cell.task.source, cell.task.level, n_layers),
            }
            by_key.setdefault(keys[grouping], []).append(cell)
        groups = [(key, tuple(cells)) for key, cells in by_key.items()]
        if grouping == "levels":
            tasks = [(task.source, task.level) for task in outcome.plan.tasks]
            groups.sort(key=lambda group: tasks.index((group[0][0], group[0][1])))  # type: ignore[arg-type]
        return groups

    def _row(self, key: RowKey, cells: tuple[Cell, ...], outcome: Outcome) -> SweepRow:
        tasks = [cell.task for cell in cells]
        short = [task.with_origin(f"{task.name} {task.level}".rstrip()) for task in tasks]
        ran = [(cell, record) for cell in cells for record in outcome.records.get(cell, [])]
        return SweepRow(
            key,
            _one_or_many([_title(cell, outcome) for cell in cells], "models"),
            _one_or_many([task.title for task in tasks], "tasks"),
            _one_or_many(short, "tasks"),
            len(ran),
            sum(task.examples for task in tasks),
            tuple(one for one in outcome.failures if any(map(one.is_of, cells))),
            next(iter(ran), None),
            self._pooled(cells, outcome),
            cells,
        )

    def _pooled(self, cells: tuple[Cell, ...], outcome: Outcome) -> CellSummary | None:
        records = [record for cell in cells for record in outcome.records.get(cell, [])]
        if not records:
            return None
        settings = outcome.plan.summary
        summary = self._summaries.get(cells)
        if (
            summary is None
            or summary.settings != settings
            or list(map(id, summary.records)) != list(map(id, records))
        ):
            summary = CellSummary(cells[0], records, settings)
            # The intervals are computed here, in a thread.
            _ = summary.depths, summary.verdict
            self._summaries[cells] = summary
        return summary


def _title(cell: Cell, outcome: Outcome) -> str:
    records = outcome.records.get(cell) or [
        record
        for other, cell_records in outcome.records.items()
        if other.model == cell.model
        for record in cell_records
    ]
    return titles_of(cell.model, records[0].model) if records else model_title(cell.model)


def _kind(answer: Answer) -> Literal["clear", "unclear", "disputed"]:
    if answer.comparison.disagrees:
        return "disputed"
    return "unclear" if answer.reason else "clear"


def _one_or_many(titles: Sequence[str], plural: str) -> str:
    different = list(dict.fromkeys(titles))
    return different[0] if len(different) == 1 else f"{len(different)} {plural}"


_FOLDED = "The report has the answers by the paper's rules."


def _findings(
    summary: SweepSummary, paper_questions: Sequence[Question], with_absences: bool
) -> list[SweepFinding]:
    findings: list[SweepFinding] = []
    for question in paper_questions:
        findings.append(SweepFinding(question.title, "title"))
        if question.reason:
            findings.append(SweepFinding(question.reason, "unclear", question.cells))
        shown = question.headline or question.others
        findings += [
            SweepFinding(
                answer.claim, _kind(answer), answer.cells, answer.number.name, answer.details
            )
            for answer in shown
            if answer.is_known
        ]
        findings += [SweepFinding(words, "unclear") for words in reasons_of(shown)]
        if question.headline and question.others:
            findings.append(SweepFinding(_FOLDED, "subject"))
    absent = absences(summary) if with_absences else failures(summary)
    for title, remarks in (("Caveats", cautions(summary)), ("Missing", absent)):
        if remarks:
            findings.append(SweepFinding(title, "title"))
        findings += [SweepFinding(remark.text, "doubt", remark.cells) for remark in remarks]
    return findings
