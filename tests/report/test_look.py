"""The size of a printed figure."""

from __future__ import annotations

import pytest

from depthtui.errors import DepthError
from depthtui.report.look import Length, Look


@pytest.mark.parametrize(
    ("text", "points"),
    [("3.25in", 234), ("8pt", 8), (" .5 in", 36), ("2.54cm", 72), ("25.4mm", 72), ("1.in", 72)],
)
def test_a_length_is_read_with_its_unit(text: str, points: float) -> None:
    assert Length.of(text).points == pytest.approx(points)


@pytest.mark.parametrize(
    "text", ["", "3", "in", "3.25 inch", "-1in", "0pt", "nanin", "1e3in", "٣in"]
)
def test_other_texts_are_no_length(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no length, such as 3\.25in"):
        Length.of(text)


def test_a_drawing_is_as_wide_as_its_text_is_small() -> None:
    column = Look(width=Length(3.25, "in"), font_size=Length(8, "pt"))
    page = Look(width=Length(6.5, "in"), font_size=Length(8, "pt"))
    # 11 units are 8 points.
    assert column.units == pytest.approx(234 * 11 / 8)
    assert page.units == pytest.approx(2 * column.units)
    assert Look().units == 420


def test_a_figure_without_room_for_its_text_is_refused_with_a_width_that_is_not() -> None:
    def look(width: float) -> Look:
        return Look(width=Length(width, "in"), font_size=Length(14, "pt"))

    with pytest.raises(DepthError, match=r"3in wide has no room .* 14pt\. Give --width 3\.54in"):
        look(3).check()
    look(3.54).check()
    with pytest.raises(DepthError, match=r"49in wide is too large\. Give --width 48in or less"):
        look(49).check()
