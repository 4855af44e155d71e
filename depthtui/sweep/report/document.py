"""The document of a sweep's report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from rich.cells import cell_len

from depthtui.data.depth import DepthEstimate
from depthtui.data.lens_view import LOGIT, lens_heading
from depthtui.depth import rules
from depthtui.depth.rule import Rule
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
from depthtui.report.phrases import kl_area, rule_title, sentence_case
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
    other_titles,
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
    yield ViewBlocks(AT_LENGTH, _list("How many layers they take", Items(verdicts(summary))))
    yield ViewBlocks(AT_LENGTH, _by_prompt(summary))
    yield ViewBlocks(AT_LENGTH, _other_metrics(summary))
    yield from _list("Caveats", Items([remark.text for remark in cautions(summary)], _MOST_ITEMS))
    how_run = _notes(summary, matching_note, writing_note, run_note)
    yield ViewBlocks(AT_LENGTH, [Chapter("How it was run", [how_run] * bool(summary.cells))])
    missing = Items([remark.text for remark in absences(summary)])
    yield from _list("Missing", missing, is_open=True)


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


def _kept_table(summary: SweepSummary) -> Table:
    """A row for each cell: what is kept, and where the next token is decided."""
    has_decided = margin.RULE.name in rules_of(summary.cells)
    columns = [
        Column("model and task", style="name"),
        Column("nine tenths", style="depth"),
        Column("mean depth", number=True),
        *([Column(rule_title(margin.RULE.name), style="depth")] if has_decided else []),
        Column("L", number=True),
        *(_right_column(summary) or [Column("prompts", number=True)]),
        Column("nats known a token", number=True),
    ]
    rows: list[list[TableCell]] = [
        [
            cell.place,
            Noted(kept_words(cell.headline, cell.model.n_layers), _kind(summary, cell)),
            mean_depth_words(cell.headline),
            *([depth_words(cell.depth(margin.RULE.name))] if has_decided else []),
            str(cell.model.n_layers),
            *(_right(summary, cell) or [str(len(cell.records))]),
            "–" if cell.headline is None else f"{cell.headline.gain:.1f}",
        ]
        for cell in summary.cells
    ]
    return Table(columns, rows)


def _rule_table(summary: SweepSummary) -> Table:
    """A row for each cell: its depth by each rule, and the paper's beneath."""
    names = rules_of(summary.cells)
    columns = [
        Column("model and task", style="name"),
        Column("L", number=True),
        Column("prompts", number=True),
        Column("tokens", number=True, views=["text"]),
        *_right_column(summary),
        *(Column(rule_title(rule), style="depth") for rule in names),
    ]
    rows: list[list[TableCell]] = [
        [
            cell.place,
            str(cell.model.n_layers),
            str(len(cell.records)),
            f"{cell.n_tokens:,}",
            *_right(summary, cell),
            *(_depth(cell, rule) for rule in names),
        ]
        for cell in summary.cells
    ]
    return Table(columns, rows)


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


def _right_column(summary: SweepSummary) -> list[Column]:
    """The column of right answers, in place of the number of prompts; none where unknown."""
    return [Column("right", number=True, wraps=False)] if has_accuracy(summary) else []


def _right(summary: SweepSummary, cell: CellSummary) -> list[TableCell]:
    """The right answers among all, or the number of prompts where none is known."""
    return [str(cell.accuracy or f"–/{len(cell.records)}")] if has_accuracy(summary) else []


def _by_model(summary: SweepSummary) -> Iterator[Block]:
    """One table per model, all with columns of the same width."""
    names = rules_of(summary.cells)
    longest = max(cell_len(printable_line(cell.cell.task.title)) for cell in summary.cells)
    columns = [
        Column("task", width=min(longest, _TASK_WIDTH)),
        *(_right_column(summary) or [Column("n", number=True, wraps=False)]),
        *([_kept_column(summary)] if _has_headline(summary) else []),
        *(_depth_column(summary, rule) for rule in names),
    ]
    for model in summary.models:
        cells = summary.of_model(model)
        rows: list[list[TableCell]] = [
            [
                cell.cell.task.title,
                *(_right(summary, cell) or [str(len(cell.records))]),
                *([_narrow_kept(summary, cell)] if _has_headline(summary) else []),
                *(_narrow_depth(cell, rule) for rule in names),
            ]
            for cell in cells
        ]
        yield Chapter(model_heading(cells), [Table(columns, rows)])


def _kept_column(summary: SweepSummary) -> Column:
    return _narrow_column("nine tenths", [_narrow_kept(summary, cell) for cell in summary.cells])


def _depth_column(summary: SweepSummary, rule: str) -> Column:
    cells = [_narrow_depth(cell, rule) for cell in summary.cells]
    return _narrow_column(rule_title(rule), cells)


def _narrow_depth(cell: CellSummary, rule: str) -> Noted:
    depth = _depth(cell, rule)
    return replace(depth, text=_without_zero(depth.text))


def _without_zero(count: str) -> str:
    """A count and its share without a zero, such as `27 · .90`: several fit into 80 cells."""
    return count.replace(" 0.", " .")


def _narrow_column(title: str, cells: Sequence[Noted]) -> Column:
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
    lines = []
    for cell in summary.cells:
        knowledge = cell.get(kept.METRIC)
        if knowledge is not None:
            share = knowledge.curve.share
            values = at_percents(share, np.linspace(0, 1, len(share)))
            lines.append(Line(values, _css(summary, cell), name=_name(cell)))
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
    models = list(dict.fromkeys(other.cell.model for other in summary.cells))
    tasks = list(dict.fromkeys(other.cell.task for other in summary.cells))
    hue, dash = svg.hue(models.index(cell.cell.model)), svg.dash(tasks.index(cell.cell.task))
    return f"{hue} {dash}"


def _figures(summary: SweepSummary) -> Iterator[Figure]:
    settings = summary.plan.summary
    lens = "Lens" if settings.lens == LOGIT else lens_heading(settings.lens)
    for rule in map(rules.named, rules_of(summary.cells)):
        title = rule.figure_title(lens, mean=True)
        panel = Panel(
            _lines(summary, rule),
            POINTS,
            rule.threshold.of(settings),
            title=f"{title}, over relative depth",
            up=rule.layer_axis,
            across="(layer + 1) / L, %",
        )
        yield Figure(title, panel, rule.explanation.description, rule.name)


def _lines(summary: SweepSummary, rule: Rule) -> list[Line]:
    lines = []
    for cell in summary.cells:
        values = rule.by_layer(cell.curves)
        if values is not None:
            lines.append(Line(relative(values), _css(summary, cell), name=_name(cell)))
    return lines


def _name(cell: CellSummary) -> str:
    """The name of a cell's lines."""
    return f"{cell.title}, {cell.cell.task.title}"


def _headlines(questions: Sequence[Question]) -> Iterator[Block]:
    """The first answers to each question."""
    for question in questions:
        sentences = sentences_of(question.headline)
        yield from _list(question.title, Items(sentences, _MOST_ITEMS), is_open=True)


def _question(question: Question) -> Iterator[Block]:
    """The answers by other numbers, folded beneath the headline's."""
    if question.headline and question.others:
        title = f"{question.title} {_BY_OTHERS}"
        yield ViewBlocks(AT_LENGTH, [Chapter(title, _others(question.others))])
    elif question.others or question.reason:
        reason = [Paragraph(question.reason)] * bool(question.reason)
        yield Chapter(question.title, [*reason, *_others(question.others)], is_open=True)


def _others(answers: Sequence[Answer]) -> Iterator[Block]:
    """A table for the models that are compared, and each reason why nothing is known, once."""
    for compared in dict.fromkeys(answer.subject.compared for answer in answers):
        known = [one for one in answers if one.subject.compared == compared and one.is_known]
        if known:
            yield TightBlocks([Paragraph(compared), _comparisons(known)])
    doubts = dict.fromkeys(answer.reason for answer in answers if answer.is_known)
    doubtful = [f"{sentence_case(doubt)}." for doubt in doubts if ":" in doubt]
    yield Items([*doubtful, *reasons_of(answers)], _MOST_ITEMS)
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
                f"{p_words(comparison)}{'?' * comparison.disagrees}",
                Spans([(reason.headline if reason else direction, style)]),
            ]
        )
        last = on
    return Table(columns, rows)


def _by_prompt(summary: SweepSummary) -> Iterator[Block]:
    """The depths where each prompt counts once, and how many equal prompts the tokens are worth."""

    def weighted_depths(cell: CellSummary) -> dict[str, DepthEstimate]:
        weighted = {estimate.rule: estimate.prompt_weighted for estimate in cell.depths}
        return {rule: estimate for rule, estimate in weighted.items() if estimate is not None}

    names = rules_of(summary.cells)
    cells = [cell for cell in summary.cells if len(cell.parts) > 1 and cell.depths]
    if not cells:
        return
    columns = [
        Column("model and task", style="name"),
        Column("prompts", number=True),
        Column("worth", number=True),
        *(Column(rule_title(rule), style="depth") for rule in names),
        Column("KL area", number=True),
    ]
    rows: list[list[TableCell]] = [
        [
            cell.place,
            str(len(cell.parts)),
            f"{cell.effective_prompts:.1f}",
            *(_crossing(weighted_depths(cell).get(rule)) for rule in names),
            kl_area(weighted_depths(cell).values()) or "–",
        ]
        for cell in cells
    ]
    how = Note(
        "Worth: so many prompts of the same length tell as much as the mean over tokens. Crosses: "
        "where, between layers, the line through the curve meets the threshold. KL area: mean KL "
        "over its largest."
    )
    yield Chapter("Each prompt counted once", [Table(columns, rows), how])


def _crossing(estimate: DepthEstimate | None) -> Noted:
    """A depth, beneath it its interval and where the curve crosses the threshold."""
    crossing = None if estimate is None else estimate.crossing
    crosses = "" if crossing is None else f"crosses {crossing:.1f}"
    lines = filter(None, (interval_words(estimate, "–"), crosses))
    return Noted(count_words(estimate), "\n".join(lines))


def _other_metrics(summary: SweepSummary) -> Iterator[Block]:
    titles = other_titles(summary.cells)
    if not titles:
        return
    numbers = (Column(title, number=True) for title in titles)
    columns = [Column("model and task", style="name"), *numbers]
    rows = [
        [
            cell.place,
            *(f"{cell.means[title]:.4g}" if title in cell.means else "–" for title in titles),
        ]
        for cell in summary.cells
    ]
    yield Chapter("Other measures", [Table(columns, rows)])


def _list(title: str, items: Items, is_open: bool = False) -> Iterator[Block]:
    if items.texts:
        yield Chapter(title, [items], is_open)
