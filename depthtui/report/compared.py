"""How a report shows what sets two runs apart."""

from __future__ import annotations

from collections.abc import Iterator

from depthtui.data.depth import DepthEstimate
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.effective_depth import summarise
from depthtui.depth.verdict import verdict
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
    of_a, of_b = verdict(a.results, settings), verdict(b.results, settings)
    if of_a is not None and of_b is not None:
        yield Paragraph(comparison_sentence(of_a, of_b))
    rows = _rows(a, b, settings)
    if rows:
        heads = ("A", "B", "A less B, layers", "A less B, share")
        columns = [Column("rule", style="name"), *(Column(head, number=True) for head in heads)]
        yield Table(columns, rows)


def _rows(a: Group, b: Group, settings: SummarySettings) -> list[list[str]]:
    """A row for each rule that either run has."""
    summaries = [summarise(group.results, settings) for group in (a, b)]
    found = [
        {estimate.rule: estimate for estimate in summary.depths} if summary else {}
        for summary in summaries
    ]
    return [
        [
            rule_title(rule),
            *(
                depth_in_layers(depths[rule], group.model.n_layers) if rule in depths else _NOTHING
                for depths, group in zip(found, (a, b), strict=True)
            ),
            *_differences(found[0].get(rule), found[1].get(rule)),
        ]
        for rule in dict.fromkeys([*found[0], *found[1]])
    ]


def _differences(ours: DepthEstimate | None, theirs: DepthEstimate | None) -> tuple[str, str]:
    """How many layers more the first has, and how much more of its model."""
    if ours is None or theirs is None or ours.count is None or theirs.count is None:
        return _NOTHING, _NOTHING
    assert ours.ratio is not None
    assert theirs.ratio is not None
    return f"{ours.count - theirs.count:+d}", f"{ours.ratio - theirs.ratio:+.2f}"
