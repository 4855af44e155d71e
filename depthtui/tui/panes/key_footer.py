"""The footer: the keys that work now."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer

from depthtui.tui.textual_patches.names import footer_words

_SETTLED = 0.2
"""Seconds after which the layout of a resized window is done."""

_LAST = 2
"""Help and quit, which are last and shown at any width."""


class KeyFooter(Footer):
    """A footer that is composed again only when its keys change.

    Textual notifies a footer of each change of focus and of each new screen. Keys without room are
    left out whole.
    """

    _composed: list[tuple[Binding, bool, str]] | None = None

    def __init__(self) -> None:
        super().__init__(compact=True, show_command_palette=False)

    def compose(self) -> ComposeResult:
        children = list(super().compose())
        self._composed = _footer_bindings(self.screen) if children else None
        _fit(children, self.app.size.width)
        yield from children

    def on_resize(self) -> None:
        """Show the keys that fit, once the window keeps its size.

        Done at once, a second layout within the first left screens at their former size.
        """
        self.set_timer(_SETTLED, lambda: _fit(self.children, self.app.size.width))

    def bindings_changed(self, screen: Screen[object]) -> None:
        if self._composed != _footer_bindings(screen):
            super().bindings_changed(screen)


def _footer_bindings(screen: Screen[object]) -> list[tuple[Binding, bool, str]]:
    return [
        (binding, enabled, tooltip)
        for _, binding, enabled, tooltip in screen.active_bindings.values()
        if binding.show
    ]


def _fit(children: Sequence[Widget], width: int) -> None:
    """Show the keys that fit into a width in cells, the last ones always."""
    sizes = [cell_len(footer_words(child)) for child in children]
    # A cell separates two keys.
    room = width + 1 - sum(size + 1 for size in sizes[-_LAST:])
    for child, size in zip(children[:-_LAST], sizes[:-_LAST], strict=True):
        room -= size + 1
        child.display = room >= 0
