"""A mergekit recipe for a model without some of its layers, or with some twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from depthtui.data.model import ModelInfo
from depthtui.data.selection import ranges_of
from depthtui.models.catalog import resolve
from depthtui.models.integrity import converted_folder

RECIPE = "mergekit_config.yml"
"""The file name that mergekit uses."""


def mergekit_recipe(
    model: ModelInfo, models_dir: Path, layers: Sequence[int], is_healed: bool = False
) -> bytes:
    """A passthrough merge of the ranges of layers that are kept, as YAML.

    Args:
        model: the model that has the layers.
        models_dir: the folder of converted models.
        layers: the layers, in the order in which they run.
        is_healed: whether other weights make up for the layers that go, which no recipe does.

    Raises:
        DepthError: the model is no longer in its place.
    """
    # JSON is valid YAML.
    name = json.dumps(_reference(model, models_dir), ensure_ascii=False)
    lines = ["# Of the layers alone: the weights beside this file are changed too."] * is_healed
    lines.append("slices:")
    for first, last in ranges_of(layers):
        lines += [
            "  - sources:",
            f"      - model: {name}",
            f"        layer_range: [{first}, {last + 1}]",
        ]
    return "\n".join([*lines, "merge_method: passthrough", ""]).encode()


def _reference(model: ModelInfo, models_dir: Path) -> str:
    """The model's name for mergekit: a folder, or a hub id at its revision."""
    source = resolve(model.spec, models_dir)
    if source.kind == "hub":
        revision = model.revision or source.revision
        return f"{source.location}@{revision}" if revision else source.location
    if source.kind == "gguf":
        return str(converted_folder(Path(source.location), models_dir))
    return source.location
