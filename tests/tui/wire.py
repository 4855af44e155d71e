"""What the explorer sends to its terminal, and the processor time that this takes.

The scripted engine in a real pseudo-terminal: nothing here depends on a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.tui.terminal import Terminal

LOOKS, IDLE = 3, 1.0
"""Tenths of a second, each with less than so many milliseconds of work, that are a rest."""

FRAME = b"\x1b[?2026h"
"""Begins what Textual writes at once, where the terminal knows synchronized output."""


@dataclass(frozen=True)
class Cost:
    """What something took.

    Attributes:
        bytes: sent to the terminal.
        cpu: milliseconds of the explorer's processor time.
        frames: how often the screen was painted.
    """

    bytes: int
    cpu: float
    frames: int


class Wire:
    """An explorer whose bytes are counted.

    Args:
        folder: where it keeps its settings.
        columns, lines: the size of its terminal.
        mode: of `tests.tui.fake_explorer`.
    """

    def __init__(self, folder: Path, columns: int, lines: int, mode: str = "") -> None:
        arguments = ["tests.tui.fake_explorer", *filter(None, [mode])]
        self.terminal = Terminal(folder, *arguments, size=(columns, lines), synchronized=True)

    def cost(self, act: Callable[[], None] = lambda: None, until: str = "") -> Cost:
        """What comes of an act, until words are on the screen and nothing more is written."""
        terminal = self.terminal
        sent, cpu = len(terminal.sent), self._cpu()
        act()
        if until:
            terminal.until(lambda: until in terminal.text)
        self._rest()
        new = terminal.sent[sent:]
        return Cost(len(new), self._cpu() - cpu, new.count(FRAME))

    def press(self, keys: bytes, until: str = "") -> Cost:
        """The cost of some keys."""
        return self.cost(lambda: self.terminal.type(keys), until)

    def start(self) -> Cost:
        """The cost of everything from the start to the first full picture."""
        return self.cost(until="● ready")

    def close(self) -> None:
        """End it."""
        self.terminal.close()

    def _rest(self) -> None:
        """Read until the explorer sleeps and goes on sleeping, however busy the machine is."""
        cpu, looks = self._cpu(), 0
        while looks < LOOKS:
            heard, before, cpu = self.terminal.read(0.1), cpu, self._cpu()
            looks = 0 if heard or self._is_runnable() or cpu - before > IDLE else looks + 1

    def _is_runnable(self) -> bool:
        return any(_fields(task / "stat")[-50] == "R" for task in self._threads())

    def _cpu(self) -> float:
        return sum(int(_fields(task / "schedstat")[0]) for task in self._threads()) / 1e6

    def _threads(self) -> list[Path]:
        return list(Path(f"/proc/{self.terminal.process.pid}/task").iterdir())


def acts(wire: Wire) -> Iterator[tuple[str, Cost]]:
    """What people do most, by name, with its cost; for an explorer that is `live`."""
    yield "start", wire.start()
    wire.press(b"jh")
    yield "layer key", wire.press(b"j")
    yield "token key", wire.press(b"h")
    yield "measure", wire.press(b"]")
    yield "help", wire.press(b"?", "words of a key")
    yield "close", wire.press(b"\x1b")
    wire.press(b"%")
    yield "run", wire.press(b"r")
    for _ in range(3):
        wire.press(b"%")
    yield "layer of a run", wire.press(b"%")


def _fields(path: Path) -> list[str]:
    return path.read_text().split()
