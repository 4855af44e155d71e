"""The explorer in a real pseudo-terminal: what it leaves behind, and what it survives."""

from __future__ import annotations

import fcntl
import gc
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pyte
import pytest

from depthtui.data.run_settings import ModelSpec
from depthtui.settings import Settings
from depthtui.tui import app

PATIENCE = 60.0
ROOT = Path(__file__).parents[2]
LEAVES = ("\x1b[?1049l", "\x1b[?25h", "\x1b[?1000l", "\x1b[?1003l", "\x1b[?2004l")
FILLED = "Verdict · 1 of"


class Terminal:
    """A program in a pseudo-terminal of 120x40.

    Attributes:
        process: the program.
        sent: every byte that it wrote.
    """

    def __init__(self, tmp_path: Path, *arguments: str) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        self.screen = pyte.Screen(120, 40)
        self.stream = pyte.ByteStream(self.screen)
        self.sent = b""
        environment = os.environ | {
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "DEPTHTUI_CONFIG": str(tmp_path / "settings.toml"),
            "XDG_STATE_HOME": str(tmp_path / "state"),
            "COLUMNS": "",
            "LINES": "",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=environment,
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
        # pyte does not know every private sequence and would print its end.
        self.stream.feed(re.sub(rb"\x1b\[[<>=][\d;]*u|\x1b\[\?\d+\$p", b"", data))
        return True

    def until(self, condition: Callable[[], object]) -> None:
        """Read until a condition holds."""
        while not condition():
            assert self.read(), self.text
            assert self.process.poll() is None or condition(), self.text

    @property
    def text(self) -> str:
        return "\n".join(self.screen.display)

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def end(self) -> int:
        """Wait for the program's end, reading what it still writes; its exit status."""
        while self.process.poll() is None:
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


@pytest.fixture
def open_terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        opened.append(Terminal(tmp_path, *arguments))
        return opened[-1]

    yield start
    for screen in opened:
        if screen.process.poll() is None:
            screen.process.kill()
            screen.process.wait()
        os.close(screen.master)
        os.close(screen.slave)


@pytest.fixture
def explorer(open_terminal: Callable[..., Terminal]) -> Terminal:
    terminal = open_terminal("tests.tui.fake_explorer")
    terminal.until(lambda: FILLED in terminal.text)
    return terminal


@pytest.mark.parametrize(("key", "status"), [(b"q", 0), (b"\x03", 0)], ids=["q", "ctrl-c"])
def test_quitting_gives_the_terminal_back(explorer: Terminal, key: bytes, status: int) -> None:
    explorer.type(key)
    assert explorer.end() == status
    explorer.assert_restored()


def test_quitting_spares_the_last_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.DepthApp, "run", lambda self: 0)
    try:
        assert app.main(ModelSpec(), Settings()) == 0
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_give_the_terminal_back(explorer: Terminal, number: signal.Signals) -> None:
    explorer.process.send_signal(number)
    assert explorer.end() == 128 + number
    explorer.assert_restored()
    assert "Traceback" not in explorer.sent.decode("utf-8", "replace")


def test_a_crash_gives_the_terminal_back_and_prints_one_line(
    open_terminal: Callable[..., Terminal],
) -> None:
    terminal = open_terminal("tests.tui.fake_explorer", "crash")
    terminal.until(lambda: FILLED in terminal.text)
    terminal.type(b"!")
    assert terminal.end() == 1
    terminal.assert_restored()
    rest = terminal.sent.decode("utf-8", "replace").rpartition("\x1b[?1049l")[2]
    assert "planned [/]" in rest
    assert "depthtui.log" in rest
    assert "Traceback" not in rest
    assert "\x1b[2J" not in rest


def test_a_terminal_that_is_gone_without_a_signal_ends_it(explorer: Terminal) -> None:
    """As when a connection breaks: reading on would take a whole core for ever."""
    for end in (explorer.master, explorer.slave):
        os.close(end)
    assert explorer.process.wait(PATIENCE) is not None
    explorer.master, explorer.slave = os.openpty()


def test_mouse_bytes_that_are_no_text_are_survived(explorer: Terminal) -> None:
    # X10 reports at column 200: two bytes that are not UTF-8, as after a reattach of tmux.
    explorer.type(b"\x1b[M \xe8\xc9\x1b[M#\xe8\xc9")
    explorer.type(b"?")
    explorer.until(lambda: "Keys that work here" in explorer.text)
    explorer.type(b"\xff\xfe")
    explorer.type(b"\x1b")
    explorer.until(lambda: "Keys that work here" not in explorer.text)
    explorer.type(b"q")
    assert explorer.end() == 0


def test_hostile_tokens_send_no_escapes_of_their_own(
    open_terminal: Callable[..., Terminal],
) -> None:
    terminal = open_terminal("tests.tui.fake_explorer", "hostile")
    terminal.until(lambda: FILLED in terminal.text)
    terminal.type(b"G$" + b"h" * 30)
    terminal.type(b"?")
    terminal.until(lambda: "Keys that work here" in terminal.text)
    body = terminal.sent.decode("utf-8", "replace").partition("\x1b[?1049h")[2]
    for forbidden in ("\x1b]0;", "\x1b]8;;http://example.invalid", "\x1bP", "\x1bc", "\x1b]52"):
        assert forbidden not in body
    assert "\x1b[?1049l" not in body


def test_the_first_frame_does_not_wait_for_torch(tmp_path: Path) -> None:
    code = (
        "import sys; import depthtui.tui.app, depthtui.tui.screens.main_screen;"
        "print([m for m in ('torch', 'transformers', 'accelerate') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_real_thing_ends_in_a_filled_screen_and_quits_in_mid_run(
    open_terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    from tests.tiny_models import tiny_folder

    folder = tiny_folder(tmp_path)
    terminal = open_terminal(
        "depthtui", "--model", str(folder), "--device", "cpu", "--cache-dir", str(tmp_path / "c")
    )
    terminal.until(lambda: "ready" in terminal.text and FILLED in terminal.text)
    terminal.type(b"s")
    terminal.until(lambda: "halted" in terminal.text)
    terminal.type(b"q")
    assert terminal.end() == 0
    terminal.assert_restored()
