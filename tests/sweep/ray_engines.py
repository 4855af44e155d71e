"""Engines that tests send to the nodes of a Ray cluster."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from depthtui.data.run import Prompt
from tests.builders.engines import ScriptedEngine


class Gate:
    """Writes down which node runs what; after its engine's first prompt it waits to be opened.

    Args:
        folder: on a disk that driver and nodes share, in these tests alone.
    """

    def __init__(self, folder: Path, engine: ScriptedEngine) -> None:
        import ray

        self._folder = folder
        self._engine = engine
        self._node = ray.get_runtime_context().get_node_id()

    def __call__(self, prompt: Prompt) -> None:
        opened = self._folder / f"gate-{self._node}"
        while self._engine.runs and not opened.exists():
            time.sleep(0.005)
        assert self._engine.model is not None
        with (self._folder / "runs").open("a") as log:
            log.write(f"{self._node} {self._engine.model.name}: {prompt.text!r}\n")
        if "crash" in prompt.text:
            raise SystemExit(3)


@dataclass(frozen=True)
class MakeNodeEngine:
    """Makes an engine behind a gate; Ray sends it by its field."""

    folder: Path

    def __call__(self) -> ScriptedEngine:
        engine = ScriptedEngine()
        engine.before_run = Gate(self.folder, engine)
        return engine


def open_gate(folder: Path, node: str) -> None:
    """Let a node's engines go on."""
    (folder / f"gate-{node}").touch()


def runs_of(folder: Path) -> list[tuple[str, str]]:
    """What was run so far: node, and model with prompt."""
    try:
        lines = (folder / "runs").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [(node, rest) for node, _, rest in (line.partition(" ") for line in lines)]
