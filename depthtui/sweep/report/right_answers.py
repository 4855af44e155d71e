"""Right answers of a sweep: of its cells, and in logs of lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TypeAlias

from depthtui.data.lm_eval_results import LoggedAnswers
from depthtui.data.run_settings import ModelSpec
from depthtui.metrics import accuracy, kept
from depthtui.metrics.accuracy.answer_statistics import share_range
from depthtui.metrics.accuracy.pooled_accuracy import NEAR, with_counted_layers
from depthtui.report.blocks import (
    AT_LENGTH,
    Block,
    Chapter,
    Column,
    Note,
    Noted,
    Table,
    TableCell,
    TightBlocks,
    ViewBlocks,
)
from depthtui.report.logged_answers import logged_counts, model_words
from depthtui.sweep.plan import model_from_root
from depthtui.sweep.summary import CellSummary, SweepSummary

_COUNTS = {kept.NAME: "nine tenths", NEAR: "N(1)"}
"""The counts of layers with which answers are counted too."""

_ANSWERS = (
    "Nine tenths, N(1): right answers with the layers of these counts alone. N(answers): the "
    "fewest layers at which right answers are not fewer by more than the margin."
)
_BENEATH = (
    "Beneath: the 95% interval of the share; answers lost and gained on the same questions, and "
    "the change in points with its 95% interval."
)
_LOGGED = "lm-eval: from logs of lm-evaluation-harness, with the arguments of the model there."


_UNKNOWN = Noted("–", "")

_Row: TypeAlias = tuple[str, str, dict[str, Noted]]
"""Model and task, the kind of the answers, and their numbers by the titles of the columns."""


def right_answers(summary: SweepSummary) -> Iterator[Block]:
    """A row for each cell and kind of answer, and for each count in a log; nothing without any.

    A log follows the cells of its model; one of another model comes last.
    """
    rows = list(_rows(summary))
    if not rows:
        return
    every = ("right", *_COUNTS.values(), "N(answers)")
    titles = [title for title in every if any(title in numbers for _, _, numbers in rows)]
    at_length = [Column(title, style="depth", views=AT_LENGTH) for title in titles]
    brief = [Column(title, number=True, views=["brief"], wraps=False) for title in titles]
    table: list[list[TableCell]] = []
    for place, kind, numbers in rows:
        noted = [numbers.get(title, _UNKNOWN) for title in titles]
        table.append([place, kind, *noted, *(one.text for one in noted)])
    columns = [Column("model and task", style="name"), Column("answers"), *at_length, *brief]
    logged = [Note(_LOGGED)] * bool(summary.logged)
    notes = TightBlocks([Note(_ANSWERS), ViewBlocks(AT_LENGTH, [Note(_BENEATH)]), *logged])
    yield Chapter("Right answers", [Table(columns, table), notes], is_open=True)


def _rows(summary: SweepSummary) -> Iterator[_Row]:
    by_model: dict[ModelSpec | None, list[_Row]] = {model: [] for model in summary.models}
    for cell in summary.cells:
        by_model[cell.cell.model] += _of_cell(cell)
    by_model[None] = []
    for log in summary.logged:
        its_cell = _cell_of_its_model(summary, log)
        model = None if its_cell is None else its_cell.cell.model
        by_model[model] += _of_log(log, _title(log, its_cell))
    return chain.from_iterable(by_model.values())


def _of_cell(cell: CellSummary) -> Iterator[_Row]:
    measured = cell.get(accuracy.METRIC)
    for answers in [] if measured is None else measured.kinds:
        numbers = {
            _COUNTS[name]: Noted(f"{few.n_right} with {few.layers}", few.pair.words())
            for name, few in with_counted_layers(answers, cell).items()
        }
        share = Noted(answers.counts, share_range(answers.interval))
        layers = "–" if answers.layers is None else f"{answers.layers} of {cell.n_layers}"
        needed = Noted(layers, answers.why_no_count or f"within {answers.margin_words}")
        yield cell.place, answers.kind, {"right": share, **numbers, "N(answers)": needed}


def _of_log(log: Sequence[LoggedAnswers], title: str) -> Iterator[_Row]:
    for count in (count for answers in log for count in logged_counts(answers)):
        where = f"{title} on {count.title}" if title else count.title
        share = Noted(f"{count.right} of {count.questions}", share_range(count.interval))
        yield where, f"{count.metric}, lm-eval", {"right": share, "N(answers)": _UNKNOWN}


def _cell_of_its_model(summary: SweepSummary, log: Sequence[LoggedAnswers]) -> CellSummary | None:
    """The last cell of the model that a log names; None where the sweep has no such model."""
    name = model_from_root(str(log[0].model_args.get("pretrained")))
    cells = [cell for cell in summary.cells if name in (cell.cell.model.name, cell.model.name)]
    return cells[-1] if cells else None


def _title(log: Sequence[LoggedAnswers], cell: CellSummary | None) -> str:
    """The model of a log: as in the sweep, with the log's other arguments, or as logged."""
    if cell is None:
        return model_words(log)
    others = {name: value for name, value in log[0].model_args.items() if name != "pretrained"}
    return ", ".join([cell.model.short_name, *(f"{name}={others[name]}" for name in others)])
