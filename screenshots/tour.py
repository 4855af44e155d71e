"""A film of a scene: what is seen while it is played, as an SVG that plays by itself."""

from __future__ import annotations

import time

from rich.cells import cell_len
from rich.color import Color
from rich.segment import Segment
from rich.style import Style

from depthtui.tui.explorer_app import ExplorerApp
from depthtui.tui.scene import SceneStep
from depthtui.tui.textual_patches.names import shown_lines
from screenshots.animation import INK, PAGE, Cell, Frame, Screen, animated

LABEL = (
    "A tour of depthtui: a run, a forward pass layer by layer, the verdict, another lens, "
    "layers left out, an export"
)

_AT_WORK = 0.2
"""Seconds that a frame lasts while something is computed, however long that takes."""

_BETWEEN_LOOKS = 0.2
"""Seconds between two looks at a screen on which something is computed."""

_MOST_AT_WORK = 12
"""Frames of what is computed, spread over all that was seen."""


class Film:
    """Takes frames of a scene: `watch` is for its player."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self._seen: list[Screen] = []
        self._next_look = 0.0
        self._caption = ("", "")

    def watch(self, app: ExplorerApp, step: SceneStep, waits: bool) -> None:
        """Look at the screen while a step waits, and show it for a step's seconds."""
        self._caption = step.caption or self._caption
        if not waits:
            self._show_work()
            self._show(screen_of(app), step.seconds)
        elif time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _BETWEEN_LOOKS
            self._seen.append(screen_of(app))

    def _show_work(self) -> None:
        """Show some of the screens that were seen while a step waited."""
        step = max(1, len(self._seen) / _MOST_AT_WORK)
        for number in range(min(len(self._seen), _MOST_AT_WORK)):
            self._show(self._seen[int(number * step)], _AT_WORK)
        self._seen.clear()

    def _show(self, screen: Screen, seconds: float) -> None:
        frame = Frame(screen, seconds, *self._caption)
        last = self.frames[-1] if self.frames else None
        if last and (last.screen, last.caption) == (frame.screen, frame.caption):
            last.seconds += seconds
        elif seconds and screen:
            self.frames.append(frame)

    def svg(self) -> str:
        """The frames, as SVG."""
        return animated(self.frames, LABEL)


def screen_of(app: ExplorerApp) -> Screen:
    """The cells of the screen that is up, with what shines through from below."""
    return [[cell for part in line for cell in _cells(part)] for line in shown_lines(app.screen)]


def _cells(part: Segment) -> list[Cell]:
    style = part.style or Style.null()
    ink, page = _colour(style.color, INK), _colour(style.bgcolor, PAGE)
    if style.reverse:
        ink, page = page, ink
    if style.dim:
        ink = _between(ink, page)
    marks = bool(style.bold), bool(style.underline)
    return [
        Cell(text, ink, page, *marks)
        for character in part.text
        if cell_len(character)
        for text in (character, *[""] * (cell_len(character) - 1))
    ]


def _colour(colour: Color | None, default: str) -> str:
    if colour is None or colour.is_default:
        return default
    return colour.get_truecolor().hex


def _between(ink: str, page: str) -> str:
    """Half-way from one colour to another."""
    one, other = (bytes.fromhex(colour.removeprefix("#")) for colour in (ink, page))
    return "#" + bytes((a + b) // 2 for a, b in zip(one, other, strict=True)).hex()
