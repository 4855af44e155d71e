"""How the explorer looks: its theme, tried on the screen behind the list."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from textual import on
from textual.app import ComposeResult
from textual.content import Content
from textual.theme import Theme
from textual.timer import Timer
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from depthtui.tui.screens.dialogs.dialog import MUTED, ListDialog
from depthtui.tui.themes import THEMES

RESTS = 0.08
"""Seconds that the cursor is on a theme before it is shown: every style is worked out anew."""


class LooksPicker(ListDialog[str]):
    """Choose a theme; dismissed with its name.

    Args:
        current: the name of the theme that is shown.
        themes: those that there are.
        preview: shows a theme.
    """

    heading = "Theme"
    hint = "enter keeps · esc restores"

    def __init__(
        self, current: str, themes: Iterable[Theme], preview: Callable[[str], None]
    ) -> None:
        super().__init__(classes="small")
        self._current = current
        self._themes = _own_first(themes)
        self._preview = preview
        self._waiting: Timer | None = None

    def body(self) -> ComposeResult:
        yield OptionList(*map(_option, self._themes), compact=True)

    def on_mount(self) -> None:
        self.start_at([theme.name for theme in self._themes].index(self._current))

    @on(OptionList.OptionHighlighted)
    def _try(self, event: OptionList.OptionHighlighted) -> None:
        if self._waiting is not None:
            self._waiting.stop()
        name = self._themes[event.option_index].name
        self._waiting = self.set_timer(RESTS, lambda: self._show(name))

    def _show(self, name: str) -> None:
        """Preview a theme, unless the dialog was left in between."""
        if self.is_current:
            self._preview(name)

    def take(self, place: int) -> None:
        self.dismiss(self._themes[place].name)


def _own_first(themes: Iterable[Theme]) -> list[Theme]:
    """The explorer's own themes, then Textual's by their names."""
    own = [theme.name for theme in THEMES]
    others = sorted(theme.name for theme in themes if theme.name not in own)
    by_name = {theme.name: theme for theme in themes}
    return [by_name[name] for name in (*own, *others)]


def _option(theme: Theme) -> Option:
    shade = "dark" if theme.dark else "light"
    return Option(Content.assemble(f"{theme.name:<22} ", (f"{shade:>5}", MUTED)))
