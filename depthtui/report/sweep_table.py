"""A sweep on the terminal: the table of effective depths, then the answers in short."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group as Lines
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from depthtui.report.legible import legible
from depthtui.report.sweep_words import (
    absences,
    cautions,
    depth_words,
    method,
    model_heading,
    published_note,
    published_words,
    rules_of,
)
from depthtui.report.words import rule_title
from depthtui.sweep.questions import Answer, Question
from depthtui.sweep.summary import CellSummary, SweepSummary

_TASK_WIDTH = 24
_MOST_ANSWERS = 12
"""Lines on a question; the reports have all of them."""


def sweep_lines(summary: SweepSummary, questions: Sequence[Question]) -> Lines:
    """The table and the sentences."""
    tables = _tables(summary) if summary.cells else [Text("No prompt was run.")]
    lines: list[RenderableType] = [*tables]
    for sentence in (method(summary), published_note(summary)):
        if sentence:
            lines.append(Text(legible(sentence), style="dim"))
    for question in questions:
        lines += _section(question.title, in_short(question))
    lines += _section("To doubt", cautions(summary))
    lines += _section("Not there", absences(summary))
    return Lines(*lines)


def in_short(question: Question) -> list[str]:
    """The answers, those without a clear finding one line for all rules of a subject."""
    lines: list[str] = []
    for subject in dict.fromkeys(each.subject for each in question.answers):
        answers = [each for each in question.answers if each.subject == subject]
        unclear = [each for each in answers if each.unclear]
        lines += [str(each) for each in answers if each not in unclear]
        if unclear:
            lines.append(f"{subject}, {_rules(unclear)}: {_nothing(question)}.")
    more = len(lines) - _MOST_ANSWERS
    return [*lines[:_MOST_ANSWERS], f"… and {more} more in the report."] if more > 1 else lines


def _rules(answers: Sequence[Answer]) -> str:
    *first, last = [rule_title(each.rule) for each in answers]
    return f"{', '.join(first)} and {last}" if first else last


def _nothing(question: Question) -> str:
    return "no clear trend" if question.name == "difficulty" else "no clear difference"


def _section(title: str, sentences: Sequence[str]) -> list[RenderableType]:
    if not sentences:
        return []
    return [Text(""), Text(title, style="bold"), *(Text(legible(each)) for each in sentences)]


def _tables(summary: SweepSummary) -> Iterable[RenderableType]:
    """One table a model, all with the same columns."""
    rules = rules_of(summary)
    rows = {id(cell): _row(cell, rules) for cell in summary.cells}
    widths = [
        max(text.cell_len for row in rows.values() for text in row[column].split())
        for column in range(len(rules) + 2)
    ]
    for model in summary.models:
        cells = summary.of_model(model)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("task", width=min(widths[0], _TASK_WIDTH))
        table.add_column("n", justify="right")
        for rule, width in zip(rules, widths[2:], strict=True):
            table.add_column(rule_title(rule), min_width=width, no_wrap=True)
        for cell in cells:
            table.add_row(*rows[id(cell)])
        yield Text(legible(model_heading(cells)), style="bold")
        yield table
        yield Text("")


def _row(cell: CellSummary, rules: Sequence[str]) -> list[Text]:
    depths = []
    for rule in rules:
        # Narrower than in the other reports: three of them must fit beside a task.
        text = Text(depth_words(cell.depth(rule)).replace(" … ", "–"))
        published = published_words(cell.published(rule))
        if published:
            text.append(f"\n{published}", style="dim")
        depths.append(text)
    return [Text(legible(cell.cell.task.title)), Text(str(len(cell.records))), *depths]
