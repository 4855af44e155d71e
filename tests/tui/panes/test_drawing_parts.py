"""The parts that panes are made of: numbers, scales, grids, braille, lines of segments."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from rich.color import ColorSystem
from rich.style import Style

from depthtui import ramps
from depthtui.tui.draw.braille import Canvas
from depthtui.tui.draw.grid import Grid, Side
from depthtui.tui.draw.plot import Curve, CurvePanel, Plot, PlotArea, reach
from depthtui.tui.draw.scale import Scale, scale_of
from depthtui.tui.draw.styles import bar, fit_right, number, number_within, probability, strip_of
from depthtui.tui.draw.text import wrap
from depthtui.tui.panes.heatmap import HeatmapPane, means_in
from depthtui.tui.themes import THEMES
from tests.tui.panes.drawing import framed

BLANK = 0x2800
TOP_DOTS, THIRD_DOTS, LOWEST_DOTS = 0x09, 0x24, 0xC0
"""Bits of a braille cell."""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.41234, "0.412"),
        (12.34, "12.3"),
        (310.4, "310"),
        (1234.0, "1230"),
        (0.9999, "1.00"),
        (0.00234, "0.00234"),
        (-0.5, "-0.500"),
        (0.0, "0"),
        (1.5e-7, "1.50e-7"),
        (123456.0, "1.23e5"),
        (float("nan"), "–"),
        (float("-inf"), "-∞"),
    ],
)
def test_three_significant_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-0.172, "-0.172"),
        (-0.0345, "-0.035"),
        (-0.00345, "-0.003"),
        (-0.000345, "-3e-4"),
        (-12345.6, "-12300"),
        (0.0, "0"),
        (float("nan"), "–"),
    ],
)
def test_a_number_is_never_cut(value, text):
    assert number_within(value, 6) == text


def test_probabilities():
    assert [probability(item) for item in (0.97, 0.999, 0.001, float("nan"))] == [
        ".97",
        "1.0",
        ".00",
        "",
    ]


def test_a_bar_is_as_long_as_its_share():
    assert bar(0.5, 10) == ("━" * 5, "─" * 5)
    assert bar(0.55, 10) == ("━" * 5 + "╸", "─" * 4)
    assert bar(7, 4) == ("━" * 4, "")


def test_right_alignment_counts_cells():
    assert fit_right("深", 4) == "  深"
    assert fit_right("abcdef", 4) == "abc…"


def test_equal_neighbours_become_one_segment():
    red, same, blue = Style(color="red"), Style(color="red"), Style(color="blue")
    strip = strip_of([("a", red), ("b", same), (" ", blue), ("c", blue), ("", red)], 6, red)
    assert [segment.text for segment in strip] == ["ab ", "c", "  "]
    underlined = strip_of([("a", Style(underline=True)), (" ", red)], 2, red)
    assert len(underlined) == 2


def test_scales():
    assert scale_of(np.array([0.5, 2.0]), False) == Scale(0, 2)
    assert scale_of(np.array([-3.0, 2.0]), True) == Scale(-3, 3)
    assert scale_of(np.array([np.nan]), False) == Scale(0, 1)
    assert scale_of(np.zeros(5), True) == Scale(-1, 1)
    assert scale_of(np.array([5.0]), False, (0, 1)) == Scale(0, 1)
    sink = np.append(np.linspace(0, 1, 500), 310)
    scale = scale_of(sink, False)
    assert scale.high < 1
    assert scale.ends == ("0", f"≥ {scale.high:.3g}")
    assert scale_of(-sink, True).ends == (f"≤ -{scale.high:.3g}", f"≥ {scale.high:.3g}")


@pytest.mark.parametrize("upwards", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 7, 30, 31, 90])
@pytest.mark.parametrize("lines", [1, 2, 10, 20, 31])
def test_every_row_can_be_brought_into_sight(rows, lines, upwards):
    for whole_lines in (True, False):
        grid = Grid.fit(rows, 50, 40, lines, upwards, whole_lines)
        for row in (0, rows - 1, rows // 2):
            grid.scroll_to(row, 49)
            halves = [row for y in range(lines) for row in grid.rows_on(y)]
            shown = [row for row in halves if row is not None]
            assert halves[-len(shown) :] == shown, "the layers stand on the axis"
            ordered = shown[::-1] if upwards else shown
            assert row in shown
            assert ordered == sorted(shown)
            (height,) = {shown.count(row) for row in shown}
            assert len(halves) - len(shown) < height * len(set(shown)), "no room for taller ones"
            numbers = [grid.numbered_row(y) for y in range(lines)]
            numbered = {found for found in numbers if found is not None}
            assert len(numbered) == sum(found is not None for found in numbers)
            lines_of_row = {row: grid.number_line(row) for row in shown}
            assert {numbers[y] for y in lines_of_row.values()} == numbered
            assert all(lines_of_row[row] in grid.lines_of(row) for row in shown)
            halves_lines = not grid.whole_lines and grid.rows.units == grid.rows.n_visible
            assert halves_lines == (len(numbered) < len(lines_of_row)) or len(numbered) == 1


@pytest.mark.parametrize("count", [1, 3, 37, 54, 200])
@pytest.mark.parametrize("units", [1, 20, 54, 72])
def test_items_share_all_of_a_side(count: int, units: int) -> None:
    side = Side(count, units)
    side.scroll_to(count - 1)
    taken = [unit for item in side.visible for unit in side.units_of(item)]
    assert taken == list(range(units))
    sizes = {len(side.units_of(item)) for item in side.visible}
    assert max(sizes) - min(sizes) <= 1
    for item in side.visible:
        assert {side.item_at(unit) for unit in side.units_of(item)} == {item}
    assert side.item_at(-1) is side.item_at(units) is None


def test_bins_hold_every_token_once() -> None:
    values = np.append(np.arange(10.0), [np.nan, np.nan])
    means = means_in(values, Side(4, 12))
    assert means[:3].tolist() == [1, 4, 7]
    assert means[3] == 9
    assert np.isnan(means_in(np.full(12, np.nan), Side(4, 12))).all()


def test_braille_lines_go_through_their_points():
    canvas = Canvas(10, 2)
    canvas.plot(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    top, bottom = canvas.lines()
    assert bottom[0] != " "
    assert top[-1] != " "
    assert bottom[-1] == " "
    gap = Canvas(10, 1)
    gap.plot(np.array([0.0, 0.5, 1.0]), np.array([0.0, np.nan, 0.0]))
    assert gap.lines()[0][0] != " "
    assert gap.lines()[0][1:-1].strip() == ""


def test_wrap():
    assert wrap("one two three", 7) == ["one two", "three"]
    assert wrap("unbreakable", 5) == ["unbr…"]


@pytest.mark.parametrize(
    ("lines", "count", "expected"),
    [
        (12, 3, [(1, 4), (6, 3), (10, 3)]),
        (7, 3, [(1, 3), (4, 2), (6, 2)]),
        (1, 1, [(1, 1)]),
        (0, 2, [(1, 1), (2, 1)]),
    ],
)
def test_plots_share_the_lines_of_their_pane(
    lines: int, count: int, expected: list[tuple[int, int]]
) -> None:
    areas = PlotArea(3, 1, 20, lines).above_each_other(count)
    assert [(area.top, area.lines) for area in areas] == expected
    assert {(area.left, area.width) for area in areas} == {(3, 20)}


def test_curves_of_plots_without_a_gap_do_not_touch() -> None:
    ends = np.array([0.0, 1.0])
    upper, lower = PlotArea(0, 0, 4, 5).above_each_other(2)
    above, below = Plot(upper, 0, 1).curve(ends, 1 - ends), Plot(lower, 0, 1).curve(ends, ends)
    bottom, top = ord(above[-1][-1]) - BLANK, ord(below[0][-1]) - BLANK
    assert bottom & THIRD_DOTS
    assert not bottom & LOWEST_DOTS
    assert not top & TOP_DOTS


def test_plots_side_by_side_share_the_width() -> None:
    areas = PlotArea(0, 2, 62, 4).side_by_side(3, gap=1)
    assert [(area.left, area.width) for area in areas] == [(0, 20), (21, 20), (42, 20)]


def test_a_value_has_the_line_that_its_curve_runs_through() -> None:
    plot = Plot(PlotArea(0, 0, 10, 4), -1.0, 1.0)
    values = np.array([-1.0, -0.2, 0.3, 1.0])
    text = plot.curve(np.array([0.0, 0.3, 0.6, 1.0]), values)
    for depth, value in zip([0.0, 0.3, 0.6, 1.0], values, strict=True):
        assert text[plot.line_of(float(value))][plot.area.column(depth)] != " "
    assert (plot.line_of(5.0), plot.line_of(-5.0)) == (0, 3)
    assert [plot.end(line, 6) for line in range(4)] == ["1.00", "", "", "-1.00"]
    assert not "".join(plot.dashes(float("nan"))).strip()
    assert "".join(plot.dashes(0.0)).strip()


def test_a_scale_begins_at_zero_and_has_two_ends() -> None:
    assert reach(np.array([0.5, 2.0, np.nan])) == (0.0, 2.0)
    assert reach(np.array([-0.5, -2.0])) == (-2.0, 0.0)
    assert reach(np.full(2, np.nan)) == (0.0, 1.0)


def test_widgets_import_nothing_heavy():
    code = (
        "import sys, depthtui.tui.panes.heatmap, depthtui.tui.panes.curves;"
        "heavy = {'torch', 'transformers', 'safetensors', 'diskcache', 'click'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("theme", [theme.name for theme in THEMES])
async def test_text_is_legible_in_16_colours(theme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textual.constants.COLOR_SYSTEM", "standard")
    pane = HeatmapPane()
    async with framed(pane) as pilot:
        for known in THEMES:
            pilot.app.register_theme(known)
        pilot.app.theme = theme
        await pilot.pause()
        styles = pane.pane_styles
        for style in (styles.text, styles.muted, styles.faint, styles.accent, styles.warning):
            shades = [
                ramps.lightness(tuple(colour.downgrade(ColorSystem.STANDARD).get_truecolor()))
                for colour in (style.color, styles.background)
            ]
            assert abs(shades[0] - shades[1]) >= 0.3


def test_labels_of_two_curves_never_touch_at_any_width() -> None:
    number = np.random.default_rng(1)
    for _ in range(2000):
        area = PlotArea(0, 0, int(number.integers(6, 60)), int(number.integers(1, 7)))
        curves = []
        for letter, sign in (("A", "◆"), ("B", "◇")):
            layers = int(number.integers(4, 40))
            at = np.arange(layers + 1) / layers
            mark = int(number.integers(layers))
            values = number.random(layers + 1)
            curves.append(Curve(at, values, Style(), False, mark, sign, f"{letter}{mark}"))
        panel = CurvePanel("", "", Plot(area, 0, 1), curves)
        for line in range(area.lines):
            cells = [
                panel.marks.get((line, column), (" ", None))[0] for column in range(area.width)
            ]
            words = "".join(cells).replace("◆", " ").replace("◇", " ").split()
            assert set(words) <= {curve.label for curve in curves}
