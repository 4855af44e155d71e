"""A picture of a screen as text: its lines, then the styles of every line.

The styles of lines 3 and 4 read

    3-4: 0-5 bold #d6d9e4 on #111319; 5-80 on #111319

where 0-5 are characters 0 to 4. A blank shows its background alone, so that its
other styles are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import unified_diff
from functools import cache
from io import StringIO
from itertools import groupby
from typing import Any

from rich.color import Color, ColorType
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Span, Text
from textual.app import App

from depthtui.tui.textual_patches.names import shown_lines

Picture = list[Text]

STYLES = "\nstyles\n"
"""What parts the text from the styles."""

MOST_DIFFERENCES = 40
"""How many changed styles are told."""

DRAWN_ON_BLANKS = ("underline", "underline2", "overline", "strike", "reverse")
ATTRIBUTES = ("bold", "dim", "italic", "blink", "conceal", *DRAWN_ON_BLANKS)


def take_picture(app: App[Any]) -> Picture:
    """The screen that is up, with what shines through from below."""
    return [_line(iter(strip)) for strip in shown_lines(app.screen)]


def _line(segments: Iterator[Segment]) -> Text:
    line, before = Text(), Style.null()
    for segment in segments:
        full = segment.style or Style.null()
        for is_blank, characters in groupby(segment.text, lambda character: character == " "):
            style = _visible(full, is_blank)
            if is_blank and style == _visible(before, True):
                style = before
            line.append("".join(characters), str(style))
            before = style
    return line


@cache
def _visible(style: Style, is_blank: bool) -> Style:
    """What of a style is to be seen."""
    if is_blank and not any(getattr(style, name) for name in DRAWN_ON_BLANKS):
        return Style(bgcolor=_plain(style.bgcolor))
    drawn = {name: True for name in ATTRIBUTES if getattr(style, name)}
    return Style(color=_plain(style.color), bgcolor=_plain(style.bgcolor), **drawn)  # type: ignore[arg-type]


def _plain(colour: Color | None) -> Color | None:
    """The same colour under one name."""
    if colour is None or colour.type is not ColorType.TRUECOLOR:
        return colour
    return Color.parse(colour.get_truecolor().hex)


def write_picture(picture: Picture) -> str:
    """A picture as the text of its file."""
    text = "\n".join(line.plain.rstrip() for line in picture)
    rows = []
    for styles, lines in groupby(enumerate(picture, 1), lambda numbered: _styles(numbered[1])):
        numbers = [number for number, _ in lines]
        rows.append(f"{'-'.join(map(str, sorted({numbers[0], numbers[-1]})))}: {styles}\n")
    return text + STYLES + "".join(rows)


def _styles(line: Text) -> str:
    """The runs of one style, one after the other."""
    runs = []
    end = 0
    for style, characters in groupby(_style_by_character(line)):
        start, end = end, end + len(list(characters))
        runs.append(f"{start}-{end} {style}")
    return "; ".join(runs)


def _style_by_character(line: Text) -> list[str]:
    return [str(span.style) for span in line.spans for _ in range(span.start, span.end)]


def read_picture(text: str) -> Picture:
    """The picture of a file's text."""
    plain, _, rows = text.rpartition(STYLES)
    spans: list[list[Span]] = []
    for row in rows.splitlines():
        numbers, _, runs = row.partition(": ")
        first, _, last = numbers.partition("-")
        spans += [[_span(run) for run in runs.split("; ")]] * (int(last or first) - int(first) + 1)
    return [
        Text(line.ljust(runs[-1].end), spans=runs)
        for line, runs in zip(plain.split("\n"), spans, strict=True)
    ]


def _span(run: str) -> Span:
    place, _, style = run.partition(" ")
    start, _, end = place.partition("-")
    return Span(int(start), int(end), style)


def differences(old: str, new: str) -> list[str]:
    """What changed from one picture to another: lines of text, then styles of the others."""
    before, after = read_picture(old), read_picture(new)
    was_said, is_said = ([line.plain.rstrip() for line in picture] for picture in (before, after))
    found = list(unified_diff(was_said, is_said, "kept", "drawn", lineterm="", n=0))
    styles = [
        f"line {number}, {words}"
        for number, (was, now) in enumerate(zip(before, after, strict=False), 1)
        if was.plain == now.plain
        for words in _restyled(was, now)
    ]
    if len(styles) > MOST_DIFFERENCES:
        styles[MOST_DIFFERENCES:] = [f"and {len(styles) - MOST_DIFFERENCES} more"]
    return found + styles


def _restyled(was: Text, now: Text) -> Iterator[str]:
    pairs = zip(_style_by_character(was), _style_by_character(now), strict=True)
    end = 0
    for (old, new), characters in groupby(pairs):
        start, end = end, end + len(list(characters))
        if old != new:
            yield f"{start}-{end} {now.plain[start:end]!r}: {old} -> {new}"


def draw_picture(picture: Picture, title: str, name: str) -> str:
    """A picture as SVG; `name` keeps its styles apart from those of others on a page."""
    width = max(line.cell_len for line in picture)
    console = Console(
        width=width,
        file=StringIO(),
        record=True,
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
    )
    for line in picture:
        console.print(line, no_wrap=True, crop=False, overflow="ignore")
    return console.export_svg(title=title, unique_id=name)
