"""Runs of one model side by side: a row for each run, and its verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from depthtui.data.run import Prompt
from depthtui.depth import rules
from depthtui.depth.reading import Reading
from depthtui.prompts import prompt_title
from depthtui.prompts.tasks import level_words
from depthtui.report.blocks import AT_LENGTH, Block, Cell, Column, Items, Note, Noted, Only, Table

_LONGEST_TITLE = 48
_LONGEST_IN_BRIEF = 24
_MOST_ROWS = 20
"""Most rows in a terminal; a file has a row for every run."""
_NONE = "–"


def each_alone(reading: Reading) -> list[Reading]:
    """A reading of each prompt by itself."""
    if len(reading.prompts) == 1:
        return [reading]
    return [
        Reading([prompt], reading.settings, [run])
        for prompt, run in zip(reading.prompts, reading.runs, strict=True)
    ]


def run_rows(readings: Sequence[Reading]) -> Iterator[Block]:
    """A table with a row for each run: prompt, loss, and the counts of each rule and cause.

    Args:
        readings: one reading of each run.
    """
    yield Only(AT_LENGTH, [_table(readings)])
    yield Only(["brief"], [_table(readings[:_MOST_ROWS])])
    more = len(readings) - _MOST_ROWS
    if more > 0:
        yield Only(["brief"], [Note(f"… and {more} more in the report.")])
    n_layers = readings[0].n_layers
    yield Note(
        f"Loss in nats per token; then layers, of {n_layers}, by each rule and each causal "
        f"measure; {_NONE} where there is none."
    )


def run_verdicts(readings: Sequence[Reading]) -> Items:
    """The verdict on each run by itself, from one reading of each run."""
    found = [(number, one.verdict) for number, one in enumerate(readings, start=1)]
    return Items(
        [f"{number}: {verdict.sentence}" for number, verdict in found if verdict is not None],
        _MOST_ROWS,
    )


def task_words(prompt: Prompt) -> str:
    """A prompt's task and level, such as `addition, 2 digits`."""
    return ", ".join(filter(None, (prompt.task, level_words(prompt))))


def _table(readings: Sequence[Reading]) -> Table:
    known = {estimate.rule for one in readings for estimate in one.depths}
    shown = [rule for rule in rules.ALL if rule.name in known]
    causal = {
        found.measure: found.title
        for one in readings
        for found in one.evidence
        if found.kind == "causal"
    }
    several = len({task_words(one.prompts[0].prompt) for one in readings}) > 1
    columns = [
        Column("", number=True),
        Column("prompt", style="name", views=AT_LENGTH),
        Column("prompt", style="name", views=["brief"]),
        Column("tokens", number=True, views=AT_LENGTH),
        Column("loss", number=True, views=AT_LENGTH),
        *(Column(rule.title, number=True) for rule in shown),
        *(Column(title, number=True) for title in causal.values()),
    ]
    rows = [
        [
            str(number),
            *_prompt(one, several),
            *_counts(one, [rule.name for rule in shown], list(causal)),
        ]
        for number, one in enumerate(readings, start=1)
    ]
    return Table(columns, rows)


def _prompt(reading: Reading, with_task: bool) -> list[Cell]:
    """The prompt of a run at length and in brief, its tokens and its loss."""
    (found,) = reading.prompts
    prompt, done, every = found.prompt, found.layers_done, reading.n_layers
    tokens = f"{found.n_tokens:,}"
    loss = _NONE if math.isnan(found.loss) else f"{found.loss:.2f}"
    stopped = f"stopped after {done} of {every} layers" * (done < every)
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
    found = {one.measure: one.count for one in reading.evidence if one.kind == "causal"}
    every = [*map(counts.get, rules), *map(found.get, causal)]
    return [_NONE if count is None else f"{count:g}" for count in every]
