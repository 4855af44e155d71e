"""Send the terminal only what changed.

Textual paints a changed region from the left edge of its widget, every run of text with all of its
colours, and the whole screen again for whatever opens or moves: 150 kB for a dialog (not reported).
Here the compositor draws changed regions alone, `Shown` knows what the terminal shows already, and
of each style only what differs from the last one is sent.

For Textual 8.2.8; overrides `Compositor.update_widgets`, `render_partial_update` and
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
"""SGR parameters that turn an attribute of a style on and off."""


Look = tuple[tuple[str, ...], str, str, str]
"""Names of the attributes, SGR parameters of the foreground and of the background, a link."""

Cell = tuple[str, Look]
"""A character, with what combines with it, and its look; empty behind a wide one."""

_PLAIN: Look = ((), "39", "49", "")
_UNKNOWN: Cell = ("", ((), "", "", ""))
"""Of which nobody knows what it shows; nothing that is drawn looks like it."""

_SHORT_GAP = 4
"""Cells between two changes that are cheaper to send than a move of the cursor."""


class Piece(NamedTuple):
    """A part of a line.

    Attributes:
        y: the line.
        x: the column of its first cell.
        cells: what is drawn there.
    """

    y: int
    x: int
    cells: list[Cell]


class Shown:
    """What the terminal shows, as far as that is known."""

    def __init__(self) -> None:
        self._size = Size()
        self._lines: list[list[Cell]] = []
        self._unsure: set[int] = set()

    def forget(self) -> None:
        """Something else may have been written: what is drawn next is sent whole."""
        self._size, self._lines = Size(), []

    def take(self, pieces: Iterable[Piece], size: Size) -> Iterator[Piece]:
        """What of these pieces is not shown yet; they are from now on.

        Args:
            pieces: in each line from the left to the right.
            size: of the terminal.
        """
        if size != self._size:
            self._size = size
            self._lines = [[_UNKNOWN] * size.width for _ in range(size.height)]
            self._unsure = set(range(size.height))
        for piece in pieces:
            y, x, cells = piece
            line, end = self._lines[y], x + len(cells)
            before = line[x:end]
            if before == cells:
                continue
            line[x:end] = cells
            is_sure = _have_sure_width(cells)
            if is_sure and (y not in self._unsure or _have_sure_width(before)):
                yield from (
                    Piece(y, x + start, cells[start:stop])
                    for start, stop in _changes(before, cells)
                )
            else:
                # What the terminal takes for wider or narrower moves the rest of the line.
                yield piece
                line[end:] = [_UNKNOWN] * (size.width - end)
            if is_sure and len(cells) == size.width:
                self._unsure.discard(y)
            elif not is_sure:
                self._unsure.add(y)


class ThinUpdate(CompositorUpdate):
    """Parts of lines that are to be on the screen: line, column of the first cell, strip.

    Attributes:
        shown: what the terminal shows; None to send all of them.
    """

    def __init__(self, strips: Iterable[tuple[int, int, Strip]], size: Size) -> None:
        self._strips = sorted(strips, key=itemgetter(0, 1))
        self._size = size
        self.shown: Shown | None = None

    def render_segments(self, console: Console) -> str:
        """The escape sequences that bring them to the screen."""
        name = console.color_system
        system = None if name is None else COLOR_SYSTEMS[name]
        pieces: Iterable[Piece] = (
            Piece(y, x, cells_of(strip, system)) for y, x, strip in self._strips
        )
        if self.shown is not None:
            pieces = self.shown.take(pieces, self._size)
        return encode(pieces)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Line by line, for a console that prints them: a screenshot does."""
        for y, pieces in groupby(self._strips, itemgetter(0)):
            if y:
                yield Segment.line()
            for _, _, strip in pieces:
                yield from strip


class ThinCompositor(Compositor):
    """Textual's compositor, which draws of each widget only what is seen and has changed."""

    def update_widgets(self, widgets: set[Widget]) -> None:
        """Let widgets work out first how much of them is to be drawn, those that can get ready."""
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
        """Spans of lines (line, first column, end), each by the widgets that are seen there."""
        bare: dict[int, list[tuple[int, int]]] = {}
        for y, first, end in spans:
            bare.setdefault(y, []).append((first, end))
        top, bottom = min(bare, default=0), max(bare, default=-1) + 1
        # From the front to the back.
        for widget, (region, clip) in self.visible_widgets.items():
            if not bare:
                return
            seen = region.intersection(clip)
            x, right = seen.x, seen.right
            lines = [
                y
                for y in range(max(seen.y, top), min(seen.bottom, bottom))
                if y in bare and any(first < right and end > x for first, end in bare[y])
            ]
            if not lines:
                continue
            strips = widget.render_lines(
                Region(x - region.x, lines[0] - region.y, seen.width, lines[-1] + 1 - lines[0])
            )
            for y in lines:
                left: list[tuple[int, int]] = []
                for first, end in bare.pop(y):
                    start, stop = max(first, x), min(end, right)
                    if start >= stop:
                        left.append((first, end))
                        continue
                    yield y, start, strips[y - lines[0]].crop(start - x, stop - x)
                    left += [span for span in ((first, start), (stop, end)) if span[0] < span[1]]
                if left:
                    bare[y] = left


def cells_of(segments: Iterable[Segment], system: ColorSystem | None) -> list[Cell]:
    """The cells of a part of a line; all look plain where the terminal has no styles."""
    cells: list[Cell] = []
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
) -> tuple[Cell, ...] | None:
    """The cells of a text whose characters take one each; None of any other.

    They are kept: a screen has few texts, and draws each of them often.
    """
    if any(cell_len(char) != 1 for char in text):
        return None
    look = _look_of(style, system)
    return tuple(_cell(char, look) for char in text)


@lru_cache(maxsize=2048)
def _cell(char: str, look: Look) -> Cell:
    """One and the same cell wherever it is shown."""
    return char, look


def encode(pieces: Iterable[Piece]) -> str:
    """Pieces as text that moves the cursor and names only the changes of style."""
    parts: list[str] = []
    before = _PLAIN
    for y, x, cells in pieces:
        parts.append(f"\x1b[{y + 1};{x + 1}H")
        for char, look in cells:
            if look is not before and look != before:
                parts.append(_change(before, look))
                before = look
            parts.append(char)
    if before != _PLAIN:
        parts.append(_change(before, _PLAIN))
    return "".join(parts)


def _have_sure_width(cells: list[Cell]) -> bool:
    """Whether each character is one cell, of which terminals have no different opinions."""
    return set(map(len, map(itemgetter(0), cells))) == {1}


def _changes(before: list[Cell], after: list[Cell]) -> Iterator[tuple[int, int]]:
    """Where cells differ, from the first to behind the last; short gaps are no gaps."""
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
    """From one look to another, by the shorter way: step by step, or from scratch."""
    steps: list[str] = []
    if before[0] != after[0]:
        # Bold and dim are turned off together: what stays is turned on again.
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
