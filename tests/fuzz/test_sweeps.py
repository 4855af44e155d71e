"""What a sweep keeps: records, which of them belong to it, failures, and lengths of prompts."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError
from depthtui.report.formats import format_titles
from depthtui.sweep.folder import SweepFolder
from depthtui.sweep.merge import merge_sweeps
from depthtui.sweep.questions import questions
from depthtui.sweep.records import checksum, record_bytes
from depthtui.sweep.report.export import sweep_report
from depthtui.sweep.saved import open_sweep, saved_sweeps
from depthtui.sweep.summary import summarise_sweep
from tests.builders.engines import ScriptedEngine
from tests.builders.results import full_run, hostile_run
from tests.fuzz.fuzzing import examples, fuzz, mutated, mutated_json, with_each_piece
from tests.sweep.sweeps import make_plan, sweep
from tests.sweep.test_records import read_by_lenses, record

LAYERS = full_run().model.n_layers


def small_sweep(folder: Path) -> list[Path]:
    """A finished sweep, and its records."""
    sweep(make_plan(("alpha",), ("facts:1",)), folder, ScriptedEngine({"alpha": LAYERS}))
    return sorted(folder.glob("records/*/*/*.json"))


def report(folder: Path) -> None:
    """Open a sweep, and report it in every format."""
    notices: list[str] = []
    summary = summarise_sweep(open_sweep(folder, notices.append))
    found = sweep_report(summary, questions(summary))
    for name in format_titles("sweeps"):
        found.files(name)


@examples
def test_bytes_of_records(count: int, home: Path) -> None:
    path, *_ = small_sweep(home / "sweep")
    original = path.read_bytes()

    def read(data: bytes) -> None:
        path.write_bytes(data)
        open_sweep(home / "sweep", lambda notice: None)
        merge_sweeps([home / "sweep"], SweepFolder(home / "out", _ignore), _ignore)
        assert path.read_bytes() == data, "nothing is deleted"

    fuzz(read, mutated([original]), count, with_each_piece(original))


@examples
def test_records_with_a_checksum_that_holds(count: int, home: Path) -> None:
    path, *_ = small_sweep(home / "sweep")
    key = json.loads(path.read_bytes())["key"]
    originals = [
        json.loads(record_bytes(replace(record(result), key=key)))
        for result in (read_by_lenses(), full_run(), hostile_run())
    ]

    def read(body: Any) -> None:
        if isinstance(body, dict):
            body.pop("checksum", None)
            with suppress(ValueError):
                body["checksum"] = checksum(body)
        path.write_text(json.dumps(body))
        report(home / "sweep")

    body = originals[0]
    reduced = mutated_json([body["every"]]).map(lambda part: body | {"every": part})
    fuzz(read, mutated_json(originals) | reduced, count)


@examples
def test_lists_of_a_sweep(count: int, home: Path) -> None:
    folder = home / "cache" / "sweeps" / "mine"
    small_sweep(folder)
    (folder / "failures.json").write_text(
        '[{"model": "alpha", "task": "facts", "prompt": 1, "message": "no"}]'
    )
    path, failures = folder / "sweep.json", folder / "failures.json"
    originals = [path.read_bytes(), failures.read_bytes()]

    def read(data: bytes) -> None:
        path.write_bytes(data if b"schema" in data else originals[0])
        failures.write_bytes(originals[1] if b"schema" in data else data)
        with suppress(DepthError):
            report(folder)
        saved_sweeps(home / "cache")
        with suppress(DepthError):
            merge_sweeps([folder], SweepFolder(home / "out", _ignore), _ignore)

    fuzz(read, mutated(originals), count, with_each_piece(originals[0]))


@examples
def test_lengths_of_prompts(count: int, home: Path) -> None:
    folder = SweepFolder(home / "sweep", _ignore)
    folder.save_token_counts(ModelSpec("alpha"), "f" * 16, {"a" * 32: 3, "b" * 32: 99})
    (path,) = (home / "sweep" / "token-counts").iterdir()

    def read(data: bytes) -> None:
        path.write_bytes(data)
        counts = folder.token_counts(ModelSpec("alpha"), "f" * 16)
        assert all(isinstance(length, int) for length in counts.values())

    original = path.read_bytes()
    fuzz(read, mutated([original]), count, with_each_piece(original))


def _ignore(notice: str) -> None:
    """Nobody is told."""
