"""Merge several sweeps, or the shards of one, into one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from depthtui.data.selection import numbers_text
from depthtui.errors import DepthError
from depthtui.files import system_reason
from depthtui.sweep.folder import (
    FAILURES,
    MANIFEST,
    Failure,
    Manifest,
    Notify,
    SweepFolder,
    can_be_pooled,
    read_failures,
    read_manifest,
    read_record_file,
)
from depthtui.sweep.plan import Cell, SweepPlan
from depthtui.sweep.records import DamagedRecord, Record
from depthtui.sweep.saved import plan_from_text, plan_text
from depthtui.sweep.state import MOST_SHARDS, Outcome

_PART = re.compile(rf"{MANIFEST}-(\d+)-of-(\d+)")


def merge_sweeps(paths: Sequence[Path], out: SweepFolder, notify: Notify) -> Outcome:
    """Copy the records of finished sweeps into one folder.

    Args:
        paths: folders of sweeps, or of shards of one, in the order of their models. Where several
            have a prompt, the last record counts.
        out: folder of the merged records; it may be one of `paths`.
        notify: gets a sentence for missing or damaged parts and records.

    Raises:
        DepthError: a folder has no sweep, or another file under the name of one, the sweeps
            were measured differently, or `out` cannot be written or has files of others.
    """
    out.claim()
    manifests = [manifest for path in paths for manifest in _manifests(path)]
    plan = _united_plan([manifest.plan for _, manifest in manifests])
    for numbers, count in _missing_parts(manifests):
        subject = f"Part {numbers} of {count} of the sweep is"
        if "," in numbers or "-" in numbers:
            subject = f"Parts {numbers} of {count} of the sweep are"
        notify(f"{subject} in none of the folders.")
    records: dict[Cell, dict[int, Record]] = {cell: {} for cell in plan.cells}
    for path, manifest in manifests:
        for cell, names in manifest.names.items():
            for name in names:
                record = _read(path.parent, name, notify)
                if record is None:
                    continue
                if not can_be_pooled(record, records[cell].values()):
                    notify(
                        f"The record {name} is left out: its model has other layers than before."
                    )
                    continue
                out.save(cell, record)
                records[cell][record.number] = record
    sorted_records = {
        cell: [numbered[number] for number in sorted(numbered)]
        for cell, numbered in records.items()
    }
    out.write_manifest(plan, sorted_records)
    out.save_failures(_failures(paths, sorted_records))
    return Outcome(plan, sorted_records, out.failures)


def check_can_join(folder: Path, plan: SweepPlan) -> None:
    """Check that parts of a plan can be merged with the sweep that is in their folder already.

    Raises:
        DepthError: the folder has a sweep that was measured differently.
    """
    plans = []
    for path in sorted(folder.glob(f"{MANIFEST}*.json")):
        with suppress(OSError, ValueError):
            plans.append(read_manifest(path).plan)
    try:
        _united_plan([*plans, plan_from_text(plan_text(plan))])
    except DepthError as error:
        raise DepthError(
            f"The parts cannot be merged with what {folder} holds. {error.message}",
            "Choose another --out folder.",
        ) from None


def _manifests(folder: Path) -> Iterable[tuple[Path, Manifest]]:
    paths = sorted(folder.glob(f"{MANIFEST}*.json"))
    if not paths:
        raise DepthError(
            f"{folder} holds no sweep.", "Give the --out folders of sweeps that have ended."
        )
    for path in paths:
        try:
            yield path, read_manifest(path)
        except (OSError, ValueError) as error:
            raise DepthError(
                f"{path} cannot be read: {system_reason(error)}.", "Run that sweep again."
            ) from None


def _missing_parts(manifests: Sequence[tuple[Path, Manifest]]) -> Iterable[tuple[str, int]]:
    """The missing parts of split sweeps, such as `2, 5-9`, and the number of all parts.

    Raises:
        DepthError: a file's name has a number of parts that no sweep can have.
    """
    parts: dict[tuple[SweepPlan, int], set[int]] = {}
    for path, manifest in manifests:
        named = _PART.fullmatch(path.stem)
        if named is not None:
            part, count = map(int, named.groups())
            if not 1 <= part <= count <= MOST_SHARDS:
                raise DepthError(
                    f"{path} is called part {part} of {count}: no sweep has more than "
                    f"{MOST_SHARDS:,} parts.",
                    "Merge without that file.",
                )
            parts.setdefault((manifest.plan, count), set()).add(part)
    for (_, count), present in parts.items():
        absent = [part for part in range(1, count + 1) if part not in present]
        if absent:
            yield numbers_text(absent), count


def _united_plan(plans: Sequence[SweepPlan]) -> SweepPlan:
    first = plans[0]
    for plan in plans:
        if (plan.run, plan.summary) != (first.run, first.summary):
            raise DepthError(
                "The sweeps were measured with different settings.",
                "Merge sweeps of the same metrics, thresholds and seed.",
            )
    models = dict.fromkeys(model for plan in plans for model in plan.models)
    tasks = dict.fromkeys(task for plan in plans for task in plan.tasks)
    names = [(choice.source, choice.level) for choice in tasks]
    for task, name in zip(tasks, names, strict=True):
        if names.count(name) > 1:
            raise DepthError(
                f"{task.title} was measured on different prompts in different sweeps.",
                "Merge sweeps of the same --examples, --data, --max-tokens, --sample, --matched, "
                "--shots and --write.",
            )
    families = dict.fromkeys(pair for plan in plans for pair in plan.families)
    return replace(first, models=tuple(models), tasks=tuple(tasks), families=tuple(families))


def _read(folder: Path, name: str, notify: Notify) -> Record | None:
    path = folder / "records" / name
    try:
        return read_record_file(path)
    except (OSError, DamagedRecord) as error:
        notify(f"The record {path} is left out: {system_reason(error)}.")
        return None


def _failures(paths: Sequence[Path], records: dict[Cell, list[Record]]) -> list[Failure]:
    """The failures of prompts and cells that no folder has done."""
    failed = dict.fromkeys(
        failure
        for folder in paths
        for path in sorted(folder.glob(f"{FAILURES}*.json"))
        for failure in read_failures(path)
    )
    measured = {
        Failure.of(cell, record.number, "")
        for cell, of_cell in records.items()
        for record in of_cell
    }
    return [failure for failure in failed if replace(failure, message="") not in measured]
