"""Runs of one model side by side: a row for each run, and its verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from depthtui.data.run import Prompt, RunResult
from depthtui.data.selection import numbers_text
from depthtui.data.verdict import Verdict
from depthtui.depth import rules
from depthtui.depth.reading import Reading
from depthtui.depth.rules import margin
from depthtui.depth.verdict_words import range_words
from depthtui.prompts.tasks import level_words, prompt_title
from depthtui.report.blocks import (
    AT_LENGTH,
    Block,
    Chapter,
    Column,
    Items,
    Note,
    Noted,
    Table,
    TableCell,
    ViewBlocks,
)
from depthtui.report.evidence import evidence_of, range_and_reliability
from depthtui.report.phrases import by_statement

_LONGEST_TITLE = 48
_NAME_WIDTH = 28
"""Width of a run's name in a terminal."""
_MOST_ROWS = 20
"""Most rows in a terminal; a file has a row for every run."""
_NONE = "–"

_HEADLINE = (
    Column("nine tenths", number=True),
    Column("mean depth", number=True),
    Column("decided", number=True),
    Column("nats known", number=True),
)
_LOSS = (
    Column("tokens", number=True, views=AT_LENGTH),
    Column("loss", number=True, views=AT_LENGTH),
)


def run_rows(readings: Sequence[Reading]) -> Iterator[Block]:
    """A table with a row for each run: its prompt, what it keeps, and its loss.

    The counts take this place where it is unknown of every run what it keeps.

    Args:
        readings: one reading of each run.
    """
    if not _have_headline(readings):
        yield from _count_rows(readings)
        return
    columns, rows = list(_HEADLINE), [_kept_cells(reading) for reading in readings]
    yield from _rows(readings, columns, rows)
    yield Note(
        f"Layers, of {readings[0].n_layers}, that keep nine tenths of what the model knows, with "
        "their range, and that a nat of it takes on average; the depth at which the next token is "
        f"decided; what is known of a token; {_NONE} where there is none, or no range."
    )


def run_counts(readings: Sequence[Reading]) -> Chapter:
    """A chapter with the counts of each run, where `run_rows` has none, from a reading of each."""
    counts = _count_rows(readings) if _have_headline(readings) else ()
    return Chapter("Counts by every measure", counts, views=AT_LENGTH)


def run_verdicts(readings: Sequence[Reading]) -> Items:
    """The verdicts on each run by itself; runs of the same verdict are named together.

    Where it is unknown what is kept, each sentence is stated once, with the runs that it is about.
    """
    numbers = numbers_of([reading.runs[0] for reading in readings])
    verdicts = zip(numbers, (reading.verdict for reading in readings), strict=True)
    by_sentence = by_statement(
        (sentence, number)
        for number, verdict in verdicts
        if verdict is not None
        for sentence in _sentences(verdict)
    )
    return Items(
        [
            f"{_numbers(numbers, len(readings))}: {sentence}"
            for sentence, numbers in by_sentence.items()
        ],
        _MOST_ROWS,
    )


def numbers_of(runs: Sequence[RunResult], first: int = 1) -> list[int]:
    """The numbers of runs in their session; outside of one, from `first` on."""
    return [run.number or number for number, run in enumerate(runs, start=first)]


def task_words(prompt: Prompt) -> str:
    """A prompt's task and level, such as `addition, 2 digits`."""
    return ", ".join(filter(None, (prompt.source, level_words(prompt))))


def _sentences(verdict: Verdict) -> list[str]:
    """The verdict in one text, or in its sentences where it is unknown what is kept."""
    if verdict.headline is not None:
        return [verdict.sentence]
    end, *others = verdict.words.clauses or ("",)
    return [f"{verdict.words.headline}{end}", *others]


def _numbers(numbers: Sequence[int], n_runs: int) -> str:
    return "Every run" if len(numbers) == n_runs > 1 else numbers_text(numbers)


def _have_headline(readings: Iterable[Reading]) -> bool:
    """Whether it is known of any run what the model keeps."""
    return any(reading.headline is not None for reading in readings)


def _rows(
    readings: Sequence[Reading], columns: Sequence[Column], rows: Sequence[Sequence[str]]
) -> Iterator[Block]:
    """A table with these cells of each run, in a terminal of the first runs."""
    table = _table(readings, columns, rows)
    yield ViewBlocks(AT_LENGTH, [table])
    yield ViewBlocks(["brief"], [Table(table.columns, table.rows[:_MOST_ROWS])])
    more = len(readings) - _MOST_ROWS
    if more > 0:
        yield ViewBlocks(["brief"], [Note(f"… and {more} more in the report.")])


def _table(
    readings: Sequence[Reading], columns: Sequence[Column], rows: Sequence[Sequence[str]]
) -> Table:
    several = len({task_words(reading.prompts[0].prompt) for reading in readings}) > 1
    prompts = [
        Column("prompt", style="name", views=AT_LENGTH),
        Column("prompt", style="name", views=["brief"], width=_NAME_WIDTH),
    ]
    numbers = numbers_of([reading.runs[0] for reading in readings])
    cells: list[list[TableCell]] = [
        [*_prompt(number, reading, several), *row, *_loss(reading)]
        for number, reading, row in zip(numbers, readings, rows, strict=True)
    ]
    return Table([*prompts, *columns, *_LOSS], cells)


def _prompt(number: int, reading: Reading, with_task: bool) -> list[Noted]:
    """The number and the prompt of a run, at length and in brief."""
    (run,) = reading.prompts
    prompt, n_computed, n_layers = run.prompt, run.layers_done, reading.n_layers
    tokens, loss = _loss(reading)
    stopped = f"stopped after {n_computed} of {n_layers} layers" if n_computed < n_layers else ""
    beneath = " · ".join(filter(None, (task_words(prompt) if with_task else "", stopped)))
    in_brief = stopped or f"{tokens} tokens, loss {loss}"
    before = f"{number} · "
    return [
        Noted(before + prompt_title(prompt, _LONGEST_TITLE), beneath),
        Noted(before + prompt_title(prompt, _NAME_WIDTH - len(before)), in_brief),
    ]


def _loss(reading: Reading) -> list[str]:
    """The number of tokens of a run, and its loss."""
    (run,) = reading.prompts
    return [f"{run.n_tokens:,}", _NONE if math.isnan(run.loss) else f"{run.loss:.2f}"]


def _kept_cells(reading: Reading) -> list[str]:
    """The layers that keep nine tenths, the mean depth, where it is decided, and what is known."""
    headline = reading.headline
    by_margin = evidence_of(reading.verdict, margin.RULE.name)
    decided = _NONE if by_margin is None or by_margin.count is None else f"{by_margin.count}"
    if headline is None:
        return [_NONE, _NONE, decided, _NONE]
    gain = f"{headline.gain:.1f}"
    if headline.count is None or headline.mean_depth is None:
        return ["too little known", _NONE, decided, gain]
    ends, evidence = range_words(headline, "–"), evidence_of(reading.verdict, headline.measure)
    if not ends or evidence is None:
        return [_NONE, _NONE, decided, gain]
    count = f"{headline.count} ({ends}, {evidence.reliability})"
    return [count, f"{headline.mean_depth:.1f}", decided, gain]


def _counts(readings: Sequence[Reading]) -> tuple[list[Column], list[list[str]]]:
    """A column for each rule and each causal measure, and the counts of each run."""
    names = {estimate.rule for reading in readings for estimate in reading.depths}
    of_rules = {rule.name: rule.title for rule in rules.ALL if rule.name in names}
    causal = {
        evidence.measure: evidence.title
        for reading in readings
        for evidence in reading.evidence
        if evidence.kind == "causal"
    }
    columns = [
        *(Column(title, number=True) for title in of_rules.values()),
        # A terminal has no room for them all.
        *(Column(title, number=True, views=AT_LENGTH) for title in causal.values()),
    ]
    return columns, [_counts_of(reading, [*of_rules, *causal]) for reading in readings]


def _counts_of(reading: Reading, measures: Sequence[str]) -> list[str]:
    cells = {
        row.measure: f"{row.count} ({range_and_reliability(row)})"
        for row in reading.evidence
        # One that is fragile without a range rests on a few tokens.
        if row.count is not None and (row.low != row.high or not row.is_fragile)
    }
    of_rules = ((estimate.rule, estimate.count) for estimate in reading.depths)
    cells |= {rule: f"{count}" for rule, count in of_rules if count is not None}
    return [cells.get(measure, _NONE) for measure in measures]


def _count_rows(readings: Sequence[Reading]) -> Iterator[Block]:
    """A row for each run: the counts of each rule and of each causal measure."""
    yield from _rows(readings, *_counts(readings))
    yield Note(
        f"Layers, of {readings[0].n_layers}, by each rule, and by each causal measure with its "
        f"range; {_NONE} where there is none, or no range; loss in nats per token."
    )
