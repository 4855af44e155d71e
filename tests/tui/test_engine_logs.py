"""Which logs of engines stay among the temporary files, and which are removed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from depthtui.tui.engine_logs import keep_log, new_log, open_log, remove

HERE = f"depthtui-engine-{platform.node()}"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def gone() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


def test_the_log_of_an_explorer_that_was_killed_is_removed(temporary: Path, gone: int) -> None:
    code = "from depthtui.tui.engine_logs import *; path = new_log(); open_log(path); print(path)"
    there = os.environ | {"TMPDIR": str(temporary)}
    left = subprocess.check_output([sys.executable, "-c", code], env=there, text=True).strip()
    assert Path(left).parent == temporary
    assert Path(left).exists()
    new_log()
    assert not Path(left).exists()


def test_nothing_else_is_removed(temporary: Path, gone: int) -> None:
    own = f"{HERE}-{gone}-0123abcd.log"
    names = [
        f"{HERE}-{os.getpid()}-0123abcd.log",
        f"depthtui-engine-elsewhere-{gone}-0123abcd.log",
        f"{HERE}-{gone}-0123abcd.log.txt",
        f"{HERE}-{gone}-mine.log",
        f"{HERE}-99999999999999999999-0123abcd.log",
        f"my-{own}",
        "depthtui-engine-0123abcd.log",
        "depthtui-engine-notes.log",
        f"depthtui-crash-{platform.node()}-{gone}-0123abcd.log",
    ]
    for name in names:
        (temporary / name).write_text("x")
    linked, folder = temporary / own, temporary / f"{HERE}-{gone}-4567abcd.log"
    linked.symlink_to(temporary / names[-1])
    folder.mkdir()
    new_log()
    assert {path.name for path in temporary.iterdir()} == {*names, linked.name, folder.name}


def test_the_log_of_another_account_is_left(
    temporary: Path, gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = temporary / f"{HERE}-{gone}-0123abcd.log"
    path.write_text("x")
    monkeypatch.setattr(os, "getuid", lambda: path.stat().st_uid + 1)
    new_log()
    assert path.exists()


def test_a_log_is_its_owners_alone_and_replaces_nothing(temporary: Path) -> None:
    path = new_log()
    with open_log(path) as log:
        log.write(b"a line")
    assert path.stat().st_mode & 0o777 == 0o600
    with open_log(path) as log:
        log.write(b"another")
    assert path.read_text() == "a line"


def test_the_log_of_a_crash_is_kept(temporary: Path) -> None:
    path = new_log()
    open_log(path).close()
    kept = keep_log(path)
    assert kept.exists()
    assert kept.name.startswith("depthtui-crash-")
    remove(path)
    assert list(temporary.iterdir()) == [kept]
