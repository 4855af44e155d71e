"""Folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from depthtui.errors import DepthError

_ABANDONED_AFTER = 24 * 3600.0
_ELSEWHERE = "Keep models elsewhere with --cache-dir."


@contextmanager
def staged(target: Path, elsewhere: str = _ELSEWHERE) -> Iterator[Path]:
    """A temporary folder, which takes the place of `target` when the block ends well.

    Its parent is scratch space beside `target`. On an exception all of it goes
    and nothing else changes. Where another process has put `target` there in
    the meantime, that one is kept. `elsewhere` is what to do where the disk is full or closed.

    Raises:
        DepthError: the disk is full, or may not be written to.
    """
    with _disk_errors(target.parent, elsewhere):
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        existed = _identity(target)
        prefix = f"{_prefix(target)}{os.getpid()}."
        scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
        try:
            result = scratch / "result"
            result.mkdir()
            yield result
            _sync(result)
            if _identity(target) == existed:
                _replace(target, result, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _replace(target: Path, result: Path, scratch: Path) -> None:
    if target.exists():
        target.rename(scratch / "replaced")
    try:
        result.rename(target)
    except OSError:
        # Another process was quicker, by the blink of an eye.
        if not target.is_dir():
            raise


@contextmanager
def _disk_errors(folder: Path, elsewhere: str) -> Iterator[None]:
    try:
        yield
    except DepthError:
        raise
    except Exception as error:
        code = error.errno if isinstance(error, OSError) else None
        # The safetensors writer has an error type of its own, without a number.
        if code in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            raise DepthError(
                f"The disk of {folder} is full.",
                f"Free some space. {elsewhere}",
            ) from error
        if code in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise DepthError(f"{folder} cannot be written to.", elsewhere) from error
        raise


def _prefix(target: Path) -> str:
    return f".{target.name}.{platform.node()}."


def _identity(folder: Path) -> int | None:
    try:
        return folder.stat().st_ino
    except FileNotFoundError:
        return None


def _sweep(target: Path) -> None:
    """Remove what processes that no longer run have left beside `target`."""
    leftovers = [
        path for path in target.parent.iterdir() if path.name.startswith(f".{target.name}.")
    ]
    for leftover in leftovers:
        process = leftover.name.removeprefix(_prefix(target)).split(".")[0]
        is_ours = leftover.name.startswith(_prefix(target)) and process.isdigit()
        dead = is_ours and not psutil.pid_exists(int(process))
        if dead or _age(leftover) > _ABANDONED_AFTER:
            shutil.rmtree(leftover, ignore_errors=True)


def _age(folder: Path) -> float:
    try:
        return time.time() - max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
    except OSError:
        return 0.0


def _sync(folder: Path) -> None:
    """Have the files on the disk before the rename, so that a power cut cannot empty them."""
    for path in folder.iterdir():
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
