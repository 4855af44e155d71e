"""Standard streams that may be closed, full, or a pipe that nobody reads."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, cast

from depthtui.cli.output import print_notice
from depthtui.files import system_reason


class _OutputStream(io.FileIO):
    """Standard output, which keeps its first error.

    Attributes:
        failure: the first error of a write.
        ends_work: whether an error ends the work.
    """

    failure: OSError | None = None
    ends_work = True

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = self.failure or error
            if self.ends_work:
                raise
            return memoryview(data).nbytes


class _ErrorStream(io.FileIO):
    """Standard error: a message that cannot be written ends no work."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def open_streams() -> None:
    """Give every standard stream a file, and an encoding for every character.

    A closed stream becomes /dev/null, since the next open file would get its number. A character
    that the encoding lacks is escaped, such as `\\xb7`.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    # A caller in this process may have replaced these streams by its own.
    if sys.stdout is sys.__stdout__:
        sys.stdout = _over(sys.stdout, _OutputStream)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _over(sys.stderr, _ErrorStream)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def _over(stream: Any, kind: type[io.FileIO]) -> io.TextIOWrapper:
    """The same stream, with its errors handled."""
    raw = kind(stream.fileno(), "w", closefd=False)
    unbuffered = isinstance(stream.buffer, io.FileIO)
    return io.TextIOWrapper(
        cast("io.BufferedWriter", raw) if unbuffered else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def work_without_output() -> None:
    """Continue where standard output is lost: the work has files to write, too."""
    if (output := _output()) is not None:
        output.ends_work = False


def output_failure() -> OSError | None:
    """The error that ended standard output, if any."""
    output = _output()
    return None if output is None else output.failure


def _output() -> _OutputStream | None:
    """The file beneath standard output; None where a caller has replaced it."""
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    return raw if isinstance(raw, _OutputStream) else None


def written_out(status: int) -> int:
    """Write the rest of standard output; return the exit status, 1 where output is lost.

    A reader that has ended, such as `head`, causes no message.

    Args:
        status: the exit status of the work.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        failure: OSError | None = error
    else:
        failure = output_failure()
    if failure is None:
        return status
    if not isinstance(failure, BrokenPipeError):
        print_notice(f"write error: {system_reason(failure)}.")
    # The unwritten rest would fail again as Python ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return status or 1
