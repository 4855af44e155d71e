"""The colours that values can have: pairs of ramps, declared in OKLCH.

`ramps` computes the colours. This module does not import NumPy, so that the settings can name
palettes.

Dialog, settings, command line and reports offer each of `PALETTES`; the docstring of `Runs.export`
names them. `safe` ones can be told apart by people with red-green colour blindness:
`tests/test_palette.py` holds each against that, 256 colours, and steps that look equal.
"""

from __future__ import annotations

from dataclasses import dataclass

Place = tuple[float, float, float]
"""A colour in OKLCH: lightness 0 to 1, chroma, hue in degrees."""


@dataclass(frozen=True)
class Sequential:
    """A ramp of magnitudes, whose lightness changes evenly from one end to the other.

    Attributes:
        low: colour of zero, near the colour of an empty screen.
        high: colour of the largest magnitude.
        bulge: chroma added half-way along a ramp whose hue also changes evenly.
        grey: place of grey, 0 to 1, in a ramp that has only the hues of its ends; or None.
    """

    low: Place
    high: Place
    bulge: float = 0.0
    grey: float | None = None


@dataclass(frozen=True)
class Diverging:
    """A ramp of signed values, alike in lightness and chroma on both sides of zero.

    Attributes:
        zero: lightness at zero, where there is no chroma.
        end: lightness of the largest magnitudes.
        chroma: chroma of the largest magnitudes.
        below, above: hues in degrees.
    """

    zero: float
    end: float
    chroma: float
    below: float
    above: float


_EASILY_TOLD = (235.0, 65.0, 155.0, 350.0, 300.0, 110.0)
"""Hues ordered so that neighbours in the list are far apart."""


def _equally_light(lightness: float) -> tuple[Place, ...]:
    return tuple((lightness, 0.15, hue) for hue in _EASILY_TOLD)


@dataclass(frozen=True)
class Palette:
    """A pair of ramps, and colours for distinguishable lines.

    Attributes:
        name: name in the settings.
        colours: names of the colours, of magnitudes and of both signs.
        sequential, diverging: its ramps on a light background and on a dark one.
        lines: colours of lines on a light background and on a dark one, the most different
            first; equally light where all lines should have the same weight.
        safe: whether the two signs, and lines, differ as much for people with red-green colour
            blindness, by differing in lightness too.
    """

    name: str
    colours: str
    sequential: tuple[Sequential, Sequential]
    diverging: tuple[Diverging, Diverging]
    lines: tuple[tuple[Place, ...], tuple[Place, ...]]
    safe: bool = False


PALETTES = {
    palette.name: palette
    for palette in (
        Palette(
            "depth",
            "indigo to yellow; red, blue",
            (
                Sequential((0.97, 0.020, 110.0), (0.30, 0.110, 275.0), 0.045),
                Sequential((0.25, 0.060, 275.0), (0.94, 0.120, 110.0), 0.045),
            ),
            (
                Diverging(0.97, 0.45, 0.170, 25.0, 255.0),
                Diverging(0.25, 0.80, 0.150, 25.0, 235.0),
            ),
            (_equally_light(0.50), _equally_light(0.78)),
        ),
        Palette(
            "blue-yellow",
            "blue to yellow; blue, orange",
            (
                Sequential((0.97, 0.060, 100.0), (0.30, 0.220, 262.0), grey=0.20),
                Sequential((0.25, 0.085, 262.0), (0.94, 0.150, 100.0), grey=0.40),
            ),
            (
                Diverging(0.97, 0.50, 0.160, 255.0, 60.0),
                Diverging(0.25, 0.78, 0.150, 250.0, 70.0),
            ),
            (
                (
                    (0.45, 0.18, 258.0),
                    (0.62, 0.14, 65.0),
                    (0.22, 0.02, 65.0),
                    (0.58, 0.02, 65.0),
                    (0.22, 0.10, 258.0),
                    (0.38, 0.10, 65.0),
                ),
                (
                    (0.70, 0.15, 250.0),
                    (0.85, 0.15, 85.0),
                    (0.54, 0.05, 85.0),
                    (0.94, 0.02, 85.0),
                    (0.54, 0.05, 250.0),
                    (0.58, 0.15, 85.0),
                ),
            ),
            safe=True,
        ),
        Palette(
            "amber",
            "brown to yellow; violet, orange",
            (
                Sequential((0.97, 0.030, 95.0), (0.32, 0.080, 45.0), 0.070),
                Sequential((0.25, 0.040, 45.0), (0.94, 0.110, 95.0), 0.070),
            ),
            (
                Diverging(0.97, 0.48, 0.170, 292.0, 60.0),
                Diverging(0.25, 0.78, 0.130, 292.0, 70.0),
            ),
            (
                (
                    (0.40, 0.17, 292.0),
                    (0.62, 0.14, 60.0),
                    (0.22, 0.02, 60.0),
                    (0.58, 0.02, 60.0),
                    (0.38, 0.10, 60.0),
                    (0.22, 0.10, 292.0),
                ),
                (
                    (0.70, 0.15, 292.0),
                    (0.82, 0.15, 72.0),
                    (0.54, 0.02, 72.0),
                    (0.94, 0.05, 292.0),
                    (0.54, 0.10, 72.0),
                    (0.90, 0.10, 72.0),
                ),
            ),
            safe=True,
        ),
    )
}
"""Every palette by its name, the explorer's own first."""

OWN_PALETTE = "depth"
"""The default palette."""
