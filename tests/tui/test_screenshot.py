"""The screen as SVG: without toasts, and the same in renderers that stretch no text."""

from __future__ import annotations

import re
from html import unescape
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from rich.cells import cell_len

from depthtui.tui.panes.verdict_pane import VerdictPane
from depthtui.tui.screenshot import take_screenshot
from tests.tui.app_helpers import Explored

SVG = "{http://www.w3.org/2000/svg}"


def words_of(svg: str) -> list[tuple[float, float, float, str]]:
    """Every word on the screen: x, y, length, text."""
    return [
        (*(float(found.attrib[name]) for name in ("x", "y", "textLength")), unescape(found.text))
        for found in ElementTree.fromstring(svg).iter(f"{SVG}text")
        if "textLength" in found.attrib and found.text
    ]


async def test_toasts_are_not_in_it_and_stay_on_the_screen(it: Explored) -> None:
    verdict = it.main.query_one(VerdictPane)
    await it.until(lambda: not verdict.view.verdict.is_pending, "intervals")
    it.app.notify("Kept as run 6", timeout=60)
    await it.until(lambda: "Kept as run 6" in it.screen_text())
    before = it.screen_text()
    words = "".join(word for *_, word in words_of(take_screenshot(it.app)))
    assert "Keptasrun6" not in words
    await it.pilot.pause()
    assert it.screen_text() == before


async def test_every_word_has_its_place(it: Explored) -> None:
    screen = it.screen_text().split("\n")
    svg = take_screenshot(it.app)
    words = words_of(svg)
    cell = words[0][2] / cell_len(words[0][3])
    lines: dict[float, str] = {}
    for x, y, length, word in words:
        assert re.search(r"\s", word) is None
        assert abs(length - cell * cell_len(word)) < 0.1
        line = lines.get(y, "")
        lines[y] = line + " " * (round(x / cell) - cell_len(line)) + word
    drawn = [lines[y] for y in sorted(lines)]
    assert drawn == [line.rstrip() for line in screen if line.strip()]


async def test_it_is_the_screen_without_a_window_around_it(it: Explored) -> None:
    svg = take_screenshot(it.app)
    columns = it.app.size.width
    assert "circle" not in svg
    picture = ElementTree.fromstring(svg)
    left, top, width, height = map(float, picture.attrib["viewBox"].split())
    cell = words_of(svg)[0]
    assert width == pytest.approx(columns * cell[2] / cell_len(cell[3]))
    (screen,) = (group for group in picture.iter(f"{SVG}g") if "clip-path" in group.attrib)
    assert screen.attrib["transform"] == f"translate({left:g}, {top:g})"
    assert max(y for _, y, *_ in words_of(svg)) < height


async def test_backgrounds_leave_no_seams(it: Explored) -> None:
    svg = take_screenshot(it.app)
    lines: dict[str, list[tuple[float, float]]] = {}
    for found in ElementTree.fromstring(svg).iter(f"{SVG}rect"):
        if "shape-rendering" in found.attrib:
            x, width = (float(found.attrib[name]) for name in ("x", "width"))
            lines.setdefault(found.attrib["y"], []).append((x, x + width))
    assert len(lines) > 20
    for line in lines.values():
        line.sort()
        for (_, end), (start, _) in pairwise(line):
            assert end < start - 1 or end > start + 0.1
