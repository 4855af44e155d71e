"""Thin updates leave the terminal exactly as full ones do, with fewer bytes."""

from __future__ import annotations

import random

import pyte
import pytest
from rich.color import Color, ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual._compositor import LayoutUpdate
from textual.geometry import Size
from textual.strip import Strip

from depthtui.data.run_settings import ModelSpec
from depthtui.settings import Settings
from depthtui.tui.app import DepthApp
from depthtui.tui.textual_patches.minimal_updates import (
    Piece,
    ShownCells,
    ThinUpdate,
    cells_of,
    encode,
)


def encode_changes(segments: list[Segment], system: ColorSystem) -> str:
    return encode([Piece(0, 0, cells_of(segments, system))])


def random_style(random_number: random.Random) -> Style:
    def colour() -> Color | None:
        channels = [random_number.choice((0, 95, 255)) for _ in range(3)]
        return random_number.choice((None, Color.from_rgb(*channels)))

    def maybe() -> bool | None:
        return random_number.choice((None, None, True))

    return Style(
        color=colour(),
        bgcolor=colour(),
        bold=maybe(),
        italic=maybe(),
        underline=maybe(),
        reverse=maybe(),
        strike=maybe(),
    )


def shown(data: str) -> list[object]:
    screen = pyte.Screen(80, 4)
    pyte.Stream(screen).feed(data)
    return [screen.buffer[y][x] for y in range(4) for x in range(80)]


@pytest.mark.parametrize("seed", range(20))
def test_sparing_text_looks_the_same(seed):
    number = random.Random(seed)
    styles = [random_style(number) for _ in range(4)]
    segments = [
        Segment(number.choice(("a", "bc ", "· é")), number.choice([None, *styles]))
        for _ in range(60)
    ]
    system = ColorSystem.TRUECOLOR
    full = "".join(
        style.render(text, color_system=system) if style else text for text, style, _ in segments
    )
    thin = encode_changes(segments, system)
    assert shown(thin) == shown(full)
    assert len(thin) <= len(full) + len("\x1b[1;1H\x1b[0m")


def test_a_shared_background_is_named_once():
    styles = [Style(color=name, bgcolor="#123456") for name in ("#ff0000", "#00ff00")]
    segments = [Segment("x", styles[i % 2]) for i in range(10)]
    assert encode_changes(segments, ColorSystem.TRUECOLOR).count("48;2;18;52;86") == 1


def test_a_link_survives():
    link = Style(link="https://example.invalid")
    assert "example.invalid" in encode_changes([Segment("x", link)], ColorSystem.TRUECOLOR)


def random_line(number: random.Random, styles: list[Style], width: int) -> Strip:
    texts = ("a", "bc ", "· é", "日本", "")
    segments = [Segment(number.choice(texts), number.choice([None, *styles])) for _ in range(width)]
    return Strip(segments).crop(0, width)


@pytest.mark.parametrize("seed", range(10))
def test_what_is_shown_already_is_not_sent_and_nothing_is_missed(seed):
    number = random.Random(seed)
    styles = [random_style(number) for _ in range(2)]
    size, shown_before = Size(20, 3), ShownCells()
    console = Console(color_system="truecolor", width=20, height=3)
    sparing, whole = pyte.Screen(20, 3), pyte.Screen(20, 3)
    lines = [random_line(number, styles, 20) for _ in range(3)]
    for _ in range(30):
        y = number.randrange(3)
        if number.random() < 0.7:
            lines[y] = random_line(number, styles, 20)
        strips = [(y, 0, line) for y, line in enumerate(lines)]
        if number.random() < 0.5 and all(len(line.text) == 20 for line in lines):
            x = number.randrange(19)
            strips = [(y, x, lines[y].crop(x))]
        update = ThinUpdate(strips, size)
        pyte.Stream(whole).feed(update.render_segments(console))
        update.shown_cells = shown_before
        pyte.Stream(sparing).feed(update.render_segments(console))
        assert on_screen(sparing) == on_screen(whole)
    assert update.render_segments(console) == ""
    shown_before.forget()
    assert len(update.render_segments(console)) > 20


def on_screen(screen: pyte.Screen) -> list[object]:
    return [screen.buffer[y][x] for y in range(screen.lines) for x in range(screen.columns)]


def test_behind_a_character_of_unsure_width_the_line_is_sent_again():
    shown_before, size = ShownCells(), Size(8, 1)
    for texts, sent in (
        (("日本", "xy", "z!"), ["日本", "xy", "z!"]),
        (("日日", "xy", "z!"), ["日日", "xy", "z!"]),
        (("日日", "xy", "z?"), ["?"]),
    ):
        cells = [cells_of([Segment(text)], None) for text in texts]
        pieces = [Piece(0, x, part) for x, part in zip((0, 4, 6), cells, strict=True)]
        taken = shown_before.record(pieces, size)
        assert ["".join(char for char, _ in piece.cells) for piece in taken] == sent


@pytest.mark.parametrize(
    ("texts", "chars"),
    [
        (["ab", "c"], ["a", "b", "c"]),
        (["e\u0301f"], ["e\u0301", "f"]),
        (["e", "\u0301f"], ["e\u0301", "f"]),
        (["日\u0301x"], ["日\u0301", "", "x"]),
    ],
)
def test_a_mark_belongs_to_the_character_before_it(texts: list[str], chars: list[str]):
    assert [char for char, _ in cells_of(map(Segment, texts), None)] == chars


class FirstFrame(DepthApp):
    """Stays at its first frame, and keeps the numbers of the lines that it draws."""

    def __init__(self) -> None:
        super().__init__(ModelSpec(), Settings())
        self.drawn: set[int] = set()

    def _open(self) -> None:
        """Open nothing more."""

    def _display(self, screen, renderable):
        if isinstance(renderable, LayoutUpdate):
            self.drawn.update(renderable.region.line_range)
        super()._display(screen, renderable)


async def test_a_resize_to_the_same_size_draws_every_line():
    app = FirstFrame()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause(0.1)
        app.drawn.clear()
        app.post_message(events.Resize(app.size, app.size))
        for _ in range(100):
            await pilot.pause(0.01)
            if app.drawn:
                break
        assert app.drawn == set(range(24))
