"""A running explorer on a scripted engine, and ways to look at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from unittest.mock import patch

import pytest
import textual.app
from textual import _wait
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet
from textual.events import Key
from textual.keys import _character_to_key
from textual.message_pump import MessagePump
from textual.pilot import Pilot, WaitForScreenTimeout
from textual.screen import Screen
from textual.widgets import Input, TextArea

from depthtui.data.run_settings import ModelSpec
from depthtui.settings import Settings
from depthtui.tui.app import DepthApp
from depthtui.tui.panes.status_line import StatusLine
from depthtui.tui.screens.live_screen import FRAME, LiveScreen
from depthtui.tui.screens.main_screen import MainScreen
from depthtui.tui.state.engine_connection import EngineConnection
from tests.builders.engines import FakeEngine

MOST_SECONDS = 60.0

SIZES = [
    pytest.param((80, 24), id="80x24"),
    pytest.param((120, 40), id="120x40", marks=pytest.mark.by_hand),
    pytest.param((200, 60), id="200x60"),
]
"""Windows that every screen is laid out in; that between the least and the largest by hand."""


_parse_rules, _parsed = Stylesheet._parse_rules, dict[object, list[RuleSet]]()


def _parse_once(self: Stylesheet, *sheet: object, **options: object) -> list[RuleSet]:
    """A sheet's rules, which hundreds of apps share: a fifth of the time that each takes."""
    key = sheet, tuple(options.items()), frozenset(self._variables.items())
    if key not in _parsed:
        _parsed[key] = _parse_rules(self, *sheet, **options)  # type: ignore[arg-type]
    return _parsed[key]


Stylesheet._parse_rules = _parse_once  # type: ignore[method-assign]

# Textual's own gives the `id` too, in Python: each rule is looked up for each widget's style.
RuleSet.__hash__ = object.__hash__  # type: ignore[method-assign]


def _is_busy(pump: MessagePump) -> bool:
    """Whether it handles a message, or has one to handle; otherwise it waits for the next."""
    queue = pump._message_queue
    return not (queue.empty() and queue.ready_event._waiters)


async def _wait_for_busy(self: Pilot[object], timeout: float = 30.0) -> bool:
    """Wait until the screen and its widgets have handled what each has to handle now.

    Textual sends a message to every one of them, of which most have nothing to handle.
    """
    app, done = self.app, asyncio.Event()
    pumps = [app, *app.screen.walk_children(with_self=True)] if app.screen_stack else []

    def end(pump: MessagePump) -> None:
        waited_for.remove(pump)
        if not waited_for:
            done.set()

    waited_for = [pump for pump in pumps if _is_busy(pump) and pump.call_later(end, pump)]
    if waited_for:
        ends = [asyncio.create_task(event.wait()) for event in (done, app._exception_event)]
        _, others = await asyncio.wait(ends, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
        if len(others) == len(ends):
            raise WaitForScreenTimeout
    return not waited_for


Pilot._wait_for_screen = _wait_for_busy  # type: ignore[method-assign]


async def _wait_for_idle(min_sleep: float = 0.0) -> None:
    """Wait until the process computes no more, looking often.

    Textual waits twice so behind each key, for a fiftieth of a second at least.
    """
    with patch.object(_wait, "SLEEP_GRANULARITY", 1 / 200):
        await _wait.wait_for_idle(min_sleep)


textual.app.wait_for_idle = _wait_for_idle


class Unforgiving(DepthApp):
    """Ends at the first error.

    Attributes:
        draws_every_frame: whether it draws as people's does, and not only where a test looks.
    """

    can_go_on = False  # type: ignore[assignment]
    draws_every_frame = False


class DrawnAtOnce(Unforgiving):
    """Draws every frame too: for tests of what is seen between two keys."""

    draws_every_frame = True


_draw_changes = Screen._compositor_refresh


def _draw_where_looked_at(self: Screen[object]) -> None:
    """Leave what has changed for the next look: frames that nobody sees are a third of a test."""
    if getattr(self.app, "draws_every_frame", True):
        _draw_changes(self)


Screen._compositor_refresh = _draw_where_looked_at  # type: ignore[method-assign]


class Explored:
    """An app under test.

    Attributes:
        app, pilot: Textual's.
        engines: every engine that was made, in order.
        folder: what it writes is there.
    """

    def __init__(
        self, app: DepthApp, pilot: Pilot[int], engines: list[EngineConnection], folder: Path
    ) -> None:
        self.app = app
        self.pilot = pilot
        self.engines = engines
        self.folder = folder

    @property
    def engine(self) -> FakeEngine:
        engine = self.engines[-1]
        assert isinstance(engine, FakeEngine)
        return engine

    @property
    def main(self) -> MainScreen:
        assert self.app.main is not None
        return self.app.main

    @property
    def session(self):  # type: ignore[no-untyped-def]
        return self.app.explorer.session

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Wait until a condition holds."""
        end = monotonic() + MOST_SECONDS
        while not condition():
            assert monotonic() < end, f"never came: {what or condition}"
            await self.pilot.pause(0.01)
        await self._drawn()

    async def _drawn(self) -> None:
        """Wait for the next frame of the screen, where one is planned."""
        screen = self.app.screen if self.app.screen_stack else None
        drawn_at = getattr(screen, "_drawn_at", 0.0)
        end = monotonic() + 10 * FRAME
        while getattr(screen, "redraw_planned", False) and monotonic() < end:
            if screen is not self.app.screen or screen._drawn_at != drawn_at:
                break
            await self.pilot.pause()

    async def ready(self) -> None:
        """Wait for a run that is over and drawn."""
        await self.until(
            lambda: self.status and self.status.state in ("ready", "stopped"), "a finished run"
        )
        await self.until(lambda: self.main.shown_result() is not None, "a result")

    @property
    def status(self):  # type: ignore[no-untyped-def]
        # A screen may be there before what it is made of.
        lines = self.main.query(StatusLine) if self.app.main else ()
        return lines.first().status if lines else None

    async def press(
        self, *keys: str, until: Callable[[], object] | type[Screen[object]] | str | None = None
    ) -> None:
        """Press keys; small letters in a field come at once, others one by one.

        Args:
            keys: the keys.
            until: what is waited for then: a condition, a kind of screen, or words on the screen.
        """
        is_typing = False
        for key in keys:
            is_letter = len(key) == 1 and not key.isupper()
            if is_letter and isinstance(self.app.focused, Input | TextArea):
                is_typing = True
                name = key if key.isalnum() else _character_to_key(key)
                assert self.app._driver is not None
                self.app._driver.send_message(Key(name, key))
            else:
                if is_typing:
                    await self.pilot.pause()
                is_typing = False
                await self.pilot.press(key)
        await self.pilot.pause()
        await self._drawn()
        if isinstance(until, str):
            await self.until(lambda: until in self.screen_text(), until)
        elif isinstance(until, type):
            await self.until(lambda: isinstance(self.app.screen, until), until.__name__)
        elif until is not None:
            await self.until(until)

    def draw(self) -> None:
        """Draw what has changed since the last look."""
        _draw_changes(self.app.screen)

    async def read(self, **choices: object) -> None:
        """Read depths by these choices, as the reading form would."""
        self.app.explorer.reading.keep(**choices)
        for screen in self.app.screen_stack:
            if isinstance(screen, LiveScreen):
                screen.redraw()
        await self.pilot.pause()

    async def resize(self, width: int, height: int) -> None:
        """Change the window's size."""
        await self.pilot.resize_terminal(width, height)
        await self._drawn()

    def screen_text(self) -> str:
        """What is on the screen, line by line."""
        screen = self.app.screen
        return "\n".join(strip.text for strip in screen._compositor.render_strips())

    def toasts(self) -> list[str]:
        return [notification.message for notification in self.app._notifications]


@asynccontextmanager
async def explore(
    tmp_path: Path,
    make_engine: Callable[[], EngineConnection] = FakeEngine,
    size: tuple[int, int] = (120, 40),
    settings: Settings | None = None,
    spec: ModelSpec | None = None,
    wait: bool = True,
    kind: type[DepthApp] = Unforgiving,
    welcomes: bool = False,
    trusted: Sequence[ModelSpec] = (),
    automatic_seconds: float = 0.0,
    engine_command: str = "",
    continues: bool = False,
) -> AsyncIterator[Explored]:
    """Run the explorer without a terminal; by default until the first run is done.

    An error ends it, and with it the test; `kind=DepthApp` goes on as people's does. Nothing
    begins by itself behind a run, where no seconds are given for it. With a command, the engine is
    that process.
    """
    engines: list[EngineConnection] = []

    def make() -> EngineConnection:
        engines.append(make_engine())
        return engines[-1]

    app = kind(
        spec or ModelSpec(),
        settings or Settings(export_dir=tmp_path / "exports", cache_dir=tmp_path / "cache"),
        None if engine_command else make,
        tmp_path / "settings.toml",
        welcomes,
        trusted=trusted,
        engine_command=engine_command,
    )
    app.explorer.automatic.most_seconds = automatic_seconds
    app.continues = lambda shown: continues
    async with app.run_test(size=size, notifications=True) as pilot:
        explored = Explored(app, pilot, engines, tmp_path)
        await explored.until(lambda: app.main is not None, "the main screen")
        if wait:
            await explored.ready()
            explored.draw()
        yield explored
        explored.draw()
