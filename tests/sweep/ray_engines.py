"""An engine that tests send to the nodes of a Ray cluster."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from depthtui.engine.results import Prompt, RunResult, RunSettings
from tests.sweep.sweeps import ScriptedEngine


class NodeEngine(ScriptedEngine):
    """Writes down which node runs what; after its first prompt it waits for the node's gate.

    Args:
        folder: on a disk that driver and nodes share, in these tests alone.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        import ray

        self._folder = folder
        self._node = ray.get_runtime_context().get_node_id()

    def run(self, prompt: Prompt, settings: RunSettings) -> RunResult:
        gate = self._folder / f"gate-{self._node}"
        while self.runs and not gate.exists():
            time.sleep(0.005)
        with (self._folder / "runs").open("a") as log:
            log.write(f"{self._node} {self.model.name}: {prompt.text!r}\n")
        if "crash" in prompt.text:
            raise SystemExit(3)
        return super().run(prompt, settings)


@dataclass(frozen=True)
class MakeNodeEngine:
    """Makes a `NodeEngine`; Ray sends it by its field."""

    folder: Path

    def __call__(self) -> NodeEngine:
        return NodeEngine(self.folder)


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
