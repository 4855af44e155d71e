"""Sweeps of the scripted engine: the real service on made-up results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from depthtui.engine.control import Control
from depthtui.engine.protocol import Event, StartSweep
from depthtui.engine.results import ModelInfo, ModelSpec, Prompt, RunResult, RunSettings
from depthtui.sweep.serving import SweepService
from tests.sweep.sweeps import ScriptedEngine

LAYERS = {"demo": 30, "alpha": 12, "beta": 12}


class SteeredScript(ScriptedEngine):
    """A scripted engine as the service needs it.

    Args:
        loaded: the model that is loaded before.
        stops_at: the run, counted from 0, that the user stops; -1 for none.
    """

    activation_limit = 7

    def __init__(self, loaded: ModelInfo | None = None, stops_at: int = -1) -> None:
        super().__init__(LAYERS)
        self.model = loaded  # type: ignore[assignment]
        self._stops_at = stops_at

    def load(self, spec: ModelSpec, control: Control | None = None) -> ModelInfo:
        return super().load(spec)

    def run(
        self, prompt: Prompt, settings: RunSettings, control: Control | None = None
    ) -> RunResult:
        assert self.activation_limit == 0, "activations of a sweep are not worth their room"
        stops = len(self.runs) == self._stops_at
        result = super().run(prompt, settings)
        return replace(result, complete=not stops)


def sweep_events(
    command: StartSweep, loaded: ModelInfo | None = None, stops_at: int = -1
) -> tuple[list[Event], SteeredScript]:
    """What the engine process says of a sweep, and the engine that ran it."""
    events: list[Event] = []
    engine = SteeredScript(loaded, stops_at)
    models_dir = Path(command.folder) / "no-models"
    SweepService(command, engine, Control(), events.append, models_dir).serve()
    return events, engine
