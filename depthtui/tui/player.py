"""Plays a scene into the explorer, by the messages that a terminal sends."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from textual import events
from textual.pilot import Pilot

from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError
from depthtui.files import write_new
from depthtui.settings import Settings
from depthtui.tui.app import DepthApp
from depthtui.tui.explorer_app import ExplorerApp
from depthtui.tui.scene import Scene, SceneStep, conditions
from depthtui.tui.screenshot import screen_text, take_screenshot
from depthtui.tui.state.phase import CodeQuestion, Phase
from depthtui.tui.state.toast import Toast
from depthtui.tui.textual_patches.names import send

_AT_REST = {phase.value for phase in (Phase.READY, Phase.HALTED, Phase.NO_MODEL, Phase.DEAD)}
"""Activities that only an input ends."""

_IDLE = 30.0
"""Seconds that a step waits for its conditions while the explorer is at rest."""

_BETWEEN_LOOKS = 0.02
"""Seconds between two looks at a condition."""

_PATIENCE = 600.0
"""Seconds that a step waits for its conditions, unless it has its own."""

_DRAWN = 1.0
"""Seconds after which everything is drawn: the status line is, a few times a second."""

_SIZE = (120, 40)
"""Columns and lines of a picture, where neither the scene nor the command line names them."""

Watch = Callable[[ExplorerApp, SceneStep, bool], None]
"""Called at each look with a step, and with whether its conditions are still waited for."""


class PlayedApp(DepthApp):
    """An explorer that a scene drives. It lets no model run its own code.

    Attributes:
        has_quit: whether the scene has left the explorer.
    """

    has_quit = False

    def ask_for_trust(self, question: CodeQuestion) -> None:
        """Leave the model closed: a scene answers no question that nobody has read."""
        self.show_toast(Toast("A scene lets no model run its own code.", "warning"))

    def quit(self) -> None:
        """Leave; without a terminal, the player takes the last screen first."""
        self.has_quit = True
        if not self.is_headless:
            super().quit()


def play_scene(
    scene: Scene,
    spec: ModelSpec,
    settings: Settings,
    picture: Path | None = None,
    size: tuple[int, int] | None = None,
    watch: Watch = lambda *_: None,
) -> int:
    """Play a scene in this terminal, and leave the explorer open; returns the exit status.

    Models and fitted lenses are those of the cache. Results, sessions and changed settings go into
    a folder that is gone in the end.

    Args:
        scene: the scene.
        spec: the model to open with.
        settings: the settings, whose theme and keys are replaced by the scene's.
        picture: file of the last screen, as SVG or as text by its name. With it, the scene is
            played without a terminal, and the explorer ends.
        size: columns and lines of the picture; None for the scene's.
        watch: called while the scene is played.

    Raises:
        DepthError: a condition was missed, and the last screen is there; or the picture exists.
    """
    heading, steps = scene.heading, scene.steps
    sizes = [step.size for step in steps if step.size is not None]
    if picture is None or size is not None:
        # A terminal has its own size.
        steps = tuple(replace(step, size=None) for step in steps)
    if picture is not None:
        # A picture has every colour, whatever this terminal shows.
        os.environ |= {"COLORTERM": "truecolor", "TERM": "xterm-256color"}
        os.environ.pop("NO_COLOR", None)
    with tempfile.TemporaryDirectory(prefix="depthtui-") as scratch:
        for name in ("models", "lenses"):
            folder = settings.cache_folder.absolute() / name
            folder.mkdir(parents=True, exist_ok=True)
            Path(scratch, name).symlink_to(folder, target_is_directory=True)
        settings = replace(
            settings, cache_dir=Path(scratch), theme=heading.theme, keys=heading.keys
        )
        app = PlayedApp(spec, settings, settings_file=Path(scratch, "settings.toml"))

        async def drive(pilot: Pilot[Any]) -> None:
            try:
                await play(app, pilot, steps, watch)
            finally:
                if picture is not None:
                    await asyncio.sleep(_DRAWN)
                    _write_picture(app, picture)
                    app.exit(0)

        if picture is None:
            status = app.run(auto_pilot=drive)
        else:
            status = app.run(headless=True, size=size or (*sizes, _SIZE)[0], auto_pilot=drive)
    if app.error is not None:
        raise app.error
    return status or 0


def _write_picture(app: ExplorerApp, file: Path) -> None:
    as_svg = file.suffix == ".svg"
    text = take_screenshot(app) if as_svg else screen_text(app) + "\n"
    write_new(file, text.encode())


async def play(
    app: DepthApp,
    pilot: Pilot[Any],
    steps: Iterable[SceneStep],
    watch: Watch = lambda *_: None,
) -> None:
    """Play steps into a running explorer, until one of them leaves it.

    Raises:
        DepthError: a condition was not met in time.
    """
    for number, step in enumerate(steps, start=2):
        await _wait(app, step, number, watch)
        await _drawn(app, step.within or _PATIENCE)
        await _enter(app, pilot, step)
        watch(app, step, False)
        if step.seconds:
            await asyncio.sleep(step.seconds)
        if getattr(app, "has_quit", False):
            return


async def _drawn(app: DepthApp, seconds: float) -> None:
    """Wait for the planned frame: where a pane scrolls to depends on what was drawn before."""
    end = time.monotonic() + seconds
    while getattr(app.screen, "redraw_planned", False) and time.monotonic() < end:
        await asyncio.sleep(_BETWEEN_LOOKS)


async def _wait(app: DepthApp, step: SceneStep, number: int, watch: Watch) -> None:
    """Wait for a step's conditions."""
    start = busy = now = time.monotonic()
    while app.main is None or not _is_met(app, step):
        now = time.monotonic()
        if not _is_at_rest(app):
            busy = now
        if now > start + (step.within or _PATIENCE) or (not step.within and now > busy + _IDLE):
            missed = [str(value) for value in (step.words, step.screen, step.at) if value]
            raise DepthError(
                f"Line {number} waited {now - start:.3g} seconds for {', '.join(missed)}.",
                f"The explorer is {conditions(app).at}, at {conditions(app).screen}.",
            )
        watch(app, step, True)
        await asyncio.sleep(_BETWEEN_LOOKS)


def _is_at_rest(app: DepthApp) -> bool:
    """Whether only an input makes the explorer go on."""
    is_quiet = app.explorer.phase.value in _AT_REST
    return is_quiet and all(worker.is_finished for worker in app.workers)


def _is_met(app: DepthApp, step: SceneStep) -> bool:
    now = conditions(app)
    rests = _is_at_rest(app)
    is_there = now.at == step.at and now.layers >= step.layers
    is_at = is_there and rests if step.at in _AT_REST else is_there or rests
    is_seen = not step.words or step.words in screen_text(app)
    return (is_at or not step.at) and is_seen and step.screen in ("", now.screen)


async def _enter(app: DepthApp, pilot: Pilot[Any], step: SceneStep) -> None:
    """Send a step's inputs, each once the one before is handled."""
    if step.size is not None:
        await pilot.resize_terminal(*step.size)
    await pilot.press(*step.press.split(), *step.type)
    for message in (step.paste and events.Paste(step.paste), step.mouse and step.mouse.event()):
        if message:
            send(app, message)
            await pilot.pause()
