"""The footer: the keys that work now."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Footer


class KeyFooter(Footer):
    """A footer that is made anew only where it shows other keys.

    Textual tells a footer of each change of focus and of each screen that opens.
    """

    _composed: list[tuple[Binding, bool, str]] | None = None

    def __init__(self) -> None:
        super().__init__(compact=True, show_command_palette=False)

    def compose(self) -> ComposeResult:
        self._composed = None
        for child in super().compose():
            self._composed = self._composed or _shown(self.screen)
            yield child

    def bindings_changed(self, screen: Screen[object]) -> None:
        if self._composed != _shown(screen):
            super().bindings_changed(screen)


def _shown(screen: Screen[object]) -> list[tuple[Binding, bool, str]]:
    return [
        (binding, enabled, tooltip)
        for _, binding, enabled, tooltip in screen.active_bindings.values()
        if binding.show
    ]
