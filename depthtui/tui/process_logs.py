"""Logs of processes: the end of what an engine, or a command of one's own, prints.

A log is kept in memory. The log of a crashed engine is written to a temporary file, which stays.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import secrets
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from depthtui.files import PRIVATE_FILE

LONGEST_LOG = 4 << 20
"""Most bytes of a log that are written; twice as many are kept in memory at most."""

LONGEST_END = 1 << 16
"""Most bytes of the end that is shown."""

_AT_ONCE = 1 << 20

_LAST_WORDS = 0.5
"""Seconds for the last output of a process that has ended: another one may hold its pipe."""

_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
"""Escapes that colour text or name a terminal's window."""


class ProcessLog:
    """The end of a process's log, which a thread reads without pause: the process never waits."""

    def __init__(self) -> None:
        self._end = bytearray()
        self._reader: threading.Thread | None = None

    def open(self) -> int:
        """Begin to read; returns the file descriptor for the process, to be closed here."""
        incoming, theirs = os.pipe()
        # A busy screen lets this thread read seldom: much has to wait in the pipe. Linux alone can.
        with suppress(OSError, AttributeError):
            fcntl.fcntl(incoming, fcntl.F_SETPIPE_SZ, _AT_ONCE)
        self._reader = threading.Thread(
            target=self._read, args=(incoming,), name="process-log", daemon=True
        )
        self._reader.start()
        return theirs

    def _read(self, incoming: int) -> None:
        with open(incoming, "rb", buffering=0) as printed:
            while part := printed.read(_AT_ONCE):
                self._end += part
                # Seldom, as it moves what stays.
                if len(self._end) > 2 * LONGEST_LOG:
                    del self._end[:-LONGEST_LOG]

    def wait_for_end(self) -> None:
        """Wait until everything has been read that the process printed before it ended."""
        if self._reader is not None:
            self._reader.join(_LAST_WORDS)

    def last_line(self) -> str:
        """The last line with a word; empty for none."""
        return last_line_of(self._end[-4096:].decode("utf-8", "replace"))

    def lines(self) -> list[str]:
        """The lines at the end, as a terminal leaves them; the first may lack its beginning."""
        return lines_of(self._end[-LONGEST_END:].decode("utf-8", "replace"))

    def write(self) -> str:
        """Write the log to a new temporary file; returns its path, or "" where this fails."""
        name = f"depthtui-crash-{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}.log"
        with suppress(OSError):
            path = Path(tempfile.gettempdir()) / name
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
            with open(opened, "wb") as log:
                # A copy: the reader could not lengthen bytes that are being written.
                log.write(bytes(self._end[-LONGEST_LOG:]))
            return str(path)
        return ""


def lines_of(printed: str) -> list[str]:
    """The lines, without colour escapes and what was written over; none for an empty text."""
    lines = _ESCAPES.sub("", printed).removesuffix("\n").split("\n")
    return [line.rstrip("\r").rpartition("\r")[2] for line in lines] if printed else []


def last_line_of(printed: str) -> str:
    """The last line with a word, without colour escapes; empty for none."""
    lines = _ESCAPES.sub("", printed).replace("\r", "\n").split("\n")
    return next((line.strip() for line in reversed(lines) if re.search(r"\w", line)), "")
