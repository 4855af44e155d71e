"""How a report shows the layers of a hybrid by their type."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from depthtui.depth.by_type import LayersOfType, by_type
from depthtui.depth.reading import Reading
from depthtui.report.blocks import AT_LENGTH, Block, Cell, Column, Heading, Note, Only, Table

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
        *(Column(f"{marks[one.name]} {one.name}", number=True) for one in types),
    ]
    rows: list[list[Cell]] = [["layers", *(str(len(one.layers)) for one in types)]]
    rows += [[title, *(_number(one.means[title]) for one in types)] for title in types[0].means]
    rows += [
        [f"used: {one.title}", *_used(one.measure, types)]
        for one in reading.evidence
        if one.measure in types[0].used
    ]
    yield Heading("By type of layer", 3)
    yield Table(columns, rows)
    yield Only(AT_LENGTH, [Note(_HOW)])


def types_dict(reading: Reading) -> dict[str, Any]:
    """The types for a result file: each one's layers, means, and counts of used layers."""
    return {
        one.name: {"layers": one.layers, "means": one.means, "used": one.used}
        for one in by_type(reading)
    }


def _used(measure: str, types: Sequence[LayersOfType]) -> list[str]:
    return [f"{one.used[measure]} of {len(one.layers)}" for one in types]


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}"
