"""The command palette: everything that a key does here, found by its words."""

from __future__ import annotations

from functools import partial

from textual.command import DiscoveryHit, Hit, Hits, Provider

from depthtui.tui.screens.dialogs.help_screen import deeds_on, perform


class KeyCommands(Provider):
    """Offers the deeds of the keys that work on the screen below the palette."""

    async def startup(self) -> None:
        self._deeds = deeds_on(self.screen)

    async def discover(self) -> Hits:
        for deed in self._deeds:
            yield DiscoveryHit(deed.what, partial(perform, self.app, deed), help=deed.keys)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for deed in self._deeds:
            score = matcher.match(deed.what)
            if score > 0:
                yield Hit(
                    score,
                    matcher.highlight(deed.what),
                    partial(perform, self.app, deed),
                    help=deed.keys,
                )
