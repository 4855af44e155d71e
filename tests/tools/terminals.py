"""What the explorer looks like in which terminal: `python -m tests.tools.terminals [--screens]`.

Starts it on the scripted engine under each kind of terminal, and prints what came of it as a table
in Markdown; `--screens` prints every screen, too.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.tui.terminal import PATIENCE, Terminal

TERMS = ("xterm-256color", "screen", "tmux-256color", "linux", "vt100", "dumb")
TRUECOLOR = {"COLORTERM": "truecolor"}
NONE = {"COLORTERM": "", "LC_ALL": "", "LC_CTYPE": "", "PYTHONUTF8": ""}

_RGB = re.compile(r"[34]8;2;(\d+);(\d+);(\d+)")
_SIXTEEN = re.compile(r"[349][0-7]|10[0-7]")
_SGR = re.compile(r"\x1b\[([\d;]*)m")


@dataclass(frozen=True)
class Look:
    """What came of a start.

    Attributes:
        environment: variables that say what the terminal is.
        refused: the line that was written instead; empty where it was drawn.
        screen: what is on the screen.
        colours: `24-bit`, `greys`, `256`, `16` or `none`: the most that was asked for.
        glyphs: whether what is no ASCII came through as one character each.
    """

    environment: dict[str, str]
    refused: str
    screen: str
    colours: str
    glyphs: bool

    @property
    def row(self) -> str:
        """A row of the table."""
        names = " ".join(f"{name}={value}" for name, value in self.environment.items() if value)
        if self.refused:
            return f"| {names} | refused | | {self.refused} |"
        return f"| {names} | drawn | {self.colours} | {'all' if self.glyphs else 'ASCII'} |"


def environments() -> Iterator[dict[str, str]]:
    """Every kind of terminal."""
    for term in TERMS:
        yield {"TERM": term}
        yield {"TERM": term} | TRUECOLOR
    yield {"TERM": "xterm-256color", "NO_COLOR": "1"} | TRUECOLOR
    for term in ("xterm-256color", "linux"):
        yield {"TERM": term, "LANG": "C", "LC_ALL": "C"}
    yield {"TERM": "xterm-256color", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def look(environment: dict[str, str], folder: Path) -> Look:
    """Start the explorer, and see what comes."""
    terminal = Terminal(folder, "tests.tui.fake_explorer", environment=NONE | environment)
    try:
        end = time.monotonic() + PATIENCE
        while "● ready" not in terminal.text and terminal.process.poll() is None:
            assert time.monotonic() < end, terminal.text
            terminal.read(0.1)
        terminal.settle()
        sent = terminal.sent.decode("utf-8", "replace")
        refused = "" if "\x1b[?1049h" in sent else " ".join(sent.split())
        glyphs = not refused and "╭" in terminal.text and any(char in sent for char in "▀▒")
        return Look(environment, refused, terminal.text, _colours(sent), glyphs)
    finally:
        terminal.close()


def _colours(sent: str) -> str:
    parameters = [found.split(";") for found in _SGR.findall(sent)]
    if rgb := set(_RGB.findall(sent)):
        return "24-bit" if any(len(set(colour)) > 1 for colour in rgb) else "greys"
    kinds = {kind for codes in parameters for kind in _kinds(codes)}
    return next((kind for kind in ("256", "16") if kind in kinds), "none")


def _kinds(codes: list[str]) -> Iterator[str]:
    for place, code in enumerate(codes):
        if code in ("38", "48") and place + 1 < len(codes):
            yield {"5": "256"}.get(codes[place + 1], "")
        elif _SIXTEEN.fullmatch(code):
            yield "16"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screens", action="store_true", help="print every screen")
    options = parser.parse_args()
    looks = []
    for environment in environments():
        with tempfile.TemporaryDirectory() as folder:
            looks.append(look(environment, Path(folder)))
    print("| terminal | came | colours | glyphs, or the line |\n| --- | --- | --- | --- |")
    for found in looks:
        print(found.row)
    if options.screens:
        for found in looks:
            print(f"\n{found.environment}\n{found.screen}")


if __name__ == "__main__":
    main()
