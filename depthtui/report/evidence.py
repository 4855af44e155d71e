"""How a report shows the evidence for a verdict."""

from __future__ import annotations

from collections.abc import Iterator

from depthtui.data.selection import numbers_text
from depthtui.data.verdict import Evidence, EvidenceKind, Verdict
from depthtui.depth.verdict_words import spread
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.report.blocks import Block, Column, Note, Table

KIND_WORDS: dict[EvidenceKind, str] = {
    "causal": "layers left out or changed",
    "readable": "the output, read by a lens at each depth",
    "geometric": "how the residual stream moves",
}
"""The kinds of evidence in a few words."""


def evidence_table(verdict: Verdict | None) -> Iterator[Block]:
    """A row for each count, the headline's first; nothing without evidence."""
    if verdict is None or not verdict.evidence:
        return
    columns = [
        Column("by", style="name"),
        Column("evidence"),
        Column("count", number=True),
        Column("range", number=True),
        Column("holds"),
        Column("of layers", style="soft"),
        Column("because", style="soft"),
    ]
    yield Table(columns, [_row(measure) for measure in verdict.evidence])
    if verdict.headline is not None:
        yield Note("A depth is a place in the stack: a firm one makes no count of layers firmer.")


def further_evidence(verdict: Verdict | None) -> Iterator[Note]:
    """The metrics to run for more evidence; nothing without evidence."""
    if verdict is not None and verdict.evidence and verdict.missing_metrics:
        titles = " · ".join(METRIC_BY_NAME[name].title for name in verdict.missing_metrics)
        yield Note(f"Further evidence (--metrics {','.join(verdict.missing_metrics)}): {titles}.")


def evidence_of(verdict: Verdict | None, measure: str) -> Evidence | None:
    """The evidence of a verdict by a measure; None where there is none."""
    rows = () if verdict is None else verdict.evidence
    return next((row for row in rows if row.measure == measure), None)


def range_and_reliability(measure: Evidence | None) -> str:
    """The range of a count and how it holds, such as `2 to 4, fragile`; a dash without a count."""
    if measure is None or measure.count is None:
        return "–"
    return f"{spread(measure)}, {measure.reliability}"


def _row(measure: Evidence) -> list[str]:
    has_count, before = measure.count is not None, "depth " if measure.counts == "depth" else ""
    return [
        measure.title,
        KIND_WORDS[measure.kind],
        f"{before}{measure.count}" if has_count else "–",
        spread(measure) if has_count else "–",
        measure.reliability,
        _layers_in_words(measure),
        measure.reason,
    ]


def _layers_in_words(measure: Evidence) -> str:
    """The counted layers, such as `0-1, 8-11`; empty where there are none."""
    if measure.count is None:
        return ""
    layers = range(measure.count) if measure.layers is None else measure.layers
    return numbers_text(layers)
