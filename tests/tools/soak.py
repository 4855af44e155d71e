"""Random keys, mouse, pastes and resizes on the real explorer in a pseudo-terminal.

    python -m tests.tools.soak --seed 1 --keys 2000
    python -m tests.tools.soak --keys 3600 --pace 1  # an hour

It runs the tiny model, says what it found, and ends with 1 where something is wrong: an error in
the log, a screen that differs from one drawn afresh, memory that grows, a `q` that is not
answered, or `LONGEST_WAIT` seconds in which nothing at all is written, with the explorer's stack
where py-spy is installed. `--replay FILE` sends the events of a file in place of random ones: a
Python list of texts, bytes, (columns, lines) for a window of that size, and numbers: seconds for
which the explorer is stopped.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import psutil

from tests.tiny_models import tiny_folder
from tests.tui.terminal import Terminal

Event: TypeAlias = "str | bytes | tuple[int, int] | float"
"""Keys as a terminal sends them, the columns and lines of a window, or seconds without a process
that runs (SIGSTOP, SIGCONT)."""

Cell: TypeAlias = tuple[object, ...]

PACE = 0.012
"""Seconds between two events, where nothing else is said."""

WARM = EVENTS_A_MEASURE = 500
"""Events until memory is measured for the first time, and between two measures from then on."""

GROWTH = 1.15
"""How much more memory it may take from then on."""

EVENTS_A_QUESTION = 10
"""Events between two questions whether it still answers."""

LONGEST_WAIT, GIVE_UP = 3.0, 60.0
"""Seconds without a byte that are too many, and after which it is ended."""

_RAISED = re.compile(r'File "(.*)", line (\d+), in (\S+)\n(?: {4}.*\n)*(\w[\w.]+:.*)')
"""Where an error of the log was raised, and what it says."""

EVENTS_A_CHECK = 50

_LEAVES = "y or enter leaves"
"""Words of the question whether typed text may be lost."""

_BAR, _MARGIN = "▌", 3
"""Begins each line of a toast, which takes up to half of the width and a few cells."""

ENDS_CHARACTER = b"\x1b[?2026;2$y"
"""An answer to no question: it only ends half a character that may have come before."""

SAMPLE, QUIET_SAMPLES, MOST_SAMPLES = 0.06, 5, 200
"""Seconds between two looks at whether it rests, how often it must, and how often to look."""

LATER = 0.6
"""Seconds after which every timer of a screen has drawn, such as that of a looked-up list."""

SIZES = (
    *((60, 18), (80, 24), (119, 23), (120, 40), (160, 45), (200, 60), (300, 100)),
    *((1, 1), (2, 100), (20, 5), (400, 2)),
)

KINDS = {
    **{"letter": 40, "control": 5, "named": 16, "escape": 16, "mouse": 12, "drag": 3, "paste": 3},
    **{"long paste": 0.5, "size": 5, "stop": 1, "bytes": 3},
}
"""How often each kind of event comes."""

LONG_PASTES = (20_000, 100_000)
"""Characters of pastes that are longer than what people type."""

# Neither q nor ctrl-c, -q and -z: they leave the explorer.
LETTERS = [character for character in map(chr, range(0x20, 0x7F)) if character != "q"]
CONTROLS = [chr(code) for code in range(1, 0x20) if code not in (0x03, 0x11, 0x1A, 0x1B)]
NAMED = [
    *(f"\x1b[{letter}" for letter in "ABCDHFZ"),
    *(f"\x1b[{code}~" for code in (2, 3, 5, 6, 15, 17, 18, 19, 20)),
    "\x1bOP",
    "\x1bOQ",
    "\x7f",
    "\r",
    "\t",
]
PASTED = [
    *("12", "12-3", "addition:1-3", "demo", "../x", "=1+1"),
    *("[/]", "[bold]", "<script>", "日本", "a\tb"),
]
ESCAPES = ["\x1bx", "\x1bm", "\x1b[31m", "\x1b[A", "\x1b]0;title\x07", "\x1b[200~", "\x1b[201"]
"""What a terminal may pass on inside a paste, and is text there."""

BYTES = [
    b"\xff\xfe",
    b"\xc3(",
    b"\x1b[M \xe8\xc9",
    b'\x1b[M"\x8f\xc4',
    b"\x1b[99999999;1u",
    b"\x1b[?2026;2$y",
]
"""No text, the mouse as old terminals report it, a key beyond Unicode, an answer to no question."""


def events(seed: int, escapes: bool = False) -> Iterator[Event]:
    """Endless events, the same for the same seed; `escapes` puts such sequences into pastes."""
    chance = random.Random(seed)
    pasted = [*PASTED, *ESCAPES] if escapes else PASTED
    while True:
        kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
        match kind:
            case "letter":
                yield chance.choice(LETTERS)
            case "control":
                yield chance.choice(CONTROLS)
            case "named":
                yield chance.choice(NAMED)
            case "escape":
                yield "\x1b"
            case "mouse":
                button = chance.choice((0, 0, 0, 1, 2, 32, 35, 64, 65, 128))
                x, y = chance.randint(0, 310), chance.randint(0, 110)
                if chance.random() < 0.7:
                    x, y = chance.randint(1, 120), chance.randint(1, 40)
                yield f"\x1b[<{button};{x};{y}M\x1b[<{button};{x};{y}m"
            case "drag":
                places = [(chance.randint(1, 120), chance.randint(1, 40)) for _ in range(6)]
                (x, y), (last_x, last_y) = places[0], places[-1]
                moves = "".join(f"\x1b[<32;{x};{y}M" for x, y in places)
                yield f"\x1b[<0;{x};{y}M{moves}\x1b[<0;{last_x};{last_y}m"
            case "paste":
                words = " ".join(chance.choices(pasted, k=chance.randint(1, 30)))
                yield f"\x1b[200~{words}\x1b[201~"
            case "long paste":
                length = chance.choice(LONG_PASTES)
                words = " ".join(chance.choices([*pasted, "\n"], k=length))[:length]
                yield f"\x1b[200~{words}\x1b[201~"
            case "size":
                yield chance.choice(SIZES)
            case "stop":
                yield chance.choice((0.05, 0.3, 1.0))
            case "bytes":
                yield chance.choice(BYTES)


@dataclass
class Tally:
    """What was seen.

    Attributes:
        lives: how often the explorer was started: keys may quit it.
        checks: how often the screen was compared with one drawn afresh.
        moving: how often that said nothing, because the screen did not rest.
        memory: MB of explorer and engine from `WARM` events on, every `EVENTS_A_MEASURE` and at the
            end, for each life that was long enough.
        wrong: everything that should not be.
    """

    events: int = 0
    lives: int = 0
    checks: int = 0
    moving: int = 0
    memory: list[tuple[str, list[float]]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        grown = [
            f"{what} {', '.join(f'{size:.0f}' for size in sizes)} MB" for what, sizes in self.memory
        ]
        return "\n".join(
            [
                f"{self.events} events, {self.lives} starts, {self.checks} screens compared,"
                f" {self.moving} that did not rest; {'; '.join(grown) or 'memory not measured'}",
                *self.wrong,
            ]
        )


class Soak:
    """Sends events to explorers, one after the other where they quit, and looks at what comes.

    Args:
        folder: where everything is written.
        command: what starts the explorer.
        pace: seconds between two events.
    """

    def __init__(self, folder: Path, command: Sequence[str], pace: float = PACE) -> None:
        self._folder = folder
        self._pace = pace
        self._command = command
        self._taken: dict[str, list[float]] = {}
        self._sent = 0
        self.tally = Tally()
        self.terminal = self._start()

    def _start(self) -> Terminal:
        away = self._folder / "a" / "b"
        away.mkdir(parents=True, exist_ok=True)
        alone = {"HF_HUB_OFFLINE": "1", "HOME": str(self._folder), "OMP_NUM_THREADS": "1"}
        # Another editor would take the keys.
        alone["VISUAL"] = "true"
        terminal = Terminal(self._folder, *self._command, cwd=away, environment=alone)
        # Keys may have chosen another lens, which the frame names behind the pages.
        terminal.until(lambda: "Curves Evidence" in terminal.text)
        self.tally.lives += 1
        self._taken, self._sent = {}, 0
        return terminal

    def run(self, events: Iterable[Event]) -> Tally:
        """Send the events, then `q`."""
        for event in events:
            self._send(event)
            if self._has_ended() or not self._answers(event):
                self.terminal.close()
                self.terminal = self._start()
            elif self._sent % EVENTS_A_CHECK == 0:
                self._check_screen()
            if self._sent >= WARM and (self._sent - WARM) % EVENTS_A_MEASURE == 0:
                self._measure()
        self._measure()
        self._compare_memory()
        self._quit()
        self._read_log()
        return self.tally

    def _send(self, event: Event) -> None:
        if isinstance(event, tuple):
            self.terminal.resize(*event)
        elif isinstance(event, float):
            self.terminal.process.send_signal(signal.SIGSTOP)
            pass_time(self.terminal, event)
            self.terminal.process.send_signal(signal.SIGCONT)
        else:
            self.terminal.type(event.encode() if isinstance(event, str) else event)
        self.terminal.settle(self._pace, self._pace)
        self.tally.events += 1
        self._sent += 1

    def _has_ended(self) -> bool:
        """Whether the explorer is gone; anything but a wanted end is wrong."""
        status = self.terminal.process.poll()
        if status:
            last = self.terminal.sent[-300:].decode("utf-8", "replace")
            self.tally.wrong.append(f"event {self.tally.events}: ended with {status}: {last!r}")
        return status is not None

    def _answers(self, last: Event) -> bool:
        """Whether it answers in the end, where it is time to ask; a long wait is wrong."""
        is_common = isinstance(last, str | bytes) and len(last) < LONG_PASTES[0]
        if is_common and self._sent % EVENTS_A_QUESTION:
            return True
        terminal, began = self.terminal, time.monotonic()
        while terminal.read(0) and time.monotonic() < began + LONGEST_WAIT:
            pass
        asked = time.monotonic()
        # As in `_fresh`: a signal that only draws.
        terminal.process.send_signal(signal.SIGCONT)
        if terminal.read(LONGEST_WAIT) or terminal.process.poll() is not None:
            return True
        stack = stack_of(terminal.process.pid)
        answers = terminal.read(GIVE_UP) or terminal.process.poll() is not None
        wait = f"no answer for {time.monotonic() - asked:.1f} s"
        self.tally.wrong.append(
            f"event {self.tally.events}: {wait} after {repr(last)[:60]}"
            f"{'' if answers else ', ended'}\n{stack}"
        )
        return answers

    # The screen -------------------------------------------------------------

    def _check_screen(self) -> None:
        """Compare the screen with one drawn afresh, twice where they differ: it may have moved."""
        self.terminal.type(ENDS_CHARACTER)
        pass_time(self.terminal, LATER)
        if not self._rests():
            self.tally.moving += 1
            return
        before, after = self._cells(), self._fresh()
        self.tally.checks += 1
        if not _differing(before, after):
            return
        if _differing(after, self._fresh()):
            self.tally.moving += 1
            return
        lines = _differing(before, after)
        said = [_difference(before[y], after[y]) for y in lines[:3]]
        self.tally.wrong.append(
            f"event {self.tally.events}: {len(lines)} lines differ, from {lines[0]}: {said}"
        )

    def _fresh(self) -> list[list[Cell]]:
        """The screen drawn afresh; that nothing comes is wrong.

        By a signal, which no key can be: what waits for a key would take it.
        """
        self.terminal.process.send_signal(signal.SIGCONT)
        if not self.terminal.read(10):
            self.tally.wrong.append(f"event {self.tally.events}: frozen")
        self._rests()
        return self._cells()

    def _rests(self) -> bool:
        return rests(self.terminal)

    def _cells(self) -> list[list[Cell]]:
        screen = self.terminal.screen
        lines = [[screen.buffer[y][x] for x in range(screen.columns)] for y in range(screen.lines)]
        return [[_seen(cell) for cell in line] for line in lines]

    # Memory -----------------------------------------------------------------

    def _memory(self) -> dict[str, float]:
        """MB of each process."""
        explorer = psutil.Process(self.terminal.process.pid)
        engines = sum(engine.memory_info().rss for engine in explorer.children())
        return {"explorer": explorer.memory_info().rss / 1e6, "engine": engines / 1e6}

    def _measure(self) -> None:
        self._return()
        if self.terminal.process.poll() is not None:
            # A key from the list of keys may have quit it a moment ago.
            return
        for what, size in self._memory().items():
            self._taken.setdefault(what, []).append(size)

    def _compare_memory(self) -> None:
        """Keep what was measured; that a process has grown is wrong."""
        for what, sizes in self._taken.items():
            if len(sizes) == 1:
                continue
            self.tally.memory.append((what, sizes))
            if sizes[-1] > sizes[0] * GROWTH:
                grown = f"from {sizes[0]:.0f} to {sizes[-1]:.0f} MB"
                self.tally.wrong.append(f"the {what} grew {grown}")

    # The end ----------------------------------------------------------------

    def _return(self) -> None:
        """Go to the main screen, in the window that it began in."""
        self.terminal.resize(120, 40)
        for _ in range(8):
            self.terminal.type(b"y" if _LEAVES in self.terminal.text else b"\x1b")
            # On a busy machine a second escape would answer the question that the first one asks.
            self._rests()

    def _quit(self) -> None:
        terminal = self.terminal
        self._return()
        terminal.type(b"q")
        # Where something is unfinished it asks, and the same key agrees.
        if not _wait(terminal, 3):
            terminal.type(b"q")
        gone = _wait(terminal)
        if not gone:
            stack = stack_of(terminal.process.pid)
            self.tally.wrong.append(f"q was not answered:\n{terminal.text}\n{stack}")
        elif terminal.process.returncode:
            self.tally.wrong.append(f"q ended with {terminal.process.returncode}")
        terminal.close()

    def _read_log(self) -> None:
        if self.terminal.log.exists():
            text = self.terminal.log.read_text("utf-8", "replace")
            found = _RAISED.findall(text)
            self.tally.wrong += [
                f"in the log: {error} ({Path(file).name}:{line}, {function})"
                for file, line, function, error in found
            ]


def rests(terminal: Terminal) -> bool:
    """Read until explorer and engine sleep and nothing comes for a while; whether it came to that.

    On a busy machine an engine at work may say nothing for longer than that.
    """
    explorer, quiet = psutil.Process(terminal.process.pid), 0
    worked = _engine_time(explorer)
    for _ in range(MOST_SAMPLES):
        spoke, before = terminal.read(SAMPLE), worked
        worked = _engine_time(explorer)
        if spoke or worked != before or explorer.status() != psutil.STATUS_SLEEPING:
            quiet = 0
        elif (quiet := quiet + 1) == QUIET_SAMPLES:
            return True
    return False


def pass_time(terminal: Terminal, seconds: float) -> None:
    """Read for a while, whatever comes."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        terminal.read(left)


def stack_of(pid: int) -> str:
    """The stack of a Python process, by py-spy."""
    spy = shutil.which("py-spy")
    if spy is None:
        return "(py-spy, which shows the stack, is not installed)"
    dump = subprocess.run([spy, "dump", "--pid", str(pid)], capture_output=True, text=True)
    return dump.stdout or dump.stderr


def _engine_time(explorer: psutil.Process) -> float:
    """Seconds of processor that the processes have used which it started."""
    total = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        for engine in explorer.children(recursive=True):
            total += sum(engine.cpu_times()[:2])
    return total


def _wait(terminal: Terminal, seconds: float = 10.0) -> bool:
    for _ in range(int(seconds / 0.05)):
        terminal.read(0.05)
        if terminal.process.poll() is not None:
            return True
    return False


def _seen(cell: object) -> Cell:
    """What is to be seen of a cell: of a space that is not its foreground."""
    data, fg, bg, *rest = cell  # type: ignore[misc]
    return (data, bg) if data == " " and not any(rest) else (data, fg, bg, *rest)


def _differing(a: list[list[Cell]], b: list[list[Cell]]) -> list[int]:
    """The lines that differ, but for toasts that come or go, and a cursor that blinks."""
    changed = [
        (y, old[0] == new[0])
        for y, (old_line, new_line) in enumerate(zip(a, b, strict=True))
        for old, new in islice(zip(old_line, new_line, strict=True), _toast(old_line, new_line))
        if old != new
    ]
    blinks = len(changed) == 1 and changed[0][1]
    return [] if blinks else sorted({y for y, _ in changed})


def _toast(before: list[Cell], after: list[Cell]) -> int | None:
    """Where in a line a toast begins: at its bar, in the right half.

    Toasts come, go, and move where one of them goes.
    """
    for x, (old, new) in enumerate(zip(before, after, strict=True)):
        comes_or_goes = (old[0] == _BAR) != (new[0] == _BAR)
        if comes_or_goes or (old[0] == new[0] == _BAR and x >= len(before) // 2 - _MARGIN):
            return x
    return None


def _difference(before: list[Cell], after: list[Cell]) -> str:
    """Two lines, or where their texts are the same the first cell that is not."""
    if (old := _text(before)) != (new := _text(after)):
        return f"{old!r} for {new!r}"
    x = next(x for x, cell in enumerate(before) if cell != after[x])
    return f"at {x} {before[x]} for {after[x]} in {old!r}"


def _text(line: list[Cell]) -> str:
    return "".join(str(cell[0]) for cell in line).rstrip()


def main() -> int:
    """Soak the explorer as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keys", type=int, default=2000)
    parser.add_argument("--pace", type=float, default=PACE, help="seconds between two keys")
    parser.add_argument("--escapes", action="store_true", help="escape sequences in pastes")
    parser.add_argument("--replay", type=Path, help="a file with events")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = tiny_folder(folder)
        command = ("depthtui", "--model", str(model), "--device", "cpu")
        command += ("--cache-dir", str(folder / "cache"))
        soak = Soak(folder, command, arguments.pace)
        chosen = islice(events(arguments.seed, arguments.escapes), arguments.keys)
        if arguments.replay is not None:
            chosen = iter(_read_events(arguments.replay))
        tally = soak.run(chosen)
    print(f"seed {arguments.seed}: {tally}")
    return bool(tally.wrong)


def _read_events(path: Path) -> list[Event]:
    """The events of a file; a window's size may stand behind the word `resize`."""
    found = ast.literal_eval(path.read_text("utf-8"))
    return [each[1] if isinstance(each, tuple) and each[0] == "resize" else each for each in found]


if __name__ == "__main__":
    sys.exit(main())
