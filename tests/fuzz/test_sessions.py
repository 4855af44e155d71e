"""Saved sessions and paces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from depthtui.data.protocol import Pace
from depthtui.data.session_files import SessionFolder
from depthtui.tui.state.saved_paces import save_paces, saved_paces
from tests.data.test_session_files import WHOLE, save
from tests.fuzz.fuzzing import examples, fuzz, mutated, mutated_json, with_each_piece


@examples
def test_saved_sessions(count: int, home: Path) -> None:
    folder = SessionFolder(home)
    path = save(folder, WHOLE)
    original = path.read_bytes()

    def read(changed: Any) -> None:
        data = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
        path.write_bytes(data)
        notices: list[str] = []
        files = folder.files(notices.append)
        assert files or notices
        for file in files:
            folder.rename(file, "Again")
            assert folder.files()[0].session.runs == file.session.runs

    trees, first = mutated_json([json.loads(original)]), with_each_piece(original)
    fuzz(read, trees | mutated([original]), count + len(first), first)


@examples
def test_saved_paces(count: int, home: Path) -> None:
    path = home / "paces.json"
    save_paces(path, {"a": Pace(0.5, {"order": 0.1}), "b": Pace()})
    original = path.read_bytes()

    def read(changed: Any) -> None:
        path.write_bytes(changed if isinstance(changed, bytes) else json.dumps(changed).encode())
        for pace in saved_paces(path).values():
            assert all(isinstance(seconds, float) for seconds in pace.metrics.values())

    fuzz(read, mutated_json([json.loads(original)]) | mutated([original]), count)
