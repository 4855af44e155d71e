"""Colour and glyph ramps: the only place where values are given colours and glyphs.

The ramps are computed in OKLCH, a polar form of OKLab in which equal steps of
lightness look equal. A sequential ramp goes from the colour of an empty screen
to its opposite; a diverging ramp is symmetrical about zero in lightness, so
that its two ends weigh the same. Needs neither Textual nor Rich.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from depthtui.palettes import OWN_PALETTE, PALETTES, Place

RGB = tuple[int, int, int]

LEVELS = 24
"""Colours in a sequential ramp."""

DIVERGING_LEVELS = 25
"""Colours in a diverging ramp; odd, so that zero has its own colour."""

FEW_COLOURS = "In 16 colours, values are characters and the weight of text."
"""The look of values in a terminal of few colours."""

MORE_COLOURS = (
    "`export COLORTERM=truecolor` gives colours where the terminal has them, else "
    "`export TERM=xterm-256color`"
)
"""The way to more colours."""

CLIP_PERCENTILE = 95
"""Percentile at which a scale ends when its largest values are far beyond.

Layer 0 alone, 3 % of the cells of a deep model, can be a hundred times the rest.
"""

MAGNITUDE_GLYPHS = " ░▒▓█"
"""Magnitudes, from nothing to full."""

NEGATIVE_GLYPHS = "≣≡=-"
"""Negative values by the number of strokes, from the largest magnitude to the smallest."""

DIVERGING_GLYPHS = NEGATIVE_GLYPHS + MAGNITUDE_GLYPHS
"""Signed values: strokes below zero, a blank at zero, shades above it."""

UNKNOWN_GLYPH = "·"
"""Glyph of a value that is not known yet."""

HATCHED_GLYPH = "╱"
"""Glyph of a value that says little."""

_STEPS_256 = (0, 95, 135, 175, 215, 255)
_GREYS_256 = range(8, 150, 10)
_LEVELS_256 = 14
_HALF_256 = 6


@lru_cache
def sequential(dark: bool, name: str = OWN_PALETTE) -> tuple[RGB, ...]:
    """`LEVELS` colours of a palette from low to high, for a dark or a light background."""
    return tuple(_in_gamut(*place) for place in _sequential_path(dark, name, LEVELS))


@lru_cache
def diverging(dark: bool, name: str = OWN_PALETTE) -> tuple[RGB, ...]:
    """`DIVERGING_LEVELS` colours of a palette from most negative over zero to most positive."""
    below, above = _diverging_paths(dark, name, DIVERGING_LEVELS // 2 + 1)
    return tuple(_in_gamut(*place) for place in [*reversed(below[1:]), *above])


@lru_cache
def sequential_256(dark: bool, name: str = OWN_PALETTE) -> tuple[RGB, ...]:
    """The sequential ramp in colours of the xterm-256 cube, strictly monotone in lightness."""
    passes_grey = PALETTES[name].sequential[dark].grey is not None
    return _nearest_monotone(_sequential_path(dark, name, _LEVELS_256), passes_grey)


@lru_cache
def diverging_256(dark: bool, name: str = OWN_PALETTE) -> tuple[RGB, ...]:
    """The diverging ramp in xterm-256 colours; odd, with zero in the middle."""
    zero = (38, 38, 38) if dark else (255, 255, 255)
    below, above = _diverging_paths(dark, name, _HALF_256 + 1)
    negative, positive = _nearest_monotone(below[1:]), _nearest_monotone(above[1:])
    return (*reversed(negative), zero, *positive)


@lru_cache
def distinct(dark: bool, name: str = OWN_PALETTE) -> tuple[RGB, ...]:
    """A palette's colours for distinguishable lines, on a dark or light background."""
    return tuple(_in_gamut(*place) for place in PALETTES[name].lines[dark])


def lightness(colour: RGB) -> float:
    """How light a colour looks: OKLab's L, 0 for black to 1 for white."""
    return _oklch(colour)[0]


def css(colour: RGB) -> str:
    """The colour as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def levels(values: np.ndarray, low: float, high: float, count: int) -> np.ndarray:
    """The index of each value among `count` equal steps from `low` to `high`.

    Values beyond the ends are clipped to them; NaN gives -1. A scale without
    width, `low` equal to `high`, gives 0 for every known value.
    """
    values = np.asarray(values, np.float64)
    has_value = ~np.isnan(values)
    share = (np.where(has_value, values, low) - low) / ((high - low) or np.inf)
    steps = np.rint(np.clip(share, 0, 1) * (count - 1)).astype(np.int16)
    return np.where(has_value, steps, np.int16(-1))


def _sequential_path(dark: bool, name: str, count: int) -> list[Place]:
    ramp = PALETTES[name].sequential[dark]
    (l0, c0, h0), (l1, c1, h1) = ramp.low, ramp.high

    def place(x: float) -> Place:
        light = l0 + (l1 - l0) * x
        if ramp.grey is None:
            chroma = c0 + (c1 - c0) * x + ramp.bulge * math.sin(math.pi * x)
            return light, chroma, h0 + (h1 - h0) * x
        if x < ramp.grey:
            return light, c0 * (1 - x / ramp.grey), h0
        return light, c1 * (x - ramp.grey) / (1 - ramp.grey), h1

    return [place(step / (count - 1)) for step in range(count)]


def _diverging_paths(dark: bool, name: str, count: int) -> tuple[list[Place], list[Place]]:
    ramp = PALETTES[name].diverging[dark]

    def path(hue: float) -> list[Place]:
        steps = (step / (count - 1) for step in range(count))
        return [
            (ramp.zero + (ramp.end - ramp.zero) * x, ramp.chroma * math.sqrt(x), hue) for x in steps
        ]

    return path(ramp.below), path(ramp.above)


def _in_gamut(light: float, chroma: float, hue: float) -> RGB:
    """The sRGB colour of this lightness and hue, with as much of the chroma as sRGB can show."""
    low, high = 0.0, chroma
    if not _fits(_linear_rgb(light, chroma, hue)):
        for _ in range(20):
            chroma = (low + high) / 2
            if _fits(_linear_rgb(light, chroma, hue)):
                low = chroma
            else:
                high = chroma
    red, green, blue = (_encode(channel) for channel in _linear_rgb(light, chroma, hue))
    return red, green, blue


def _fits(channels: tuple[float, float, float]) -> bool:
    return all(-1e-4 <= channel <= 1 + 1e-4 for channel in channels)


def _linear_rgb(light: float, chroma: float, hue: float) -> tuple[float, float, float]:
    a = chroma * math.cos(math.radians(hue))
    b = chroma * math.sin(math.radians(hue))
    long = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (light - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def _encode(channel: float) -> int:
    channel = min(max(channel, 0.0), 1.0)
    gamma = 12.92 * channel if channel <= 0.0031308 else 1.055 * channel ** (1 / 2.4) - 0.055
    return round(255 * gamma)


def _oklch(colour: RGB) -> Place:
    red, green, blue = (_decode(channel / 255) for channel in colour)
    long = math.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue)
    medium = math.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue)
    short = math.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue)
    light = 0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short
    a = 1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short
    b = 0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short
    return light, math.hypot(a, b), math.degrees(math.atan2(b, a))


def _decode(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4


@lru_cache
def _cube(greys: bool) -> tuple[list[RGB], np.ndarray]:
    """The xterm-256 colour cube by lightness, and its OKLab coordinates `[colours, 3]`.

    Without the cube's greys: terminal libraries map them onto another grey ramp. `greys` adds
    the greys that they leave unchanged.
    """
    colours = [(r, g, b) for r in _STEPS_256 for g in _STEPS_256 for b in _STEPS_256]
    colours = [colour for colour in colours if len(set(colour)) > 1 or colour[0] in (0, 255)]
    colours += [(grey, grey, grey) for grey in _GREYS_256 if greys]
    colours.sort(key=lightness)
    return colours, np.array([_oklab(_oklch(colour)) for colour in colours])


def _oklab(lch: Place) -> tuple[float, float, float]:
    light, chroma, hue = lch
    radians = math.radians(hue)
    return light, chroma * math.cos(radians), chroma * math.sin(radians)


def _nearest_monotone(path: list[Place], greys: bool = False) -> tuple[RGB, ...]:
    """The cube colours nearest to the path that keep its order of lightness.

    Dynamic programming: the cheapest choice for step i that ends in colour c
    extends the cheapest one for step i - 1 that ends in a darker colour.
    """
    rising = path[-1][0] > path[0][0]
    steps = path if rising else path[::-1]
    colours, coordinates = _cube(greys)
    targets = np.array([_oklab(step) for step in steps])
    cost = ((coordinates[None] - targets[:, None]) ** 2).sum(axis=2)
    came_from = np.zeros(cost.shape, np.int32)
    total = cost[0]
    for step in range(1, len(steps)):
        best = np.minimum.accumulate(total)
        # argmin of every prefix: where the running minimum last changed.
        changed = np.concatenate([[True], best[1:] < best[:-1]])
        where = np.maximum.accumulate(np.where(changed, np.arange(len(best)), 0))
        came_from[step, 1:] = where[:-1]
        total = np.concatenate([[np.inf], best[:-1]]) + cost[step]
    chosen = [int(np.argmin(total))]
    for step in range(len(steps) - 1, 0, -1):
        chosen.append(int(came_from[step, chosen[-1]]))
    ramp = [colours[index] for index in reversed(chosen)]
    return tuple(ramp if rising else ramp[::-1])
