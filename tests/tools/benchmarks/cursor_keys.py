"""Processor time of each cursor key on every pane of every screen, with all metrics computed.

    python -m tests.tools.benchmarks.cursor_keys [--tokens 2000] [--runs 3] [--rounds 2]

Prints a Markdown table of milliseconds at 120x40, from the key to the screen, in the interface's
thread, without the scripted engine's own. A key without a command shows the cost of the pilot
itself. The last column is a key after a change of everything that is drawn, such as a threshold:
panes that are not in sight have not been drawn since.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from unittest.mock import patch

from depthtui.data.protocol import Command
from depthtui.data.run import Prompt
from depthtui.tui.panes.evidence_pane import dial_rule
from depthtui.tui.panes.pane import Pane
from depthtui.tui.screens.layer_screen import LayerScreen
from depthtui.tui.screens.live_screen import LiveScreen
from depthtui.tui.screens.pane_screen import PaneScreen
from depthtui.tui.screens.sweep_screen import SweepScreen
from depthtui.tui.screens.what_if_screen import WhatIfScreen
from tests.builders.engines import FakeEngine
from tests.builders.metrics import AFTER_THE_LENS
from tests.tui.app_helpers import Explored, explore
from tests.tui.test_compare import compared
from tests.tui.test_sweep import ran, show

KEYS = ("left", "right", "up", "down", "pageup", "pagedown", "home", "end", "0", "$")
NO_KEY = "f24"
NAMES = {"$": "dollar_sign"}


class TimedEngine(FakeEngine):
    """Adds up the milliseconds that its own answers take in the interface's thread."""

    own = 0.0

    def send(self, command: Command) -> None:
        before = time.thread_time()
        super().send(command)
        self.own += 1000 * (time.thread_time() - before)


def prompt_of(tokens: int, number: int) -> Prompt:
    """A prompt of so many words, the last ones an answer."""
    words = [f"word{(7 * place + number) % 97}" for place in range(tokens)]
    return Prompt(" ".join(words), " " + " ".join(words[-4:]), "commonsense", "2")


async def main_screen(it: Explored, folder: Path) -> PaneScreen:
    return it.main


async def compare(it: Explored, folder: Path) -> PaneScreen:
    return await compared(it)


def opens(key: str, kind: type[PaneScreen]) -> Callable[[Explored, Path], Awaitable[PaneScreen]]:
    async def drive(it: Explored, folder: Path) -> PaneScreen:
        await it.press(key)
        await it.until(lambda: isinstance(it.app.screen, kind), kind.__name__)
        screen = it.app.screen
        assert isinstance(screen, kind)
        return screen

    return drive


async def text(it: Explored, folder: Path) -> PaneScreen:
    await it.press("w")
    await it.until(lambda: it.session.current.prompt.written, "the text")
    return it.main


async def sweep(it: Explored, folder: Path) -> SweepScreen:
    return await show(it, ran(folder / "sweep", examples=20))


SCREENS: dict[str, Callable[[Explored, Path], Awaitable[PaneScreen]]] = {
    "main": main_screen,
    "compare": compare,
    "layer": opens("enter", LayerScreen),
    "what-if": opens("x", WhatIfScreen),
    "writing": text,
    "sweep": sweep,
}


async def cost(it: Explored, key: str) -> float:
    """Milliseconds of the interface's thread from a key until nothing is left to do."""
    engine = it.engine
    assert isinstance(engine, TimedEngine)
    own, before = engine.own, time.thread_time()
    await it.pilot.press(NAMES.get(key, key))
    await it.pilot.pause(0.05)
    return 1000 * (time.thread_time() - before) - (engine.own - own)


async def after_a_change(it: Explored, screen: PaneScreen, turn: int) -> float:
    """The cost of a key once all that the panes draw has changed and the seen ones are drawn."""
    it.app.explorer.reading.turn_threshold(dial_rule().threshold.option, 1 - 2 * (turn % 2))
    if isinstance(screen, LiveScreen):
        screen.redraw()
    for pane in screen.query(Pane):
        pane.redraw()
    await at_rest(it)
    return await cost(it, "left")


async def at_rest(it: Explored) -> None:
    """Wait until nothing is computed beside any more."""
    await it.until(lambda: it.session.live is None, "the end of the run")
    await it.until(lambda: all(worker.is_finished for worker in it.app.workers), "the workers")
    await it.pilot.pause(0.2)


async def of_pane(it: Explored, screen: PaneScreen, rounds: int) -> dict[str, list[float]]:
    """The costs of each key on the focused pane, from the middle of the layers and tokens."""
    costs: dict[str, list[float]] = {}
    for turn in range(rounds):
        for key in (*KEYS, NO_KEY):
            layer, token = screen.extent()
            screen.go(layer // 2, token // 2 + turn)
            await it.pilot.pause(0.05)
            costs.setdefault(key, []).append(await cost(it, key))
    return costs


async def measure(name: str, options: argparse.Namespace, folder: Path) -> None:
    def make() -> FakeEngine:
        return TimedEngine(in_cache=AFTER_THE_LENS)

    with patch(
        "depthtui.tui.state.task_prompts.first_prompt", lambda: prompt_of(options.tokens, 0)
    ):
        async with explore(folder, make, (120, 40)) as it:
            for number in range(1, options.runs):
                it.app.explorer.run(prompt_of(options.tokens, number))
                await it.until(
                    lambda runs=number + 1: len(it.session.results) == runs,  # type: ignore[misc]
                    "a run",
                )
                await it.ready()
            result = it.main.shown_result()
            assert result is not None
            missing = [name for name in AFTER_THE_LENS if name not in result.measured]
            if missing:
                print(f"not measured: {', '.join(missing)}")
            screen = await SCREENS[name](it, folder)
            await at_rest(it)
            # As in the explorer, where these would otherwise be collected key by key.
            gc.freeze()
            panes = [screen.query_one(f"#{pane}", Pane) for pane in screen.PANE_ORDER]
            panes = [pane for pane in panes if not pane.has_class("spare")]
            for pane in panes:
                screen.go_to_pane(pane)
                await at_rest(it)
            for pane in panes:
                screen.go_to_pane(pane)
                await at_rest(it)
                changed = [
                    await after_a_change(it, screen, turn) for turn in range(2 * options.rounds)
                ]
                costs = await of_pane(it, screen, options.rounds)
                nothing = statistics.median(costs.pop(NO_KEY))
                worst = max(costs, key=lambda key: max(costs[key]))
                each = [value for values in costs.values() for value in values]
                middle = statistics.median(each)
                cells = " | ".join(f"{max(costs[key]):.0f}" for key in KEYS)
                print(
                    f"| {name}: {pane.name} | {middle:.1f} | {max(costs[worst]):.1f} ({worst}) "
                    f"| {nothing:.1f} | {cells} | {max(changed):.0f} |",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--screens", nargs="*", default=list(SCREENS), choices=list(SCREENS))
    options = parser.parse_args()
    print(f"| pane | median | worst | no key | {' | '.join(KEYS)} | changed |")
    print("| --- " * (len(KEYS) + 5) + "|")
    for name in options.screens:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(name, options, Path(folder)))


if __name__ == "__main__":
    main()
