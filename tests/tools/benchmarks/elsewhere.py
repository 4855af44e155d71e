"""What keys cost over an engine elsewhere: messages, bytes, and seconds until the screen is right.

    python -m tests.tools.benchmarks.elsewhere [--model demo] [--delay 80] [--keys 20]

The engine runs on this machine behind a relay, which keeps every byte back for half of the delay in
each direction, and notes each message. Prints a Markdown table. Bytes are the same on any machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import queue
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from depthtui.data.run_settings import ModelSpec
from depthtui.settings import Settings, load_settings
from depthtui.tui.screens.layer_screen import LayerScreen
from depthtui.tui.state.phase import Phase
from tests.tui.app_helpers import explore

PATIENCE = 600.0


def relay(delay: float, notes: Path, command: list[str]) -> int:
    """Run a command with its standard input and output delayed, and note its messages."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    file = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    ways = (("up", 0, process.stdin.fileno()), ("down", process.stdout.fileno(), 1))
    threads = [
        threading.Thread(target=_carry, args=(name, source, target, delay / 2, file), daemon=True)
        for name, source, target in ways
    ]
    for thread in threads:
        thread.start()
    threads[1].join()
    return process.wait()


def _carry(name: str, source: int, target: int, delay: float, notes: int) -> None:
    late: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
    threading.Thread(target=_hand_on, args=(late, target), daemon=True).start()
    messages = _Messages(name == "down", lambda size: os.write(notes, f"{name} {size}\n".encode()))
    while data := os.read(source, 1 << 16):
        messages.take(data)
        late.put((time.monotonic() + delay, data))
    late.put((time.monotonic() + delay, b""))
    while not late.empty():
        time.sleep(0.01)


def _hand_on(late: queue.SimpleQueue[tuple[float, bytes]], target: int) -> None:
    while True:
        when, data = late.get()
        time.sleep(max(0.0, when - time.monotonic()))
        if not data:
            os.close(target)
            return
        while data:
            data = data[os.write(target, data) :]


class _Messages:
    """Finds the messages in what passes.

    Args:
        greets: whether a greeting comes first.
        note: takes the size of each, with its length and its end.
    """

    def __init__(self, greets: bool, note: Callable[[int], object]) -> None:
        self._greets = greets
        self._note = note
        self._data = b""

    def take(self, data: bytes) -> None:
        self._data += data
        if self._greets and b"\n" in self._data:
            self._greets, self._data = False, self._data.partition(b"\n")[2]
        while not self._greets and len(self._data) >= 8:
            size = 8 + int.from_bytes(self._data[:8], "little") + 1
            if len(self._data) < size:
                return
            self._data = self._data[size:]
            self._note(size)


class Counted:
    """What has passed the relay since it was last asked."""

    def __init__(self, notes: Path) -> None:
        self._notes = notes
        self._seen = 0

    def since(self) -> dict[str, list[int]]:
        """Sizes of the messages up and down."""
        lines = self._notes.read_text().splitlines()
        new, self._seen = lines[self._seen :], len(lines)
        pairs = [line.split() for line in new]
        return {way: [int(size) for name, size in pairs if name == way] for way in ("up", "down")}


async def until(condition: Callable[[], object]) -> None:
    """Wait as long as a real model takes."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0.001)


async def measured(
    what: str, counted: Counted, count: int, act: Callable[[], Awaitable[None]]
) -> None:
    """Do something so many times, and print what each cost."""
    counted.since()
    seconds = []
    for _ in range(count):
        begun = time.perf_counter()
        await act()
        seconds.append(time.perf_counter() - begun)
    await asyncio.sleep(0.5)
    found = counted.since()
    up, down = found["up"], found["down"]
    print(
        f"| {what} | {len(up) / count:g} | {sum(up) / count:,.0f} | {len(down) / count:g} | "
        f"{sum(down) / count:,.0f} | {1000 * statistics.median(seconds):.0f} |"
    )


async def benchmark(model: str, delay: float, keys: int) -> None:
    """Run the explorer without a terminal, its engine behind the relay."""
    folder = Path(tempfile.mkdtemp())
    engine = [str(Path(sys.executable).with_name("depthtui")), "engine", "--no-cache"]
    through = ["-m", "tests.tools.benchmarks.elsewhere", "--relay", str(folder / "notes")]
    command = [sys.executable, *through, "--delay", f"{1000 * delay:g}", "--", *engine]
    settings = Settings(cache_dir=folder / "cache", cache_limit=load_settings().cache_limit)
    print(f"\nDelay {1000 * delay:g} ms there and back.\n")
    print("| what | messages up | bytes up | messages down | bytes down | ms |")
    print("| --- | --- | --- | --- | --- | --- |")
    async with explore(
        folder,
        settings=settings,
        spec=ModelSpec(model, device="cpu"),
        engine_command=shlex.join(command),
        wait=False,
    ) as it:
        await until(lambda: it.status and it.status.state == "ready")
        await until(lambda: it.main.shown_result() is not None)
        counted = Counted(folder / "notes")

        async def key(name: str) -> None:
            """Press a key, and wait until it has moved the cursor."""
            before = it.app.screen.cursor
            it.app.simulate_key(name)
            await until(lambda: it.app.screen.cursor != before)

        async def run() -> None:
            begun = len(it.session.runs)
            it.app.simulate_key("r")
            await until(lambda: len(it.session.runs) > begun)
            await until(lambda: it.app.explorer.phase is Phase.READY)

        async def layer(name: str) -> None:
            await key(name)
            await until(lambda: it.app.screen.page is not None)

        await measured("a run", counted, 3, run)
        await it.press("G")
        await measured("a cursor key", counted, keys, partial(key, "j"))
        it.main.go(it.main.extent()[0] - 1, 3)
        await it.press("enter")
        await until(lambda: isinstance(it.app.screen, LayerScreen) and it.app.screen.page)
        await measured("a layer key", counted, keys, partial(layer, "j"))
        await measured("a layer key to a page that was seen", counted, keys, partial(layer, "k"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--delay", type=float, default=80.0, help="ms there and back")
    parser.add_argument("--keys", type=int, default=20)
    parser.add_argument("--relay", type=Path)
    parser.add_argument("command", nargs="*")
    asked = parser.parse_args()
    if asked.relay is not None:
        return relay(asked.delay / 1000, asked.relay, asked.command)
    for delay in (0.0, asked.delay / 1000):
        asyncio.run(benchmark(asked.model, delay, asked.keys))
    return 0


if __name__ == "__main__":
    sys.exit(main())
