"""How a report shows the evidence for a verdict."""

from __future__ import annotations

from collections.abc import Iterator

from depthtui.data.verdict import Evidence, Verdict
from depthtui.depth.verdict_words import layers_in_words, spread
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.report.blocks import Column, Note, Table


def evidence_table(verdict: Verdict | None) -> Iterator[Table]:
    """A row for each count; nothing without evidence."""
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
    yield Table(columns, [_row(measure) for measure in verdict.evidence])


def further_evidence(verdict: Verdict | None) -> Iterator[Note]:
    """The metrics to run for more evidence; nothing without evidence."""
    if verdict is not None and verdict.evidence and verdict.missing_metrics:
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
