"""The paces of models, saved between two starts: an estimate then needs no new timing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from depthtui.data.model import ModelInfo
from depthtui.data.plain import from_plain, to_plain
from depthtui.data.protocol import Pace
from depthtui.errors import DepthError
from depthtui.files import parse_json, read_whole, write_over
from depthtui.metrics.registry import METRIC_BY_NAME

SCHEMA = 2
"""Raised when the meaning of the file changes: paces of another schema are forgotten."""

_LARGEST = 1 << 24

_MOST_SAVED = 20
"""Models whose pace is saved, those timed last."""


def paces_path(cache_dir: Path) -> Path:
    """The file of the paces."""
    return cache_dir / "paces.json"


def pace_key(model: ModelInfo, engine_command: str = "") -> str:
    """A key for models of the same pace; another engine has other paces."""
    name = model.fingerprint or model.name
    place = (engine_command,) if engine_command else ()
    return " ".join((name, model.dtype, model.quantize or "-", model.device, *place))


def saved_paces(path: Path) -> dict[str, Pace]:
    """The saved paces, by `pace_key`; none where they cannot be read.

    The models are then timed again, without a message.
    """
    try:
        tree = parse_json(read_whole(path, _LARGEST))
        if tree["schema"] != SCHEMA:
            return {}
        paces = from_plain(dict[str, Pace], tree["paces"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {key: pace for key, pace in paces.items() if _is_sound(pace)}


def save_paces(path: Path, paces: Mapping[str, Pace]) -> None:
    """Write the paces, whole or not at all; if they cannot be written, models are timed again."""
    latest = dict(list(paces.items())[-_MOST_SAVED:])
    content = {"schema": SCHEMA, "paces": to_plain(latest)}
    with suppress(DepthError):
        file = {path.name: json.dumps(content, indent=1).encode()}
        write_over(path.parent, file, _is_ours)


def _is_ours(path: Path) -> bool:
    """Whether a file contains paces, of any schema."""
    try:
        tree = parse_json(read_whole(path, _LARGEST))
    except (OSError, ValueError):
        return False
    return isinstance(tree, dict) and tree.keys() == {"schema", "paces"}


def join_paces(former: Pace, pace: Pace) -> Pace:
    """The new timings, and the former ones where there is no new one."""
    timed = pace if math.isfinite(pace.forward) else former
    metrics = {**former.metrics, **pace.metrics}
    return replace(pace, forward=timed.forward, tokens=timed.tokens, metrics=metrics)


def _is_sound(pace: Pace) -> bool:
    """Whether each time belongs to a metric and is not negative."""
    times = pace.metrics.values()
    return set(pace.metrics) <= set(METRIC_BY_NAME) and all(seconds >= 0 for seconds in times)
