"""A terminal explorer for the effective depth of large language models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from depthtui.api import Prompt, Runs, Writing, analyze, read_states, without
    from depthtui.training import DepthCallback, DepthLog

__version__ = "0.1.0"
__all__ = [
    "DepthCallback",
    "DepthLog",
    "Prompt",
    "Runs",
    "Writing",
    "analyze",
    "read_states",
    "without",
]

_OF_TRAINING = ("DepthCallback", "DepthLog")


def __getattr__(name: str) -> Any:
    # Import lazily, so that importing the version alone, as the explorer does, is fast.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _OF_TRAINING:
        from depthtui import training

        return getattr(training, name)
    from depthtui import api

    return getattr(api, name)
