"""The explorer: wires the engine's events, the explorer's state and the screens together."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shlex
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from textual import events, on
from textual.actions import ActionParseResult
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.driver import Driver
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Static

from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError, named_line
from depthtui.log import log_bug, log_failure
from depthtui.plugins import PluginFailure, plugin_failures, report_failures_to
from depthtui.settings import Settings, change_settings
from depthtui.tui import textual_patches
from depthtui.tui.applied_settings import AppliedSettings
from depthtui.tui.commands import everywhere
from depthtui.tui.commands.command import bindings_of
from depthtui.tui.commands.own import commands_of
from depthtui.tui.messages import EngineDied, EngineEvent, HangUp, OwnCommandEnded, PasteLimited
from depthtui.tui.navigation import Navigation
from depthtui.tui.own_commands import OwnCommands
from depthtui.tui.signals import end_for_certain, ending_signals
from depthtui.tui.state.toast import Toast
from depthtui.tui.textual_patches.names import bind
from depthtui.tui.textual_patches.versions import ARE_ON
from depthtui.tui.themes import THEMES

if TYPE_CHECKING:
    from depthtui.data.run import Prompt
    from depthtui.tui.scene import Recorder
    from depthtui.tui.screens.main_screen import MainScreen
    from depthtui.tui.state.engine_connection import EngineConnection
    from depthtui.tui.state.explorer import Explorer
    from depthtui.tui.state.long_work import LongWork
    from depthtui.tui.state.phase import Problem
    from depthtui.tui.state.status import Status

# The first frame does not wait for imports inside functions: NumPy, the screens and the explorer's
# state are imported after it, dialogs when they are opened.

SAVE_SECONDS = 5.0
"""Seconds between two looks at whether the session has changed: a process may be killed."""

MOST_MISHAPS = 100
"""Most errors without a key or mouse event in between; more of them are a loop."""

_CONNECTIONS = ("TMUX", "SSH_CONNECTION")
"""Variables of what is between the explorer and the terminal, and may not pass COLORTERM on."""

textual_patches.install()


@runtime_checkable
class Live(Protocol):
    """A screen that shows the engine's work."""

    def changed(self) -> None:
        """Something changed: redraw soon."""


class DepthApp(Navigation):
    """The explorer.

    Args:
        spec: the model to open with.
        settings: the user's settings.
        make_engine: makes an engine; the tests bring a scripted one.
        settings_file: the settings file; None for the user's own.
        welcomes: whether it opens with a welcome, unless there is a last session.
        given_options: the settings that the command line names.
        trusted: the models whose own Python code the command line lets run.
        engine_command: the command that reaches an engine elsewhere; empty for one on this machine.

    Attributes:
        recorder: writes what the terminal sends, or None.
        continues: returns whether it opens on the last session, given the model of the run there.
        asks_for_prompt: whether it opens with the question for a prompt.
    """

    TITLE = "depthtui"
    CSS_PATH = Path(__file__).with_name("dialogs.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings_of(everywhere.COMMANDS),
        Binding("ctrl+c", "quit", "quit", show=False, system=True),
    ]

    def __init__(
        self,
        spec: ModelSpec,
        settings: Settings,
        make_engine: Callable[[], EngineConnection] | None = None,
        settings_file: Path | None = None,
        welcomes: bool = False,
        given_options: Mapping[str, Any] | None = None,
        trusted: Iterable[ModelSpec] = (),
        engine_command: str = "",
    ) -> None:
        if not os.environ.get("NO_COLOR"):
            # no-color.org: an empty variable is none; Textual obeys it.
            os.environ.pop("NO_COLOR", None)
        super().__init__(_driver_class())
        self.settings = AppliedSettings(self, settings, settings_file)
        self._own = OwnCommands(self)
        self._commands = [*everywhere.COMMANDS, *commands_of(settings.commands)]
        bind(self, bindings_of(commands_of(settings.commands)))
        self._welcomes = welcomes
        self._shown_problem: Problem | None = None
        self._mishaps: Counter[str] = Counter()
        self._plugin_warnings: list[str] = []
        self._has_warned_of_session = False
        self._long_work: LongWork | None = None
        self._last_resort: threading.Timer | None = None
        self.main: MainScreen | None = None
        self.recorder: Recorder | None = None
        self.continues: Callable[[ModelSpec], bool] = lambda spec: False
        self.asks_for_prompt = False
        self._simulated: list[events.Key] = []
        self._make_engine = make_engine or self._engine_process
        self._spec, self._engine_command = spec, engine_command
        self._trusted, self._given_options = trusted, given_options

    @cached_property
    def explorer(self) -> Explorer:
        """The explorer's state; it imports NumPy, for which the first frame does not wait."""
        from depthtui.tui.state.explorer import Explorer

        opened = self._spec, self.settings.shown, self
        return Explorer(*opened, self._given_options, self._trusted, self._engine_command)

    # Starting and ending ----------------------------------------------------

    def compose(self) -> ComposeResult:
        yield Static("depthtui", id="first-frame")

    def on_mount(self) -> None:
        for theme in THEMES:
            self.register_theme(theme)
        self.show_theme(self.settings.shown.theme)
        report_failures_to(self._warn_of_plugin)
        for failure in plugin_failures():
            self._warn_of_plugin(failure)
        self.call_after_refresh(self._open)

    def _warn_of_plugin(self, failure: PluginFailure) -> None:
        """Show why a plug-in is left out; called in any thread."""
        self._plugin_warnings.append(log_failure(failure))
        if len(self._plugin_warnings) == 1:
            self.call_later(self._warn_of_plugins)

    def _warn_of_plugins(self) -> None:
        """Show the first of the plug-ins that were left out by now, and the number of others."""
        first, *others = self._plugin_warnings
        self._plugin_warnings.clear()
        more = f" So are {len(others)} more: see `depthtui doctor`." if others else ""
        self.warn(f"{first}{more}")

    def _open(self) -> None:
        from depthtui.tui.draw.styles import has_few_colours
        from depthtui.tui.screens.main_screen import MainScreen

        self.settings.remap_keys()
        self.set_class(has_few_colours(self), "-few-colours")
        self.main = MainScreen(self.explorer)
        self.push_screen(self.main)
        self.call_after_refresh(self._start_explorer, self.main)

    def _start_explorer(self, main: MainScreen) -> None:
        from depthtui.tui.state.long_work import LongWork
        from depthtui.tui.state.saved_paces import paces_path, saved_paces

        if not gc.isenabled():
            # Objects that exist now stay: collections need not traverse them, key by key.
            gc.freeze()
            gc.enable()
        if self.explorer.settings.use_cache:
            self.explorer.sessions.offered = self.explorer.sessions.folder.latest()
            self.explorer.engine.paces = saved_paces(paces_path(self.explorer.cache_dir))
        if self._welcomes and self.explorer.sessions.offered is None:
            self.action_welcome()
        shipped = ModelSpec()
        is_shipped = self._spec.name == shipped.name and self.continues(shipped)
        if self.explorer.sessions.offered is None and is_shipped:
            self.explorer.sessions.offer_shipped()
        self._hint_at_colours()
        self._check_room(self.size)
        last = self.explorer.sessions.offered
        if last is not None and self.continues(last.shown.model.spec):
            main.open_session(last)
        self._long_work = LongWork.of(os.environ)
        if self._long_work is not None:
            self.write_to_terminal(self._long_work.begin)
        self.explorer.engine.start()
        self.show_changes()
        main.set_interval(SAVE_SECONDS, self.save_session)
        if self.asks_for_prompt and self.screen is main:
            main.action_command("prompt")

    def save_session(self) -> bool:
        """Write the session into its file.

        False where the session cannot be written.
        """
        if self.main is None or not self.explorer.sessions.is_on:
            return True
        try:
            self.explorer.sessions.save(self.main.look)
        except DepthError as error:
            if not self._has_warned_of_session:
                self._has_warned_of_session = True
                self.warn(f"The session is not saved. {error}")
            return False
        return True

    def _save_paces(self) -> None:
        """Write the paces of models to disk, for the next start's estimates."""
        from depthtui.tui.state.saved_paces import paces_path, save_paces

        if self.explorer.engine.paces:
            save_paces(paces_path(self.explorer.cache_dir), self.explorer.engine.paces)

    def start_engine(self) -> EngineConnection:
        """Create an engine that posts its messages to this app."""
        engine = self._make_engine()
        engine.start(self.post_message)
        return engine

    def _engine_process(self) -> EngineConnection:
        from depthtui.tui.engine_client import EngineClient, engine_over

        local_command = engine_over(self._spec.tensor_parallel)
        return EngineClient(shlex.split(self._engine_command) or local_command)

    async def run_async(self, **options: Any) -> int | None:
        """Run the app, but let a signal that ends the process restore the terminal first."""
        if threading.current_thread() is threading.main_thread():
            self._handle_signals()
        return await super().run_async(**options)

    def _handle_signals(self) -> None:
        """End the app by a signal, before Textual changes the terminal, which catches none."""
        loop = asyncio.get_running_loop()
        for number in ending_signals():
            loop.add_signal_handler(number, self._signalled, number)
            # The loop waits for the end of the current work, which may take long; this does not.
            signal.signal(number, self._end_for_certain)

    def _end_for_certain(self, number: int, *_: object) -> None:
        """End soon, even if the app is busy or its terminal no longer reads; saves no session."""
        self._cancel_last_resort()
        self._last_resort = end_for_certain(number, self._give_everything_back)

    def _cancel_last_resort(self) -> None:
        if self._last_resort is not None:
            self._last_resort.cancel()

    def _give_everything_back(self) -> None:
        with contextlib.suppress(Exception):
            self.give_back_terminal()
        self._close_explorer()

    def _signalled(self, number: int) -> None:
        # The app is not too busy after all, and a session may need longer than the last resort.
        self._cancel_last_resort()
        # Interrupted code may not have a session that can be written.
        with contextlib.suppress(Exception):
            self.save_session()
        self._close_explorer()
        self._end_for_certain(number)
        self.exit(128 + number, return_code=128 + number)

    @on(HangUp)
    def _hung_up(self) -> None:
        self._signalled(signal.SIGHUP)

    async def action_quit(self) -> None:
        from depthtui.tui.screens.dialogs.ask import Ask, confirm
        from depthtui.tui.screens.dialogs.dialog import Dialog

        quit_or_ask = partial(self.action_command, "quit")
        if isinstance(self.screen, Ask):
            self.quit()
        elif any(isinstance(each, Dialog) and each.has_typed for each in self.screen_stack):
            confirm(self, "Quit without what you typed?", "quits", quit_or_ask)
        else:
            quit_or_ask()

    def action_command(self, name: str) -> None:
        """Run a command of the app; ask first where it would lose work."""
        from depthtui.tui.screens.dialogs.ask import ask_first

        (command,) = (candidate for candidate in self._commands if candidate.name == name)
        lost = command.ends(self.explorer)
        ask_first(self, lost, name, command.does, partial(command.run, self))

    def quit(self) -> None:
        """Write the session, end the engine and leave."""
        self.save_session()
        self._close_explorer()
        self.exit(0)

    def _close_explorer(self) -> None:
        """End the engine; an app that ends with the first frame has none."""
        self._own.end()
        if self._long_work is not None:
            self.write_to_terminal(self._long_work.end)
            self._long_work = None
        if self.main is not None:
            self.explorer.close()
            self.explorer.sessions.end()

    def on_unmount(self) -> None:
        self._close_explorer()

    # When something goes wrong -----------------------------------------------

    @property
    def can_go_on(self) -> bool:
        """Whether a screen is left to continue with, and the errors are no loop."""
        is_open = self.main is not None and self.main.is_mounted
        return is_open and self._mishaps.total() <= MOST_MISHAPS

    def handle_error(self, error: Exception) -> None:
        """Report an error and continue; where that is impossible, end the app."""
        name = f"{type(error).__name__}: {error}"
        self._mishaps[name] += 1
        if not self.can_go_on:
            self.end_with(error)
        elif self._mishaps[name] == 1:
            self.show_toast(Toast(log_bug(error), "error", "This did not work"))

    def end_with(self, error: Exception) -> None:
        """End the app; `main` raises the error again once the terminal is restored."""
        # An app that cannot continue may not have a session that can be written.
        with contextlib.suppress(Exception):
            self.save_session()
        self._close_explorer()
        super().end_with(error)

    # The terminal -----------------------------------------------------------

    @on(Driver.SignalResume)
    def _resumed(self) -> None:
        self.action_redraw()

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.InputEvent):
            self._mishaps.clear()
        self._record(event)
        if isinstance(event, events.Paste) and not event.is_forwarded:
            self._prepare(event)
        await super().on_event(event)

    def _record(self, event: events.Event) -> None:
        """Record what the terminal has sent, before anything is cut or handled."""
        is_shown = self.main is not None or isinstance(event, events.Resize)
        if event in self._simulated:
            self._simulated.remove(event)
        elif self.recorder is not None and is_shown and not event.is_forwarded:
            try:
                self.recorder.take(event, self)
            except DepthError as error:
                self.recorder = None
                self.warn(str(error))

    def simulate_key(self, key: str) -> None:
        """Press the key that a click stands for; a scene has the click alone."""
        event = events.Key(key, None)
        self._simulated.append(event)
        self.post_message(event)

    def _prepare(self, paste: events.Paste) -> None:
        """Cut a paste to the room of the focused field."""
        from depthtui.tui.pastes import TypedInto, cut_to_field

        if isinstance(self.screen, TypedInto):
            self.screen.focus_field()
        self.warn(cut_to_field(paste, self.focused))

    @on(PasteLimited)
    def _paste_limited(self, message: PasteLimited) -> None:
        self.warn(message.words)

    @property
    def clipboard(self) -> str:
        """The copied text without all that the focused field refuses: it may be a hostile token."""
        from depthtui.tui.pastes import fits_into

        return fits_into(self.focused, super().clipboard)

    def on_resize(self, event: events.Resize) -> None:
        # A terminal moves and drops lines, and may have its old size again by the time it is asked.
        self.shown_cells.forget()
        self.screen.refresh()
        self._check_room(event.size)

    def _check_room(self, size: Size) -> None:
        """Cover the screen where the window is too small for any pane."""
        if self.main is None:
            return
        from depthtui.tui.screens.dialogs.small_window import SmallWindow, is_too_small

        is_said = any(isinstance(screen, SmallWindow) for screen in self.screen_stack)
        if is_too_small(size) and not is_said:
            self.push_screen(SmallWindow())

    def action_redraw(self) -> None:
        """Draw everything afresh, whatever another program has written to the terminal."""
        self.shown_cells.forget()
        self.show_changes()
        for widget in self.screen.walk_children(Widget, with_self=True):
            widget.refresh(layout=True)

    # Events -----------------------------------------------------------------

    @on(EngineEvent)
    def _on_engine_event(self, message: EngineEvent) -> None:
        try:
            if not message.engine.killed:
                self._handle(message)
        finally:
            message.was_handled()

    def _handle(self, message: EngineEvent) -> None:
        """Handle an event, and show what it changed."""
        from depthtui.data.protocol import Progress, RunFinished

        if not self._could_handle(message):
            return
        if self.main is not None and isinstance(message.event, Progress):
            self.main.advance(message.event)
        if isinstance(message.event, RunFinished):
            self.save_session()
            self._save_paces()
        self.show_changes()

    def _could_handle(self, message: EngineEvent) -> bool:
        """Handle an event; end an engine elsewhere that sends an event that cannot be handled."""
        from depthtui.tui.state.engine_connection import EngineDeath

        try:
            self.explorer.handle(message.event)
        except Exception as error:
            if not self._engine_command:
                raise
            log_bug(error)
            message.engine.kill()
            problem = f"It sent an unusable message ({named_line(error)})."
            self.explorer.engine_died(EngineDeath(-signal.SIGKILL, "", "", problem))
            self.show_changes()
            return False
        return True

    @on(EngineDied)
    def _engine_died(self, message: EngineDied) -> None:
        if message.engine.killed:
            return
        self.explorer.engine_died(message.death)
        self.show_changes()

    def show_changes(self) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, Live):
                screen.changed()
        problem = self.explorer.engine.problem
        if (
            problem is not None
            and problem is not self._shown_problem
            and self.screen is not self.main
        ):
            # The main screen has a place for the problem, other screens have none.
            self.show_toast(Toast(f"{problem.message} {problem.hint}".strip(), "error"))
        self._shown_problem = problem

    def show_long_work(self, status: Status) -> None:
        if self._long_work is not None:
            notify = self.explorer.settings.notify
            self.write_to_terminal(self._long_work.follow(status, time.monotonic(), notify))

    def first_prompt(self) -> Prompt:
        """The prompt that runs before one is chosen."""
        from depthtui.tui.state.task_prompts import first_prompt

        return first_prompt()

    # The user's own commands --------------------------------------------------

    def run_own_command(self, name: str) -> None:
        """Run a command of the settings file."""
        if self.main is not None:
            self._own.run(self.explorer.settings.commands[name])

    @on(OwnCommandEnded)
    def _own_command_ended(self) -> None:
        self._own.ended()

    # Settings ---------------------------------------------------------------

    def action_welcome(self) -> None:
        """Open the welcome; once it was read, the explorer no longer opens with it."""

        self.show_welcome(partial(self._turn_off, "welcome"))

    def _hint_at_colours(self) -> None:
        """Name the way to more colours once, where a connection may have lost them."""
        from depthtui.ramps import FEW_COLOURS, MORE_COLOURS

        is_wanted = self.explorer.settings.colours_hint and not self.no_color
        is_remote = any(name in os.environ for name in _CONNECTIONS)
        if is_wanted and is_remote and self.has_class("-few-colours"):
            self.show_toast(Toast(f"{FEW_COLOURS} {MORE_COLOURS}."))
            self._turn_off("colours_hint")

    def _turn_off(self, name: str) -> None:
        """Turn off one of `SHOWN_ONCE`; where that cannot be written, the next start shows it."""
        self.explorer.change_session(**{name: False})
        with contextlib.suppress(DepthError):
            change_settings({name: False}, self.settings.file)

    def save_settings(self, changes: dict[str, Any]) -> None:
        self.settings.save(changes)

    def show_settings(self, tab: str = "settings") -> None:
        """Show the settings, the keys or the looks."""
        self.settings.show(tab)

    # Keys -------------------------------------------------------------------

    async def run_action(
        self,
        action: str | ActionParseResult,
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """Run a key's action, and let the screen explain it where it does nothing."""
        screen = self.screen
        done = await super().run_action(action, default_namespace, namespaces)
        if self.main is not None and isinstance(action, str):
            from depthtui.tui.screens.command_screen import CommandScreen

            if isinstance(screen, CommandScreen):
                screen.key_tried(action, done)
        return done

    def action_command_palette(self) -> None:
        """List the keys, which ctrl+p does in dialogs too, instead of Textual's palette."""
        from depthtui.tui.screens.dialogs.help_screen import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.show_help()


def _driver_class() -> type[Driver] | None:
    if sys.platform == "win32" or "TEXTUAL_DRIVER" in os.environ or not ARE_ON:
        # Textual's own, or its driver for a browser, where the explorer is served.
        return None
    from depthtui.tui.textual_patches.driver import TolerantDriver

    return TolerantDriver


def main(
    spec: ModelSpec,
    settings: Settings,
    given_options: Mapping[str, Any] | None = None,
    trusted: Iterable[ModelSpec] = (),
    engine_command: str = "",
    recorder: Recorder | None = None,
    continues: Callable[[ModelSpec], bool] = lambda spec: False,
    asks_for_prompt: bool = False,
) -> int:
    """Open the explorer in this terminal; returns the exit status.

    Args:
        spec, settings, given_options, trusted, engine_command: those of `DepthApp`.
        recorder: writes what the terminal sends; None for no scene.
        continues, asks_for_prompt: attributes of `DepthApp`.

    Raises:
        Exception: the error that ended the app unexpectedly, after the terminal is restored.
    """
    app = DepthApp(
        spec,
        settings,
        welcomes=settings.welcome and recorder is None,
        given_options=given_options,
        trusted=trusted,
        engine_command=engine_command,
    )
    app.recorder = recorder
    app.continues, app.asks_for_prompt = continues, asks_for_prompt
    try:
        status = app.run()
    finally:
        if app.recorder is not None:
            app.recorder.end()
    # Python's last collections would traverse every object: a third of a second for nothing.
    gc.freeze()
    if app.error is not None:
        raise app.error
    return status or 0
