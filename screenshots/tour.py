"""A tour of the explorer on the demo model, by its keys, as an SVG that plays by itself."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.cells import cell_len
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual._context import visible_screen_stack
from textual.pilot import Pilot

from screenshots.animation import INK, PAGE, Cell, Frame, Screen, animated
from screenshots.stage import (
    explorer_of,
    halted,
    is_finished,
    layers_done,
    opened,
    to_pane,
    wait_until,
)

SIZE = (112, 34)
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


class Recorder:
    """Takes frames of the explorer under a pilot."""

    def __init__(self, pilot: Pilot[int]) -> None:
        self.frames: list[Frame] = []
        self._pilot = pilot
        self._key = self._caption = ""

    def take(self, seconds: float) -> None:
        """Show the screen as it is for so long."""
        self._show(screen_of(self._pilot), seconds)

    def _show(self, screen: Screen, seconds: float) -> None:
        frame = Frame(screen, seconds, self._key, self._caption)
        last = self.frames[-1] if self.frames else None
        if last and (last.screen, last.caption) == (frame.screen, frame.caption):
            last.seconds += seconds
        else:
            self.frames.append(frame)

    def say(self, key: str, caption: str) -> None:
        """Put these under the frames to come."""
        self._key, self._caption = key, caption

    async def press(self, *keys: str, seconds: float = 0.0) -> None:
        """Press keys, one after another, and show where that leads for so long."""
        await self._pilot.press(*keys)
        await self._pilot.pause()
        if seconds:
            self.take(seconds)

    async def watch(self, condition: Callable[[], bool], seconds: float) -> None:
        """Look on until something holds, and then for so long."""
        seen: list[Screen] = []
        next_look = 0.0

        def look() -> None:
            nonlocal next_look
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + _BETWEEN_LOOKS
                seen.append(screen_of(self._pilot))

        await wait_until(self._pilot, condition, look)
        step = max(1, len(seen) / _MOST_AT_WORK)
        for number in range(min(len(seen), _MOST_AT_WORK)):
            self._show(seen[int(number * step)], _AT_WORK)
        self.take(seconds)


def screen_of(pilot: Pilot[int]) -> Screen:
    """The cells of the screen that is up, with what shines through from below."""
    visible_screen_stack.set(pilot.app._background_screens)
    lines = pilot.app.screen._compositor.render_strips()
    return [[cell for part in line for cell in _cells(part)] for line in lines]


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


async def tour() -> str:
    """The tour, as SVG."""
    async with opened(SIZE, "depth-dark") as pilot:
        recorder = Recorder(pilot)
        for part in (_first_run, _step, _verdict, _lens, _what_if, _export):
            await part(pilot, recorder)
        return animated(recorder.frames, LABEL)


async def _first_run(pilot: Pilot[int], recorder: Recorder) -> None:
    explorer = explorer_of(pilot)
    await wait_until(pilot, lambda: layers_done(explorer) > 0)
    recorder.say("depthtui", "a prompt runs through the 30 layers of the demo model")
    await recorder.watch(lambda: is_finished(explorer), 2.0)


async def _step(pilot: Pilot[int], recorder: Recorder) -> None:
    explorer = explorer_of(pilot)
    recorder.say("s", "the forward pass itself halts after each layer")
    await recorder.press("s")
    await halted(pilot)
    recorder.take(1.2)
    recorder.say("5 space", "five layers on: what would the model say now?")
    for _ in range(4):
        before = layers_done(explorer)
        await recorder.press("5", "space")
        await halted(pilot, before + 5)
        recorder.take(0.8)
    recorder.say("r", "on to the end")
    await recorder.press("r")
    await recorder.watch(lambda: is_finished(explorer), 1.0)


async def _verdict(pilot: Pilot[int], recorder: Recorder) -> None:
    explorer = explorer_of(pilot)
    recorder.say("tab z", "the verdict: how many layers are used, and how firm each count is")
    await to_pane(pilot, "verdict")
    await recorder.press("z", seconds=2.5)
    recorder.say("i", "compute what is missing: what changes where layers are left out?")
    await recorder.press("i")
    await recorder.watch(lambda: is_finished(explorer), 3.5)


async def _lens(pilot: Pilot[int], recorder: Recorder) -> None:
    explorer = explorer_of(pilot)
    recorder.say("u", "read everything through another lens, fitted to the model: do counts hold?")
    await recorder.press("u", "right", seconds=1.2)
    await recorder.press("enter", "i")
    await recorder.watch(lambda: is_finished(explorer), 3.0)
    recorder.say("z", "back to all panes")
    await recorder.press("u", "left", "enter", "z")
    pilot.app.clear_notifications()
    await pilot.pause()
    recorder.take(1.0)


async def _what_if(pilot: Pilot[int], recorder: Recorder) -> None:
    explorer = explorer_of(pilot)
    recorder.say("x", "what if: leave layers out")
    await recorder.press("x", seconds=1.5)
    recorder.say("5p", "prune the five that are missed least")
    await recorder.press("5", "p")
    await recorder.watch(lambda: is_finished(explorer), 3.0)
    recorder.say("esc", "back to the run")
    await recorder.press("escape", seconds=0.8)


async def _export(pilot: Pilot[int], recorder: Recorder) -> None:
    recorder.say("e", "a report for people, numbers for programs")
    await recorder.press("e", seconds=1.5)
    recorder.say("enter", "written")
    await recorder.press("enter")
    await wait_until(pilot, lambda: not pilot.app.screen.is_modal)
    recorder.take(3.0)
