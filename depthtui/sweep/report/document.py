"""The document of a sweep's report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import numpy as np
from rich.cells import cell_len

from depthtui.data.lens_view import LOGIT, lens_heading
from depthtui.depth import rules
from depthtui.depth.rules import margin
from depthtui.metrics import kept
from depthtui.metrics.kept.curve import SHARE
from depthtui.report import svg
from depthtui.report.blocks import (
    AT_LENGTH,
    Block,
    Chapter,
    Column,
    Document,
    Figure,
    Figures,
    Items,
    Legend,
    Line,
    Note,
    Noted,
    Panel,
    Paragraph,
    Spans,
    Style,
    Table,
    TableCell,
    TightBlocks,
    ViewBlocks,
)
from depthtui.report.phrases import rule_title, sentence_case
from depthtui.report.relative import POINTS, at_percents, relative
from depthtui.sweep.answers import Answer, p_words
from depthtui.sweep.questions import Question
from depthtui.sweep.report.phrases import (
    absences,
    accuracy_note,
    cautions,
    count_words,
    depth_words,
    has_accuracy,
    interval_words,
    kept_count,
    kept_note,
    kept_of,
    kept_range,
    kept_words,
    matching_note,
    mean_depth_words,
    method,
    model_heading,
    published_note,
    published_words,
    reasons_of,
    run_note,
    sentences_of,
    verdicts,
    writing_note,
)
from depthtui.sweep.report.right_answers import right_answers
from depthtui.sweep.summary import CellSummary, SweepSummary, rules_of
from depthtui.token_text import printable_line

_TASK_WIDTH = 24
_MOST_ITEMS = 12
"""Most items of a list in a terminal; files have all of them."""

_NARROW = {"of answers beyond the task": "beyond task"}
"""Shorter words for a narrow table."""

_BY_OTHERS = "By other numbers, the paper's rules among them."

_FOLDED = "The report files have the answers by the paper's rules, too."

_CellColumn: TypeAlias = tuple[Column, Callable[[CellSummary], TableCell]]
"""A column of a table of cells, and its value of a cell."""

_PLACE: _CellColumn = (Column("model and task", style="name"), lambda cell: cell.place)
_LAYERS: _CellColumn = (Column("L", number=True), lambda cell: str(cell.n_layers))
_PROMPTS: _CellColumn = (Column("prompts", number=True), lambda cell: str(len(cell.records)))

_LEGEND = (
    "Change: from the first to the last, in layers, or in points of the share where L differs; "
    "beneath it the interval, corrected for the number of comparisons. p: rank test of single "
    "prompts, after Holm; ? where it disagrees."
)


def sweep_document(summary: SweepSummary, questions: Sequence[Question]) -> Document:
    """A report of a sweep, and the answers to its questions."""
    blocks = _blocks(summary, questions)
    return Document("Effective depth over models and tasks", blocks, css=svg.series_style())


def _blocks(summary: SweepSummary, questions: Sequence[Question]) -> Iterator[Block]:
    yield from _headlines(questions)
    if summary.cells:
        yield ViewBlocks(AT_LENGTH, _first_tables(summary))
        notes = [kept_note, accuracy_note, method, published_note, matching_note, writing_note]
        yield ViewBlocks(["brief"], [*_by_model(summary), _notes(summary, *notes)])
    else:
        yield Paragraph("No prompt was run.")
    yield from right_answers(summary)
    for question in questions:
        yield from _question(question)
    if any(question.headline for question in questions):
        yield ViewBlocks(["brief"], [Note(_FOLDED)])
    yield Chapter("How many layers they take", _items(verdicts(summary)), views=AT_LENGTH)
    yield _other_metrics(summary)
    caveats = [remark.text for remark in cautions(summary)]
    yield Chapter("Caveats", _items(caveats, _MOST_ITEMS))
    how_run = _notes(summary, matching_note, writing_note, run_note)
    yield Chapter("How it was run", [how_run] if summary.cells else [], views=AT_LENGTH)
    missing = [remark.text for remark in absences(summary)]
    yield Chapter("Missing", _items(missing), is_open=True)


def _first_tables(summary: SweepSummary) -> Iterator[Block]:
    """The table of what is kept and its curves, then those of the rules in a chapter.

    Where it is unknown of every cell what is kept, those of the rules take this place.
    """
    by_rules: list[Block] = [_rule_table(summary), _notes(summary, method, published_note)]
    if rules_of(summary.cells):
        by_rules.append(ViewBlocks(["pictures"], _curves(summary)))
    if _has_headline(summary):
        yield _kept_table(summary)
        yield _notes(summary, kept_note, accuracy_note)
        yield ViewBlocks(["pictures"], _kept_curves(summary))
        yield Chapter("Effective depth by each rule", by_rules)
    else:
        yield from by_rules
        yield _notes(summary, accuracy_note)


def _notes(summary: SweepSummary, *notes: Callable[[SweepSummary], str]) -> TightBlocks:
    """The notes on a sweep that are not empty."""
    return TightBlocks([Note(words) for note in notes if (words := note(summary))])


def _table(cells: Iterable[CellSummary], columns: Sequence[_CellColumn]) -> Table:
    """A row for each cell."""
    rows = [[value_of(cell) for _, value_of in columns] for cell in cells]
    return Table([column for column, _ in columns], rows)


def _kept_table(summary: SweepSummary) -> Table:
    """A row for each cell: what is kept, and where the next token is decided."""
    decided = margin.RULE.name
    columns: list[_CellColumn] = [
        (
            Column("nine tenths", style="depth"),
            lambda cell: Noted(kept_words(cell.headline, cell.n_layers), _kind(summary, cell)),
        ),
        (Column("mean depth", number=True), lambda cell: mean_depth_words(cell.headline)),
        (Column(rule_title(decided), style="depth"), lambda cell: depth_words(cell.depth(decided))),
    ]
    columns = columns[: 2 + (decided in rules_of(summary.cells))]
    gain = Column("nats known a token", number=True)
    return _table(
        summary.cells,
        [
            _PLACE,
            *columns,
            _LAYERS,
            _right_column(summary) or _PROMPTS,
            (gain, lambda cell: f"{cell.headline.gain:.1f}" if cell.headline else "–"),
        ],
    )


def _rule_table(summary: SweepSummary) -> Table:
    """A row for each cell: its depth by each rule, and the paper's beneath."""
    tokens = Column("tokens", number=True, views=["text"])
    right = _right_column(summary)
    return _table(
        summary.cells,
        [
            _PLACE,
            _LAYERS,
            _PROMPTS,
            (tokens, lambda cell: f"{cell.n_tokens:,}"),
            *([right] if right else []),
            *(
                (Column(rule_title(rule), style="depth"), partial(_depth, rule=rule))
                for rule in rules_of(summary.cells)
            ),
        ],
    )


def _has_headline(summary: SweepSummary) -> bool:
    """Whether it is known of any cell what is kept."""
    return any(cell.headline is not None for cell in summary.cells)


def _kind(summary: SweepSummary, cell: CellSummary) -> str:
    """The tokens that a cell's headline counts, where those of the cells differ; else empty."""
    kinds = {kept_of(other.headline) for other in summary.cells if other.headline}
    return kept_of(cell.headline) if len(kinds) > 1 else ""


def _narrow_kept(summary: SweepSummary, cell: CellSummary) -> Noted:
    """The layers that keep nine tenths, and beneath them their range and the mean depth."""
    kind = _kind(summary, cell)
    depth = "" if cell.headline is None else mean_depth_words(cell.headline)
    mean = f"mean {depth}" if depth[:1].isdigit() else depth
    lines = [kept_range(cell.headline, "–"), mean, _NARROW.get(kind, kind)]
    count = kept_count(cell.headline, cell.model.n_layers)
    return Noted(_without_zero(count), "\n".join(filter(None, lines)))


def _right_column(summary: SweepSummary) -> _CellColumn | None:
    """The right answers among all, in place of the number of prompts; None where unknown."""
    if not has_accuracy(summary):
        return None
    column = Column("right", number=True, wraps=False)
    return column, lambda cell: str(cell.accuracy or f"–/{len(cell.records)}")


def _by_model(summary: SweepSummary) -> Iterator[Block]:
    """One table per model, all with columns of the same width."""
    longest = max(cell_len(printable_line(cell.cell.task.title)) for cell in summary.cells)
    prompts = Column("n", number=True, wraps=False), _PROMPTS[1]
    columns: list[_CellColumn] = [
        (Column("task", width=min(longest, _TASK_WIDTH)), lambda cell: cell.cell.task.title),
        _right_column(summary) or prompts,
    ]
    narrow: dict[str, Callable[[CellSummary], Noted]] = {
        rule_title(rule): partial(_narrow_depth, rule=rule) for rule in rules_of(summary.cells)
    }
    if _has_headline(summary):
        narrow = {"nine tenths": partial(_narrow_kept, summary)} | narrow
    for title, value_of in narrow.items():
        columns.append((_narrow_column(title, map(value_of, summary.cells)), value_of))
    for model in summary.models:
        cells = summary.of_model(model)
        yield Chapter(model_heading(cells), [_table(cells, columns)])


def _narrow_depth(cell: CellSummary, rule: str) -> Noted:
    depth = _depth(cell, rule)
    return replace(depth, text=_without_zero(depth.text))


def _without_zero(count: str) -> str:
    """A count and its share without a zero, such as `27 · .90`: several fit into 80 cells."""
    return count.replace(" 0.", " .")


def _narrow_column(title: str, cells: Iterable[Noted]) -> Column:
    """A column that is as wide as its longest line."""
    texts = [title, *(text for cell in cells for text in (cell.text, *cell.note.split("\n")))]
    return Column(title, width=max(map(cell_len, texts)), wraps=False)


def _depth(cell: CellSummary, rule: str) -> Noted:
    """A depth, beneath it its interval and the paper's: several of them must fit beside a name."""
    estimate = cell.depth(rule)
    lines = filter(None, (interval_words(estimate, "–"), published_words(cell.published(rule))))
    return Noted(count_words(estimate), "\n".join(lines))


def _curves(summary: SweepSummary) -> Iterator[Block]:
    """The curve of each rule, all cells in one plot over relative depth."""
    yield Figures(_figures(summary))
    yield Note("Colour: model. Dashes: task. Dashed across: the threshold of the rule.")
    yield _legend(summary)


def _kept_curves(summary: SweepSummary) -> Iterator[Block]:
    """What is kept of each cell against the share of its layers that is kept."""
    pooled = [cell.get(kept.METRIC) for cell in summary.cells]
    shares = [None if one is None else one.curve.share for one in pooled]
    lines = _lines(summary, shares, lambda share: at_percents(share, np.linspace(0, 1, len(share))))
    title = "Knowledge kept"
    panel = Panel(
        lines,
        POINTS,
        SHARE,
        limits=(0.0, 1.0),
        title=title,
        up="share kept",
        across="layers kept, %",
        falls_from=POINTS - 1,
    )
    yield Figures([Figure(title, panel, "Dashed across: nine tenths.", kept.NAME)])
    yield _legend(summary)


def _legend(summary: SweepSummary) -> Legend:
    """The colour of each model, and the dashes of each task."""
    models = dict.fromkeys(cell.title for cell in summary.cells)
    tasks = dict.fromkeys(cell.cell.task.title for cell in summary.cells)
    return Legend(
        [(svg.hue(number), title) for number, title in enumerate(models)],
        [(svg.dash(number), title) for number, title in enumerate(tasks)],
    )


def _css(summary: SweepSummary, cell: CellSummary) -> str:
    """The classes of a cell's lines: the colour of its model, the dashes of its task."""
    tasks = list(dict.fromkeys(other.cell.task for other in summary.cells))
    hue = svg.hue(summary.models.index(cell.cell.model))
    return f"{hue} {svg.dash(tasks.index(cell.cell.task))}"


def _figures(summary: SweepSummary) -> Iterator[Figure]:
    settings = summary.plan.summary
    lens = "Lens" if settings.lens == LOGIT else lens_heading(settings.lens)
    for rule in map(rules.named, rules_of(summary.cells)):
        title = rule.figure_title(lens, mean=True)
        panel = Panel(
            _lines(summary, [rule.by_layer(cell.curves) for cell in summary.cells], relative),
            POINTS,
            rule.threshold.of(settings),
            title=f"{title}, over relative depth",
            up=rule.layer_axis,
            across="(layer + 1) / L, %",
        )
        yield Figure(title, panel, rule.explanation.description, rule.name)


def _lines(
    summary: SweepSummary,
    curves: Iterable[np.ndarray | None],
    at_points: Callable[[np.ndarray], np.ndarray],
) -> list[Line]:
    """The curves of the cells that have one, each over relative depth."""
    return [
        Line(at_points(curve), _css(summary, cell), name=f"{cell.title}, {cell.cell.task.title}")
        for cell, curve in zip(summary.cells, curves, strict=True)
        if curve is not None
    ]


def _headlines(questions: Sequence[Question]) -> Iterator[Block]:
    """The first answers to each question."""
    for question in questions:
        sentences = sentences_of(question.headline)
        yield Chapter(question.title, _items(sentences, _MOST_ITEMS), is_open=True)


def _question(question: Question) -> Iterator[Block]:
    """The answers by other numbers, folded beneath the headline's."""
    if question.headline and question.others:
        title = f"{question.title} {_BY_OTHERS}"
        yield Chapter(title, _others(question.others), views=AT_LENGTH)
    elif question.others or question.reason:
        reason = [Paragraph(question.reason)] if question.reason else []
        yield Chapter(question.title, [*reason, *_others(question.others)], is_open=True)


def _others(answers: Sequence[Answer]) -> Iterator[Block]:
    """A table for the models that are compared, and each reason why nothing is known, once."""
    for compared in dict.fromkeys(answer.subject.compared for answer in answers):
        some = [one for one in answers if one.subject.compared == compared and one.is_known]
        if some:
            yield TightBlocks([Paragraph(compared), _comparisons(some)])
    doubts = dict.fromkeys(answer.reason for answer in answers if answer.is_known)
    doubtful = [f"{sentence_case(doubt)}." for doubt in doubts if ":" in doubt]
    if reasons := [*doubtful, *reasons_of(answers)]:
        yield Items(reasons, _MOST_ITEMS)
    if over := dict.fromkeys(answer.population for answer in answers if answer.is_known):
        yield Note(f"{_LEGEND} Intervals and tests are over {'; '.join(over)}.")


def _comparisons(answers: Sequence[Answer]) -> Table:
    """A row for each number of each comparison: its change, its test, and its direction."""
    columns = [
        Column("on", width=_TASK_WIDTH),
        Column("by", wraps=False),
        Column("from first to last", views=AT_LENGTH),
        Column("change", number=True, wraps=False),
        Column("p", number=True, wraps=False),
        Column("direction"),
    ]
    rows: list[list[TableCell]] = []
    last = ""
    for answer in answers:
        comparison, on = answer.comparison, answer.subject.on
        change, ends = comparison.change_in_words
        direction, reason = comparison.direction, comparison.reason
        style: Style = "strong" if direction in ("more", "fewer") else ""
        rows.append(
            [
                "" if on == last else on,
                answer.number.title,
                answer.number.in_words(comparison.groups),
                Noted(change, ends),
                p_words(comparison) + ("?" if comparison.disagrees else ""),
                Spans([(reason.headline if reason else direction, style)]),
            ]
        )
        last = on
    return Table(columns, rows)


def _other_metrics(summary: SweepSummary) -> Chapter:
    def value_of(cell: CellSummary, title: str) -> str:
        return f"{cell.means[title]:.4g}" if title in cell.means else "–"

    columns: list[_CellColumn] = [
        (Column(title, number=True), partial(value_of, title=title))
        for title in dict.fromkeys(title for cell in summary.cells for title in cell.means)
    ]
    table = [_table(summary.cells, [_PLACE, *columns])] if columns else []
    return Chapter("Other measures", table, views=AT_LENGTH)


def _items(texts: Sequence[str], most: int | None = None) -> list[Block]:
    """A list; nothing where it is empty."""
    return [Items(texts, most)] if texts else []
