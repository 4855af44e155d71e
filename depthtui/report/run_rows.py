"""Runs of one model side by side: a row for each run, and its verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from depthtui.data.run import Prompt
from depthtui.depth import rules
from depthtui.depth.reading import Reading
from depthtui.prompts import prompt_title
from depthtui.prompts.tasks import level_words
from depthtui.report.blocks import (
    AT_LENGTH,
    Block,
    Column,
    Items,
    Note,
    Noted,
    Table,
    TableCell,
    ViewBlocks,
)

_LONGEST_TITLE = 48
_LONGEST_IN_BRIEF = 24
_MOST_ROWS = 20
"""Most rows in a terminal; a file has a row for every run."""
_NONE = "–"


def run_rows(readings: Sequence[Reading]) -> Iterator[Block]:
    """A table with a row for each run: prompt, loss, and count of each rule and causal measure.

    Args:
        readings: one reading of each run.
    """
    yield ViewBlocks(AT_LENGTH, [_table(readings)])
    yield ViewBlocks(["brief"], [_table(readings[:_MOST_ROWS])])
    more = len(readings) - _MOST_ROWS
    if more > 0:
        yield ViewBlocks(["brief"], [Note(f"… and {more} more in the report.")])
    n_layers = readings[0].n_layers
    yield Note(
        f"Loss in nats per token; then layers, of {n_layers}, by each rule and each causal "
        f"measure; {_NONE} where there is none."
    )


def run_verdicts(readings: Sequence[Reading]) -> Items:
    """The verdict on each run by itself, from one reading of each run."""
    verdicts = [(number, reading.verdict) for number, reading in enumerate(readings, start=1)]
    return Items(
        [f"{number}: {verdict.sentence}" for number, verdict in verdicts if verdict is not None],
        _MOST_ROWS,
    )


def task_words(prompt: Prompt) -> str:
    """A prompt's task and level, such as `addition, 2 digits`."""
    return ", ".join(filter(None, (prompt.source, level_words(prompt))))


def _table(readings: Sequence[Reading]) -> Table:
    names = {estimate.rule for reading in readings for estimate in reading.depths}
    table_rules = [rule for rule in rules.ALL if rule.name in names]
    causal = {
        evidence.measure: evidence.title
        for reading in readings
        for evidence in reading.evidence
        if evidence.kind == "causal"
    }
    several = len({task_words(reading.prompts[0].prompt) for reading in readings}) > 1
    columns = [
        Column("", number=True),
        Column("prompt", style="name", views=AT_LENGTH),
        Column("prompt", style="name", views=["brief"]),
        Column("tokens", number=True, views=AT_LENGTH),
        Column("loss", number=True, views=AT_LENGTH),
        *(Column(rule.title, number=True) for rule in table_rules),
        *(Column(title, number=True) for title in causal.values()),
    ]
    rows = [
        [
            str(number),
            *_prompt(reading, several),
            *_counts(reading, [rule.name for rule in table_rules], list(causal)),
        ]
        for number, reading in enumerate(readings, start=1)
    ]
    return Table(columns, rows)


def _prompt(reading: Reading, with_task: bool) -> list[TableCell]:
    """The prompt of a run at length and in brief, its tokens and its loss."""
    (run,) = reading.prompts
    prompt, n_computed, n_layers = run.prompt, run.layers_done, reading.n_layers
    tokens = f"{run.n_tokens:,}"
    loss = _NONE if math.isnan(run.loss) else f"{run.loss:.2f}"
    stopped = f"stopped after {n_computed} of {n_layers} layers" * (n_computed < n_layers)
    beneath = " · ".join(filter(None, (task_words(prompt) * with_task, stopped)))
    in_brief = stopped or f"{tokens} tokens, loss {loss}"
    return [
        Noted(prompt_title(prompt, _LONGEST_TITLE), beneath),
        Noted(prompt_title(prompt, _LONGEST_IN_BRIEF), in_brief),
        tokens,
        loss,
    ]


def _counts(reading: Reading, rules: Sequence[str], causal: Sequence[str]) -> list[str]:
    counts = {estimate.rule: estimate.count for estimate in reading.depths}
    causal_counts = {
        evidence.measure: evidence.count
        for evidence in reading.evidence
        if evidence.kind == "causal"
    }
    every = [*map(counts.get, rules), *map(causal_counts.get, causal)]
    return [_NONE if count is None else f"{count:g}" for count in every]
