"""A sweep's folder: records, token counts, failures, and which records belong to the plan."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from depthtui.data.plain import from_plain, to_plain
from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError
from depthtui.files import check_writable, parse_json, read_whole, slug, system_reason, write_whole
from depthtui.sweep.plan import Cell, SweepPlan, plan_values
from depthtui.sweep.records import DamagedRecord, Record, read_record, record_bytes

Notify = Callable[[str], None]
Item = TypeVar("Item")

SCHEMA = 1
"""Number of the manifest's layout."""

MANIFEST = "sweep"
FAILURES = "failures"

_LARGEST_RECORD = 256 << 20
_LARGEST_LIST = 1 << 30
"""Bytes of the largest manifest, which names every record."""


@dataclass(frozen=True)
class Failure:
    """A cell or a prompt that failed.

    Attributes:
        model: the model's name as in the plan.
        task: the task's title; empty where the model could not be loaded.
        prompt: number of the prompt, from 0; None where the whole cell failed.
        message: the reason, in words.
    """

    model: str
    task: str
    prompt: int | None
    message: str

    @classmethod
    def of(cls, cell: Cell, prompt: int | None, message: str) -> Failure:
        """A failure of a cell, or of one prompt of it."""
        return cls(model_title(cell.model), cell.task.title, prompt, message)

    def is_of(self, cell: Cell) -> bool:
        """Whether the failure is of this cell, or of all cells of its model."""
        return self.model == model_title(cell.model) and self.task in ("", cell.task.title)

    def __str__(self) -> str:
        prompt = "" if self.prompt is None else f"prompt {self.prompt + 1}"
        where = " · ".join(part for part in (self.model, self.task, prompt) if part)
        return f"{where}: {self.message}"


@dataclass(frozen=True)
class Manifest:
    """The list of a plan's records.

    Attributes:
        plan: the plan.
        names: the records' files in `records/`, for each cell that has any.
    """

    plan: SweepPlan
    names: Mapping[Cell, list[str]]


class SweepFolder:
    """The folder of a sweep's records.

    Args:
        path: the folder; made at the first write.
        notify: gets one sentence about damaged records, whose prompts are run again.
        suffix: added to the names of files that each shard of a sweep writes for itself.
    """

    def __init__(self, path: Path, notify: Notify, suffix: str = "") -> None:
        self.path = path
        self.failures: list[Failure] = []
        self._notify = notify
        self._suffix = suffix
        self._notified = False
        self._records: dict[str, Record] = {}

    def find(self, cell: Cell, number: int, key: str) -> Record | None:
        """The record with that key, or None; a damaged record is reported and counts as none.

        Raises:
            DepthError: the record cannot be read.
        """
        if key not in self._records:
            path = self.path / "records" / record_name(cell, number, key)
            record = self._read(path)
            if record is None or record.key != key:
                return None
            self._records[key] = record
        return self._records[key]

    def save(self, cell: Cell, record: Record) -> None:
        """Write a record, whole or not at all.

        Raises:
            DepthError: the folder cannot be written.
        """
        path = self.path / "records" / record_name(cell, record.number, record.key)
        write_whole(path, record_bytes(record))
        self._records[record.key] = record

    def claim(self) -> None:
        """Check that the files which a sweep replaces are a sweep's, and can be written.

        Raises:
            DepthError: a file is not a sweep's, or cannot be written.
        """
        for folder in (self.path, self.path / "records"):
            check_writable(folder, "Choose another --out folder.")
        for name, is_one in ((MANIFEST, _is_manifest), (FAILURES, read_failures)):
            path = self._file(name)
            if os.path.lexists(path) and (path.is_symlink() or not is_one(path)):
                raise DepthError(
                    f"{path} is no file of a sweep, and was left as it is.",
                    "Move it away, or choose another --out folder.",
                )

    def fail(self, failure: Failure) -> None:
        """Add a failure to `failures.json`.

        Raises:
            DepthError: the folder cannot be written.
        """
        self.save_failures([*self.failures, failure])

    def save_failures(self, failures: Sequence[Failure]) -> None:
        """Write `failures.json` with these failures alone; delete the file where there are none.

        Raises:
            DepthError: the folder cannot be written.
        """
        self.failures[:] = failures
        path = self._file(FAILURES)
        if failures:
            write_whole(path, _json(failures))
        else:
            with suppress(OSError):
                path.unlink()

    def token_counts(self, model: ModelSpec, fingerprint: str | None) -> dict[str, int]:
        """Lengths of prompts that the model's tokenizer has counted before, by `count_key`."""
        try:
            body = parse_json(read_whole(self._counts_path(model), _LARGEST_LIST))
            same = fingerprint is None or body["fingerprint"] == fingerprint
            return from_plain(dict[str, int], body["counts"]) if same else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def save_token_counts(
        self, model: ModelSpec, fingerprint: str, counts: Mapping[str, int]
    ) -> None:
        """Keep lengths, so that the model need not be loaded to know which prompts fit.

        Raises:
            DepthError: the folder cannot be written.
        """
        body = {"fingerprint": fingerprint, "counts": counts}
        write_whole(self._counts_path(model), _json(body))

    def write_manifest(self, plan: SweepPlan, records: Mapping[Cell, list[Record]]) -> None:
        """Write the list of records that belong to the plan.

        Raises:
            DepthError: the folder cannot be written.
        """
        cells = [
            {
                "model": plan.models.index(cell.model),
                "task": plan.tasks.index(cell.task),
                "records": [record_name(cell, record.number, record.key) for record in of_cell],
            }
            for cell, of_cell in records.items()
        ]
        body = {"schema": SCHEMA, "plan": plan_values(plan), "cells": cells}
        write_whole(self._file(MANIFEST), _json(body))

    def _file(self, name: str) -> Path:
        return self.path / f"{name}{self._suffix}.json"

    def _counts_path(self, model: ModelSpec) -> Path:
        # The short name is for people; the hash tells models apart.
        digest = hashlib.sha256(json.dumps(asdict(model)).encode()).hexdigest()[:12]
        return self.path / "token-counts" / f"{slug(model_title(model))}-{digest}.json"

    def _read(self, path: Path) -> Record | None:
        try:
            return read_record_file(path)
        except FileNotFoundError:
            return None
        except DamagedRecord as error:
            if not self._notified:
                self._notified = True
                self._notify(
                    f"The record {path} is damaged: {error}. "
                    "Its prompt is run again, as are those of others like it."
                )
            return None
        except OSError as error:
            # The record may be intact, on a disk that is unavailable for the moment.
            raise DepthError(
                f"The record {path} cannot be read: {system_reason(error)}.",
                "It was left as it is. Make it readable, or choose another --out folder.",
            ) from None


def read_record_file(path: Path) -> Record:
    """The record in a file.

    Raises:
        OSError: it cannot be read.
        DamagedRecord: its bytes are not those that were written.
    """
    return read_record(read_whole(path, _LARGEST_RECORD))


def can_be_pooled(record: Record, others: Iterable[Record]) -> bool:
    """Whether a record has the one number of layers that all other records of its cell have.

    A model may have been replaced by another of the same name.
    """
    first = next(iter(others), record)
    return record.model.n_layers == first.model.n_layers


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is no manifest.
    """
    try:
        body = parse_json(read_whole(path, _LARGEST_LIST))
        if body["schema"] != SCHEMA:
            raise ValueError("it is of another version")
        plan = plan_from(body["plan"])
        names = {
            Cell(_at(plan.models, row["model"]), _at(plan.tasks, row["task"])): [
                _checked_name(name) for name in row["records"]
            ]
            for row in body["cells"]
        }
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError("it is no manifest") from error
    return Manifest(plan, names)


def read_failures(path: Path) -> list[Failure]:
    """The failures in a file; none where the file cannot be read."""
    try:
        return from_plain(list[Failure], parse_json(read_whole(path, _LARGEST_LIST)))
    except (OSError, ValueError):
        return []


def _is_manifest(path: Path) -> bool:
    """Whether a file is a manifest of any version."""
    with suppress(OSError, ValueError):
        match parse_json(read_whole(path, _LARGEST_LIST)):
            case {"schema": int(), "plan": {"models": list(), "tasks": list()}, "cells": list()}:
                return True
    return False


def record_name(cell: Cell, number: int, key: str) -> str:
    """The file of a record, below `records/`."""
    task = slug(f"{cell.task.source}-{cell.task.level}")
    return f"{slug(model_title(cell.model))}/{task}/{number:04d}-{key[:16]}.json"


def count_key(text: str, chat_template: bool) -> str:
    """A hash of everything but the model that a prompt's length depends on."""
    return hashlib.sha256(json.dumps([text, chat_template]).encode()).hexdigest()[:32]


def model_title(model: ModelSpec) -> str:
    """A model's short name and its options, such as `Qwen2.5-7B, 8bit`."""
    return ", ".join([_last_part(model.name).removesuffix(".gguf"), *model_options(model)])


def _last_part(name: str) -> str:
    """The last part of a path or of a hub name."""
    return name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or name


def model_options(model: ModelSpec) -> list[str]:
    """The options asked for beside the name, such as `8bit`."""
    how = [
        f"revision {model.revision}" if model.revision else "",
        "" if model.dtype == "auto" else model.dtype,
        model.quantize,
        f"adapter {_last_part(model.adapter)}" if model.adapter else "",
    ]
    return [detail for detail in how if detail]


def plan_from(body: Any) -> SweepPlan:
    """The plan from JSON values, as `to_plain` returns them.

    Raises:
        ValueError: the values are no plan.
    """
    plan = from_plain(SweepPlan, body)
    # No sweep is a what-if.
    return replace(plan, run=plan.run.clean)


def _at(items: Sequence[Item], place: int) -> Item:
    """The item at a place of the manifest, from 0.

    Raises:
        IndexError: there is no such item.
    """
    if place < 0:
        raise IndexError(place)
    return items[place]


def _checked_name(name: str) -> str:
    # A manifest from elsewhere must not name files outside its folder.
    if not re.fullmatch(r"[\w.-]+/[\w.-]+/[\w-]+\.json", name, re.ASCII) or ".." in name:
        raise ValueError("it names a file that is no record")
    return name


def _json(value: Any) -> bytes:
    return json.dumps(to_plain(value), indent=1).encode() + b"\n"
