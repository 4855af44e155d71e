"""How a report shows what sets two runs apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from depthtui.data.depth import DepthEstimate
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import Reading, reading_of
from depthtui.depth.verdict_words import comparison_sentence
from depthtui.prompts import prompt_title
from depthtui.report.blocks import Block, Column, Heading, Note, Paragraph, Table
from depthtui.report.groups import Group
from depthtui.report.phrases import depth_in_layers, rule_title

_LONGEST_PROMPT = 100
_NOTHING = "–"


def compared_blocks(a: Group, b: Group, settings: SummarySettings) -> Iterator[Block]:
    """Which run is which, which uses more layers, and each rule's count in both."""
    yield Heading("A beside B", 2)
    for letter, group in (("A", a), ("B", b)):
        prompt = prompt_title(group.results[0].prompt, _LONGEST_PROMPT)
        yield Note(f"{letter}: {group.title}: {prompt}")
    readings = [reading_of(group.results, settings) for group in (a, b)]
    of_a, of_b = (reading.verdict for reading in readings)
    if of_a is not None and of_b is not None:
        yield Paragraph(comparison_sentence(of_a, of_b))
    rows = _rows(readings)
    if rows:
        heads = ("A", "B", "A less B, layers", "A less B, share")
        columns = [Column("rule", style="name"), *(Column(head, number=True) for head in heads)]
        yield Table(columns, rows)


def _rows(readings: Sequence[Reading]) -> list[list[str]]:
    """A row for each rule that either run has."""
    names = dict.fromkeys(estimate.rule for reading in readings for estimate in reading.depths)
    return [
        [
            rule_title(rule),
            *(
                _NOTHING if estimate is None else depth_in_layers(estimate, reading.n_layers)
                for estimate, reading in zip(found, readings, strict=True)
            ),
            *_differences(*found),
        ]
        for rule in names
        for found in ([reading.depth(rule) for reading in readings],)
    ]


def _differences(ours: DepthEstimate | None, theirs: DepthEstimate | None) -> tuple[str, str]:
    """How many layers more the first has, and how much more of its model."""
    if ours is None or theirs is None or ours.count is None or theirs.count is None:
        return _NOTHING, _NOTHING
    assert ours.ratio is not None
    assert theirs.ratio is not None
    return f"{ours.count - theirs.count:+d}", f"{ours.ratio - theirs.ratio:+.2f}"
