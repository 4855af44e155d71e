"""How a report shows a verdict."""

from __future__ import annotations

from collections.abc import Iterator

from depthtui.data.verdict import Evidence, Verdict
from depthtui.depth.verdict_words import layers_in_words, spread
from depthtui.metrics import METRIC_BY_NAME
from depthtui.report.blocks import AT_LENGTH, Block, Column, Note, Paragraph, Table, ViewBlocks


def verdict_blocks(verdict: Verdict | None) -> Iterator[Block]:
    """The warnings, the sentence, its evidence at length, and further metrics to run."""
    if verdict is None:
        return
    yield from map(Paragraph, (*verdict.cautions, verdict.sentence))
    if not verdict.evidence:
        return
    columns = [
        Column("evidence", style="name"),
        Column("by"),
        Column("layers", number=True),
        Column("range", number=True),
        Column("holds"),
        Column("of layers", style="soft"),
        Column("because", style="soft"),
    ]
    yield ViewBlocks(AT_LENGTH, [Table(columns, [_row(measure) for measure in verdict.evidence])])
    if verdict.missing_metrics:
        titles = " · ".join(METRIC_BY_NAME[name].title for name in verdict.missing_metrics)
        yield Note(f"Further evidence (--metrics {','.join(verdict.missing_metrics)}): {titles}.")


def _row(measure: Evidence) -> list[str]:
    has_count = measure.count is not None
    return [
        measure.kind,
        measure.title,
        f"{measure.count}" if has_count else "–",
        spread(measure) if has_count else "–",
        measure.reliability,
        layers_in_words(measure),
        measure.reason,
    ]
