"""The base of screens whose keys are commands: they are offered, counted and explained here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

from textual import getters
from textual.actions import parse
from textual.geometry import Offset

from depthtui.data.model import ModelInfo
from depthtui.tui.commands.command import Command
from depthtui.tui.explorer_app import ExplorerApp
from depthtui.tui.panes.pane import Cursor
from depthtui.tui.panes.status_line import StatusLine
from depthtui.tui.screens.dialogs.ask import ask_first
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.phase import WHY_BUSY, Phase
from depthtui.tui.state.toast import Toast
from depthtui.tui.textual_patches.screens import Screen

LONGEST_COUNT = 99_999


class CommandScreen(Screen[Cursor]):
    """A screen whose keys run commands; as in vi, a count before a key is for that key alone.

    Args:
        explorer: runs things.

    Attributes:
        commands: the commands of the keys, by name.
    """

    KEYS: ClassVar[Sequence[Command]] = ()
    """The commands of the screen; of several on one key, the first that works is run."""

    app = getters.app(ExplorerApp)

    def __init__(self, explorer: Explorer) -> None:
        super().__init__()
        self.explorer = explorer
        self.commands = {command.name: command for command in self.KEYS}
        self._count = 0
        self._refused: list[str] = []
        self._working: frozenset[str] = frozenset()

    # Commands ---------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether a key works now; the footer shows only keys that do."""
        return action != "command" or self.works(str(parameters[0]))

    def works(self, name: str) -> bool:
        """Whether a command has something to do now, and can do it."""
        return self.commands[name].works(self)

    def why_busy(self) -> str:
        """The reason why nothing can be run now; empty where something can."""
        if self.explorer.can_run:
            return ""
        # An engine that is not busy lacks a model.
        return WHY_BUSY.get(self.explorer.phase, WHY_BUSY[Phase.NO_MODEL])

    def action_command(self, name: str) -> None:
        """Run a command; ask first where it would lose work."""
        command = self.commands[name]
        effect = partial(command.run, self)
        if command.model == "none":
            self.act(name, effect)
        else:
            effect()

    def act(self, name: str, effect: Callable[[], object]) -> None:
        """Act for a command; ask first where that would lose work."""
        command = self.commands[name]
        ask_first(self.app, command.ends(self.explorer), name, command.does, effect)

    def refresh_keys(self) -> None:
        """Update the footer where the commands that work have changed."""
        # A screen that is being removed has lost its panes; `display` is then False.
        if not self.display:
            return
        working = frozenset(
            name
            for name, command in self.commands.items()
            if command.in_footer and command.works(self)
        )
        if working != self._working:
            self._working = working
            self.refresh_bindings()

    def offer_commands(self, place: Offset) -> None:
        """Open the menu of the commands for the thing under the pointer."""
        from depthtui.tui.screens.dialogs.command_menu import CommandMenu

        def chosen(name: str | None) -> None:
            if name is not None and self.works(name):
                self.action_command(name)

        offered = [
            command
            for command in self.commands.values()
            if command.at_cursor and command.works(self)
        ]
        self.app.push_screen(CommandMenu(offered, self.app.keys, place), chosen)

    # Keys -------------------------------------------------------------------

    def key_tried(self, action: str, works: bool) -> None:
        """Forget the count after a key that works, or explain a key that does not.

        Args:
            action: the action of one of the key's bindings.
            works: whether the action was run.
        """
        _, method, arguments = parse(action)
        if works:
            self._refused.clear()
            if method != "count" and arguments != ("first_token",):
                self.forget_count()
        elif method == "command":
            self._refused.append(str(arguments[0]))
            if len(self._refused) == 1:
                # The key's other bindings are checked before.
                self.app.call_next(self._show_why_not)

    def _show_why_not(self) -> None:
        reasons = {name: self.commands[name].reason(self) for name in self._refused}
        self._refused.clear()
        name = next(filter(reasons.get, reasons), "")
        if name and not self.waits_for_model(name):
            self.app.show_toast(Toast(reasons[name]))

    def waits_for_model(self, name: str) -> bool:
        """Run a command once the model is open, where its screen shows a run until then.

        False where no model is being opened, or the command needs none.
        """
        command, engine = self.commands[name], self.explorer.engine
        has_run = self.explorer.session.current is not None
        if command.model == "none" or not engine.is_loading or not has_run:
            return False

        def loaded(model: ModelInfo) -> None:
            if self.app.screen is self and self.works(name):
                self.action_command(name)

        engine.follow_with(loaded)
        label = command.label or command.words.lower()
        self.app.show_toast(Toast(f"The model is being opened: {label} begins when it is there."))
        return True

    def pop_count(self, otherwise: int = 1) -> int:
        """Return the typed count, which is for one command alone."""
        count = self._count
        self._set_count(0)
        return count or otherwise

    def forget_count(self) -> None:
        """Drop a count that the last key did not use."""
        self._set_count(0)

    def _set_count(self, count: int) -> None:
        """Keep a count for the next key, and show it until then."""
        if count != self._count:
            self._count = count
            for line in self.query(StatusLine):
                line.show_count(count)

    def action_count(self, digit: int) -> None:
        """Add a digit to the count of the next command."""
        self._set_count(min(self._count * 10 + digit, LONGEST_COUNT))
