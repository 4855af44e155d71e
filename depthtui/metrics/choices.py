"""What of a slower metric is computed, where that is not all of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from depthtui.data.arrays import MetricResult
from depthtui.data.model import PART_TITLES
from depthtui.data.run import RunResult
from depthtui.data.run_settings import CHOICES, RunSettings
from depthtui.data.selection import layers_in, numbers_text

STAND_INS = ("ablate", "keep_first_token")
"""Settings for what stands in for a layer that is left out."""

MEAN_UPDATE, FIRST_KEPT = "a layer left out writes its mean update", "token 0 keeps every layer"
"""What the two of them do, in words."""


def chosen_layers(result: RunResult) -> tuple[int, ...]:
    """The layers that a run's slower metrics go through, in order; empty for all of them."""
    n_layers = result.model.n_layers
    layers = layers_in(result.settings.layers, n_layers)
    return () if len(layers) == n_layers else tuple(layers)


def layers_gone_through(result: RunResult) -> tuple[int, ...]:
    """The same, with all of them where none was chosen."""
    return chosen_layers(result) or tuple(range(result.model.n_layers))


def layers_run(result: RunResult) -> int:
    """The layers run by one run for each of these left out, and by one with nothing left out.

    A run begins behind the layer that it leaves out, the unchanged one before the first.
    """
    count, layers = result.model.n_layers, layers_gone_through(result)
    return count - layers[0] + sum(count - 1 - layer for layer in layers)


PARTS = 4
"""Layers are known in so many parts: more would be seen sooner, but each has an unchanged run."""


def layers_a_part(n_layers: int) -> int:
    """How many of so many layers are known together, before the others."""
    return max(1, -(-n_layers // PARTS))


def key_parts(result: RunResult, names: Iterable[str]) -> dict[str, Any]:
    """Settings of a run as they stand in the cache key of what depends on them.

    A choice of everything is none, so that what was computed before there were choices is found.
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
        # A mean update hangs on the texts that it is the mean over.
        parts["baseline"] = settings.baseline
    if parts.pop("layers", None) and chosen_layers(result):
        parts["layers"] = list(chosen_layers(result))
    return parts


def stand_in_words(settings: RunSettings) -> str:
    """What stands in for a layer that is left out, in words; empty where nothing does."""
    words = [MEAN_UPDATE * (settings.ablate == "mean"), FIRST_KEPT * settings.keep_first_token]
    return ", ".join(filter(None, words))


def layers_words(layers: tuple[int, ...], n_layers: int) -> str:
    """What was chosen, such as `layers 0-5, 20 (7 of 30)`; empty for all of them."""
    return f"layers {numbers_text(layers)} ({len(layers)} of {n_layers})" if layers else ""


def left_out_words(part: str, layers: tuple[int, ...], n_layers: int, stand_in: str = "") -> str:
    """What interventions were of, where that is not all of all layers: remarks to append.

    `stand_in` are the words for what stands in for a layer that is left out.
    """
    of_some = f"; of {layers_words(layers, n_layers)}" * bool(layers)
    return only(part) + of_some + f"; {stand_in}" * bool(stand_in)


def only(part: str) -> str:
    """What was left out of a layer, where that is not all of it."""
    return "" if part == "layer" else f"; only the {PART_TITLES[part]} left out"


def chosen_key(layers: tuple[int, ...]) -> dict[str, Any]:
    """The key of a summary that says which layers were chosen; none for all of them."""
    return {"chosen": list(layers)} if layers else {}


def with_choices(found: MetricResult, *names: str) -> dict[str, Any]:
    """A result's fields for a summary; those that say what was chosen only where it was."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(found).items()
        if name not in names or value
    }
