"""A scripted engine for sweeps, and plans to run on it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from depthtui.engine.results import (
    ModelInfo,
    ModelSpec,
    Prompt,
    RunResult,
    RunSettings,
    SummarySettings,
)
from depthtui.errors import DepthError
from depthtui.sweep.folder import SweepFolder
from depthtui.sweep.plan import Drawing, SweepPlan, check_plan, parse_task
from depthtui.sweep.run import run_sweep
from depthtui.sweep.state import Outcome, Shard, SweepState
from depthtui.sweep.work import Item
from tests.fake_engine import full_result, model_info, tokens_of


class ScriptedEngine:
    """Makes results out of the prompts, and says what it was asked.

    Args:
        layers: L of each model by name; 8 where it is not said.
        dies_at: the run, counted from 1, at which the process kills itself or is interrupted.
    """

    def __init__(self, layers: dict[str, int] | None = None, dies_at: int = 0) -> None:
        self.layers = layers or {}
        self.dies_at = dies_at
        self.death: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGKILL)
        self.fingerprint = "f" * 16
        self.loads: list[str] = []
        self.runs: list[tuple[str, str]] = []
        self.settings: list[RunSettings] = []
        self.model = model_info()

    def load(self, spec: ModelSpec) -> ModelInfo:
        self.loads.append(spec.name)
        if "missing" in spec.name:
            raise DepthError(f"There is no model {spec.name}.", "Choose another.")
        layers = self.layers.get(spec.name, 8)
        self.model = model_info(
            spec, layers, fingerprint=self.fingerprint, parameters=layers * 1_000_000
        )
        return self.model

    def count_tokens(self, prompt: Prompt, chat_template: bool = False) -> int:
        return len(tokens_of(prompt))

    def run(self, prompt: Prompt, settings: RunSettings) -> RunResult:
        self.runs.append((self.model.name, prompt.text))
        self.settings.append(settings)
        if len(self.runs) == self.dies_at:
            self.death()
        if "too long" in prompt.text:
            raise DepthError("The prompt is too long.", "Shorten it.")
        if "bug" in prompt.text:
            raise RuntimeError("a bug\nin two lines")
        result = full_result(prompt, self.model, settings)
        assert result.provenance is not None
        result.provenance = replace(result.provenance, seconds=0.1 * len(self.runs))
        return result


class QuietWatcher:
    """Keeps what it saw."""

    def __init__(self) -> None:
        self.waiting = -1
        self.ended = 0

    def emit(self, event: Any) -> None: ...

    def sweep_begins(self, state: SweepState) -> None:
        self.waiting = len(state.waiting)

    def prompt_begins(self, item: Item) -> None: ...

    def prompt_ends(self, cell: Any, record: Any, seconds: float) -> None:
        self.ended += 1

    def cell_ends(self, cell: Any) -> None: ...


def make_plan(
    models: Sequence[str] = ("alpha", "beta"),
    tasks: Sequence[str] = ("addition:1-2", "commonsense"),
    drawing: Drawing | None = None,
    data: dict[str, str] | None = None,
    **settings: Any,
) -> SweepPlan:
    """A plan of a few models and tasks; `settings` are of its runs."""
    drawing = drawing or Drawing(examples=3)
    choices = [each for text in tasks for each in parse_task(text, data or {}, drawing)]
    return check_plan(
        SweepPlan(
            tuple(map(ModelSpec, models)),
            tuple(choices),
            RunSettings(**settings),
            SummarySettings(),
        )
    )


def sweep(
    plan: SweepPlan,
    path: Path,
    engine: ScriptedEngine | None = None,
    told: list[str] | None = None,
    shard: Shard | None = None,
    watcher: QuietWatcher | None = None,
) -> Outcome:
    """Run a plan on the scripted engine, and keep what was told."""
    told = [] if told is None else told
    folder = SweepFolder(path, told.append, shard.suffix if shard else "")
    return run_sweep(
        plan,
        folder,
        lambda emit: engine or ScriptedEngine(),
        path / "models",
        watcher or QuietWatcher(),
        told.append,
        lambda error: f"Something unexpected went wrong ({type(error).__name__}).",
        shard,
    )


def contents(path: Path) -> dict[str, object]:
    """Every record by its file, less the times, which differ from run to run."""
    found = {}
    for each in sorted((path / "records").rglob("*.json")):
        body = json.loads(each.read_text())
        body["provenance"].pop("seconds")
        body.pop("checksum")
        found[str(each.relative_to(path))] = json.dumps(body)
    return found
