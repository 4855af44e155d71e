"""Loads the part of a model that reads files of its states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from depthtui.data.protocol import Notice
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.engine.engine import Engine
from depthtui.engine.state_files import served_dtype
from depthtui.errors import DepthError
from depthtui.metrics import engine_distance


def load_for_states(
    engine: Engine,
    spec: ModelSpec,
    files: Sequence[Path],
    settings: RunSettings,
    fail: Callable[[str], None],
) -> RunSettings:
    """Load the part of a model that reads files of its states, in the dtype of the states.

    The whole model is loaded for `engine_distance`, which is left out where that fails; and
    where the first layer cannot be loaded by itself, as in Gemma 4, whose embedding holds a part
    for each layer.

    Args:
        engine: loads the model.
        spec: the model.
        files: files of states.
        settings: what to measure.
        fail: called with why `engine_distance` is left out.

    Returns:
        the settings, with the metrics that can be measured.

    Raises:
        DepthError: no file can be read, or the model cannot be loaded.
    """
    if spec.dtype == "auto":
        spec = replace(spec, dtype=served_dtype(files))
    measurable = tuple(name for name in settings.metrics if name != engine_distance.NAME)
    if measurable != settings.metrics:
        try:
            engine.load(spec)
        except DepthError as error:
            fail(f"{engine_distance.METRIC.title} is unavailable: {error}")
            engine.load(spec, readout_only=True)
            return replace(settings, metrics=measurable)
        return settings
    try:
        engine.load(spec, readout_only=True)
    except DepthError:
        info = engine.load(spec)
        words = f"All of {info.name} was loaded: its first layer cannot be loaded by itself."
        engine.emit(Notice(words))
    return settings
