"""The ramps are monotone in lightness, symmetrical about zero, and survive 256 colours."""

from __future__ import annotations

import numpy as np
import pytest
from rich.color import Color, ColorSystem

from depthtui import palette

DARK_AND_LIGHT = pytest.mark.parametrize("dark", [True, False])


def lightness_of(ramp: tuple[palette.RGB, ...]) -> np.ndarray:
    return np.array([palette.lightness(colour) for colour in ramp])


@DARK_AND_LIGHT
@pytest.mark.parametrize("ramp", [palette.sequential, palette.sequential_256])
def test_a_sequential_ramp_runs_one_way_from_the_background(ramp, dark):
    light = lightness_of(ramp(dark))
    steps = np.diff(light)
    assert (steps > 0).all() if dark else (steps < 0).all()
    assert abs(light[0] - light[-1]) > 0.6


@DARK_AND_LIGHT
def test_sequential_steps_look_equal(dark):
    steps = np.abs(np.diff(lightness_of(palette.sequential(dark))))
    assert steps.max() < 1.35 * steps.min()
    assert len(steps) == palette.LEVELS - 1


@DARK_AND_LIGHT
@pytest.mark.parametrize("ramp", [palette.diverging, palette.diverging_256])
def test_a_diverging_ramp_leaves_zero_both_ways(ramp, dark):
    light = lightness_of(ramp(dark))
    middle = len(light) // 2
    assert len(light) % 2 == 1
    away = np.diff(light[middle:]), np.diff(light[middle::-1])
    for steps in away:
        assert (steps > 0).all() if dark else (steps < 0).all()


@DARK_AND_LIGHT
def test_both_ends_of_a_diverging_ramp_weigh_the_same(dark):
    light = lightness_of(palette.diverging(dark))
    np.testing.assert_allclose(light, light[::-1], atol=0.01)
    negative, *_, positive = palette.diverging(dark)
    assert negative[0] > negative[2]
    assert positive[2] > positive[0]


@DARK_AND_LIGHT
@pytest.mark.parametrize("ramp", [palette.sequential_256, palette.diverging_256])
def test_256_colours_stay_distinct_on_a_256_colour_terminal(ramp, dark):
    shown = [
        Color.from_rgb(*colour).downgrade(ColorSystem.EIGHT_BIT).number for colour in ramp(dark)
    ]
    assert len(set(shown)) == len(shown)
    exact = [Color.from_ansi(text).get_truecolor() for text in shown]
    assert [tuple(colour) for colour in exact] == list(ramp(dark))


def test_glyphs_keep_sign_and_order():
    assert palette.DIVERGING_GLYPHS == "≣≡=- ░▒▓█"
    assert not set(palette.NEGATIVE_GLYPHS) & set(palette.MAGNITUDE_GLYPHS)
    assert palette.UNKNOWN_GLYPH not in palette.DIVERGING_GLYPHS


def test_levels_clip_and_leave_the_unknown_out():
    values = np.array([-1.0, 0.0, 0.5, 1.0, 9.0, np.inf, np.nan])
    assert palette.levels(values, 0, 1, 5).tolist() == [0, 0, 2, 4, 4, 4, -1]
    assert palette.levels(np.array([0.0, np.nan]), 0, 0, 5).tolist() == [0, -1]


def test_css():
    assert palette.css((1, 32, 255)) == "#0120ff"
