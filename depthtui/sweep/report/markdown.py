"""A sweep as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from depthtui.report.markdown import escaped, table
from depthtui.report.phrases import rule_title
from depthtui.sweep.questions import Question
from depthtui.sweep.report.phrases import (
    absences,
    cautions,
    depth_words,
    how_run,
    method,
    other_titles,
    published_note,
    published_words,
    rules_of,
)
from depthtui.sweep.summary import CellSummary, SweepSummary


def sweep_markdown(summary: SweepSummary, questions: Sequence[Question]) -> bytes:
    """The report as UTF-8."""
    lines = ["# Effective depth over models and tasks", "", *_depths(summary)]
    for sentence in (method(summary), published_note(summary)):
        if sentence:
            lines += [escaped(sentence), ""]
    for question in questions:
        lines += [f"## {question.title}", ""]
        lines += [f"- {escaped(str(each))}" for each in question.answers]
        lines.append("")
    lines += _others(summary)
    for title, sentences in (("To doubt", cautions(summary)), ("Not there", absences(summary))):
        if sentences:
            lines += [f"## {title}", "", *(f"- {escaped(each)}" for each in sentences), ""]
    return ("\n".join(lines).rstrip() + "\n").encode("utf-8", "backslashreplace")


def _depths(summary: SweepSummary) -> Iterable[str]:
    rules = rules_of(summary)
    heads = ["model", "L", "task", "prompts", "tokens", *map(rule_title, rules), "run as"]
    rows = [
        [
            escaped(cell.title),
            str(cell.model.n_layers),
            escaped(cell.cell.task.title),
            str(len(cell.records)),
            f"{cell.n_tokens:,}",
            *(_depth(cell, rule) for rule in rules),
            escaped(how_run(cell)),
        ]
        for cell in summary.cells
    ]
    yield from table(heads, rows) if rows else ["No prompt was run."]
    yield ""


def _depth(cell: CellSummary, rule: str) -> str:
    published = published_words(cell.published(rule))
    words = escaped(depth_words(cell.depth(rule)))
    return f"{words}<br>{escaped(published)}" if published else words


def _others(summary: SweepSummary) -> Iterable[str]:
    titles = other_titles(summary.cells)
    if not titles:
        return
    rows = [
        [
            escaped(cell.title),
            escaped(cell.cell.task.title),
            *(f"{cell.means[title]:.4g}" if title in cell.means else "–" for title in titles),
        ]
        for cell in summary.cells
    ]
    yield "## Other measures"
    yield ""
    yield from table(["model", "task", *titles], rows)
    yield ""
