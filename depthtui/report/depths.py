"""How reports and panes show effective depths: a row for each rule, and remarks beneath."""

from __future__ import annotations

from depthtui.data.depth import DepthEstimate
from depthtui.depth.published import DATASETS, PublishedModel
from depthtui.depth.reading import Reading
from depthtui.metrics.resampling import FEWEST_UNITS
from depthtui.report.blocks import ALL_VIEWS, AT_LENGTH, Bar, Column, Table, TableCell
from depthtui.report.phrases import (
    by_prompt,
    criterion,
    depth_in_layers,
    interval,
    published_counts,
    rule_title,
)


def depth_table(
    reading: Reading,
    published: PublishedModel | None = None,
    beside: tuple[str, Reading] | None = None,
) -> Table:
    """A row for each rule of a reading.

    Args:
        reading: reading of pooled runs.
        published: the paper's values for their model.
        beside: another reading and its name; its rows follow beneath.
    """
    many, has_intervals = reading.n_prompts > 1, reading.n_prompts >= FEWEST_UNITS
    columns = [
        Column("rule", style="name"),
        Column("effective depth", views=AT_LENGTH),
        Column("layers", views=["brief", "pane"], wraps=False),
        Column("interval", number=True, views=ALL_VIEWS if has_intervals else AT_LENGTH, rank=3),
        Column("after layer", number=True, views=[*AT_LENGTH, "pane"], rank=5),
        Column("each prompt once", number=True, views=AT_LENGTH if many else []),
        Column("", views=["pictures", "brief", "pane"], rank=1),
        Column("criterion", views=["text", "brief"]),
        Column("criterion", views=["pane"], rank=2),
        Column("criterion", views=["pictures"]),
        Column("remark", views=["text"]),
    ]
    if published is not None:
        paper = f"paper: {' / '.join(DATASETS.values())}"
        columns.append(Column(paper, brief="paper", rank=4))
    rows: list[list[TableCell]] = []
    for estimate in reading.depths:
        paper_cell = [published_counts(published, estimate.rule)] if published is not None else []
        rows.append([*_row(estimate, reading.n_layers), *paper_cell])
        other = beside[1].depth(estimate.rule) if beside is not None else None
        if beside is not None and other is not None:
            cells = _row(other, beside[1].n_layers)[1:]
            rows.append([f"  {beside[0]}", *cells, *[""] * len(paper_cell)])
    return Table(columns, rows)


def _row(estimate: DepthEstimate, n_layers: int) -> list[TableCell]:
    rule, remark = criterion(estimate), estimate.reason or estimate.warning
    return [
        rule_title(estimate.rule),
        depth_in_layers(estimate, n_layers),
        depth_in_layers(estimate, n_layers, unit=""),
        interval(estimate),
        "–" if estimate.layer is None else str(estimate.layer),
        by_prompt(estimate),
        Bar(estimate.ratio),
        rule,
        criterion(estimate, short=True),
        f"{rule} ({remark})" if remark else rule,
        remark,
    ]


def depth_remarks(reading: Reading) -> list[str]:
    """Reasons why rules give no depth or a doubtful one."""
    return [
        f"{rule_title(estimate.rule)}: {remark}."
        for estimate in reading.depths
        if (remark := estimate.reason or estimate.warning)
    ]
