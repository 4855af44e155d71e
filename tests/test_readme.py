"""What the README names is there: commands, names, pictures."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from screenshots.renew import PICTURES
from tests.documented import check_command_line, command_lines, unknown_names

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text("utf-8")


@pytest.mark.parametrize("line", command_lines(TEXT))
def test_every_command_line_has_options_that_are_there(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_command_line(line, tmp_path, monkeypatch)


def test_the_example_from_python_says_where_its_names_come_from() -> None:
    assert unknown_names(TEXT) == set()


def test_every_link_leads_somewhere() -> None:
    headings = re.findall(r"^##+ (.+)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    linked = set(re.findall(r"\]\(#([^)]+)\)", TEXT))
    assert len(linked) > 10
    assert linked <= anchors


def test_every_picture_is_there_and_is_renewed_by_command() -> None:
    shown = re.findall(r"\]\(screenshots/([\w-]+)\.svg\)", TEXT)
    assert {"tour", "verdict-dark-120x40"} <= set(shown)
    assert set(shown) <= set(PICTURES)
    there = {path.stem for path in (README.parent / "screenshots").glob("*.svg")}
    assert there == set(PICTURES)


def test_the_tour_is_small_enough_for_a_page() -> None:
    tour = README.parent / "screenshots" / "tour.svg"
    assert tour.stat().st_size < 1_500_000
    root = ElementTree.parse(tour).getroot()
    assert not {item.tag.rpartition("}")[2] for item in root.iter()} & {"script", "foreignObject"}
