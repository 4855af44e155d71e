"""How the explorer looks, tried on the screen behind the lists: theme and colours of values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from textual import on
from textual.app import ComposeResult
from textual.content import Content
from textual.theme import Theme
from textual.timer import Timer
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from depthtui.palettes import PALETTES, Palette
from depthtui.tui.draw.styles import Ramp, RampChoice, ramp_kind, ramp_of
from depthtui.tui.screens.dialogs.dialog import MUTED, ListDialog
from depthtui.tui.screens.pane_screen import PaneScreen
from depthtui.tui.themes import THEMES

RESTS = 0.08
"""Seconds that the cursor is on a theme before it is shown: every style is worked out anew."""

SAFE = "safe for red-green colour blindness"

_STRIP_CELLS = 10


class Looks(NamedTuple):
    """The names of a theme and of a palette."""

    theme: str
    palette: str


class LooksPicker(ListDialog[Looks]):
    """Choose a theme and a palette; dismissed with both, which are shown by then.

    Args:
        palette: the name of the one that is shown.
        ramp: whether values are colours or glyphs.
    """

    heading = "Theme and colours"
    hint = "tab · enter keeps · esc restores"

    def __init__(self, palette: str, ramp: str) -> None:
        super().__init__(classes="small")
        self._themes = _own_first(self.app.available_themes.values())
        self._palettes = list(PALETTES.values())
        self._ramp: RampChoice = ramp  # type: ignore[assignment]
        self._before = Looks(self.app.theme, palette)
        self._waiting: Timer | None = None

    def body(self) -> ComposeResult:
        yield OptionList(*map(_theme_option, self._themes), id="themes", compact=True)
        yield Static("Colours of values", classes="label")
        yield OptionList(*map(self._palette_line, self._palettes), id="palettes", compact=True)
        yield Static(id="note")

    def on_mount(self) -> None:
        themes = [theme.name for theme in self._themes]
        palettes = self.query_one("#palettes", OptionList)
        palettes.highlighted = list(PALETTES).index(self._before.palette)
        self.start_at(themes.index(self._before.theme))

    @property
    def listing(self) -> OptionList:
        """The list with the focus."""
        return self.focused if isinstance(self.focused, OptionList) else self.query_one(OptionList)

    @property
    def _chosen(self) -> Looks:
        theme, palette = (
            listing.highlighted or 0 for listing in self.query(OptionList).results(OptionList)
        )
        return Looks(self._themes[theme].name, self._palettes[palette].name)

    @on(OptionList.OptionHighlighted, "#themes")
    def _try_theme(self) -> None:
        if self._waiting is not None:
            self._waiting.stop()
        self._waiting = self.set_timer(RESTS, self._try)

    @on(OptionList.OptionHighlighted, "#palettes")
    def _try_palette(self, event: OptionList.OptionHighlighted) -> None:
        palette = self._palettes[event.option_index]
        says = Content.styled(f"{palette.colours}\n{palette.safe * SAFE}", MUTED)
        self.query_one("#note", Static).update(says)
        self._try()

    def _try(self) -> None:
        """Show what the cursors are on, unless the dialog was left in between."""
        if not self.is_current:
            return
        self._show(self._chosen)
        listing = self.query_one("#palettes", OptionList)
        for place, palette in enumerate(self._palettes):
            listing.replace_option_prompt_at_index(place, self._palette_line(palette))

    def _show(self, looks: Looks) -> None:
        self.app.theme = looks.theme
        for screen in self.app.screen_stack:
            if isinstance(screen, PaneScreen):
                screen.take_colours(self._ramp, looks.palette)

    def take(self, place: int) -> None:
        self._show(self._chosen)
        self.dismiss(self._chosen)

    def action_leave(self) -> None:
        self._show(self._before)
        super().action_leave()

    def _palette_line(self, palette: Palette) -> Content:
        """The palette's name and its two ramps, as the terminal shows them."""
        kind, dark = ramp_kind(self.app, self._ramp), self.app.current_theme.dark
        ramps = (ramp_of(kind, diverging, dark, palette.name) for diverging in (False, True))
        return Content(" ").join([Content(f"{palette.name:<12}"), *map(_strip, ramps)])


def _strip(ramp: Ramp) -> Content:
    """A ramp in a few cells, two colours a cell."""
    if ramp.glyphs:
        return Content(ramp.glyphs.ljust(_STRIP_CELLS))
    return Content.assemble(
        *(
            ("▌", f"{left.get_truecolor().hex} on {right.get_truecolor().hex}")
            for left, right in ramp.halves(_STRIP_CELLS)
        )
    )


def _own_first(themes: Iterable[Theme]) -> list[Theme]:
    """The explorer's own themes, then Textual's by their names."""
    own = [theme.name for theme in THEMES]
    by_name = {theme.name: theme for theme in themes}
    return [by_name[name] for name in (*own, *sorted(by_name.keys() - own))]


def _theme_option(theme: Theme) -> Option:
    shade = "dark" if theme.dark else "light"
    return Option(Content.assemble(f"{theme.name:<28} ", (f"{shade:>5}", MUTED)))
