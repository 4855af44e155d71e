"""The colours that values can have: pairs of ramps, declared in OKLCH.

They are in `palettes.toml`, and `ramps` computes their colours. This module does not import NumPy,
so that the settings can name palettes.

Dialog, settings, command line and reports offer each of `PALETTES`; the docstring of `Runs.export`
names them. `safe` ones can be told apart by people with red-green colour blindness:
`tests/test_palette.py` holds each against that, 256 colours, and steps that look equal.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

Place: TypeAlias = Sequence[float]
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
    sequential: Sequence[Sequential]
    diverging: Sequence[Diverging]
    lines: Sequence[Sequence[Place]]
    safe: bool


def _read(name: str, fields: Mapping[str, Any]) -> Palette:
    return Palette(
        name,
        fields["colours"],
        [Sequential(**ramp) for ramp in fields["sequential"]],
        [Diverging(**ramp) for ramp in fields["diverging"]],
        fields["lines"],
        fields["safe"],
    )


_TEXT = Path(__file__).with_suffix(".toml").read_text("utf-8")

PALETTES = {name: _read(name, fields) for name, fields in tomllib.loads(_TEXT).items()}
"""Every palette by its name, the explorer's own first."""

OWN_PALETTE = "depth"
"""The default palette."""
