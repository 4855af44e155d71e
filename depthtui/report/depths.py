"""How reports and panes show effective depths: a row for each rule, remarks, the paper's."""

from __future__ import annotations

from collections.abc import Mapping

from depthtui.data.depth import DepthEstimate
from depthtui.data.model import ModelInfo
from depthtui.depth.published import DATASETS, PAPER, RULES, PublishedModel, published_row
from depthtui.depth.reading import Reading
from depthtui.report.blocks import (
    AT_LENGTH,
    Bar,
    Block,
    Column,
    Note,
    Table,
    TableCell,
)
from depthtui.report.evidence import evidence_of, range_and_reliability
from depthtui.report.phrases import (
    by_prompt,
    criterion,
    depth_in_layers,
    published_counts,
    rule_title,
    uneven,
)


def depth_table(reading: Reading, published: PublishedModel | None = None) -> Table:
    """A row for each rule of a reading, with the paper's values for its model."""
    columns = [
        Column("rule", style="name"),
        Column("effective depth", views=AT_LENGTH),
        Column("layers", views=["brief"], wraps=False),
        Column("range"),
        Column("after layer", number=True, views=AT_LENGTH),
        Column("each prompt once", number=True, views=AT_LENGTH if uneven(reading) else []),
        Column("", views=["pictures", "brief"]),
        Column("criterion", views=["text", "brief"]),
        Column("criterion", views=["pictures"]),
        Column("remark", views=["text"]),
    ]
    if published is not None:
        paper = f"paper: {' / '.join(DATASETS.values())}"
        columns.append(Column(paper, brief="paper"))
    rows: list[list[TableCell]] = []
    for estimate in reading.depths:
        paper_cell = [published_counts(published, estimate.rule)] if published is not None else []
        rows.append([*_row(estimate, reading), *paper_cell])
    return Table(columns, rows)


def _row(estimate: DepthEstimate, reading: Reading) -> list[TableCell]:
    """A rule's cells; its range is that of the evidence: a count has one."""
    rule, remark = criterion(estimate), estimate.reason or estimate.warning
    return [
        rule_title(estimate.rule),
        depth_in_layers(estimate, reading.n_layers),
        depth_in_layers(estimate, reading.n_layers, unit=""),
        range_and_reliability(evidence_of(reading.verdict, estimate.rule)),
        "–" if estimate.layer is None else str(estimate.layer),
        by_prompt(estimate),
        Bar(estimate.ratio),
        rule,
        f"{rule} ({remark})" if remark else rule,
        remark,
    ]


def paper_blocks(models: Mapping[str, ModelInfo]) -> list[Block]:
    """The paper's numbers of layers of these models, by name; nothing for models of others."""
    rows = [published_row(model) for model in models.values()]
    if not any(rows):
        return []
    counts = [
        [rule_title(rule), *(published_counts(row, rule) if row else "–" for row in rows)]
        for rule in RULES
    ]
    return [Table([Column("paper", style="soft"), *map(Column, models)], counts), Note(PAPER)]


def depth_remarks(reading: Reading) -> list[str]:
    """Reasons why rules give no depth or a doubtful one."""
    return [
        f"{rule_title(estimate.rule)}: {remark}."
        for estimate in reading.depths
        if (remark := estimate.reason or estimate.warning)
    ]
