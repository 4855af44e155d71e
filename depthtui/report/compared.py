"""How a report compares two runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from depthtui.depth.parting import parting, parting_sentence
from depthtui.depth.reading import Reading
from depthtui.depth.verdict_words import comparison_sentence, missing_headlines
from depthtui.prompts.tasks import prompt_title
from depthtui.report.blocks import AT_LENGTH, Block, Column, Note, Paragraph, Table
from depthtui.report.groups import RunGroup
from depthtui.report.phrases import depth_in_layers, rule_title

_LONGEST_PROMPT = 100
_NOTHING = "–"


def compared_blocks(a: RunGroup, b: RunGroup) -> Iterator[Block]:
    """Names of the two runs, which uses more layers, where they part, each rule's two counts."""
    for letter, group in (("A", a), ("B", b)):
        prompt = prompt_title(group.results[0].prompt, _LONGEST_PROMPT)
        yield Note(f"{letter}: {group.title}: {prompt}")
    readings = [group.parts[0].reading for group in (a, b)]
    of_a, of_b = (reading.verdict for reading in readings)
    if of_a is not None and of_b is not None:
        sentences = missing_headlines(of_a, of_b), comparison_sentence(of_a, of_b)
        yield Paragraph(" ".join(filter(None, sentences)))
    if parted := parting_sentence(a.results[0], b.results[0], readings[0].settings):
        yield Paragraph(parted)
    table = compared_table(readings)
    if table.rows:
        yield table


def compared_dict(a: RunGroup, b: RunGroup) -> dict[str, Any]:
    """Where two runs part, as JSON values; empty where unknown."""
    first, second = a.results[0], b.results[0]
    settings = a.parts[0].reading.settings
    part, sentence = parting(first, second), parting_sentence(first, second, settings)
    if not sentence:
        return {}
    parted = {} if part is None else {"parted": part.as_dict()}
    return {"runs": [a.title, b.title], **parted, "sentence": sentence}


def compared_table(readings: Sequence[Reading], names: Sequence[str] = ("A", "B")) -> Table:
    """A row for each rule of two readings: the first, the second, the first minus the second.

    Counts have their shares in one column; in a pane, counts and shares have separate ones.
    """
    rules = dict.fromkeys(estimate.rule for reading in readings for estimate in reading.depths)
    rows = []
    for rule in rules:
        estimates = [reading.depth(rule) for reading in readings]
        in_layers = [
            _NOTHING if estimate is None else depth_in_layers(estimate, reading.n_layers)
            for estimate, reading in zip(estimates, readings, strict=True)
        ]
        counts = [estimate.count if estimate is not None else None for estimate in estimates]
        ratios = [estimate.ratio if estimate is not None else None for estimate in estimates]
        layers, shares = _three(counts, ""), _three(ratios, ".2f")
        rows.append([rule_title(rule), *in_layers, layers[-1], shares[-1], *layers, *shares])
    heads = (*names, "A - B, layers", "A - B, share")
    in_short = (*names, "-".join(names))
    columns = [
        Column("rule", style="name"),
        *(Column(head, number=True, views=(*AT_LENGTH, "brief")) for head in heads),
        *(Column(head, number=True, views=["pane"]) for head in in_short),
        *(Column(head, number=True, views=["pane"], rank=1) for head in in_short),
    ]
    return Table(columns, rows)


def _three(values: Sequence[float | None], form: str) -> list[str]:
    """Two values, and the first minus the second."""
    texts = [_NOTHING if value is None else f"{value:{form}}" for value in values]
    a, b = values
    return [*texts, _NOTHING if a is None or b is None else f"{a - b:+{form}}"]
