"""How a report shows the layers of a hybrid by their type."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from depthtui.depth.by_type import LayersOfType, by_type
from depthtui.depth.reading import Reading
from depthtui.report.blocks import (
    AT_LENGTH,
    Block,
    Chapter,
    Column,
    Note,
    Table,
    TableCell,
    ViewBlocks,
)

_HOW = (
    "Means are over the layers of a type; used are those of the type that a measure counts. The "
    "letter is the mark of the type behind a layer's number."
)


def type_blocks(reading: Reading) -> Iterator[Block]:
    """The types of layers side by side; nothing where all layers are alike."""
    types = by_type(reading)
    if not types:
        return
    marks = reading.model.type_marks
    columns = [
        Column("mean over layers", style="name", wraps=False),
        *(Column(f"{marks[of_type.name]} {of_type.name}", number=True) for of_type in types),
    ]
    rows: list[list[TableCell]] = [["layers", *(str(len(of_type.layers)) for of_type in types)]]
    rows += [
        [title, *(_number(of_type.means[title]) for of_type in types)] for title in types[0].means
    ]
    rows += [
        [f"used: {of_type.title}", *_used_counts(of_type.measure, types)]
        for of_type in reading.evidence
        if of_type.measure in types[0].used
    ]
    how = ViewBlocks(AT_LENGTH, [Note(_HOW)])
    yield Chapter("By type of layer", [Table(columns, rows), how])


def types_dict(reading: Reading) -> dict[str, Any]:
    """The types for a result file: each one's layers, means, and counts of used layers."""
    return {
        of_type.name: {"layers": of_type.layers, "means": of_type.means, "used": of_type.used}
        for of_type in by_type(reading)
    }


def _used_counts(measure: str, types: Sequence[LayersOfType]) -> list[str]:
    return [f"{of_type.used[measure]} of {len(of_type.layers)}" for of_type in types]


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}"
