"""What the README names is there: commands, names, pictures."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from depthtui.manual import PAGES
from depthtui.manual.model_types import IN_PART, MEASURED, saved_lines
from screenshots.renew import PICTURES, PIXELS
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


def test_it_is_short() -> None:
    assert len(TEXT.splitlines()) <= 220


def test_every_link_leads_somewhere() -> None:
    linked = [target for target in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in target]
    assert len(linked) > 8
    assert [target for target in linked if not (README.parent / target).is_file()] == []


def test_every_page_of_the_manual_that_it_names_is_there() -> None:
    named = re.findall(r"depthtui\s+help\s+([a-z-]+)", TEXT)
    assert len(named) > 5
    assert set(named) <= {*PAGES}


def test_it_counts_the_types_of_models_as_the_list_does() -> None:
    lines = saved_lines().values()
    measured = sum(line.startswith(MEASURED) for line in lines)
    in_part = sum(line.startswith(IN_PART) for line in lines)
    assert f"{measured} of {len(lines)} types of transformers are measured, {in_part} of" in TEXT


def test_every_picture_is_there_and_is_renewed_by_command() -> None:
    shown = re.findall(r"\]\(screenshots/([\w-]+)\.svg\)", TEXT)
    assert {"tour", "verdict-dark-120x40"} <= set(shown)
    assert set(shown) <= set(PICTURES)
    there = {path.stem for path in (README.parent / "screenshots").glob("*.svg")}
    assert there == set(PICTURES)
    assert PIXELS.keys() <= there
    for name, _draw in PIXELS.values():
        assert (README.parent / "screenshots" / name).stat().st_size < 1_500_000


def test_the_tour_is_small_enough_for_a_page() -> None:
    tour = README.parent / "screenshots" / "tour.svg"
    assert tour.stat().st_size < 1_500_000
    root = ElementTree.parse(tour).getroot()
    assert not {item.tag.rpartition("}")[2] for item in root.iter()} & {"script", "foreignObject"}
