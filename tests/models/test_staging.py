"""Folders appear whole or not at all."""

from __future__ import annotations

import errno
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from depthtui.errors import DepthError
from depthtui.models.staging import staged


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_folder_appears_when_the_block_ends(tmp_path) -> None:
    target = tmp_path / "store" / "model"
    with staged(target) as folder:
        (folder / "a").write_text("1")
        (folder.parent / "scratch").write_text("2")
        assert not target.exists()
    assert names(target) == ["a"]
    assert names(target.parent) == ["model"]


def test_an_exception_leaves_nothing(tmp_path) -> None:
    def interrupted() -> None:
        with staged(tmp_path / "model") as folder:
            (folder / "a").write_text("1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == []


def test_a_damaged_folder_is_replaced(tmp_path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "damaged").touch()
    with staged(tmp_path / "model") as folder:
        (folder / "good").touch()
    assert names(tmp_path / "model") == ["good"]
    assert names(tmp_path) == ["model"]


def test_an_exception_leaves_the_old_folder(tmp_path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    with pytest.raises(ZeroDivisionError), staged(tmp_path / "model"):
        raise ZeroDivisionError
    assert names(tmp_path / "model") == ["old"]


def test_the_quicker_of_two_wins_and_both_end_well(tmp_path) -> None:
    with staged(tmp_path / "model") as slow:
        (slow / "slow").touch()
        with staged(tmp_path / "model") as quick:
            (quick / "quick").touch()
    assert names(tmp_path / "model") == ["quick"]
    assert names(tmp_path) == ["model"]


def test_what_dead_processes_left_is_swept_and_live_ones_are_left_alone(tmp_path) -> None:
    host = platform.node()
    dead = tmp_path / f".model.{host}.{dead_process()}.abc"
    alive = tmp_path / f".model.{host}.{os.getpid()}.abc"
    elsewhere = tmp_path / ".model.another-host.1.abc"
    ancient = tmp_path / ".model.another-host.2.abc"
    other = tmp_path / f".other.{host}.{dead_process()}.abc"
    for folder in (dead, alive, elsewhere, ancient, other):
        folder.mkdir()
        (folder / "part").touch()
    for path in (ancient / "part", ancient):
        os.utime(path, (0, 0))
    with staged(tmp_path / "model"):
        pass
    assert names(tmp_path) == sorted([alive.name, elsewhere.name, other.name, "model"])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "is full"),
        (OSError(errno.EROFS, "Read-only file system"), "cannot be written"),
        (PermissionError(errno.EACCES, "Permission denied"), "cannot be written"),
    ],
)
def test_trouble_with_the_disk_is_told_in_words(error, words, tmp_path) -> None:
    with pytest.raises(DepthError, match=words), staged(tmp_path / "model"):
        raise error
    assert names(tmp_path) == []


def test_a_store_that_cannot_be_made(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DepthError, match="cannot be written"), staged(tmp_path / "file" / "model"):
        pass
