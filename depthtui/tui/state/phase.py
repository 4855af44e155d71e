"""What the engine is busy with, and why there is none or no model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from depthtui.data.run_settings import ModelSpec


class Phase(Enum):
    """What the engine is busy with; the value is the word that people read."""

    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    RUNNING = "running"
    HALTED = "halted"
    SWEEPING = "sweeping"
    WRITING = "writing"
    NO_MODEL = "no model"
    DEAD = "engine gone"


@dataclass(frozen=True)
class Problem:
    """Why there is no engine or no model, and what to do about it; untrusted texts."""

    message: str
    hint: str


@dataclass(frozen=True)
class NotLoaded:
    """The model that could not be loaded last, and why; untrusted text."""

    spec: ModelSpec
    reason: str
