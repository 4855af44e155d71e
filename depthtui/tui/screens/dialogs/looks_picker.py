"""How the explorer looks: theme and colours of values, tried on the screen behind the lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from textual import getters
from textual.await_complete import AwaitComplete
from textual.content import Content
from textual.theme import Theme
from textual.timer import Timer

from depthtui.palettes import PALETTES, Palette
from depthtui.tui.draw.styles import Ramp, RampChoice, ramp_kind, ramp_of
from depthtui.tui.explorer_app import ExplorerApp
from depthtui.tui.screens.dialogs.dialog import MUTED
from depthtui.tui.screens.dialogs.picker import Picker, PickerHeading, PickerRow
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.themes import FOLLOWING, THEMES, theme_setting


class Looks(NamedTuple):
    """The names of a theme and of a palette."""

    theme: str
    palette: str


RESTS = 0.08
"""Seconds before a theme under the cursor is shown: every style is computed again."""

SAFE = "safe for red-green colour blindness"

_STRIP_CELLS = 10


class LooksPicker(Picker[None]):
    """Shows the theme or palette under the cursor; enter keeps it, leaving restores the old one.

    Args:
        explorer: saves the choice in the settings.
        set_colours: draws every screen in a ramp and a palette, by their names.
    """

    app = getters.app(ExplorerApp)
    heading = "Settings"
    hint = "enter keeps · / finds · esc closes"
    noun = "theme"

    def __init__(self, explorer: Explorer, set_colours: Callable[[str, str], None]) -> None:
        super().__init__(classes="small")
        self._set_colours = set_colours
        self._explorer = explorer
        self._ramp: RampChoice = explorer.settings.ramp  # type: ignore[assignment]
        following = explorer.settings.theme in FOLLOWING and explorer.settings.theme
        theme, palette = following or self.app.theme, explorer.settings.palette
        self._kept_looks = self._shown_looks = Looks(theme, palette)
        self._waiting: Timer | None = None
        self.start = "theme", self._kept_looks.theme

    def rows(self) -> Iterator[PickerRow | PickerHeading]:
        yield PickerHeading("Theme")
        for name, shade in _shades(self.app.available_themes.values()).items():
            line = Content.assemble(f"{name:<20} ", (f"{shade:>11}", MUTED))
            yield self._row(("theme", name), line, "")
        yield PickerHeading("Colours of values")
        for palette in PALETTES.values():
            about = f"{palette.colours}\n{SAFE if palette.safe else ''}"
            yield self._row(("palette", palette.name), self._palette_line(palette), about)

    def _row(self, value: tuple[str, str], line: Content, about: str) -> PickerRow:
        is_kept = value[1] in self._kept_looks
        mark = Content.styled("● " if is_kept else "  ", "$text-accent")
        return PickerRow(value, Content.assemble(mark, line), " ".join(value), about)

    def describe(self, row: PickerRow) -> None:
        """Show the look once the cursor rests on it."""
        super().describe(row)
        if self._waiting is not None:
            self._waiting.stop()
        self._waiting = self.set_timer(RESTS, self._try)

    @property
    def _tried(self) -> Looks:
        """The kept looks, one of them replaced by the row under the cursor."""
        kind, name = self.highlighted_value or ("theme", self._kept_looks.theme)
        return self._kept_looks._replace(**{kind: name})

    def _try(self) -> None:
        """Show the row under the cursor, unless the dialog was left in between."""
        if self.is_current:
            self._show(self._tried)

    def _show(self, looks: Looks) -> None:
        if looks == self._shown_looks:
            return
        self._shown_looks, is_other = looks, looks.theme != self._shown_looks.theme
        self.app.show_theme(looks.theme)
        self._set_colours(self._ramp, looks.palette)
        if is_other:
            # The strips have the theme's colours.
            self.fill()

    def choose(self, value: Any) -> None:
        self._kept_looks = self._tried
        self._show(self._kept_looks)
        self._explorer.change(
            theme=theme_setting(self._kept_looks.theme), palette=self._kept_looks.palette
        )
        self.fill()

    def dismiss(self, result: Any = None) -> AwaitComplete:
        self._show(self._kept_looks)
        return super().dismiss(result)

    def _palette_line(self, palette: Palette) -> Content:
        """The palette's name and its two ramps, as the terminal shows them."""
        kind, dark = ramp_kind(self.app, self._ramp), self.app.current_theme.dark
        ramps = (ramp_of(kind, diverging, dark, palette.name) for diverging in (False, True))
        return Content(" ").join([Content(f"{palette.name:<12}"), *map(_strip, ramps)])


def _strip(ramp: Ramp) -> Content:
    """A ramp in a few cells, two colours each."""
    if ramp.glyphs:
        return Content(ramp.glyphs.ljust(_STRIP_CELLS))
    return Content.assemble(
        *(
            ("▌", f"{left.get_truecolor().hex} on {right.get_truecolor().hex}")
            for left, right in ramp.halves(_STRIP_CELLS)
        )
    )


def _shades(themes: Iterable[Theme]) -> dict[str, str]:
    """Whether each theme is dark: the explorer's own, those that follow, then Textual's by name."""
    by_name = {theme.name: "dark" if theme.dark else "light" for theme in themes}
    own = {theme.name: by_name.pop(theme.name) for theme in THEMES}
    return own | dict.fromkeys(FOLLOWING, "by terminal") | dict(sorted(by_name.items()))
