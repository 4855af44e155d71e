"""The explorer in a real terminal: first frame, cost of a key, time to quit.

    python -m tests.tools.benchmarks.terminal [--keys 60] [--repeat 5]
    python -m tests.tools.benchmarks.terminal --wire [--repeat 5]

Prints a Markdown table; run it on a quiet machine (Linux). `--wire` counts bytes, processor time
and frames on the scripted engine at two sizes instead; its bytes are the same on any machine.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import resource
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from dataclasses import astuple
from pathlib import Path

from tests.tui.wire import Cost, Wire, acts

COLUMNS, LINES = 120, 40
BYTE_CODE = {"PYTHONDONTWRITEBYTECODE": ""}
"""Lets Python keep what it compiled, as it does for whoever installs a package."""


class Terminal:
    """The explorer on the demo model, and the far end of its terminal.

    Args:
        settings: a file with its settings.
    """

    def __init__(self, settings: Path) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        environment = (
            os.environ
            | BYTE_CODE
            | {
                "TERM": "xterm-256color",
                "COLORTERM": "truecolor",
                "DEPTHTUI_CONFIG": str(settings),
            }
        )
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [str(Path(sys.executable).with_name("depthtui"))],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)
        self.output = b""

    def read(self, seconds: float) -> int:
        """Read what comes within so many seconds; returns the number of bytes."""
        before, end = len(self.output), time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            if select.select([self._ours], [], [], left)[0]:
                try:
                    self.output += os.read(self._ours, 1 << 16)
                except OSError:
                    break
        return len(self.output) - before

    def wait(self, words: str) -> float:
        """Read until these words are written; returns seconds since the start of the process."""
        while words.encode() not in self.output:
            self.read(0.002)
            if time.perf_counter() - self.started > 120:
                raise SystemExit("the explorer did not come up")
        return time.perf_counter() - self.started

    def until_still(self, seconds: float) -> float:
        """Read until nothing has come for so many seconds; returns seconds to the last byte."""
        start = last = time.perf_counter()
        while time.perf_counter() - last < seconds:
            if self.read(0.002):
                last = time.perf_counter()
        return last - start

    def settle(self) -> None:
        """Read until the first run is on the screen and nothing more is written."""
        self.wait("entropy")
        while self.read(1.0):
            pass

    def press(self, key: bytes) -> None:
        os.write(self._ours, key)

    def cpu_seconds(self) -> float:
        """Processor time of the explorer's own process so far."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def quit_settled(self) -> float:
        """Let it come to rest, and end it."""
        self.settle()
        return self.quit()

    def quit(self, asks: bool = False) -> float:
        """Press q, twice where the first one asks; seconds from the last until it is gone."""
        if asks:
            self.press(b"q")
            self.read(0.3)
        start = time.perf_counter()
        self.press(b"q")
        while self.process.poll() is None:
            self.read(0.001)
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=60)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--wire", action="store_true")
    options = parser.parse_args()
    if options.wire:
        print_wire(options.repeat)
        return
    with tempfile.TemporaryDirectory() as name:
        settings = Path(name) / "settings.toml"
        settings.write_text("welcome = false\n")
        print_keys(settings, options.repeat, options.keys)


def print_keys(settings: Path, repeat: int, n_keys: int) -> None:
    """From the start of the process to its end, and cursor keys in between."""
    rows: list[tuple[str, str]] = []
    first, screen, idle, busy = [], [], [], []
    first_cpu, screen_cpu = [], []
    Terminal(settings).quit_settled()
    for _ in range(repeat):
        terminal = Terminal(settings)
        first.append(terminal.wait("depthtui"))
        first_cpu.append(terminal.cpu_seconds() * 1000)
        screen.append(terminal.wait("Prompt"))
        screen_cpu.append(terminal.cpu_seconds() * 1000)
        idle.append(terminal.quit_settled())
    textual = statistics.median(cpu_of_textual() for _ in range(repeat))
    rows.append(("first frame from process start, s", spread(first)))
    rows.append(("main screen from process start, s", spread(screen)))
    for name, taken in (("first frame", first_cpu), ("main screen", screen_cpu)):
        times = [cpu / textual for cpu in taken]
        rows.append((f"{name}, times the CPU of importing Textual", spread(times)))
    rows.append(("quit when idle, s", spread(idle)))

    terminal = Terminal(settings)
    terminal.settle()
    for name, keys in (("layer", (b"j", b"k")), ("token", (b"h", b"l"))):
        sizes, before = [], terminal.cpu_seconds()
        for press in range(n_keys):
            terminal.press(keys[press // 5 % 2])
            sizes.append(terminal.read(0.1))
        spent = (terminal.cpu_seconds() - before) / n_keys
        terminal.read(0.1 * n_keys)
        rows.append((f"one {name} key at 120x40, bytes", spread(sizes)))
        rows.append((f"one {name} key at 120x40, CPU ms", f"{spent * 1000:.1f}"))
    rows += of_page(terminal)
    before = terminal.cpu_seconds()
    terminal.read(0.1 * n_keys)
    resting = (terminal.cpu_seconds() - before) / n_keys
    rows.append(("the same time without a key, CPU ms", f"{resting * 1000:.1f}"))
    for _ in range(repeat):
        terminal.press(b"r")
        terminal.read(0.3)
        busy.append(terminal.quit(asks=True))
        terminal = Terminal(settings)
        terminal.settle()
    terminal.quit()
    rows.append(("quit in mid-run, s", spread(busy)))

    print("| what | median (least to most) |\n| --- | --- |")
    for name, figure in rows:
        print(f"| {name} | {figure} |")


def of_page(terminal: Terminal) -> list[tuple[str, str]]:
    """From a key to the page of a layer that is filled: the first of a prompt, and the next."""
    terminal.press(b"\r")
    first = terminal.until_still(3.0)
    times, sizes = [], []
    for _ in range(10):
        before = len(terminal.output)
        terminal.press(b"j")
        times.append(1000 * terminal.until_still(0.5))
        sizes.append(len(terminal.output) - before)
    terminal.press(b"\x1b")
    terminal.until_still(1.0)
    return [
        ("first page of a layer, from the key, s", f"{first:.2f}"),
        ("next page, from the key, ms", spread(times)),
        ("next page, bytes", spread(sizes)),
    ]


def print_wire(repeat: int) -> None:
    """What people do most, in bytes, milliseconds of processor time and frames: medians."""
    imported = statistics.median(cpu_of_textual() for _ in range(repeat))
    print("| size | what | bytes | CPU ms | frames |\n| --- | --- | --- | --- | --- |")
    for columns, lines in ((120, 40), (80, 24)):
        found: dict[str, list[Cost]] = {}
        for _ in range(repeat):
            with tempfile.TemporaryDirectory() as folder:
                wire = Wire(Path(folder), columns, lines, "live")
                for name, cost in acts(wire):
                    found.setdefault(name, []).append(cost)
                wire.close()
        for name, costs in found.items():
            middle = Cost(*map(statistics.median, zip(*map(astuple, costs), strict=True)))
            figures = f"{middle.bytes:,.0f} | {middle.cpu:.1f} | {middle.frames:.0f}"
            print(f"| {columns}x{lines} | {name} | {figures} |")
    print(f"\nTo import Textual alone takes {imported:.0f} ms of processor time here.")


def cpu_of_textual() -> float:
    """Milliseconds of processor time of a Python that imports Textual, and nothing else."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", "import textual.app"]
    subprocess.run(command, check=True, env=os.environ | BYTE_CODE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def spread(values: list[float] | list[int]) -> str:
    """Median and range."""
    middle, least, most = statistics.median(values), min(values), max(values)
    if isinstance(values[0], int):
        return f"{middle:,.0f} ({least:,} to {most:,})"
    return f"{middle:.2f} ({least:.2f} to {most:.2f})"


if __name__ == "__main__":
    main()
