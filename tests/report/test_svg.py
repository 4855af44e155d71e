"""Heatmaps and curves: what is drawn is what was measured."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from depthtui import ramps
from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.metrics.spec import Measure
from depthtui.palettes import PALETTES
from depthtui.report.blocks import Bars, Heatmap, Line, Mark, Panel
from depthtui.report.look import Length, Look
from depthtui.report.svg import (
    COLOURS,
    MOST_IN_GREY,
    bars,
    curves,
    drawing,
    heatmap,
    page_style,
    ramp_style,
)
from tests.hostile import DOORS

NAMESPACE = "{http://www.w3.org/2000/svg}"
SEQUENTIAL = MEASURE_BY_NAME["layer_norm_ratio"]
DIVERGING = MEASURE_BY_NAME["layer_cosine"]


ALONE = Look(is_alone=True)

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
        svg = self.panel([4.0, 3.0, 2.0, 1.0, 0.0], threshold=2.0, mark=Mark(3, "layer 3"))
        (points,) = self.points(svg)
        assert self.rule(svg, "threshold")[1] == pytest.approx(points[2][1], abs=0.1)
        assert self.rule(svg, "crossing")[0] == pytest.approx(points[3][0], abs=0.1)
        assert "layer 3" in svg
        heights = [y for _, y in points]
        assert heights == sorted(heights), "downwards on paper"
        assert np.diff(heights) == pytest.approx(np.diff(heights)[0], abs=0.1)

    def test_the_interval_of_a_mark_lies_behind_and_moves_nothing(self) -> None:
        values = [4.0, 3.0, 2.0, 1.0, 0.0]
        without = self.panel(values, threshold=2.0, mark=Mark(3, "layer 3"))
        svg = self.panel(values, threshold=2.0, mark=Mark(3, "layer 3", (2.5, 9.0)))
        (band,) = re.findall(r'<rect class="band"[^>]*>', svg)
        assert svg.replace(band, "") == without
        left, width = (
            float(re.findall(rf' {name}="([\d.]+)"', band)[0]) for name in ("x", "width")
        )
        (points,) = self.points(svg)
        assert left == pytest.approx((points[2][0] + points[3][0]) / 2, abs=0.1)
        assert left + width == pytest.approx(points[-1][0], abs=0.1), "as far as the plot"
        assert self.panel(values, mark=Mark(3, "layer 3", (3, 3))).count("band") == 0

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
            mark=Mark(1, "layer 1"),
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
            root = ElementTree.fromstring(curves(Panel(lines, 3), Look(is_alone=is_alone)))
            return {item.text for item in root.iter(f"{NAMESPACE}text")}

        assert {"one", "two"} <= texts("m0 t0", "m0 t1", is_alone=True)
        assert not {"one", "two"} & texts("m0 t0", "m0 t1", is_alone=False)
        assert not {"one", "two"} & texts("layer", "layer", is_alone=True)

    def test_every_line_is_named_where_some_look_alike(self) -> None:
        names = {"a": "m0", "b": "m1", "c": "m0"}
        panel = Panel([Line(np.ones(3), css, name=name) for name, css in names.items()], 3)
        root = ElementTree.fromstring(curves(panel, ALONE))
        assert names.keys() <= {item.text for item in root.iter(f"{NAMESPACE}text")}

    def test_lines_have_their_colour_and_dashes(self) -> None:
        svg = PICTURES["curves"]
        mean, other = re.findall(r'<path class="line [^>]*>', svg)
        assert f'stroke="{COLOURS["ink"][0]}"' in mean
        assert "stroke-dasharray" not in mean
        assert 'stroke-dasharray="5 2.5"' in other
        assert COLOURS["ink"][1] in page_style().partition("@media")[2]


COLUMN = Look(is_alone=True, width=Length(3.25, "in"), font_size=Length(8, "pt"))
PAGE = Look(is_alone=True, width=Length(6.75, "in"), font_size=Length(8, "pt"))


def series(count: int, length: int = 30) -> list[Line]:
    return [Line(np.arange(length) * 1.0 + n, f"m{n % 8} t0", name=f"{n}") for n in range(count)]


def strokes(svg: str) -> list[tuple[str | None, str | None]]:
    """The width and the dashes of each line of a plot, without those of the legend."""
    paths = ElementTree.fromstring(svg).iter(f"{NAMESPACE}path")
    return [
        (path.get("stroke-width"), path.get("stroke-dasharray"))
        for path in paths
        if path.get("class", "").startswith("line") and "h" not in path.get("d", "")
    ]


def boxes(svg: str) -> list[tuple[float, float, float, str]]:
    """The height, the left and the right end of each upright text, by a font of usual width."""
    places = []
    for text in ElementTree.fromstring(svg).iter(f"{NAMESPACE}text"):
        if text.get("x") is None:
            continue
        words = "".join(text.itertext())
        x, wide = float(text.get("x", "")), 0.5 * 11 * len(words)
        left = {"start": x, "middle": x - wide / 2, "end": x - wide}[text.get("text-anchor", "")]
        places.append((float(text.get("y", "")), left, left + wide, words))
    return sorted(places)


class TestOnPaper:
    """A figure of its own: its size, and all that grey leaves."""

    def test_lines_differ_without_colour(self) -> None:
        lines = [Line(line.values, f"m{n}", name=line.name) for n, line in enumerate(series(12))]
        assert len(lines) == MOST_IN_GREY
        assert len(set(strokes(curves(Panel(lines, 30), COLUMN)))) == MOST_IN_GREY

    def test_sublayers_and_means_differ_without_colour(self) -> None:
        lines = [Line(np.ones(3), css, css) for css in ("layer", "attention", "mlp", "mean")]
        assert len(set(strokes(curves(Panel(lines, 3), COLUMN)))) == 4
        assert len(set(strokes(curves(Panel(lines, 3))))) == 2, "a page has colours"

    def test_a_legend_has_each_line_as_it_is_drawn(self) -> None:
        svg = curves(Panel(series(3), 30), COLUMN)
        paths = list(ElementTree.fromstring(svg).iter(f"{NAMESPACE}path"))
        samples = [path for path in paths if "h26" in path.get("d", "")]
        lines = [path for path in paths if path.find(f"{NAMESPACE}title") is not None]
        attributes = ("stroke", "stroke-width", "stroke-dasharray")
        for sample, line in zip(samples, lines, strict=True):
            assert [sample.get(name) for name in attributes] == [
                line.get(name) for name in attributes
            ]

    def test_cells_below_zero_have_a_dash_that_is_seen_on_their_colour(self) -> None:
        values = np.array([[-1.0, 0.5, -0.3, 0.0, np.nan, -0.001]])
        picture = Heatmap(values, DIVERGING, ["x"] * 6)
        root = ElementTree.fromstring(heatmap(picture, COLUMN))
        dashes = {
            float(x): path.get("stroke")
            for path in root.iter(f"{NAMESPACE}path")
            if path.get("class") == "sign"
            for x in re.findall(r"M([\d.]+) [\d.]+h", path.get("d", ""))
        }
        # -0.001 has the colour of zero.
        assert [ink for _, ink in sorted(dashes.items())] == ["#fff", "#000"]
        assert "dashes: below zero" in heatmap(picture, COLUMN)
        assert "below zero" not in heatmap(picture)
        assert "below zero" not in heatmap(Heatmap(values, SEQUENTIAL, ["x"] * 6), COLUMN)

    @pytest.mark.parametrize("palette", PALETTES)
    def test_values_are_darker_the_larger_they_are(self, palette: str) -> None:
        light = [ramps.lightness(colour) for colour in ramps.sequential(False, palette)]
        assert light == sorted(light, reverse=True)
        below, zero = ramps.diverging(False, palette), ramps.DIVERGING_LEVELS // 2
        sizes = [ramps.lightness(colour) for colour in below[zero:]]
        assert sizes == sorted(sizes, reverse=True)

    @pytest.mark.parametrize("look", [COLUMN, PAGE], ids=["column", "page"])
    @pytest.mark.parametrize(
        "picture",
        [
            Panel(
                [
                    Line(
                        line.values, f"m{n}", name=f"Qwen2.5-{n}B-Instruct, grade school, level {n}"
                    )
                    for n, line in enumerate(series(12))
                ],
                30,
                mark=Mark(25, "layer 25", (20.0, 40.0)),
                up="a title of an axis that is far too long for one column of a paper, in nats",
            ),
            Panel(series(1, 99_999), 99_999, across="token"),
            Panel(series(2, 31), 30, falls_from=30, across="layers kept"),
            Heatmap(np.ones((80, 3000)), DIVERGING, ["x"] * 3000, "a unit of many words, in nats"),
            Heatmap(np.ones((12, 40)), SEQUENTIAL, ["token"] * 40, "|c| / |h|"),
            Bars(np.ones(1000), "bars", "a title of an axis that is far too long for one column"),
        ],
        ids=["curves", "tokens", "falling", "many tokens", "some tokens", "bars"],
    )
    def test_no_label_is_cut_or_lies_on_another(
        self, picture: Panel | Heatmap | Bars, look: Look
    ) -> None:
        texts = boxes(drawing(picture, look))
        for _, left, right, words in texts:
            assert left >= 0, words
            assert right <= look.units, words
        for (y, _, right, words), (other_y, left, _, other) in pairwise(texts):
            assert y != other_y or right < left, (words, other)

    def test_text_has_the_size_that_is_asked_for(self) -> None:
        for size in (8, 9):
            look = Look(is_alone=True, width=Length(3.25, "in"), font_size=Length(size, "pt"))
            picture = Heatmap(np.ones((12, 40)), SEQUENTIAL, ["token"] * 40)
            root = ElementTree.fromstring(heatmap(picture, look))
            assert root.get("width") == "3.25in"
            _, _, width, height = map(float, root.get("viewBox", "").split())
            assert root.get("height") == f"{3.25 * height / width:.4g}in"
            sizes = {item.get("font-size") for item in root.iter() if item.get("font-size")}
            (units,) = sizes
            assert float(units or 0) * 234 / width == pytest.approx(size, rel=1e-4)

    def test_every_token_with_room_has_its_text(self) -> None:
        labels = [f"t{n}" for n in range(40)]
        picture = Heatmap(np.ones((2, 40)), SEQUENTIAL, labels)

        def texts(look: Look) -> list[str]:
            root = ElementTree.fromstring(heatmap(picture, look))
            every = [item.text or "" for item in root.iter(f"{NAMESPACE}text")]
            return [text for text in every if text.startswith("t") and text != "token"]

        assert texts(PAGE) == labels
        assert texts(COLUMN) == labels[::2]

    def test_an_interval_lies_behind_its_line_and_counts_for_the_axis(self) -> None:
        ends = np.array([[0.0, 1.0, np.nan], [2.0, 9.0, np.nan]])
        svg = curves(Panel([Line(np.ones(3), "mean", interval=ends)], 3), COLUMN)
        (ribbon,) = [
            path
            for path in ElementTree.fromstring(svg).iter(f"{NAMESPACE}path")
            if path.get("class") == "ribbon"
        ]
        heights = [float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", ribbon.get("d", ""))]
        # There and back, without the unknown place.
        assert len(heights) == 4
        assert len(set(heights)) == 4, "none is cut off"
        assert svg.index('class="ribbon"') < svg.index('class="line mean"')
