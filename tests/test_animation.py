"""An animated terminal: what is shown is each screen, and only what changed is drawn again."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from screenshots.animation import TALL, WIDE, Cell, Frame, animated
from screenshots.raster import frame_seconds, still_of
from tests.hostile import HOSTILE

NAMESPACE = "{http://www.w3.org/2000/svg}"
INK, PAGE = "#ffffff", "#000000"


def screen(*lines: str, page: str = PAGE) -> list[list[Cell]]:
    return [[Cell(character, INK, page) for character in line] for line in lines]


def groups(svg: str) -> list[ElementTree.Element]:
    """What each frame draws."""
    root = ElementTree.fromstring(svg)
    return [group for group in root.iter(f"{NAMESPACE}g") if group.get("class") == "f"]


def words(group: ElementTree.Element) -> list[tuple[str | None, int]]:
    """The words of a frame and their columns."""
    return [(word.text, int(word.get("x", "")) // WIDE) for word in group.iter(f"{NAMESPACE}tspan")]


def test_only_what_changed_is_drawn_again() -> None:
    before, after = screen("one  two  three", "four"), screen("one  two  THREE", "four")
    first, second = groups(animated([Frame(before, 1), Frame(after, 1)], "label"))
    assert words(first) == [("one", 0), ("two", 5), ("three", 10), ("four", 0)]
    assert words(second) == [("THREE", 10)]
    (shape,) = second.iter(f"{NAMESPACE}path")
    assert shape.get("d") == f"M{10 * WIDE} 0h{5 * WIDE}v{TALL}h-{5 * WIDE}z"


def test_a_frame_comes_when_those_before_it_have_been_seen() -> None:
    frames = [Frame(screen(text), seconds) for text, seconds in (("a", 1), ("b", 2), ("c", 5))]
    svg = animated(frames, "label")
    assert [group.get("visibility") for group in groups(svg)] == [None, "hidden", "hidden"]
    assert re.findall(r"hidden\}([\d.]+)%,to\{visibility:visible", svg) == ["12.500", "37.500"]
    assert "animation-duration:8.00s" in svg


def test_a_frame_is_drawn_in_pixels_as_it_is_seen() -> None:
    frames = [Frame(screen(text), seconds) for text, seconds in (("a", 1), ("b", 2), ("c", 5))]
    svg = animated(frames, "label")
    assert frame_seconds(svg) == [1, 2, 5]
    (style,) = re.findall("<style>(.*)</style>", still_of(svg, 1))
    assert style.endswith("visibility:hidden}#f0,#f1{visibility:visible}")


def test_blocks_lines_and_dots_need_no_font() -> None:
    (group,) = groups(animated([Frame(screen("█─⠁x"), 1)], "label"))
    assert words(group) == [("x", 3)]
    drawn = "".join(path.get("d", "") for path in group.iter(f"{NAMESPACE}path"))
    assert f"M0 0h{WIDE}v{TALL}" in drawn, "a full block"
    assert f"M{2 * WIDE + 1} 1h2v2" in drawn, "a dot"


def test_a_wide_character_is_drawn_whole() -> None:
    wide = [[Cell("日", INK, PAGE), Cell("", INK, PAGE)]]
    one, two = [[Cell("a", INK, PAGE), Cell("b", INK, PAGE)]], wide
    _, second = groups(animated([Frame(one, 1), Frame(two, 1)], "label"))
    assert words(second) == [("日", 0)]


def test_captions_and_cells_are_harmless() -> None:
    for text in HOSTILE.values():
        shown = "".join(character for character in text if character.isprintable())[:20] or "x"
        svg = animated([Frame(screen(shown), 1, shown, shown)], shown)
        assert len(groups(svg)) == 1
        assert "<script" not in svg
