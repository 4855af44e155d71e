"""The engine's activity, and why there is no engine or no model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from depthtui.data.model import ModelInfo
from depthtui.data.run_settings import ModelSpec

Then: TypeAlias = Callable[[ModelInfo], None]
"""What follows a load: called with the loaded model."""


class Phase(Enum):
    """The engine's activity; the value is the word that people read."""

    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    RUNNING = "running"
    HALTED = "halted"
    SWEEPING = "sweeping"
    WRITING = "writing"
    NO_MODEL = "no model"
    DEAD = "engine gone"


WHY_BUSY = {
    Phase.STARTING: "The engine is starting: wait for it.",
    Phase.LOADING: "A model is being opened: wait for it, or esc stops that.",
    Phase.SWEEPING: "A sweep is running: esc stops it, then r runs the prompt. b shows the sweep.",
    Phase.WRITING: "A model is being written: wait for it, or esc stops that.",
    Phase.NO_MODEL: "No model is open: m chooses one.",
    Phase.DEAD: "The engine is gone: r starts it again.",
}
"""Why nothing can be run now, and what to do."""


@dataclass(frozen=True)
class Problem:
    """Why there is no engine or no model, and what to do about it; untrusted texts."""

    message: str
    hint: str


@dataclass(frozen=True)
class CodeQuestion:
    """A model that only runs with its own Python code, in `folder`; untrusted text.

    `then` follows its load; None for what follows by itself.
    """

    spec: ModelSpec
    folder: str
    then: Then | None = None


@dataclass(frozen=True)
class NotLoaded:
    """The model that could not be loaded last, and why; untrusted text."""

    spec: ModelSpec
    reason: str
