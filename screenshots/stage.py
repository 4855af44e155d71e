"""The explorer without a terminal, on the demo model, and what waits for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, chdir
from pathlib import Path
from tempfile import TemporaryDirectory

from textual.pilot import Pilot

from depthtui.data.run_settings import ModelSpec
from depthtui.settings import Settings, default_cache_dir
from depthtui.tui.app import DepthApp
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.phase import Phase

_MOST_PANES = 20
_LONGEST = 3600
"""Seconds that anything may take: 72 prompts of the sweep, on a busy machine."""


@asynccontextmanager
async def opened(size: tuple[int, int], theme: str) -> AsyncIterator[Pilot[int]]:
    """The explorer at a size, in a theme, as it is when its first screen is there.

    Models and fitted lenses are those of the cache; results and sessions are saved nowhere, so
    that what is seen is computed. What is exported is gone with it.
    """
    os.environ |= {"COLORTERM": "truecolor", "TERM": "xterm-256color"}
    os.environ.pop("NO_COLOR", None)
    cache = default_cache_dir().absolute()
    with TemporaryDirectory(prefix="depthtui-") as scratch, chdir(scratch):
        folder = Path(scratch)
        for name in ("models", "lenses"):
            kept = cache / name
            kept.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(kept, target_is_directory=True)
        settings = Settings(theme=theme, cache_dir=folder)
        app = DepthApp(ModelSpec(), settings, settings_file=folder / "settings.toml")
        async with app.run_test(size=size, notifications=True) as pilot:
            await wait_until(pilot, lambda: app.main is not None)
            yield pilot


def explorer_of(pilot: Pilot[int]) -> Explorer:
    """What the app under the pilot shows."""
    assert isinstance(pilot.app, DepthApp)
    return pilot.app.explorer


async def wait_until(
    pilot: Pilot[int], condition: Callable[[], bool], meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Let the app go on until something holds."""
    async with asyncio.timeout(_LONGEST):
        while not condition():
            meanwhile()
            await pilot.pause(0.02)
    await pilot.pause()


def is_finished(explorer: Explorer) -> bool:
    """Whether the run is done and nothing is computed."""
    current = explorer.session.current
    done = current is not None and current.result is not None and current.result.complete
    return bool(explorer.phase is Phase.READY and done)


async def finished(pilot: Pilot[int]) -> None:
    """Wait for the run to end."""
    await wait_until(pilot, lambda: is_finished(explorer_of(pilot)))


async def halted(pilot: Pilot[int], layers: int = 0) -> None:
    """Wait for the forward pass to halt with so many layers run, at least."""
    explorer = explorer_of(pilot)
    await wait_until(
        pilot, lambda: explorer.phase is Phase.HALTED and layers_done(explorer) >= layers
    )


def layers_done(explorer: Explorer) -> int:
    """How many layers of the run on the screen have been run."""
    current = explorer.session.current
    return current.result.layers_done if current and current.result else 0


async def to_pane(pilot: Pilot[int], name: str) -> None:
    """Go to a pane by the key that a user presses."""
    for _ in range(_MOST_PANES):
        focused = pilot.app.screen.focused
        if focused is not None and focused.id == name:
            return
        await pilot.press("tab")
        await pilot.pause()
    raise LookupError(f"tab does not lead to {name}")
