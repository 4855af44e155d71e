"""A rank other than rank 0 makes the engine calls that rank 0 sends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

from depthtui.data.plain import from_plain
from depthtui.engine.control import Control
from depthtui.engine.engine import Engine
from depthtui.engine.factory import Storage, make_engine
from depthtui.engine.shared_calls import next_message
from depthtui.errors import DepthError
from depthtui.log import log_bug


def follow() -> None:
    """Make the calls that rank 0 sends, until it announces that no more come."""
    engine: Engine | None = None
    while (message := next_message()) is not None:
        if "storage" in message:
            storage = from_plain(Storage, message["storage"], readers={Path: Path})
            engine = _follower(storage)
            continue
        assert engine is not None
        # Rank 0 reports errors.
        with contextlib.suppress(DepthError):
            method = getattr(engine, message["name"])
            method(**_arguments(method, message["arguments"]))


def _follower(storage: Storage) -> Engine:
    """The engine of a rank other than rank 0, which keeps nothing."""
    saves_nothing = replace(storage, save_results=False)
    return make_engine(saves_nothing, lambda event: None, lambda notice: None, log_bug)


def _arguments(method: Callable[..., Any], plain: dict[str, Any]) -> dict[str, Any]:
    """A method's arguments, from JSON values."""
    hints = get_type_hints(method)
    arguments: dict[str, Any] = {}
    for name, value in plain.items():
        kind: Any = hints[name]
        if name == "control":
            arguments[name] = Control(step=True)
        elif kind is Path:
            arguments[name] = Path(value)
        else:
            arguments[name] = from_plain(kind, value)
    return arguments
