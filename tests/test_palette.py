"""The ramps are monotone in lightness, symmetrical about zero, and survive 256 colours.

Colour blindness is simulated by the matrices of Machado, Oliveira and Fernandes, "A
physiologically-based model for simulation of color vision deficiency", IEEE Transactions on
Visualization and Computer Graphics 15 (6), 2009, for severity 1.0; they apply to linear RGB.
"""

from __future__ import annotations

import numpy as np
import pytest
from rich.color import Color, ColorSystem

from depthtui import ramps
from depthtui.palettes import PALETTES
from depthtui.tui.themes import THEMES

DARK_AND_LIGHT = pytest.mark.parametrize("dark", [True, False])
EVERY_PALETTE = pytest.mark.parametrize("name", PALETTES)

SEEN_BY = {
    "everyone": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
COLOUR_BLIND = pytest.mark.parametrize("who", ["protanopia", "deuteranopia"])

TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
) / np.array([[0.9505], [1.0], [1.089]])
"""From linear sRGB to XYZ over its white."""

JUST_SEEN = 2.3
"""The difference in CIELAB that is just seen (Mahy, Van Eycken and Oosterlinck 1994)."""


def lab(colours, who: str = "everyone") -> np.ndarray:
    """CIELAB of colours, `[n, 3]`, as somebody sees them."""
    encoded = np.array(colours) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ SEEN_BY[who].T, 0, 1) @ TO_XYZ.T
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def between_signs(dark: bool, name: str, who: str = "everyone", ramp=ramps.diverging) -> np.ndarray:
    """How much the two signs of each magnitude differ, from the smallest on."""
    colours = lab(ramp(dark, name), who)
    middle = len(colours) // 2
    return np.linalg.norm(colours[middle + 1 :] - colours[:middle][::-1], axis=1)


def lightness_of(ramp: tuple[ramps.RGB, ...]) -> np.ndarray:
    return np.array([ramps.lightness(colour) for colour in ramp])


@EVERY_PALETTE
@DARK_AND_LIGHT
@pytest.mark.parametrize("ramp", [ramps.sequential, ramps.sequential_256])
def test_a_sequential_ramp_runs_one_way_from_the_background(ramp, dark, name):
    light = lightness_of(ramp(dark, name))
    steps = np.diff(light)
    assert (steps > 0).all() if dark else (steps < 0).all()
    assert abs(light[0] - light[-1]) > 0.55


@EVERY_PALETTE
@DARK_AND_LIGHT
def test_sequential_steps_look_equal(dark, name):
    steps = np.abs(np.diff(lightness_of(ramps.sequential(dark, name))))
    assert steps.max() < 1.35 * steps.min()
    assert len(steps) == ramps.LEVELS - 1


@EVERY_PALETTE
@DARK_AND_LIGHT
@pytest.mark.parametrize("ramp", [ramps.diverging, ramps.diverging_256])
def test_a_diverging_ramp_leaves_zero_both_ways(ramp, dark, name):
    light = lightness_of(ramp(dark, name))
    middle = len(light) // 2
    assert len(light) % 2 == 1
    away = np.diff(light[middle:]), np.diff(light[middle::-1])
    for steps in away:
        assert (steps > 0).all() if dark else (steps < 0).all()


@EVERY_PALETTE
@DARK_AND_LIGHT
def test_both_ends_of_a_diverging_ramp_weigh_the_same(dark, name):
    light = lightness_of(ramps.diverging(dark, name))
    np.testing.assert_allclose(light, light[::-1], atol=0.01)


@DARK_AND_LIGHT
def test_the_own_palette_is_red_below_zero_and_blue_above(dark):
    negative, *_, positive = ramps.diverging(dark)
    assert negative[0] > negative[2]
    assert positive[2] > positive[0]


@COLOUR_BLIND
@EVERY_PALETTE
@DARK_AND_LIGHT
def test_ramps_keep_their_order_with_colour_blindness(dark, name, who):
    light = lab(ramps.sequential(dark, name), who)[:, 0]
    steps = np.diff(light)
    assert (steps > JUST_SEEN).all() or (steps < -JUST_SEEN).all()
    neighbours = np.linalg.norm(np.diff(lab(ramps.diverging(dark, name), who), axis=0), axis=1)
    assert neighbours.min() > JUST_SEEN


@COLOUR_BLIND
@EVERY_PALETTE
@DARK_AND_LIGHT
def test_the_signs_are_told_apart_with_colour_blindness(dark, name, who):
    differ = between_signs(dark, name, who)
    assert differ.min() > 6 * JUST_SEEN
    assert between_signs(dark, name, who, ramps.diverging_256).min() > 9 * JUST_SEEN
    if PALETTES[name].safe:
        assert (differ > 0.85 * between_signs(dark, name)).all()
        assert differ[-1] > 90


@EVERY_PALETTE
@DARK_AND_LIGHT
def test_the_accent_is_in_no_ramp(dark, name):
    (accent,) = (Color.parse(theme.accent) for theme in THEMES if theme.dark == dark)
    for who, least in {"everyone": 40, "protanopia": 12, "deuteranopia": 12}.items():
        if who == "everyone" or PALETTES[name].safe:
            colours = lab([*ramps.sequential(dark, name), *ramps.diverging(dark, name)], who)
            away = np.linalg.norm(colours - lab([accent.get_truecolor()], who), axis=1)
            assert away.min() > least, who


@EVERY_PALETTE
@DARK_AND_LIGHT
@pytest.mark.parametrize("ramp", [ramps.sequential_256, ramps.diverging_256])
def test_256_colours_stay_distinct_on_a_256_colour_terminal(ramp, dark, name):
    numbers = [
        Color.from_rgb(*colour).downgrade(ColorSystem.EIGHT_BIT).number
        for colour in ramp(dark, name)
    ]
    assert len(set(numbers)) == len(numbers)
    exact = [Color.from_ansi(text).get_truecolor() for text in numbers]
    assert [tuple(colour) for colour in exact] == list(ramp(dark, name))


@EVERY_PALETTE
@DARK_AND_LIGHT
def test_lines_are_told_apart(dark, name):
    for who in SEEN_BY:
        colours = lab(ramps.distinct(dark, name), who)
        apart = np.linalg.norm(colours[:, None] - colours[None], axis=2)
        assert apart[0, 1] > 70, who
        if who == "everyone" or PALETTES[name].safe:
            assert apart[~np.eye(len(colours), dtype=bool)].min() > 11 * JUST_SEEN, who


@EVERY_PALETTE
@DARK_AND_LIGHT
def test_lines_stand_out_also_in_16_colours(dark, name):
    (behind,) = (Color.parse(theme.background) for theme in THEMES if theme.dark == dark)
    lines = [Color.from_rgb(*colour) for colour in ramps.distinct(dark, name)]

    def light(colour: Color) -> float:
        return ramps.lightness(tuple(colour.get_truecolor()))

    for kind in (None, ColorSystem.EIGHT_BIT, ColorSystem.STANDARD):
        colours = [colour.downgrade(kind) if kind else colour for colour in (behind, *lines)]
        assert min(abs(light(line) - light(colours[0])) for line in colours[1:]) > 0.3
        # Two runs are compared in the first two.
        assert colours[1] != colours[2]


@DARK_AND_LIGHT
def test_every_palette_has_lines_of_its_own(dark):
    pairs = {ramps.distinct(dark, name)[:2] for name in PALETTES}
    assert len(pairs) == len(PALETTES)


def test_glyphs_keep_sign_and_order():
    assert ramps.DIVERGING_GLYPHS == "≣≡=- ░▒▓█"
    assert not set(ramps.NEGATIVE_GLYPHS) & set(ramps.MAGNITUDE_GLYPHS)
    assert ramps.UNKNOWN_GLYPH not in ramps.DIVERGING_GLYPHS


def test_levels_clip_and_leave_the_unknown_out():
    values = np.array([-1.0, 0.0, 0.5, 1.0, 9.0, np.inf, np.nan])
    assert ramps.levels(values, 0, 1, 5).tolist() == [0, 0, 2, 4, 4, 4, -1]
    assert ramps.levels(np.array([0.0, np.nan]), 0, 0, 5).tolist() == [0, -1]


def test_css():
    assert ramps.css((1, 32, 255)) == "#0120ff"
