"""The layers of a hybrid model pooled by their type, such as mamba and full attention."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from depthtui.depth.reading import Reading
from depthtui.metrics.registry import ALL


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
    used = {
        evidence.measure: set(evidence.layers)
        for evidence in reading.evidence
        if evidence.layers is not None
    }
    return [
        LayersOfType(
            name,
            layers,
            {title: _mean(layer_values[list(layers)]) for title, layer_values in values.items()},
            {measure: len(used_layers & set(layers)) for measure, used_layers in used.items()},
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
            for layer_values in metric.per_layer(value):
                if layer_values.of_layer:
                    yield layer_values.title, layer_values.values


def _mean(values: np.ndarray) -> float:
    finite_values = values[np.isfinite(values)]
    return float(finite_values.mean()) if len(finite_values) else float("nan")
