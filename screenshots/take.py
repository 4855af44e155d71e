"""Take the screenshots of this folder from real runs of the demo model.

    python screenshots/take.py [FOLDER]

Opens the explorer without a terminal, at the sizes that people use, waits for
the first run to end, and saves what is on the screen as SVG.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from textual.pilot import Pilot

from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec
from depthtui.settings import Settings
from depthtui.sweep.plan import Drawing, SweepPlan, parse_task
from depthtui.tui.app import DepthApp
from depthtui.tui.panes.findings_pane import FindingsPane
from depthtui.tui.screenshot import take_screenshot
from depthtui.tui.state.explorer import Explorer, Phase

SIZES = {"80x24": (80, 24), "120x40": (120, 40), "200x60": (200, 60)}
THEMES = {"dark": "depth-dark", "light": "depth-light"}

Action = Callable[[Pilot[int]], Awaitable[None]]


def explorer_of(pilot: Pilot[int]) -> Explorer:
    """What the app under the pilot shows."""
    assert isinstance(pilot.app, DepthApp)
    return pilot.app.explorer


async def wait_until(pilot: Pilot[int], condition: Callable[[], bool]) -> None:
    """Let the app go on until something holds."""
    async with asyncio.timeout(600):
        while not condition():
            await pilot.pause(0.02)
    await pilot.pause()


async def finished(pilot: Pilot[int]) -> None:
    """Wait for the run to end."""
    explorer = explorer_of(pilot)

    def ready() -> bool:
        current = explorer.session.current
        done = current is not None and current.result is not None and current.result.complete
        return bool(explorer.phase is Phase.READY and done)

    await wait_until(pilot, ready)


async def take(name: str, folder: Path, size: tuple[int, int], theme: str, action: Action) -> None:
    """Open the explorer, do something in it, and save the picture."""
    with tempfile.TemporaryDirectory() as scratch:
        app = DepthApp(
            ModelSpec(), Settings(theme=theme), settings_file=Path(scratch) / "settings.toml"
        )
        async with app.run_test(size=size) as pilot:
            await wait_until(pilot, lambda: app.main is not None)
            await finished(pilot)
            await action(pilot)
            await pilot.pause()
            shown = take_screenshot(app)
    (folder / f"{name}.svg").write_text(shown, encoding="utf-8")
    print(f"{name}.svg", flush=True)


async def nothing(_pilot: Pilot[int]) -> None:
    """The start screen as it is."""


async def step(pilot: Pilot[int]) -> None:
    """A forward pass, halted in its middle."""
    explorer = explorer_of(pilot)
    await pilot.press("s")
    await wait_until(pilot, lambda: explorer.phase is Phase.HALTED)
    await pilot.press("1", "7", "space")

    def halted() -> bool:
        current = explorer.session.current
        done = current.result.layers_done if current and current.result else 0
        return explorer.phase is Phase.HALTED and done > 17

    await wait_until(pilot, halted)


async def compare(pilot: Pilot[int]) -> None:
    """The whole model beside the one without its middle third."""
    await what_if(pilot)
    await pilot.press("K", "escape")
    await finished(pilot)
    await pilot.press("C", "enter")


async def what_if(pilot: Pilot[int]) -> None:
    """The middle third of the layers left out."""
    for pressed in ("x", "1", "0", "G", "1", "0", "x"):
        await pilot.press(pressed)
        await finished(pilot)


async def generation(pilot: Pilot[int]) -> None:
    """The model's own answer, coloured by depth."""
    explorer = explorer_of(pilot)
    explorer.change(chat_template=True)
    explorer.run(Prompt("Why is the sky blue?"))
    await finished(pilot)
    await pilot.press("w")
    await pilot.pause()
    await wait_until(
        pilot,
        lambda: explorer.generation_state is not None and not explorer.generation_state.is_live,
    )
    await pilot.press("4", "0", "h")


async def sweep(pilot: Pilot[int]) -> None:
    """The demo model in two precisions on tasks of growing difficulty."""
    explorer = explorer_of(pilot)
    tasks = [
        task
        for text in ("addition:1-3", "multiplication:1-2", "grade_school")
        for task in parse_task(text, {}, Drawing(examples=6))
    ]
    models = (ModelSpec(), ModelSpec(dtype="bfloat16"))
    settings = explorer.settings
    plan = SweepPlan(models, tuple(tasks), settings.run_settings(), settings.summary_settings())
    with tempfile.TemporaryDirectory() as folder:
        explorer.start_sweep(plan, Path(folder) / "arithmetic")
        await pilot.press("S")
        await wait_until(pilot, lambda: explorer.sweep is not None and not explorer.sweep.is_live)
        await wait_until(pilot, lambda: bool(pilot.app.screen.query_one(FindingsPane).findings))
    await pilot.press("space", "j", "j", "space", "j", "j")
    pilot.app.clear_notifications()


async def keys(pilot: Pilot[int]) -> None:
    """The list of keys."""
    await pilot.press("question_mark")


async def main(folder: Path) -> None:
    for size, cells in SIZES.items():
        for shade, theme in THEMES.items():
            await take(f"explorer-{shade}-{size}", folder, cells, theme, nothing)
    actions = {
        "step": step,
        "compare": compare,
        "what-if": what_if,
        "generation": generation,
        "sweep": sweep,
        "keys": keys,
    }
    for name, action in actions.items():
        await take(f"{name}-dark-120x40", folder, SIZES["120x40"], THEMES["dark"], action)


if __name__ == "__main__":
    os.environ |= {"COLORTERM": "truecolor", "TERM": "xterm-256color"}
    os.environ.pop("NO_COLOR", None)
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent))
