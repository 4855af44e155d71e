"""Plans, and sweeps of them on a scripted engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from depthtui.data.protocol import Event
from depthtui.data.run_settings import Drawing, ModelSpec, RunSettings, SummarySettings
from depthtui.sweep.folder import SweepFolder
from depthtui.sweep.in_process import run_sweep
from depthtui.sweep.plan import SweepPlan, check_plan, parse_task
from depthtui.sweep.state import Outcome, Shard, SweepState
from depthtui.sweep.work import Item
from tests.builders.engines import ScriptedEngine


class QuietWatcher:
    """Keeps what it saw."""

    def __init__(self) -> None:
        self.waiting = -1
        self.ended = 0
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def sweep_begins(self, state: SweepState) -> None:
        self.waiting = len(state.waiting)

    def prompt_begins(self, item: Item) -> None: ...

    def prompt_ends(self, cell: Any, record: Any, seconds: float) -> None:
        self.ended += 1

    def cell_ends(self, cell: Any) -> None: ...


EXAMPLES = 3
"""How many prompts a plan draws for a cell where a test does not say."""


def make_plan(
    models: Sequence[str] = ("alpha", "beta"),
    tasks: Sequence[str] = ("addition:1-2", "commonsense"),
    drawing: Drawing | None = None,
    data: dict[str, str] | None = None,
    **settings: Any,
) -> SweepPlan:
    """A plan of a few models and tasks; `settings` are of its runs."""
    drawing = drawing or Drawing(examples=EXAMPLES)
    choices = [task for text in tasks for task in parse_task(text, data or {}, drawing)]
    return check_plan(
        SweepPlan(
            tuple(map(ModelSpec, models)),
            tuple(choices),
            RunSettings(**settings),
            SummarySettings(),
        )
    )


def put_model(folder: Path) -> str:
    """A folder that passes for a model as long as nobody loads it; returns its name."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(1000))
    return str(folder)


def count_prompts(plan: SweepPlan, examples: int = EXAMPLES) -> int:
    """How many prompts a plan runs, over all models and tasks."""
    return len(plan.cells) * examples


def sweep(
    plan: SweepPlan,
    path: Path,
    engine: ScriptedEngine | None = None,
    notices: list[str] | None = None,
    shard: Shard | None = None,
    watcher: QuietWatcher | None = None,
) -> Outcome:
    """Run a plan on the scripted engine, and keep its notices."""
    notices = [] if notices is None else notices
    folder = SweepFolder(path, notices.append, shard.suffix if shard else "")
    return run_sweep(
        plan,
        folder,
        lambda emit: engine or ScriptedEngine(),
        path / "models",
        watcher or QuietWatcher(),
        notices.append,
        lambda error: f"Something unexpected went wrong ({type(error).__name__}).",
        shard,
    )


def contents(path: Path) -> dict[str, object]:
    """Every record by its file, less the times, which differ from run to run."""
    files = {}
    for file in sorted((path / "records").rglob("*.json")):
        body = json.loads(file.read_text())
        body["provenance"].pop("seconds")
        body.pop("checksum")
        files[str(file.relative_to(path))] = json.dumps(body)
    return files
