"""Heatmaps and curves: what is drawn is what was measured."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from depthtui import ramps
from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.metrics.spec import Measure
from depthtui.report.blocks import Bars, Heatmap, Line, Panel
from depthtui.report.svg import COLOURS, bars, curves, heatmap, page_style, ramp_style
from tests.hostile import DOORS

NAMESPACE = "{http://www.w3.org/2000/svg}"
SEQUENTIAL = MEASURE_BY_NAME["layer_norm_ratio"]
DIVERGING = MEASURE_BY_NAME["layer_cosine"]


DRAWN = {"svg", "g", "path", "rect", "text", "tspan"}
"""What every renderer of SVG draws."""


def drawn(values: np.ndarray, measure: Measure, tokens: list[str]) -> str:
    return heatmap(Heatmap(values, measure, tokens, "|c| / |h|"))


def drawn_levels(svg: str, shape: tuple[int, int]) -> np.ndarray:
    """The level of every cell that the paths paint, layer 0 first; -1 where nothing is."""
    levels = np.full(shape, -1)
    for path in ElementTree.fromstring(svg).iter(f"{NAMESPACE}path"):
        if not re.fullmatch(r"[sd]\d+", path.get("class", "")):
            continue
        for x, y, width in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\3z", path.get("d", "")):
            row, first, last = shape[0] - 1 - int(y), int(x), int(x) + int(width)
            assert (levels[row, first:last] == -1).all(), "a cell is painted twice"
            levels[row, first:last] = int(path.get("class", "")[1:])
    return levels


def test_every_cell_has_the_colour_of_its_value() -> None:
    values = np.random.default_rng(0).uniform(0, 2, (6, 9)).astype(np.float32)
    values[2, 3:5] = np.nan
    svg = drawn(values, SEQUENTIAL, ["x"] * 9)
    high = float(re.findall(r'text-anchor="end">([\d.]+)</text>', svg)[-1])
    expected = ramps.levels(values, 0, np.percentile(values[~np.isnan(values)], 95), 24)
    assert high <= np.nanmax(values)
    assert np.abs(drawn_levels(svg, values.shape) - expected).max() <= 1
    assert (drawn_levels(svg, values.shape)[2, 3:5] == -1).all()


def test_a_diverging_measure_is_drawn_from_minus_one_to_one() -> None:
    values = np.array([[-1.0, 0.0, 1.0], [-0.5, 0.5, 5.0]])
    levels = drawn_levels(drawn(values, DIVERGING, ["x"] * 3), values.shape)
    assert levels.tolist() == [[0, 12, 24], [6, 18, 24]]


def test_a_sink_is_clipped_and_that_is_said() -> None:
    values = np.full((10, 10), 0.5)
    values[0, 0] = 500
    svg = drawn(values, SEQUENTIAL, ["x"] * 10)
    assert "95th percentile, max 500" in svg
    assert (drawn_levels(svg, values.shape)[1:] == 23).all()


def test_cells_that_say_little_are_hatched() -> None:
    values = np.array([[0.0, np.nan, 1.0], [np.nan, np.nan, 0.5]])
    hatched = np.array([[False, True, False], [True, False, False]])
    svg = heatmap(Heatmap(values, DIVERGING, ["x"] * 3, hatched=hatched))
    (strokes,) = re.findall(r'fill="none" d="([^"]+)"', svg)
    places = [tuple(map(float, place)) for place in re.findall(r"M([\d.]+) ([\d.]+)l", strokes)]
    (across, low), (left, high) = places
    # From the lower left of the second cell below, and of the first one above it.
    assert across > left
    assert low > high
    assert {
        element.tag.removeprefix(NAMESPACE) for element in ElementTree.fromstring(svg).iter()
    } <= (DRAWN)
    assert 'fill="none"' not in drawn(values, DIVERGING, ["x"] * 3)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_values_without_a_scale_are_drawn(value: float) -> None:
    svg = drawn(np.full((3, 4), value), SEQUENTIAL, ["x"] * 4)
    ElementTree.fromstring(svg)
    assert "nan" not in svg


@pytest.mark.parametrize("columns", [1, 44, 45, 3000])
def test_any_number_of_tokens_fits(columns: int) -> None:
    svg = drawn(np.ones((80, columns)), SEQUENTIAL, ["token"] * columns)
    root = ElementTree.fromstring(svg)
    _, _, width, height = map(float, root.get("viewBox", "").split())
    for text in root.iter(f"{NAMESPACE}text"):
        if text.get("x"):
            assert 0 <= float(text.get("x", "")) <= width
            assert 0 <= float(text.get("y", "")) <= height


@pytest.mark.parametrize("text", DOORS.values(), ids=DOORS)
def test_tokens_are_harmless(text: str) -> None:
    svg = drawn(np.ones((2, 2)), SEQUENTIAL, [text, "x"])
    ElementTree.fromstring(svg)
    svg.encode("utf-8")


class TestCurves:
    def panel(self, values: list[float], **options: object) -> str:
        line = Line(np.array(values), "mean")
        return curves(Panel([line], len(values) - 1, **options))  # type: ignore[arg-type]

    def rule(self, svg: str, css: str) -> list[float]:
        (path,) = [
            item
            for item in ElementTree.fromstring(svg).iter(f"{NAMESPACE}path")
            if item.get("class") == css
        ]
        return [float(item) for item in re.findall(r"[\d.]+", path.get("d", ""))]

    def points(self, svg: str) -> list[list[tuple[float, float]]]:
        match = re.search(r'class="line mean"[^>]* d="([^"]*)"', svg)
        assert match is not None
        return [
            [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", part)]
            for part in match[1].split("M")[1:]
        ]

    def test_the_threshold_and_the_crossing_are_where_the_curve_says(self) -> None:
        svg = self.panel([4.0, 3.0, 2.0, 1.0, 0.0], threshold=2.0, crossing=3)
        (points,) = self.points(svg)
        assert self.rule(svg, "threshold")[1] == pytest.approx(points[2][1], abs=0.1)
        assert self.rule(svg, "crossing")[0] == pytest.approx(points[3][0], abs=0.1)
        assert "layer 3" in svg
        heights = [y for _, y in points]
        assert heights == sorted(heights), "downwards on paper"
        assert np.diff(heights) == pytest.approx(np.diff(heights)[0], abs=0.1)

    def test_no_crossing_no_mark(self) -> None:
        assert "crossing" not in self.panel([1.0, 1.0, 1.0])

    @pytest.mark.parametrize("count", [1, 1_002, 131_072])
    def test_a_curve_over_any_number_of_tokens_is_drawn(self, count: int) -> None:
        svg = self.panel([1.0] * count)
        assert 1 <= len(re.findall(r">\d+0*</text>", svg)) < 20

    def test_unknown_layers_are_gaps(self) -> None:
        parts = self.points(self.panel([1.0, 2.0, np.nan, 3.0, np.nan, np.nan]))
        assert [len(part) for part in parts] == [2, 2]
        assert parts[1][0] == parts[1][1], "a lone value is a point"

    @pytest.mark.parametrize("log", [True, False])
    @pytest.mark.parametrize(
        "values", [[np.nan] * 3, [0.0] * 3, [1e-30, 1.0, 1e30], [5.0] * 3, [-1.0, -2.0, -3.0]]
    )
    def test_odd_values_are_drawn(self, values: list[float], log: bool) -> None:
        svg = self.panel(values, log=log, threshold=0.5)
        ElementTree.fromstring(svg)
        assert "nan" not in svg
        assert "inf" not in svg

    def test_a_logarithmic_axis_spaces_decades_evenly(self) -> None:
        (points,) = self.points(self.panel([0.1, 1.0, 10.0], log=True))
        heights = [y for _, y in points]
        assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.2)


class TestBars:
    def drawn(self, values: list[float]) -> list[dict[str, float]]:
        root = ElementTree.fromstring(bars(Bars(np.array(values), "label")))
        return [
            {name: float(item.get(name, "")) for name in ("x", "y", "width", "height")}
            for item in root.iter(f"{NAMESPACE}rect")
            if item.get("class", "").startswith("bars")
        ]

    def test_they_are_as_long_as_their_values_and_on_their_side_of_zero(self) -> None:
        first, second, third = self.drawn([2.0, -1.0, 0.0])
        assert first["height"] == pytest.approx(2 * second["height"], rel=0.01)
        assert first["y"] + first["height"] == pytest.approx(second["y"], abs=0.1)
        assert third["height"] == 0

    def test_unknown_layers_are_left_out(self) -> None:
        first, second = self.drawn([1.0, np.nan, 1.0])
        assert second["x"] > first["x"] + 1.5 * first["width"]

    @pytest.mark.parametrize("values", [[], [np.nan], [0.0], [-5.0]])
    def test_odd_values_are_drawn(self, values: list[float]) -> None:
        assert "nan" not in bars(Bars(np.array(values), "label"))


def test_the_style_has_every_level_for_dark_pages_and_pictures_those_for_light_ones() -> None:
    light, dark = ramp_style().split("@media")
    assert not light
    for level in range(ramps.LEVELS):
        assert f".s{level}{{" in dark
    for level in range(ramps.DIVERGING_LEVELS):
        assert f".d{level}{{" in dark
    assert ramps.css(ramps.sequential(True)[3]) in dark
    svg = drawn(np.array([[0.0, 3.0, 23.0]]), SEQUENTIAL, ["x"] * 3)
    assert f'class="s3" fill="{ramps.css(ramps.sequential(False)[3])}"' in svg


PICTURES = {
    "heatmap": drawn(np.array([[0.0, 1.0]]), SEQUENTIAL, ["a", "b"]),
    "many tokens": drawn(np.ones((2, 60)), DIVERGING, ["a"] * 60),
    "curves": curves(
        Panel(
            [
                Line(np.array([1.0, 2.0]), "mean", "mean"),
                Line(np.array([2.0, 1.0]), "m3 t1", "<other>"),
            ],
            1,
            threshold=1.5,
            crossing=1,
            up="nats",
        )
    ),
    "bars": bars(Bars(np.array([1.0, -1.0]), "label", "nats")),
}


class TestWithoutAStyleSheet:
    """A picture that was taken out of its page is what the page shows."""

    @pytest.mark.parametrize("name", PICTURES)
    def test_it_needs_nothing_that_renderers_lack(self, name: str) -> None:
        for item in ElementTree.fromstring(PICTURES[name]).iter():
            assert item.tag.removeprefix(NAMESPACE) in DRAWN
            assert item.get("style") is None
            for value in item.attrib.values():
                assert "var(" not in value
                assert "url(" not in value
                assert "hsl(" not in value

    @pytest.mark.parametrize("name", PICTURES)
    def test_everything_has_a_colour_and_a_size(self, name: str) -> None:
        root = ElementTree.fromstring(PICTURES[name])
        assert root.get("fill") == COLOURS["soft"][0]
        assert float(root.get("font-size", "")) >= 11
        assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
        for item in root.iter(f"{NAMESPACE}path"):
            is_cell = re.fullmatch(r"[sd]\d+", item.get("class", ""))
            assert (item.get("fill") if is_cell else item.get("stroke", "")).startswith("#")

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("heatmap", {"layer", "token", "|c| / |h|", "a", "b"}),
            ("curves", {"nats", "layer", "mean", "<other>", "layer 1", "0", "1"}),
            ("bars", {"nats", "layer"}),
        ],
    )
    def test_its_axes_and_lines_have_names(self, name: str, expected: set[str]) -> None:
        root = ElementTree.fromstring(PICTURES[name])
        assert expected <= {item.text for item in root.iter() if item.text}

    def test_curves_alone_name_lines_that_look_different(self) -> None:
        def texts(first: str, second: str, is_alone: bool) -> set[str | None]:
            lines = [Line(np.ones(3), first, name="one"), Line(np.ones(3), second, name="two")]
            root = ElementTree.fromstring(curves(Panel(lines, 3), is_alone))
            return {item.text for item in root.iter(f"{NAMESPACE}text")}

        assert {"one", "two"} <= texts("m0 t0", "m0 t1", is_alone=True)
        assert not {"one", "two"} & texts("m0 t0", "m0 t1", is_alone=False)
        assert not {"one", "two"} & texts("layer", "layer", is_alone=True)

    def test_every_line_is_named_where_some_look_alike(self) -> None:
        names = {"a": "m0", "b": "m1", "c": "m0"}
        panel = Panel([Line(np.ones(3), css, name=name) for name, css in names.items()], 3)
        root = ElementTree.fromstring(curves(panel, True))
        assert names.keys() <= {item.text for item in root.iter(f"{NAMESPACE}text")}

    def test_lines_have_their_colour_and_dashes(self) -> None:
        svg = PICTURES["curves"]
        mean, other = re.findall(r'<path class="line [^>]*>', svg)
        assert f'stroke="{COLOURS["ink"][0]}"' in mean
        assert "stroke-dasharray" not in mean
        assert 'stroke-dasharray="5 2.5"' in other
        assert COLOURS["ink"][1] in page_style().partition("@media")[2]
