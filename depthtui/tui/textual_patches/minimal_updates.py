"""Send only changes to the terminal.

Textual paints a changed region from the left edge of its widget, every run of text with all of its
colours, and the whole screen again for anything that opens or moves: 150 kB for a dialog (not
reported). Here the compositor draws changed regions alone, `Shown` tracks the contents of the
terminal, and of each style only the differences from the last one are sent.

Overrides `Compositor.update_widgets`, `render_partial_update` and
`render_full_update`, and `CompositorUpdate.render_segments`. `Screen` uses the compositor, `App`
the update.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import compress, count, groupby
from operator import itemgetter, ne
from typing import NamedTuple

from rich.cells import cell_len
from rich.color import Color, ColorSystem
from rich.console import COLOR_SYSTEMS, Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style
from textual._compositor import Compositor, CompositorUpdate
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

_ATTRIBUTES = {
    "bold": ("1", "22"),
    "dim": ("2", "22"),
    "italic": ("3", "23"),
    "underline": ("4", "24"),
    "blink": ("5", "25"),
    "blink2": ("6", "25"),
    "reverse": ("7", "27"),
    "conceal": ("8", "28"),
    "strike": ("9", "29"),
    "underline2": ("21", "24"),
    "overline": ("53", "55"),
}
"""SGR parameters that turn a style's attribute on and off."""


Look = tuple[tuple[str, ...], str, str, str]
"""Names of the attributes, SGR parameters of the foreground and of the background, a link."""

ScreenCell = tuple[str, Look]
"""A character with its combining characters, and its look; empty after a wide character."""

_PLAIN: Look = ((), "39", "49", "")
_UNKNOWN: ScreenCell = ("", ((), "", "", ""))
"""A cell with unknown contents; no drawn cell equals it."""

_SHORT_GAP = 4
"""Unchanged cells between two changes that are cheaper to send than a cursor move."""


class Piece(NamedTuple):
    """A part of a line.

    Attributes:
        y: the line.
        x: the column of its first cell.
        cells: the cells to draw.
    """

    y: int
    x: int
    cells: list[ScreenCell]


class ShownCells:
    """The known contents of the terminal."""

    def __init__(self) -> None:
        self._size = Size()
        self._lines: list[list[ScreenCell]] = []
        self._unsure: set[int] = set()

    def forget(self) -> None:
        """Forget the contents, which may have changed: the next pieces are sent whole."""
        self._size, self._lines = Size(), []

    def record(self, pieces: Iterable[Piece], size: Size) -> Iterator[Piece]:
        """Yield the parts of these pieces that are not shown yet, and record them as shown.

        Args:
            pieces: the pieces, from left to right in each line.
            size: the terminal's size.
        """
        if size != self._size:
            self._size = size
            self._lines = [[_UNKNOWN] * size.width for _ in range(size.height)]
            self._unsure = set(range(size.height))
        for piece in pieces:
            y, x, cells = piece
            line, end = self._lines[y], x + len(cells)
            former = line[x:end]
            if former == cells:
                continue
            line[x:end] = cells
            is_sure = _have_sure_width(cells)
            if is_sure and (y not in self._unsure or _have_sure_width(former)):
                yield from (
                    Piece(y, x + start, cells[start:stop])
                    for start, stop in _changes(former, cells)
                )
            else:
                # Text that the terminal considers wider or narrower moves the rest of the line.
                yield piece
                line[end:] = [_UNKNOWN] * (size.width - end)
            if is_sure and len(cells) == size.width:
                self._unsure.discard(y)
            elif not is_sure:
                self._unsure.add(y)


class ThinUpdate(CompositorUpdate):
    """Parts of lines to show: line, column of the first cell, strip.

    Attributes:
        shown_cells: the contents of the terminal; None to send all parts.
    """

    def __init__(self, strips: Iterable[tuple[int, int, Strip]], size: Size) -> None:
        self._strips = sorted(strips, key=itemgetter(0, 1))
        self._size = size
        self.shown_cells: ShownCells | None = None

    def render_segments(self, console: Console) -> str:
        """The escape sequences that show the parts."""
        name = console.color_system
        system = None if name is None else COLOR_SYSTEMS[name]
        pieces: Iterable[Piece] = (
            Piece(y, x, cells_of(strip, system)) for y, x, strip in self._strips
        )
        if self.shown_cells is not None:
            pieces = self.shown_cells.record(pieces, self._size)
        return encode(pieces)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield line by line, for a console that prints them, as a screenshot does."""
        for y, pieces in groupby(self._strips, itemgetter(0)):
            if y:
                yield Segment.line()
            for _, _, strip in pieces:
                yield from strip


class ThinCompositor(Compositor):
    """Textual's compositor, but it draws only the visible and changed parts of a widget."""

    def update_widgets(self, widgets: set[Widget]) -> None:
        """Let widgets with `get_ready` prepare first, so that they know how much is to be drawn."""
        for widget in self.visible_widgets.keys() & widgets:
            get_ready = getattr(widget, "get_ready", None)
            if get_ready is not None:
                get_ready()
        super().update_widgets(widgets)

    def render_partial_update(self) -> ThinUpdate | None:  # type: ignore[override]
        screen = self.size.region
        regions = [region.intersection(screen) for region in self._dirty_regions]
        self._dirty_regions.clear()
        spans = list(self._regions_to_spans(filter(None, regions)))
        return ThinUpdate(self._draw(spans), self.size) if spans else None

    def render_full_update(self, simplify: bool = False) -> CompositorUpdate:  # type: ignore[override]
        if simplify:
            return super().render_full_update(simplify)
        self._dirty_regions.clear()
        width, height = self.size
        return ThinUpdate(self._draw([(y, 0, width) for y in range(height)]), self.size)

    def _draw(self, spans: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, int, Strip]]:
        """Draw spans of lines (line, first column, end) by the widgets visible there."""
        bare: dict[int, list[tuple[int, int]]] = {}
        for y, first, end in spans:
            bare.setdefault(y, []).append((first, end))
        top, bottom = min(bare, default=0), max(bare, default=-1) + 1
        # Widgets come from the front to the back.
        for widget, (region, clip) in self.visible_widgets.items():
            if not bare:
                return
            visible = region.intersection(clip)
            x, right = visible.x, visible.right
            lines = [
                y
                for y in range(max(visible.y, top), min(visible.bottom, bottom))
                if y in bare and any(first < right and end > x for first, end in bare[y])
            ]
            if not lines:
                continue
            strips = widget.render_lines(
                Region(x - region.x, lines[0] - region.y, visible.width, lines[-1] + 1 - lines[0])
            )
            for y in lines:
                spans_left: list[tuple[int, int]] = []
                for first, end in bare.pop(y):
                    start, stop = max(first, x), min(end, right)
                    if start >= stop:
                        spans_left.append((first, end))
                        continue
                    yield y, start, strips[y - lines[0]].crop(start - x, stop - x)
                    spans_left += [
                        span for span in ((first, start), (stop, end)) if span[0] < span[1]
                    ]
                if spans_left:
                    bare[y] = spans_left


def cells_of(segments: Iterable[Segment], system: ColorSystem | None) -> list[ScreenCell]:
    """The cells of a part of a line; all have the plain look where the terminal has no styles."""
    cells: list[ScreenCell] = []
    for text, style, _ in segments:
        narrow = _narrow_cells(text, style, system)
        if narrow is not None:
            cells += narrow
            continue
        look = _look_of(style, system)
        for char in text:
            width = cell_len(char)
            if width:
                cells += [(char, look), *[("", look)] * (width - 1)]
            elif cells:
                # The second cell of a wide character is empty.
                place = -1 if cells[-1][0] else -2
                cells[place] = (cells[place][0] + char, look)
    return cells


@lru_cache(maxsize=2048)
def _narrow_cells(
    text: str, style: Style | None, system: ColorSystem | None
) -> tuple[ScreenCell, ...] | None:
    """The cells of a text whose characters have one cell each; None for other texts.

    They are cached: a screen has few texts, and draws each of them often.
    """
    if any(cell_len(char) != 1 for char in text):
        return None
    look = _look_of(style, system)
    return tuple(_cell(char, look) for char in text)


@lru_cache(maxsize=2048)
def _cell(char: str, look: Look) -> ScreenCell:
    """The same object for a cell, wherever it is shown."""
    return char, look


def encode(pieces: Iterable[Piece]) -> str:
    """Pieces as text that moves the cursor and sends only changes of style."""
    parts: list[str] = []
    former = _PLAIN
    for y, x, cells in pieces:
        parts.append(f"\x1b[{y + 1};{x + 1}H")
        for char, look in cells:
            if look is not former and look != former:
                parts.append(_change(former, look))
                former = look
            parts.append(char)
    if former != _PLAIN:
        parts.append(_change(former, _PLAIN))
    return "".join(parts)


def _have_sure_width(cells: list[ScreenCell]) -> bool:
    """Whether each character is one cell on every terminal."""
    return set(map(len, map(itemgetter(0), cells))) == {1}


def _changes(before: list[ScreenCell], after: list[ScreenCell]) -> Iterator[tuple[int, int]]:
    """Ranges of cells that differ, the end excluded; short gaps are included."""
    start = stop = -1
    for place in compress(count(), map(ne, before, after)):
        if stop < 0 or place - stop > _SHORT_GAP:
            if stop >= 0:
                yield start, stop
            start = place
        stop = place + 1
    if stop >= 0:
        yield start, stop


@lru_cache(maxsize=2048)
def _change(before: Look, after: Look) -> str:
    """The shorter escape from one look to another: by differences, or from scratch."""
    steps: list[str] = []
    if before[0] != after[0]:
        # Bold and dim are turned off together: the remaining one is turned on again.
        steps += [_ATTRIBUTES[name][1] for name in before[0] if name not in after[0]]
        steps += [_ATTRIBUTES[name][0] for name in after[0]]
    steps += [new for old, new in zip(before[1:3], after[1:3], strict=True) if new != old]
    afresh = ["0", *(_ATTRIBUTES[name][0] for name in after[0])]
    afresh += [code for code in after[1:3] if code not in _PLAIN]
    link = f"\x1b]8;;{after[3]}\x1b\\" if after[3] != before[3] else ""
    styled = before[:3] != after[:3]
    return link + (f"\x1b[{min(';'.join(steps), ';'.join(afresh), key=len)}m" if styled else "")


@lru_cache(maxsize=2048)
def _look_of(style: Style | None, system: ColorSystem | None) -> Look:
    if style is None or system is None:
        return _PLAIN
    return (
        tuple(name for name in _ATTRIBUTES if getattr(style, name)),
        _colour(style.color, system, foreground=True),
        _colour(style.bgcolor, system, foreground=False),
        style.link or "",
    )


def _colour(colour: Color | None, system: ColorSystem, foreground: bool) -> str:
    if colour is None:
        return "39" if foreground else "49"
    return ";".join(colour.downgrade(system).get_ansi_codes(foreground))
