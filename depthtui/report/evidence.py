"""How a report shows the evidence for a verdict."""

from __future__ import annotations

from collections.abc import Iterator

from depthtui.data.verdict import Evidence, Verdict
from depthtui.depth.verdict_words import layers_in_words, spread
from depthtui.metrics import METRIC_BY_NAME
from depthtui.report.blocks import AT_LENGTH, Block, Column, Note, Table, ViewBlocks


def evidence_blocks(verdict: Verdict | None) -> Iterator[Block]:
    """A row for each count at length, and further metrics to run; nothing without evidence."""
    if verdict is None or not verdict.evidence:
        return
    columns = [
        Column("by", style="name"),
        Column("evidence"),
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
        measure.title,
        measure.kind,
        f"{measure.count}" if has_count else "–",
        spread(measure) if has_count else "–",
        measure.reliability,
        layers_in_words(measure),
        measure.reason,
    ]
