"""Choices of the part of a slower metric to compute."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from depthtui.data.arrays import MetricResult
from depthtui.data.model import PART_TITLES
from depthtui.data.run import RunResult
from depthtui.data.run_settings import CHOICES, RunSettings
from depthtui.data.selection import layers_in, numbers_text

STAND_INS = ("ablate", "keep_first_token")
"""The settings that choose the substitute for a layer that is left out."""

MEAN_UPDATE, FIRST_KEPT = "a layer left out writes its mean update", "token 0 keeps every layer"
"""The values of `ablate` and `keep_first_token`, in words."""


def chosen_layers(result: RunResult) -> tuple[int, ...]:
    """The layers that a run's slower metrics go through, in order; empty for all of them."""
    n_layers = result.model.n_layers
    layers = layers_in(result.settings.layers, n_layers)
    return () if len(layers) == n_layers else tuple(layers)


def measured_layers(result: RunResult) -> tuple[int, ...]:
    """The layers that a run's slower metrics go through; all of them where none was chosen."""
    return chosen_layers(result) or tuple(range(result.model.n_layers))


def layer_calls(result: RunResult) -> int:
    """The number of layer calls of one run without each chosen layer, and of an unchanged run.

    A run begins behind the layer that it leaves out, the unchanged run before the first of them.
    """
    count, layers = result.model.n_layers, measured_layers(result)
    return count - layers[0] + sum(count - 1 - layer for layer in layers)


PARTS = 4
"""Parts in which layers are computed: more show results sooner, but each has an unchanged run."""


def layers_per_part(n_layers: int) -> int:
    """The number of layers of one part, of `n_layers` in all."""
    return max(1, -(-n_layers // PARTS))


def key_parts(result: RunResult, names: Iterable[str]) -> dict[str, Any]:
    """The settings of a run as they are in the cache key of results that depend on them.

    A choice that is not made is left out, and so is a choice of all layers.
    """
    settings = result.settings
    parts: dict[str, Any] = {
        name: getattr(settings, name)
        for name in names
        if name not in CHOICES or getattr(settings, name) != getattr(RunSettings, name)
    }
    if "answer_start" in parts:
        parts["answer_start"] = result.answer_start
    if "ablate" in parts:
        # A mean update depends on the texts that it is the mean over.
        parts["baseline"] = settings.baseline
    if parts.pop("layers", None) and chosen_layers(result):
        parts["layers"] = list(chosen_layers(result))
    return parts


def stand_in_words(settings: RunSettings) -> str:
    """The substitute for a layer that is left out, in words; empty for none."""
    update = MEAN_UPDATE if settings.ablate == "mean" else ""
    first = FIRST_KEPT if settings.keep_first_token else ""
    return ", ".join(filter(None, (update, first)))


def layers_words(layers: tuple[int, ...], n_layers: int) -> str:
    """The chosen layers in words, such as `layers 0-5, 20 (7 of 30)`; empty for all of them."""
    return f"layers {numbers_text(layers)} ({len(layers)} of {n_layers})" if layers else ""


def left_out_words(part: str, layers: tuple[int, ...], n_layers: int, stand_in: str = "") -> str:
    """Remarks on the parts and layers that were left out; empty for all of every layer.

    `stand_in` is the substitute for a layer that is left out, in words.
    """
    of_some = f"; of {layers_words(layers, n_layers)}" if layers else ""
    return part_remark(part) + of_some + (f"; {stand_in}" if stand_in else "")


def part_remark(part: str) -> str:
    """A remark on the part of a layer that was left out; empty for the whole layer."""
    return "" if part == "layer" else f"; only the {PART_TITLES[part]} left out"


def chosen_key(layers: tuple[int, ...]) -> dict[str, Any]:
    """The summary's key for the chosen layers; none for all of them."""
    return {"chosen": list(layers)} if layers else {}


def with_choices(result: MetricResult, *names: str) -> dict[str, Any]:
    """A result's fields for a summary; those in `names` only where they are not empty."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(result).items()
        if name not in names or value
    }
