"""The layers of a hybrid model pooled by their type, such as mamba and full attention."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from depthtui.depth.reading import Reading
from depthtui.metrics import ALL


@dataclass(frozen=True)
class LayersOfType:
    """The pooled values of the layers of one type.

    Attributes:
        name: the type.
        layers: the layers of the type.
        means: by title, means of per-layer values that are pooled over prompts, over the layers
            with a known value; NaN where none is known.
        used: by measure, how many layers of the type it counts as used.
    """

    name: str
    layers: tuple[int, ...]
    means: dict[str, float]
    used: dict[str, int]


def by_type(reading: Reading) -> list[LayersOfType]:
    """The types of a model's layers in the order of their first layers; empty without types."""
    values = dict(_values(reading))
    used = {one.measure: set(one.layers) for one in reading.evidence if one.layers is not None}
    return [
        LayersOfType(
            name,
            layers,
            {title: _mean(found[list(layers)]) for title, found in values.items()},
            {measure: len(counted & set(layers)) for measure, counted in used.items()},
        )
        for name, layers in reading.model.layers_by_type.items()
    ]


def _values(reading: Reading) -> Iterator[tuple[str, np.ndarray]]:
    """The values of each layer by itself, `[L]` each, by title."""
    contribution = reading.curves.get("layer_norm_ratio")
    if contribution is not None:
        yield "contribution", contribution
    for metric in ALL:
        if (value := reading.get(metric)) is not None:
            for found in metric.per_layer(value):
                if found.of_layer:
                    yield found.title, found.values


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
