"""The user's own commands: run with values from the screen, one at a time, and shown."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from depthtui.data.own_commands import OwnCommand
from depthtui.errors import DepthError
from depthtui.files import scratch, system_reason
from depthtui.tui.explorer_app import ExplorerApp
from depthtui.tui.messages import OwnCommandEnded
from depthtui.tui.state.toast import Toast

if TYPE_CHECKING:
    from depthtui.tui.own_process import OwnProcess
    from depthtui.tui.state.own_values import Pointed

_PATIENCE = 0.15
"""Seconds in which a command may end without a word: then a toast is enough."""


class OwnCommands:
    """Runs the user's own commands.

    Args:
        app: shows what they print.
    """

    def __init__(self, app: ExplorerApp) -> None:
        self._app = app
        self._process: OwnProcess | None = None
        self._shown: OwnProcess | None = None
        self._files = ExitStack()

    def run(self, command: OwnCommand) -> None:
        """Run a command, or show it where it runs already; report why neither is possible."""
        try:
            self._check(command)
            if self._process is None:
                self._start(command)
            else:
                self._show(self._process)
        except DepthError as error:
            self._app.show_toast(Toast(str(error), "warning", command.title))

    def _check(self, command: OwnCommand) -> None:
        """Check that a command may run.

        Raises:
            DepthError: it may not.
        """
        if self._app.is_web and not command.in_browser:
            raise DepthError(
                "Your own commands run in a terminal, and this is a page.",
                "in_browser = true in the settings file lets this one run here, too.",
            )
        if self._process is not None and self._process.command is not command:
            running = self._process.command.title
            raise DepthError(f"“{running}” is running.", "Its key shows it, and x stops it there.")

    def _start(self, command: OwnCommand) -> None:
        """Start a command with values from the screen.

        Raises:
            DepthError: a value is missing, or it cannot be started.
        """
        from depthtui.tui.own_process import OwnProcess
        from depthtui.tui.state.own_values import values_of

        with ExitStack() as files:
            try:
                folder = files.enter_context(scratch(Path(tempfile.gettempdir())))
                values = values_of(command, self._pointed(), self._app.explorer, folder)
                process = OwnProcess(command, values)
                process.start(lambda: self._app.post_message(OwnCommandEnded()))
            except (OSError, ValueError) as error:
                raise DepthError(f"It cannot be started ({system_reason(error)}).") from None
            self._files = files.pop_all()
        self._process = process
        self._app.explorer.own_command = command.title
        self._app.set_timer(_PATIENCE, partial(self._show_later, process))

    def _pointed(self) -> Pointed | None:
        """The place under the cursor; None where no run is."""
        from depthtui.tui.screens.pane_screen import PaneScreen

        screen = self._app.screen
        return screen.pointed() if isinstance(screen, PaneScreen) else None

    # Showing ------------------------------------------------------------------

    def _show(self, process: OwnProcess) -> None:
        from depthtui.tui.screens.dialogs.command_output import CommandOutput

        self._shown = process
        self._app.push_screen(CommandOutput(process))

    def _show_later(self, process: OwnProcess) -> None:
        """Show a command that has not ended soon."""
        if process is self._process and process is not self._shown and not self._has_dialog:
            self._show(process)

    @property
    def _has_dialog(self) -> bool:
        """Whether a dialog is open, which nothing may cover."""
        return self._app.screen.is_modal

    def ended(self) -> None:
        """Show how the command has ended: in a dialog, or in a toast where that is enough."""
        process, self._process = self._process, None
        self._files.close()
        self._app.explorer.own_command = ""
        if process is None:
            return
        if process is self._shown or self._has_dialog or process.was_silent:
            self._report(process)
        else:
            self._show(process)

    def _report(self, process: OwnProcess) -> None:
        """Report how a command has ended, unless its dialog shows it."""
        from depthtui.tui.screens.dialogs.command_output import CommandOutput

        screen = self._app.screen
        if not (isinstance(screen, CommandOutput) and screen.process is process):
            title, words = process.command.title, process.end_words
            failed, ended = Toast(words, "warning", title), Toast(words, title=title)
            self._app.show_toast(failed if process.has_failed else ended)

    def end(self) -> None:
        """End the command that is running, and its process group."""
        if self._process is not None:
            self._process.kill()
        self._files.close()
