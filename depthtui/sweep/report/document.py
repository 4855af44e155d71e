"""The document of a sweep's report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from rich.cells import cell_len

from depthtui.data.depth import DepthEstimate
from depthtui.data.lens_view import LOGIT, lens_heading
from depthtui.depth import rules
from depthtui.depth.rules.rule import Rule
from depthtui.report import svg
from depthtui.report.blocks import (
    AT_LENGTH,
    Block,
    Column,
    Details,
    Document,
    Figure,
    Figures,
    Heading,
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
from depthtui.report.phrases import between_layers, kl_area, rule_title
from depthtui.sweep.comparisons import Claim, signed_text, signed_with_ends
from depthtui.sweep.plan import population
from depthtui.sweep.questions import Answer, Question
from depthtui.sweep.report.phrases import (
    absences,
    accuracy_note,
    cautions,
    count_words,
    depth_words,
    has_accuracy,
    how_run,
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
    verdicts,
    writing_note,
)
from depthtui.sweep.summary import CellSummary, SweepSummary, rules_of
from depthtui.token_text import printable_line

_POINTS = 101
"""Points at which curves of any number of layers are read: every percent of the depth."""

_TASK_WIDTH = 24
_MOST_ITEMS = 12
"""Most items of a list in a terminal; files have all of them."""

_NARROW = {"of answers beyond the task": "beyond task"}
"""Shorter words for a narrow table."""

_BY_RULES = "By the rules, as the paper answers."

_FOLDED = "The report files have the answers by the rules, too."

_LEGEND = (
    "First the difference in layers, or in ratios where L differs; beneath it its interval, "
    "corrected for the number of comparisons. Bold: the interval excludes 0. ?: single prompts "
    "disagree (rank test, Holm). No direction holds: a fragile count moves as far. "
    "The report files have each comparison in a sentence."
)


def sweep_document(summary: SweepSummary, questions: Sequence[Question]) -> Document:
    """A report of a sweep, and the answers to its questions."""
    blocks = _blocks(summary, questions)
    return Document("Effective depth over models and tasks", blocks, css=svg.series_style())


def _blocks(summary: SweepSummary, questions: Sequence[Question]) -> Iterator[Block]:
    yield from _answered_by_kept(questions)
    if summary.cells:
        yield ViewBlocks(AT_LENGTH, [_depths(summary)])
        yield ViewBlocks(["brief"], _by_model(summary))
    else:
        yield Paragraph("No prompt was run.")
    sentences = [
        method(summary),
        matching_note(summary),
        writing_note(summary),
        accuracy_note(summary),
        published_note(summary),
        kept_note(summary),
    ]
    yield TightBlocks([Note(sentence) for sentence in sentences if sentence])
    yield ViewBlocks(AT_LENGTH, _list("How many layers they take", Items(verdicts(summary))))
    if rules_of(summary.cells):
        yield ViewBlocks(["pictures"], _curves(summary))
    for question in questions:
        yield from _question(question)
    if any(question.kept_answers for question in questions):
        yield ViewBlocks(["brief"], [Note(_FOLDED)])
    yield ViewBlocks(AT_LENGTH, _by_prompt(summary))
    yield ViewBlocks(AT_LENGTH, _other_metrics(summary))
    yield from _list("Caveats", Items([remark.text for remark in cautions(summary)], _MOST_ITEMS))
    yield from _list("Missing", Items([remark.text for remark in absences(summary)]))


def _depths(summary: SweepSummary) -> Table:
    names = rules_of(summary.cells)
    columns = [
        Column("model"),
        Column("L", number=True),
        Column("task"),
        Column("prompts", number=True),
        Column("tokens", number=True, views=["text"]),
        *_right_column(summary),
        *([Column("kept", style="depth")] if _has_headline(summary) else []),
        *(Column(rule_title(rule), style="depth") for rule in names),
        Column("run as", style="soft"),
    ]
    rows: list[list[TableCell]] = [
        [
            cell.title,
            str(cell.model.n_layers),
            cell.cell.task.title,
            str(len(cell.records)),
            f"{cell.n_tokens:,}",
            *_right(summary, cell),
            *_kept_cells(summary, cell),
            *(_depth(cell, rule) for rule in names),
            how_run(cell),
        ]
        for cell in summary.cells
    ]
    return Table(columns, rows)


def _has_headline(summary: SweepSummary) -> bool:
    """Whether it is known of any cell what is kept."""
    return any(cell.headline is not None for cell in summary.cells)


def _kept_cells(summary: SweepSummary, cell: CellSummary, narrow: bool = False) -> list[Noted]:
    """The layers that keep nine tenths, and beneath them the mean depth.

    A narrow cell has the range beneath, too.
    """
    if not _has_headline(summary):
        return []
    headline, n_layers = cell.headline, cell.model.n_layers
    depth = mean_depth_words(headline)
    if len({kept_of(other.headline) for other in summary.cells if other.headline}) > 1:
        kind = kept_of(headline)
        depth = "\n".join(filter(None, (depth, _NARROW.get(kind, kind) if narrow else kind)))
    if narrow:
        lines = filter(None, (kept_range(headline, "–"), depth))
        return [Noted(kept_count(headline, n_layers), "\n".join(lines))]
    return [Noted(kept_words(headline, n_layers), depth)]


def _right_column(summary: SweepSummary) -> list[Column]:
    """The column of right answers, in place of the number of prompts; none where unknown."""
    return [Column("right", number=True, wraps=False)] if has_accuracy(summary) else []


def _right(summary: SweepSummary, cell: CellSummary) -> list[TableCell]:
    """The right answers among all, or the number of prompts where none is known."""
    return [str(cell.accuracy or f"–/{len(cell.records)}")] if has_accuracy(summary) else []


def _depth(cell: CellSummary, rule: str) -> Noted:
    return Noted(depth_words(cell.depth(rule)), published_words(cell.published(rule)))


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
                *_kept_cells(summary, cell, narrow=True),
                *(_narrow_depth(cell, rule) for rule in names),
            ]
            for cell in cells
        ]
        yield TightBlocks([Heading(model_heading(cells), 3), Table(columns, rows)])


def _kept_column(summary: SweepSummary) -> Column:
    cells = [_kept_cells(summary, cell, narrow=True) for cell in summary.cells]
    return _narrow_column("kept", [noted for (noted,) in cells])


def _depth_column(summary: SweepSummary, rule: str) -> Column:
    cells = [_narrow_depth(cell, rule) for cell in summary.cells]
    return _narrow_column(rule_title(rule), cells)


def _narrow_column(title: str, cells: Sequence[Noted]) -> Column:
    """A column that is as wide as its longest line."""
    texts = [title, *(text for cell in cells for text in (cell.text, *cell.note.split("\n")))]
    return Column(title, width=max(map(cell_len, texts)), wraps=False)


def _narrow_depth(cell: CellSummary, rule: str) -> Noted:
    """A depth with its interval beneath: several of them must fit beside a task."""
    estimate = cell.depth(rule)
    lines = filter(None, (interval_words(estimate, "–"), published_words(cell.published(rule))))
    return Noted(count_words(estimate), "\n".join(lines))


def _curves(summary: SweepSummary) -> Iterator[Block]:
    """The curve of each rule, all cells in one plot over relative depth."""
    models = dict.fromkeys(cell.title for cell in summary.cells)
    tasks = dict.fromkeys(cell.cell.task.title for cell in summary.cells)
    yield Heading("Over relative depth", 2)
    yield Figures(_figures(summary))
    yield Note("Colour: model. Dashes: task. Dashed across: the threshold of the rule.")
    yield Legend(
        [(svg.hue(number), title) for number, title in enumerate(models)],
        [(svg.dash(number), title) for number, title in enumerate(tasks)],
    )


def _figures(summary: SweepSummary) -> Iterator[Figure]:
    settings = summary.plan.summary
    lens = "Lens" if settings.lens == LOGIT else lens_heading(settings.lens)
    for rule in map(rules.named, rules_of(summary.cells)):
        title = rule.figure_title(lens, mean=True)
        panel = Panel(
            _lines(summary, rule),
            _POINTS,
            rule.threshold.of(settings),
            title=f"{title}, over relative depth",
            up=rule.layer_axis,
            across="(layer + 1) / L, %",
        )
        yield Figure(title, panel, rule.explanation.description)


def _lines(summary: SweepSummary, rule: Rule) -> list[Line]:
    models = list(dict.fromkeys(cell.cell.model for cell in summary.cells))
    tasks = list(dict.fromkeys(cell.cell.task for cell in summary.cells))
    lines = []
    for cell in summary.cells:
        values = rule.by_layer(cell.curves)
        if values is not None:
            hue, dash = (
                svg.hue(models.index(cell.cell.model)),
                svg.dash(tasks.index(cell.cell.task)),
            )
            name = f"{cell.title}, {cell.cell.task.title}"
            lines.append(Line(relative(values), f"{hue} {dash}", name=name))
    return lines


def relative(values: np.ndarray) -> np.ndarray:
    """A curve of one value a layer, `[L]`, read at 0 … 100 percent of the depth.

    Layer l lies at (l + 1) / L, as in the ratio of an effective depth; NaN before layer 0.
    """
    depth = np.arange(1, len(values) + 1) / len(values)
    return np.interp(np.linspace(0, 1, _POINTS), depth, values, left=np.nan)


def _answered_by_kept(questions: Sequence[Question]) -> Iterator[Block]:
    """The answer to each question, by what is kept."""
    for question in questions:
        sentences = [str(answer) for answer in question.kept_answers]
        yield from _list(question.title, Items(sentences, _MOST_ITEMS))


def _question(question: Question) -> Iterator[Block]:
    """The answers by the rules, folded where what is kept answers too."""
    if question.kept_answers and question.answers:
        yield Details(f"{question.title} {_BY_RULES}", _by_rules(question))
    elif question.answers:
        yield Heading(question.title, 2)
        yield from _by_rules(question)


def _by_rules(question: Question) -> Iterator[Block]:
    """The sentences; in a brief view, a table of the compared layers and their intervals."""
    sentences = Items([str(answer) for answer in question.answers], _MOST_ITEMS)
    answers = [answer for answer in question.answers if answer.comparison is not None]
    if answers:
        yield ViewBlocks(AT_LENGTH, [sentences])
        yield ViewBlocks(["brief"], _comparison_blocks(answers))
    else:
        yield sentences


def _comparison_blocks(answers: Sequence[Answer]) -> Iterator[Block]:
    rule_names = rules.names_in({answer.rule for answer in answers})
    for compared in dict.fromkeys(answer.compared for answer in answers):
        of_models = [answer for answer in answers if answer.compared == compared]
        verdicts = "; ".join(_verdict(of_models, rule) for rule in rule_names)
        table = _changes(of_models, rule_names)
        yield TightBlocks([Paragraph(compared), table, Paragraph(f"{verdicts}.")])
    over = population(cell.task for answer in answers for cell in answer.cells)
    yield Note(f"{_LEGEND} Intervals and tests are over {over}.")


def _changes(answers: Sequence[Answer], rule_names: Sequence[str]) -> Table:
    """Rows for each task that two models, or one model's levels, are compared on.

    Each row has the changes, their intervals beneath, and layers where the changes are of the
    ratio.
    """
    by_subject = {(answer.on, answer.rule): answer for answer in answers}
    columns = [
        Column("", width=_TASK_WIDTH),
        *(Column(rule_title(rule), number=True, wraps=False) for rule in rule_names),
    ]
    rows: list[list[TableCell]] = []
    for on in dict.fromkeys(answer.on for answer in answers):
        of_task = [by_subject.get((on, rule)) for rule in rule_names]
        claims = [answer.claim if answer else None for answer in of_task]
        rows.append([on, *map(_change, of_task)])
        if any(claims):
            rows.append(["", *map(_ends, claims)])
        if any(claim and claim.is_of_ratio for claim in claims):
            rows.append(["  in layers", *map(_layers, claims)])
    return Table(columns, rows)


def _change(answer: Answer | None) -> Spans:
    """The change: bold where its interval excludes zero, ? where the test disagrees."""
    if answer is None or answer.claim is None:
        return Spans([("– ", "soft")])
    change, _ = _change_and_ends(answer.claim)
    style: Style = "" if answer.unclear else "strong"
    return Spans([(change, style), ("?" if answer.doubtful else " ", "")])


def _ends(claim: Claim | None) -> Spans:
    return Spans([("" if claim is None else f"{_change_and_ends(claim)[1]} ", "soft")])


def _layers(claim: Claim | None) -> Spans:
    return Spans([("" if claim is None else f"{signed_text(claim.layers, 1)} ", "soft")])


def _change_and_ends(claim: Claim) -> tuple[str, str]:
    """The change that is claimed, such as `+2.1` or `+0.10`, and its interval."""
    return signed_with_ends(*claim.claimed_change, 2 if claim.is_of_ratio else 1, "…")


def _verdict(answers: Sequence[Answer], rule: str) -> str:
    """The claims over all tasks, such as `KL: no clear trend in 3 of 4`."""
    comparisons = [
        answer.comparison for answer in answers if answer.rule == rule and answer.comparison
    ]
    claims = Counter(comparison.words.headline for comparison in comparisons)
    return f"{rule_title(rule)}: " + ", ".join(
        f"{claim} in {count} of {len(comparisons)}" for claim, count in claims.most_common()
    )


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
        Column("model"),
        Column("task"),
        Column("prompts", number=True),
        Column("worth", number=True),
        *(Column(rule_title(rule), style="depth") for rule in names),
        Column("between layers", style="depth"),
        Column("KL area", number=True),
    ]
    rows: list[list[TableCell]] = [
        [
            cell.title,
            cell.cell.task.title,
            str(len(cell.parts)),
            f"{cell.effective_prompts:.1f}",
            *(depth_words(weighted_depths(cell).get(rule)) for rule in names),
            between_layers(weighted_depths(cell).values()) or "–",
            kl_area(weighted_depths(cell).values()) or "–",
        ]
        for cell in cells
    ]
    yield Heading("Each prompt counted once", 2)
    yield Table(columns, rows)
    yield Note(
        "Worth: so many prompts of the same length tell as much as the mean over tokens. Between "
        "layers: where the line through the curve meets the threshold. KL area: mean KL over its "
        "largest."
    )


def _other_metrics(summary: SweepSummary) -> Iterator[Block]:
    titles = other_titles(summary.cells)
    if not titles:
        return
    columns = [Column("model"), Column("task"), *(Column(title, number=True) for title in titles)]
    rows = [
        [
            cell.title,
            cell.cell.task.title,
            *(f"{cell.means[title]:.4g}" if title in cell.means else "–" for title in titles),
        ]
        for cell in summary.cells
    ]
    yield Heading("Other measures", 2)
    yield Table(columns, rows)


def _list(title: str, items: Items) -> Iterator[Block]:
    if items.texts:
        yield TightBlocks([Heading(title, 2), items])
