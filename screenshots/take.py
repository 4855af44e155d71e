"""The stills of the README, from real runs of the demo model, as SVG."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from textual.pilot import Pilot

from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec
from depthtui.metrics import kept, task_guess
from depthtui.sweep.plan import Drawing, SweepPlan, parse_task
from depthtui.tui.panes.findings_pane import FindingsPane
from depthtui.tui.screenshot import take_screenshot
from screenshots.stage import explorer_of, finished, halted, opened, to_pane, wait_until

SIZES = {"80x24": (80, 24), "120x40": (120, 40), "200x60": (200, 60)}
THEMES = {"dark": "depth-dark", "light": "depth-light"}

_DRAWN = 1.0
"""Seconds after which everything has been drawn."""

Action = Callable[[Pilot[int]], Awaitable[None]]


async def still(size: str, shade: str, action: Action) -> str:
    """The explorer after something was done in it, as SVG."""
    async with opened(SIZES[size], THEMES[shade]) as pilot:
        await finished(pilot)
        await action(pilot)
        # The status line is drawn a few times a second.
        await pilot.pause(_DRAWN)
        return take_screenshot(pilot.app)


async def nothing(_pilot: Pilot[int]) -> None:
    """The start screen as it is."""


async def step(pilot: Pilot[int]) -> None:
    """A forward pass, halted in its middle."""
    await pilot.press("s")
    await halted(pilot)
    await pilot.press("1", "7", "space")
    await halted(pilot, 18)


async def verdict(pilot: Pilot[int]) -> None:
    """How many layers are used, by everything that is computed in a minute or two."""
    await to_pane(pilot, "verdict")
    await pilot.press("i")
    await finished(pilot)
    await pilot.press("z")


async def compare(pilot: Pilot[int]) -> None:
    """The third prompt beside the second."""
    for key in ("n", "n"):
        await pilot.press(key)
        await finished(pilot)
    await pilot.press("b", "home")
    await pilot.pause()
    await pilot.press("C")


async def what_if(pilot: Pilot[int]) -> None:
    """The middle third of the layers left out."""
    for pressed in ("x", "1", "0", "G", "1", "0", "x"):
        await pilot.press(pressed)
        await finished(pilot)


async def writing(pilot: Pilot[int]) -> None:
    """The model's own answer, coloured by depth."""
    explorer = explorer_of(pilot)
    explorer.change(chat_template=True)
    explorer.run(Prompt("Why is the sky blue?"))
    await finished(pilot)
    await pilot.press("w")
    await finished(pilot)
    await pilot.press("4", "0", "h")


async def sweep(pilot: Pilot[int]) -> None:
    """The demo model on tasks of growing difficulty."""
    explorer = explorer_of(pilot)
    tasks = [
        task
        for text in ("addition:1-3", "grade_school")
        for task in parse_task(text, {}, Drawing(examples=6))
    ]
    settings = explorer.settings
    measured = settings.run_settings()
    measured = replace(measured, metrics=(*measured.metrics, kept.NAME, task_guess.NAME))
    plan = SweepPlan((ModelSpec(),), tuple(tasks), measured, settings.summary_settings())
    with tempfile.TemporaryDirectory() as folder:
        explorer.start_sweep(plan, Path(folder) / "arithmetic")
        await pilot.press("b")
        await pilot.pause()
        await pilot.press("S")
        await wait_until(
            pilot, lambda: explorer.work.sweep is not None and not explorer.work.sweep.is_live
        )
        await wait_until(pilot, lambda: bool(pilot.app.screen.query_one(FindingsPane).findings))
    await pilot.press("space", "j", "j", "space", "j", "j")
    pilot.app.clear_notifications()


async def keys(pilot: Pilot[int]) -> None:
    """The list of keys."""
    await pilot.press("question_mark")


STILLS: dict[str, tuple[str, str, Action]] = {
    **{f"explorer-{shade}-{size}": (size, shade, nothing) for size in SIZES for shade in THEMES},
    **{
        f"{action.__name__.replace('_', '-')}-dark-120x40": ("120x40", "dark", action)
        for action in (verdict, step, compare, what_if, writing, sweep, keys)
    },
}
"""Size, theme and what is done, by the name of the file."""
