"""Styles from the theme, ramps for values, lines of segments, and numbers, for panes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
from rich.cells import cell_len
from rich.color import Color as RichColor
from rich.color import ColorSystem
from rich.segment import Segment
from rich.style import Style
from textual.app import App
from textual.color import Color
from textual.strip import Strip

from depthtui import ramps
from depthtui.palettes import OWN_PALETTE
from depthtui.token_text import fit_shown

RampKind: TypeAlias = Literal["truecolor", "256", "glyph"]
RampChoice: TypeAlias = Literal["auto", "truecolor", "256", "glyph"]

Piece: TypeAlias = tuple[str, Style]
"""Printable text and its style."""

_LEGIBLE = 0.3
"""The least difference in OKLab lightness at which text is legible."""

_BLACK, _WHITE = (RichColor.from_rgb(*grey) for grey in ((16, 16, 16), (250, 250, 250)))


@dataclass(frozen=True)
class PaneStyles:
    """A theme's styles on a pane's background: from plain to faint, and for meanings of colour.

    `accent` is only for the cursor and for the final answer.
    """

    text: Style
    muted: Style
    faint: Style
    accent: Style
    good: Style
    warning: Style
    error: Style
    background: RichColor
    dark: bool

    @cached_property
    def strong(self) -> Style:
        return self.text + Style(bold=True)

    @cached_property
    def cursor(self) -> Style:
        """The style of a cell of text under the cursor."""
        colour = self.accent.color
        if colour is None or colour.is_default:
            return self.text + Style(reverse=True, bold=True)
        return Style(color=contrast(colour), bgcolor=colour, bold=True)


def styles_of(app: App[object], background: Color) -> PaneStyles:
    """The styles of the app's theme over this background."""
    names = app.theme_variables
    behind = background.rich_color

    def colour(name: str) -> Color:
        return Color.parse(names.get(name, names["foreground"]))

    def plain(name: str, bold: bool = False) -> Style:
        return Style(color=colour(name).rich_color, bgcolor=behind, bold=bold or None)

    def shade(strength: float) -> Style:
        if app.native_ansi_color:
            return plain("foreground") + Style(dim=True)
        blend = background.blend(colour("foreground"), strength, alpha=1)
        if app.console.color_system == "standard" and _looks_alike(blend, background):
            return shade(strength + 0.1) if strength < 1 else plain("foreground")
        return Style(color=blend.rich_color, bgcolor=behind)

    return PaneStyles(
        text=plain("foreground"),
        muted=shade(0.62),
        faint=shade(0.4),
        accent=Style(color=_legible(colour("accent"), background), bgcolor=behind, bold=True),
        good=plain("success"),
        warning=plain("warning"),
        error=plain("error"),
        background=behind,
        dark=app.current_theme.dark,
    )


def _looks_alike(colour: Color, background: Color) -> bool:
    """Whether a terminal of 16 colours shows both colours about equally light."""

    def shown(colour: Color) -> float:
        red, green, blue = colour.rich_color.downgrade(ColorSystem.STANDARD).get_truecolor()
        return ramps.lightness((red, green, blue))

    return abs(shown(colour) - shown(background)) < _LEGIBLE


def _legible(colour: Color, background: Color) -> RichColor:
    """The colour, darkened or lightened until it is legible on the background."""
    if colour.ansi is not None or background.ansi is not None:
        return colour.rich_color
    behind = ramps.lightness(background.rgb)
    away = Color(0, 0, 0) if behind > 0.5 else Color(255, 255, 255)
    while abs(ramps.lightness(colour.rgb) - behind) < _LEGIBLE:
        colour = colour.blend(away, 0.1)
    return colour.rich_color


@dataclass(frozen=True)
class Ramp:
    """The colours or glyphs of a value's levels.

    Attributes:
        kind: colours, or glyphs for terminals without colours.
        colours: one a level; empty for glyphs.
        glyphs: one a level; empty for colours.
    """

    kind: RampKind
    colours: tuple[RichColor, ...]
    glyphs: str

    def __len__(self) -> int:
        return len(self.glyphs or self.colours)

    def halves(self, cells: int) -> list[tuple[RichColor, RichColor]]:
        """The colours in this many cells, two each: left and right."""
        steps = np.rint(np.linspace(0, len(self) - 1, 2 * cells)).astype(int)
        colours = [self.colours[step] for step in steps]
        return list(zip(colours[::2], colours[1::2], strict=True))

    def written_on(self, level: int) -> Style:
        """The style of text on a level's colour; plain on a ramp of glyphs or an unknown value."""
        if self.glyphs or level < 0:
            return Style.null()
        colour = self.colours[level]
        return _style(contrast(colour), colour)


def text_styles(ramp: Ramp, styles: PaneStyles) -> tuple[Style, ...]:
    """The style of text at each level: on the ramp's colours, or by weight on a ramp of glyphs.

    Glyphs between the letters of a text would make it unreadable. Signed values change from muted
    to plain at zero.
    """
    if ramp.glyphs:
        return styles.faint, styles.muted, styles.text, styles.strong
    return tuple(styles.text + ramp.written_on(level) for level in range(len(ramp)))


@lru_cache
def ramp_of(kind: RampKind, diverging: bool, dark: bool, name: str = OWN_PALETTE) -> Ramp:
    """The ramp of this kind for signed or unsigned values on a dark or light background.

    Args:
        kind: colours or glyphs.
        diverging: whether the values have a sign.
        dark: whether the background is dark.
        name: the palette's name.
    """
    if kind == "glyph":
        glyphs = ramps.DIVERGING_GLYPHS if diverging else ramps.MAGNITUDE_GLYPHS
        return Ramp(kind, (), glyphs)
    if kind == "256":
        table = (ramps.diverging_256 if diverging else ramps.sequential_256)(dark, name)
    else:
        table = (ramps.diverging if diverging else ramps.sequential)(dark, name)
    return Ramp(kind, tuple(RichColor.from_rgb(*colour) for colour in table), "")


def ramp_kind(app: App[Any], choice: RampChoice) -> RampKind:
    """The ramp that the terminal can show, unless the user chose one."""
    if choice != "auto":
        return choice
    if app.no_color:
        return "glyph"
    return {"truecolor": "truecolor", "256": "256"}.get(app.console.color_system or "", "glyph")  # type: ignore[return-value]


def has_few_colours(app: App[Any]) -> bool:
    """Whether the terminal has 16 colours, which have no shades."""
    return app.console.color_system in ("standard", "windows")


@lru_cache(maxsize=4096)
def _style(colour: RichColor | None, background: RichColor) -> Style:
    return Style(color=colour, bgcolor=background)


def half_blocks(upper: RichColor, lower: RichColor, width: int) -> Piece:
    """`width` cells whose upper and lower halves have these colours."""
    if upper == lower:
        return " " * width, _style(None, upper)
    return "▀" * width, _style(upper, lower)


@lru_cache(maxsize=1024)
def contrast(colour: RichColor) -> RichColor:
    """Black or white, whichever reads better on a colour."""
    red, green, blue = colour.get_truecolor()
    return _BLACK if ramps.lightness((red, green, blue)) > 0.62 else _WHITE


def strip_of(pieces: Iterable[Piece], width: int, base: Style) -> Strip:
    """One line of exactly `width` cells, padded with `base`; pieces that look alike are joined."""
    texts: list[str] = []
    styles: list[Style] = []
    for text, style in pieces:
        if not text:
            continue
        last = styles[-1] if styles else None
        if last is not None and (
            last is style or (text.isspace() and _blend(style, last)) or last == style
        ):
            texts[-1] += text
        else:
            texts.append(text)
            styles.append(style)
    cells = sum(map(cell_len, texts))
    if cells < width:
        texts.append(" " * (width - cells))
        styles.append(base)
    return Strip(map(Segment, texts, styles), max(cells, width)).adjust_cell_length(width)


def _blend(style: Style, last: Style) -> bool:
    """Whether blanks look the same in both styles."""
    if style.bgcolor != last.bgcolor:
        return False
    return not (style.underline or style.reverse or last.underline or last.reverse)


def ruler(
    marks: list[tuple[int, str]], cursor: tuple[int, str], width: int, styles: PaneStyles
) -> list[Piece]:
    """An axis of `width` cells with texts at their places, and the cursor's text, if any.

    A text that would exceed the right end is moved to the left. A text that would touch the
    cursor's or an earlier one is left out.
    """

    def start_of(mark: tuple[int, str]) -> int:
        return max(0, min(mark[0], width - cell_len(mark[1])))

    first, last = start_of(cursor), start_of(cursor) + cell_len(cursor[1])
    cells = [" "] * width
    for mark in marks:
        start, end = start_of(mark), start_of(mark) + len(mark[1])
        is_free = not "".join(cells[max(0, start - 1) : end + 1]).strip()
        if is_free and (end < first or start > last or not cursor[1]):
            cells[start:end] = mark[1]
    return [
        ("".join(cells[:first]), styles.faint),
        (cursor[1], styles.accent),
        ("".join(cells[last:width]), styles.faint),
    ]


def fit_right(text: str, width: int) -> str:
    """Printable text in exactly `width` cells, against the right edge."""
    fitted = fit_shown(text, width)
    spare = len(fitted) - len(fitted.rstrip(" "))
    return " " * spare + fitted[: len(fitted) - spare] if spare else fitted


def bar(share: float, cells: int) -> tuple[str, str]:
    """The filled and the empty part of a bar, to half a cell."""
    halves = round(min(max(share, 0.0), 1.0) * cells * 2)
    full = "━" * (halves // 2) + "╸" * (halves % 2)
    return full, "─" * (cells - len(full))


def number(value: float, digits: int = 3) -> str:
    """A number with this many significant digits, such as `0.412`, `12.3`, `310`, `1.23e5`."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    if not 1e-4 <= abs(rounded) < 1e5:
        return _with_exponent(value, digits)
    places = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:.{max(0, places)}f}"


def number_within(value: float, cells: int) -> str:
    """A number of three digits, or of fewer, down to one, to fit into the cells."""
    for digits in (3, 2, 1):
        if len(text := number(value, digits)) <= cells:
            return text
    return _with_exponent(value, 1)


def _with_exponent(value: float, digits: int) -> str:
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def nats(value: float) -> str:
    """Nats to a hundredth, so that they can be aligned: `1.04`, `<0.01`."""
    if not math.isfinite(value):
        return number(value)
    return "<0.01" if 0 < value < 0.005 else f"{value:.2f}"


def probability(value: float) -> str:
    """A probability in three cells, point included: `.97`, `1.0`, `.00`, blank where unknown."""
    if math.isnan(value):
        return ""
    return "1.0" if value >= 0.995 else f"{value:.2f}"[1:]


def line_style(styles: PaneStyles, place: int, name: str) -> Style:
    """The style of the line at this place among several, in a palette's colours."""
    colour = RichColor.parse(line_colour(styles.dark, place, name))
    return Style(color=colour, bgcolor=styles.background, bold=True)


def line_colour(dark: bool, place: int, name: str) -> str:
    """The colour of the line at this place among several, as `#rrggbb`."""
    colours = ramps.distinct(dark, name)
    return ramps.css(colours[place % len(colours)])
