"""A program in a pseudo-terminal, and what its screen shows."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pyte

PATIENCE = 60.0
ROOT = Path(__file__).parents[2]
LEAVES = ("\x1b[?1049l", "\x1b[?25h", "\x1b[?1000l", "\x1b[?1003l", "\x1b[?2004l")

_UNKNOWN = re.compile(rb"\x1b\[[<>=][\d;]*u|\x1b\[\?\d+\$p")
"""Private sequences of which pyte would print the end."""

_ASKS_SYNCHRONIZED, _IS_SYNCHRONIZED = b"\x1b[?2026$p", b"\x1b[?2026;2$y"

_UNENDED = re.compile(rb"\x1b(\[[\d;?<>=$]*)?$")


class Terminal:
    """A program in a pseudo-terminal, by default of 120x40.

    Args:
        folder: where its log is kept, and its settings, of which it opens without a welcome.
        arguments: the module and what it is called with.
        cwd: where it runs.
        environment: variables beside those of this process.
        size: columns and lines.
        synchronized: whether it answers that it knows synchronized output.

    Attributes:
        process: the program.
        sent: every byte that it wrote.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        cwd: Path = ROOT,
        environment: Mapping[str, str] | None = None,
        size: tuple[int, int] = (120, 40),
        synchronized: bool = False,
    ) -> None:
        self.master, self.slave = pty.openpty()
        self.screen = pyte.Screen(*size)
        self.stream = pyte.ByteStream(self.screen)
        self._set_size(*size)
        self._synchronized = synchronized
        self.before = termios.tcgetattr(self.slave)
        self.log = folder / "state" / "depthtui" / "log" / "depthtui.log"
        self.sent = b""
        self._held = b""
        settings = folder / "settings.toml"
        if not settings.exists():
            settings.write_text("welcome = false\n")
        variables = {
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "DEPTHTUI_CONFIG": str(settings),
            "XDG_STATE_HOME": str(folder / "state"),
            "TMPDIR": str(folder),
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "",
            "LINES": "",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=cwd,
            env=os.environ | variables | dict(environment or {}),
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
        )

    def read(self, seconds: float = PATIENCE) -> bool:
        """Take what there is to read; whether there was anything within that time."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        data = os.read(self.master, 65536)
        self.sent += data
        if self._synchronized and _ASKS_SYNCHRONIZED in data:
            os.write(self.master, _IS_SYNCHRONIZED)
        data = self._held + data
        unended = _UNENDED.search(data)
        self._held = unended.group() if unended else b""
        self.stream.feed(_UNKNOWN.sub(b"", data[: len(data) - len(self._held)]))
        return True

    def settle(self, quiet: float = 0.2, patience: float = 10.0) -> bool:
        """Read until nothing comes for a while; whether that was so in time."""
        end = time.monotonic() + patience
        while self.read(quiet):
            if time.monotonic() > end:
                return False
        return True

    def resize(self, columns: int, lines: int) -> None:
        """Give the window another size."""
        self.screen.resize(lines, columns)
        self._set_size(columns, lines)
        # The program has no controlling terminal that would tell it.
        self.process.send_signal(signal.SIGWINCH)

    def _set_size(self, columns: int, lines: int) -> None:
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, size)

    def until(self, condition: Callable[[], object]) -> None:
        """Read until a condition holds; a clock on the screen writes without end."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert self.read(), self.text
            assert time.monotonic() < end, self.text
            assert self.process.poll() is None or condition(), self.text

    @property
    def text(self) -> str:
        return "\n".join(self.screen.display)

    def type(self, keys: bytes) -> None:
        """Send keys, reading meanwhile: a terminal takes a few thousand bytes at a time."""
        os.set_blocking(self.master, False)
        try:
            while keys:
                readable, writable, _ = select.select([self.master], [self.master], [], PATIENCE)
                assert readable or writable, "the program does not read"
                if readable:
                    self.read(0)
                if writable:
                    keys = keys[os.write(self.master, keys[:1024]) :]
        finally:
            os.set_blocking(self.master, True)

    def end(self) -> int:
        """Wait for the program's end, reading what it still writes; its exit status."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < end, self.text
            self.read(0.05)
        while self.read(0):
            pass
        return self.process.returncode

    def assert_restored(self) -> None:
        """The alternate screen, the hidden cursor, the mouse and raw mode are gone."""
        written = self.sent.decode("utf-8", "replace")
        for leave in LEAVES:
            enter = leave[:-1] + ("h" if leave.endswith("l") else "l")
            assert written.rfind(leave) > written.rfind(enter) >= 0, repr(leave)
        assert termios.tcgetattr(self.slave) == self.before

    def close(self) -> None:
        """End what still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)
