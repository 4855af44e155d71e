"""Sweeps on disk: their default folder, their list, and their content."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from depthtui.data.store import make_key
from depthtui.errors import DepthError
from depthtui.sweep.folder import (
    FAILURES,
    MANIFEST,
    Manifest,
    Notify,
    can_be_pooled,
    plan_from,
    read_failures,
    read_manifest,
    read_record_file,
)
from depthtui.sweep.plan import Cell, SweepPlan, plan_values
from depthtui.sweep.records import SCHEMA, DamagedRecord, Record
from depthtui.sweep.state import Outcome


@dataclass(frozen=True)
class SavedSweep:
    """A sweep in a folder.

    Attributes:
        folder: folder of the sweep.
        plan: plan of the sweep.
        n_records: number of prompts that have been run.
        changed_at: local time of the last write.
    """

    folder: Path
    plan: SweepPlan
    n_records: int
    changed_at: datetime


def default_folder(plan: SweepPlan, cache_dir: Path) -> Path:
    """Default folder of a plan's records; the same for the same plan."""
    values = plan_values(replace(plan, families=()))
    return cache_dir / "sweeps" / make_key("sweep", SCHEMA, plan=values)[:16]


def saved_sweeps(cache_dir: Path) -> list[SavedSweep]:
    """The sweeps in the cache folder, the latest first; unreadable ones are left out."""
    sweeps = []
    for path in (cache_dir / "sweeps").glob(f"*/{MANIFEST}.json"):
        with suppress(OSError, ValueError):
            manifest = read_manifest(path)
            n_records = sum(len(names) for names in manifest.names.values())
            changed = datetime.fromtimestamp(path.stat().st_mtime)
            sweeps.append(SavedSweep(path.parent, manifest.plan, n_records, changed))
    return sorted(sweeps, key=lambda sweep: sweep.changed_at, reverse=True)


def open_sweep(folder: Path, notify: Notify) -> Outcome:
    """The outcome of the sweep in a folder.

    Args:
        folder: folder of a sweep, or of several merged ones.
        notify: gets one sentence about records that cannot be read.

    Raises:
        DepthError: the folder has no sweep.
    """
    manifest = _manifest(folder)
    records: dict[Cell, list[Record]] = {cell: [] for cell in manifest.plan.cells}
    n_bad = 0
    for cell, names in manifest.names.items():
        for name in names:
            record = _read_or_none(folder / "records" / name)
            if record is not None and can_be_pooled(record, records[cell]):
                records[cell].append(record)
            else:
                n_bad += 1
    if n_bad:
        count = sum(map(len, manifest.names.values()))
        notify(f"{n_bad} of {count} records cannot be read: going on runs them again.")
    return Outcome(manifest.plan, records, read_failures(folder / f"{FAILURES}.json"))


def _read_or_none(path: Path) -> Record | None:
    try:
        return read_record_file(path)
    except (OSError, DamagedRecord):
        return None


def plan_text(plan: SweepPlan) -> str:
    """The plan as JSON."""
    return json.dumps(plan_values(plan))


def plan_from_text(text: str) -> SweepPlan:
    """The plan that `plan_text` wrote."""
    return plan_from(json.loads(text))


def _manifest(folder: Path) -> Manifest:
    path = folder / f"{MANIFEST}.json"
    try:
        return read_manifest(path)
    except FileNotFoundError:
        raise DepthError(f"{folder} holds no sweep.", _hint(folder.glob("sweep-*.json"))) from None
    except (OSError, ValueError) as error:
        raise DepthError(f"{path} cannot be read: {error}.", "Run that sweep again.") from None


def _hint(parts: Iterable[Path]) -> str:
    if next(iter(parts), None) is not None:
        return "It has a part of one: depthtui sweep --merge joins them."
    return "Give the folder that a sweep was run in."
