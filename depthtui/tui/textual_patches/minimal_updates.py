"""Send only changes to the terminal.

Textual paints a changed region from the left edge of its widget, every run of text with all of its
colours, and the whole screen again for anything that opens or moves: 150 kB for a dialog (not
reported). Here the compositor draws the changed lines of widgets alone, `ShownCells` tracks the
contents of the terminal, and a style is sent where it differs from the last one.

Overrides `Compositor.update_widgets` and `render_partial_update`, and
`CompositorUpdate.render_segments`. `Screen` uses the compositor, `App` the update.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import compress, count, pairwise, repeat
from operator import itemgetter, ne
from typing import NamedTuple

from rich.cells import cell_len
from rich.color import Color, ColorSystem
from rich.console import COLOR_SYSTEMS, Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import Compositor, CompositorUpdate, LayoutUpdate
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

Look = tuple[str, str, str, str]
"""SGR parameters of the attributes, of the foreground and of the background, a link."""

ScreenCell = tuple[str, Look]
"""A character with its combining characters, and its look; empty after a wide character."""

_PLAIN: Look = ("", "39", "49", "")
_UNKNOWN: ScreenCell = ("", ("", "", "", ""))
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

    def forget(self) -> None:
        """Forget the contents, which may have changed: the next pieces are sent whole."""
        self._size = Size()

    def record(self, pieces: Iterable[Piece], size: Size) -> Iterator[Piece]:
        """Yield the parts of these pieces that are not shown yet, and record them as shown.

        Args:
            pieces: the pieces, from left to right in each line.
            size: the terminal's size.
        """
        if size != self._size:
            self._size = size
            self._lines = [[_UNKNOWN] * size.width for _ in range(size.height)]
        for piece in pieces:
            y, x, cells = piece
            line, end = self._lines[y], x + len(cells)
            former = line[x:end]
            if former == cells:
                continue
            line[x:end] = cells
            if _have_sure_width(cells) and _have_sure_width(former):
                yield from (
                    Piece(y, x + start, cells[start:stop])
                    for start, stop in _changes(former, cells)
                )
            else:
                # Text that the terminal considers wider or narrower moves the rest of the line.
                yield piece
                line[end:] = [_UNKNOWN] * (size.width - end)


class ThinUpdate(CompositorUpdate):
    """Parts of lines to show: line, column of the first cell, strip.

    Attributes:
        shown_cells: the contents of the terminal; None to send all parts.
    """

    def __init__(self, strips: Iterable[tuple[int, int, Strip]], size: Size) -> None:
        self._strips = list(strips)
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


def thin(update: LayoutUpdate) -> ThinUpdate:
    """A whole screen as parts of lines."""
    lines = ((y, 0, Strip.join(line)) for y, line in enumerate(update.strips))
    return ThinUpdate(lines, update.region.size)


class ThinCompositor(Compositor):
    """Textual's compositor, but it draws only the changed lines of a widget."""

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

    def _draw(self, spans: list[tuple[int, int, int]]) -> Iterator[tuple[int, int, Strip]]:
        """Draw spans of lines (line, first column, end), each part by the widget in front."""
        drawn: dict[Widget, tuple[int, list[Strip]]] = {}
        for y, first, end in spans:
            for left, right in pairwise(self.cuts[y]):
                x, stop = max(left, first), min(right, end)
                in_front = [each for each in self.layers_visible[y] if x in each[1].column_range]
                if x >= stop or not in_front:
                    continue
                widget, visible, region = in_front[0]
                if widget not in drawn:
                    top = max(visible.y, spans[0][0])
                    height = min(visible.bottom, spans[-1][0] + 1) - top
                    lines = Region(0, top - region.y, region.width, height)
                    drawn[widget] = top, widget.render_lines(lines)
                top, strips = drawn[widget]
                yield y, x, strips[y - top].crop(x - region.x, stop - region.x)


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
    return tuple(zip(text, repeat(_look_of(style, system))))


def encode(pieces: Iterable[Piece]) -> str:
    """Pieces as text that moves the cursor and sends only changes of style."""
    parts: list[str] = []
    former, place = _PLAIN, (-1, -1)
    for y, x, cells in pieces:
        if (y, x) != place:
            parts.append(f"\x1b[{y + 1};{x + 1}H")
        place = (y, x + len(cells) if _have_sure_width(cells) else -1)
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
    """The escape from one look to another; an attribute ends with everything else."""
    codes = [new for old, new in zip(before[:3], after[:3], strict=True) if new != old]
    if before[0] not in ("", after[0]) or after == _PLAIN:
        codes = ["0", *(code for code in after[:3] if code not in _PLAIN)]
    link = f"\x1b]8;;{after[3]}\x1b\\" if after[3] != before[3] else ""
    return link + (f"\x1b[{';'.join(codes)}m" if codes else "")


@lru_cache(maxsize=2048)
def _look_of(style: Style | None, system: ColorSystem | None) -> Look:
    if style is None or system is None:
        return _PLAIN
    return (
        style.without_color._make_ansi_codes(system),
        _colour(style.color, system, foreground=True),
        _colour(style.bgcolor, system, foreground=False),
        style.link or "",
    )


def _colour(colour: Color | None, system: ColorSystem, foreground: bool) -> str:
    if colour is None:
        return "39" if foreground else "49"
    return ";".join(colour.downgrade(system).get_ansi_codes(foreground))
