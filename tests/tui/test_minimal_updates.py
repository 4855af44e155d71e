"""Thin updates leave the terminal exactly as full ones do, with fewer bytes."""

from __future__ import annotations

import random

import pyte
import pytest
from rich.color import Color, ColorSystem
from rich.segment import Segment
from rich.style import Style
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from depthtui.tui.minimal_updates import ThinCompositor, ThinUpdate, encode_changes


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
    assert len(thin) <= len(full) + len("\x1b[0m")


def test_a_shared_background_is_named_once():
    styles = [Style(color=name, bgcolor="#123456") for name in ("#ff0000", "#00ff00")]
    segments = [Segment("x", styles[i % 2]) for i in range(10)]
    assert encode_changes(segments, ColorSystem.TRUECOLOR).count("48;2;18;52;86") == 1


def test_a_link_survives():
    link = Style(link="https://example.invalid")
    assert "example.invalid" in encode_changes([Segment("x", link)], ColorSystem.TRUECOLOR)


class Block(Widget):
    letter = "a"

    def render_line(self, y: int) -> Strip:
        return Strip([Segment(self.letter * self.size.width, Style(color="red"))])


class ThinScreen(Screen[None]):
    def __init__(self) -> None:
        super().__init__()
        self._compositor = ThinCompositor()

    def compose(self) -> ComposeResult:
        yield Block()


async def test_only_the_changed_cells_are_sent(monkeypatch):
    app: App[None] = App()
    async with app.run_test(size=(40, 6)) as pilot:
        await app.push_screen(ThinScreen())
        await pilot.pause()
        sent: list[str] = []

        def display(_: object, update: object) -> None:
            if isinstance(update, ThinUpdate):
                sent.append(update.render_segments(app.console))

        monkeypatch.setattr(app, "_display", display)
        block = app.screen.query_one(Block)
        block.letter = "b"
        block.refresh(Region(30, 2, 3, 2))
        await pilot.pause()
        data = "".join(sent)
        assert data.count("b") == 6
        assert "\x1b[3;31H" in data
        assert "\x1b[4;31H" in data
