"""A sweep on the terminal: the table of effective depths, then the answers in short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Group as Lines
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from depthtui.depth.intervals import LEVEL
from depthtui.depth.rules import RULE_CURVES
from depthtui.report.legible import legible
from depthtui.report.phrases import rule_title
from depthtui.sweep.comparisons import signed
from depthtui.sweep.questions import Answer, Question
from depthtui.sweep.report.phrases import (
    absences,
    cautions,
    depth_words,
    method,
    model_heading,
    published_note,
    published_words,
    rules_of,
)
from depthtui.sweep.summary import CellSummary, SweepSummary

_TASK_WIDTH = 24
_MOST_ANSWERS = 12
"""Lines on a question; the reports have all of them."""

_LEGEND = (
    f"Layers and their {LEVEL:.0%} interval, bold where it leaves 0 out; ? where the rank test "
    "(Holm) disagrees. The reports say it in sentences."
)


def sweep_lines(summary: SweepSummary, questions: Sequence[Question]) -> Lines:
    """The table and the sentences."""
    tables = _tables(summary) if summary.cells else [Text("No prompt was run.")]
    lines: list[RenderableType] = [*tables]
    for sentence in (method(summary), published_note(summary)):
        if sentence:
            lines.append(Text(legible(sentence), style="dim"))
    for question in questions:
        lines += _answered(question)
    lines += _section("To doubt", _cut(cautions(summary)))
    lines += _section("Not there", absences(summary))
    return Lines(*lines)


def _answered(question: Question) -> Iterable[RenderableType]:
    """A table of layers and intervals for whatever was compared, else the sentences."""
    answers = [each for each in question.answers if each.found is not None]
    if not answers:
        sentences = [str(each) for each in question.answers]
        yield from _section(question.title, _cut(sentences))
        return
    yield Text("")
    yield Text(question.title, style="bold")
    rules = [rule for rule in RULE_CURVES if any(each.rule == rule for each in answers)]
    for compared in dict.fromkeys(each.compared for each in answers):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("", width=_TASK_WIDTH)
        for rule in rules:
            table.add_column(rule_title(rule), justify="right", no_wrap=True)
        for on in dict.fromkeys(each.on for each in answers if each.compared == compared):
            found = {
                each.rule: each for each in answers if (each.compared, each.on) == (compared, on)
            }
            table.add_row(Text(legible(on)), *(_change(found.get(rule)) for rule in rules))
        yield Text(legible(compared))
        yield table
        yield Text("; ".join(_verdict(answers, compared, rule) for rule in rules) + ".\n")
    yield Text(_LEGEND, style="dim")


def _change(answer: Answer | None) -> Text:
    """Layers and their interval: bold where that leaves zero out, ? where the test disagrees."""
    if answer is None or answer.change is None or answer.interval is None:
        return Text("–", style="dim")
    low, high = (signed(each, 0) for each in answer.interval)
    text = Text(f"{signed(answer.change, 1)} ", style="" if answer.unclear else "bold")
    text.append(f"({low}…{high})", style="dim")
    return text.append("?" if answer.doubtful else " ")


def _verdict(answers: Sequence[Answer], compared: str, rule: str) -> str:
    """What the intervals say of all tasks, such as `KL: no clear trend in 3 of 4`."""
    found = [each for each in answers if (each.compared, each.rule) == (compared, rule)]
    said = Counter(each.sentence.partition(":")[0].partition(" (")[0] for each in found)
    return f"{rule_title(rule)}: " + ", ".join(
        f"{claim} in {count} of {len(found)}" for claim, count in said.most_common()
    )


def _cut(lines: list[str]) -> list[str]:
    more = len(lines) - _MOST_ANSWERS
    return [*lines[:_MOST_ANSWERS], f"… and {more} more in the report."] if more > 1 else lines


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
