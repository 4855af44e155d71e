"""Logs of engine processes, in temporary files: the output of an engine and its libraries.

A log is removed with its engine. The log of a crashed engine is renamed, and stays.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import psutil

from depthtui.files import PRIVATE_FILE, make_private_folder

_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
"""Escapes that colour text or name a terminal's window."""

_PREFIX, _KEPT_PREFIX = "depthtui-engine-", "depthtui-crash-"


def new_log() -> Path:
    """The path of a new log, named by this machine and this process.

    Logs of explorers that no longer run are removed first.
    """
    try:
        folder = Path(tempfile.gettempdir())
    except FileNotFoundError:
        # No file can be written anywhere: there will be no log.
        folder = Path("/tmp")
    _remove_abandoned(folder)
    return folder / f"{_PREFIX}{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}.log"


def _remove_abandoned(folder: Path) -> None:
    ours = re.compile(rf"{_PREFIX}{re.escape(platform.node())}-(\d{{1,7}})-[0-9a-f]{{8}}\.log")
    with suppress(OSError):
        for path in list(folder.iterdir()):
            name = ours.fullmatch(path.name)
            if name and not psutil.pid_exists(int(name[1])) and _is_own_file(path):
                remove(path)


def _is_own_file(path: Path) -> bool:
    with suppress(OSError):
        status = path.lstat()
        return stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid()
    return False


def open_log(path: Path) -> BinaryIO:
    """Open a new log, or the null device where the log cannot be written."""
    try:
        make_private_folder(path.parent)
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE), "wb")
    except OSError:
        return open(os.devnull, "wb")


def last_line(path: Path) -> str:
    """The last line of a log with a word; empty where it can't be read."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, os.path.getsize(path) - 4096))
            return last_line_of(log.read().decode("utf-8", "replace"))
    except OSError:
        return ""


def last_line_of(printed: str) -> str:
    """The last line with a word, without colour escapes; empty for none."""
    lines = _ESCAPES.sub("", printed).replace("\r", "\n").split("\n")
    return next((line.strip() for line in reversed(lines) if re.search(r"\w", line)), "")


def remove(path: Path) -> None:
    """Remove a log, if it exists."""
    with suppress(OSError):
        path.unlink()


def keep_log(path: Path) -> Path:
    """Rename the log of a crash, so that no later start removes it; returns its new path."""
    target = path.with_name(path.name.replace(_PREFIX, _KEPT_PREFIX, 1))
    try:
        return path.rename(target)
    except OSError:
        return path
