"""Screens of a terminal, one after another, as an SVG that plays by itself.

Each frame draws the cells that have changed and lies over those before it, so that a long
session stays small. Blocks and lines are drawn as shapes: a font need not have them. Whoever
asks for less motion sees the last frame, and a viewer that knows no animation the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate, groupby
from operator import attrgetter

WIDE, TALL = 8, 16
"""A cell, in the picture's units."""

_FONT = 13
_BASELINE = 12
_CAPTION = 40
_MARGIN = 8
_NEAR = 3
"""Cells that did not change between two that did are drawn again up to this many."""

PAGE, INK, KEY = "#111319", "#d6d9e4", "#ff79c6"

_WORD = re.compile(r"\S{1,12}")

_EIGHTHS_UP = "▁▂▃▄▅▆▇█"
_EIGHTHS_RIGHT = "▏▎▍▌▋▊▉"
_ARMS = {
    "─": "lr", "│": "ud", "┌": "rd", "┐": "ld", "└": "ru", "┘": "lu", "╭": "rd", "╮": "ld",
    "╰": "ru", "╯": "lu", "├": "udr", "┤": "udl", "┬": "lrd", "┴": "lru", "┼": "lrud",
    "━": "LR", "┃": "UD", "╸": "L", "╺": "R", "╴": "l", "╶": "r", "╷": "d", "╵": "u",
}  # fmt: skip
"""Which way the strokes of a character go from its middle; capitals are thick."""

Box = tuple[int, int, int, int]
"""x, y, width and height."""

_BRAILLE = "\u2800"
_DOTS: Sequence[Box] = [
    (1 + 4 * column, 1 + 4 * row, 2, 2)
    for column, row in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))
]
"""The dots of a braille pattern, by bit."""


@dataclass(frozen=True)
class Cell:
    """A cell of the screen; the second one of a wide character has an empty text."""

    text: str
    ink: str
    page: str
    bold: bool = False
    underlined: bool = False


Screen = Sequence[Sequence[Cell]]


@dataclass
class Frame:
    """What is shown for some seconds, with the key that led there and a word on it."""

    screen: Screen
    seconds: float
    key: str = ""
    caption: str = ""


class _Classes:
    """Short CSS classes of colours, in the order in which they are met."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def of(self, colour: str) -> str:
        return self._names.setdefault(colour, f"c{len(self._names)}")

    def rules(self) -> str:
        return "".join(f".{name}{{fill:{colour}}}" for colour, name in self._names.items())


def animated(frames: Sequence[Frame], label: str) -> str:
    """The frames as an SVG that begins again at its end."""
    columns, rows = len(frames[0].screen[0]), len(frames[0].screen)
    width, height = columns * WIDE + 2 * _MARGIN, rows * TALL + 2 * _MARGIN + _CAPTION
    starts = [0.0, *accumulate(frame.seconds for frame in frames)]
    total = starts.pop()
    classes, parts = _Classes(), []
    before: Frame | None = None
    for number, frame in enumerate(frames):
        parts.append(f'<g class="f" id="f{number}">{_drawn(frame, before, classes)}</g>')
        before = frame
    steps = "".join(
        f"#f{number}{{animation-name:k{number}}}@keyframes k{number}"
        f"{{0%{{visibility:hidden}}{100 * start / total:.3f}%,to{{visibility:visible}}}}"
        for number, start in enumerate(starts)
        if number
    )
    style = (
        f"text{{font-size:{_FONT}px;font-family:ui-monospace,Menlo,'DejaVu Sans Mono',"
        f"'Liberation Mono','Courier New',monospace}}.b{{font-weight:bold}}"
        f".u{{text-decoration:underline}}{classes.rules()}"
        f".f{{animation-duration:{total:.2f}s;animation-timing-function:step-end;"
        f"animation-iteration-count:infinite}}{steps}"
        "@media(prefers-reduced-motion:reduce){.f{animation:none;visibility:visible}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="{escape(label)}">'
        f'<style>{style}</style><rect width="{width}" height="{height}" rx="6" fill="{PAGE}"/>'
        f'<g transform="translate({_MARGIN} {_MARGIN})">'
        f"{_hidden_but_first(parts)}</g></svg>\n"
    )


def _hidden_but_first(groups: Sequence[str]) -> str:
    """What knows no animation shows the first frame alone."""
    hidden = (group.replace("<g ", '<g visibility="hidden" ', 1) for group in groups[1:])
    return "\n".join((groups[0], *hidden))


def _drawn(frame: Frame, before: Frame | None, classes: _Classes) -> str:
    """The cells that are not as they were, and the caption where it is another."""
    runs = [
        (row, start, cells)
        for row, line in enumerate(frame.screen)
        for start, cells in _changed(line, before.screen[row] if before else ())
    ]
    shapes = [shape for run in runs for shape in _shapes(*run)]
    words = [word for run in runs for word in _words(*run, classes)]
    parts = [_paths(shapes, classes), *words]
    if before is None or (frame.key, frame.caption) != (before.key, before.caption):
        parts.append(_caption(frame))
    return "".join(parts)


def _changed(line: Sequence[Cell], before: Sequence[Cell]) -> Iterator[tuple[int, Sequence[Cell]]]:
    """Stretches of cells that are others than before, and where each begins."""
    changed = [
        column
        for column, cell in enumerate(line)
        if column >= len(before) or cell != before[column]
    ]
    stretches: list[list[int]] = []
    for column in changed:
        if stretches and column - stretches[-1][1] <= _NEAR + 1:
            stretches[-1][1] = column
        else:
            stretches.append([column, column])
    for start, end in stretches:
        # A wide character is drawn whole.
        first = start - 1 if start and not line[start].text else start
        yield first, line[first : end + 1]


def _shapes(row: int, start: int, cells: Sequence[Cell]) -> Iterator[tuple[int, str, Box]]:
    """Backgrounds, 0, and what lies upon them, 1, with their colours."""
    top, column = row * TALL, start
    for page, group in groupby(cells, lambda cell: cell.page):
        count = len(list(group))
        yield 0, page, (column * WIDE, top, count * WIDE, TALL)
        column += count
    for number, cell in enumerate(cells):
        left = (start + number) * WIDE
        for x, y, width, height in _boxes(cell.text):
            yield 1, cell.ink, (left + x, top + y, width, height)


def _boxes(character: str) -> list[Box]:
    """What a block or a line is made of, in its cell; nothing for a character of the font."""
    if not character:
        return []
    if character == "▀":
        return [(0, 0, WIDE, TALL // 2)]
    if character == "▐":
        return [(WIDE // 2, 0, WIDE // 2, TALL)]
    if character in _EIGHTHS_UP:
        height = TALL * (_EIGHTHS_UP.index(character) + 1) // 8
        return [(0, TALL - height, WIDE, height)]
    if character in _EIGHTHS_RIGHT:
        return [(0, 0, WIDE * (_EIGHTHS_RIGHT.index(character) + 1) // 8, TALL)]
    if _BRAILLE <= character < chr(ord(_BRAILLE) + 256):
        dots = ord(character) - ord(_BRAILLE)
        return [box for bit, box in enumerate(_DOTS) if dots >> bit & 1]
    return [_arm(arm) for arm in _ARMS.get(character, "")]


def _arm(arm: str) -> Box:
    thick = 2 if arm.isupper() else 1
    x, y = WIDE // 2, TALL // 2
    match arm.lower():
        case "l":
            return (0, y, x + thick, thick)
        case "r":
            return (x, y, WIDE - x, thick)
        case "u":
            return (x, 0, thick, y + thick)
    return (x, y, thick, TALL - y)


def _paths(shapes: Iterable[tuple[int, str, Box]], classes: _Classes) -> str:
    """One path for each layer and colour; boxes that meet side by side are one."""
    by_colour: dict[tuple[int, str], list[Box]] = {}
    for layer, colour, box in shapes:
        boxes = by_colour.setdefault((layer, colour), [])
        if boxes and _meets(boxes[-1], box):
            x, y, width, height = boxes[-1]
            boxes[-1] = (x, y, width + box[2], height)
        else:
            boxes.append(box)
    return "".join(
        f'<path class="{classes.of(colour)}" shape-rendering="crispEdges" d="'
        + "".join(f"M{x} {y}h{width}v{height}h-{width}z" for x, y, width, height in boxes)
        + '"/>'
        for (_, colour), boxes in sorted(by_colour.items(), key=lambda item: item[0][0])
    )


def _meets(left: Box, right: Box) -> bool:
    return left[1] == right[1] and left[3] == right[3] and left[0] + left[2] == right[0]


def _words(row: int, start: int, cells: Sequence[Cell], classes: _Classes) -> Iterator[str]:
    """The characters of the font, each word at its place."""
    column, words = start, []
    for (ink, bold, underlined), group in groupby(cells, attrgetter("ink", "bold", "underlined")):
        run = list(group)
        css = " ".join([classes.of(ink), *["b"] * bold, *["u"] * underlined])
        # One character a cell: what is drawn as a shape, or belongs to the cell before, is blank.
        text = "".join(" " if not cell.text or _boxes(cell.text) else cell.text[0] for cell in run)
        for found in _WORD.finditer(text):
            x, length = (column + found.start()) * WIDE, len(found[0])
            stretched = f' textLength="{length * WIDE}"' if length > 2 else ""
            words.append(f'<tspan x="{x}"{stretched} class="{css}">{escape(found[0])}</tspan>')
        column += len(run)
    if words:
        yield f'<text y="{row * TALL + _BASELINE}">{"".join(words)}</text>'


def _caption(frame: Frame) -> str:
    """The key and the word on it, beneath the screen."""
    top, wide = len(frame.screen) * TALL, len(frame.screen[0]) * WIDE
    x = len(frame.key) * WIDE + 20 if frame.key else 0
    badge = (
        f'<rect y="{top + 12}" width="{x - 8}" height="22" rx="4" fill="{KEY}"/>'
        f'<text x="6" y="{top + 27}" class="b" fill="{PAGE}">{escape(frame.key)}</text>'
        if frame.key
        else ""
    )
    return (
        f'<rect y="{top}" width="{wide}" height="{_CAPTION}" fill="{PAGE}"/>{badge}'
        f'<text x="{x}" y="{top + 27}" fill="{INK}">{escape(frame.caption)}</text>'
    )
