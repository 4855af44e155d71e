"""The process of a pretended GPU: a scripted engine that writes down where it runs what."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from depthtui.data.model import ModelInfo
from depthtui.data.protocol import Event
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec
from depthtui.engine.control import Control
from depthtui.sweep.on_gpus import serve
from tests.builders.engines import ScriptedEngine

LOG = "DEPTHTUI_TEST_RUNS"
"""The variable that names the file of what was run."""

_PATIENCE = 30.0
"""Seconds for the other GPU's first prompt."""


class _LoggedEngine(ScriptedEngine):
    """Writes down which models it loads."""

    def load(self, spec: ModelSpec, control: Control | None = None) -> ModelInfo:
        with _loads(Path(os.environ[LOG])).open("a") as file:
            file.write(f"{os.environ['CUDA_VISIBLE_DEVICES']} {spec.name}\n")
        return super().load(spec, control)


def _loads(log: Path) -> Path:
    return log.with_suffix(".loads")


def loads_of(log: Path) -> list[str]:
    """What was loaded so far: the GPU, and the model's name."""
    return _loads(log).read_text().splitlines()


def runs_of(log: Path) -> list[tuple[str, str]]:
    """What was run so far: the GPU, and the prompt."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [(gpu, text) for gpu, _, text in (line.partition(" ") for line in lines)]


def _engine(emit: Callable[[Event], None], notify: Callable[[str], None]) -> ScriptedEngine:
    """An engine whose second prompt waits until another GPU has run its first.

    A prompt that says `crash` ends the process; one that says `crash once`, the first time.
    """
    engine = _LoggedEngine(emit=emit)
    gpu, log = os.environ["CUDA_VISIBLE_DEVICES"], Path(os.environ[LOG])

    def before_run(prompt: Prompt) -> None:
        end = time.monotonic() + _PATIENCE
        while engine.runs and len({gpu for gpu, _ in runs_of(log)}) < 2:
            assert time.monotonic() < end
            time.sleep(0.005)
        tries = sum(text == repr(prompt.text) for _, text in runs_of(log))
        with log.open("a") as file:
            file.write(f"{gpu} {prompt.text!r}\n")
        if "crash" in prompt.text and not (tries and "once" in prompt.text):
            os._exit(3)

    engine.before_run = before_run
    return engine


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])), _engine)
