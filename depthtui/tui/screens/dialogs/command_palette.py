"""The command palette: everything that a key does here, searched by words."""

from __future__ import annotations

from functools import partial

from textual.command import DiscoveryHit, Hit, Hits, Provider

from depthtui.tui.explorer_app import ExplorerApp
from depthtui.tui.screens.dialogs.help_screen import commands_on, run_command


class KeyCommands(Provider):
    """Offers the commands of the keys that work on the screen below the palette."""

    async def startup(self) -> None:
        assert isinstance(self.app, ExplorerApp)
        self._commands = commands_on(self.screen, self.app.keys)

    async def discover(self) -> Hits:
        for command in self._commands:
            yield DiscoveryHit(
                command.words, partial(run_command, self.app, command), help=command.keys
            )

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for command in self._commands:
            score = matcher.match(command.words)
            if score > 0:
                yield Hit(
                    score,
                    matcher.highlight(command.words),
                    partial(run_command, self.app, command),
                    help=command.keys,
                )
