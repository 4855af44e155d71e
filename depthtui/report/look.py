"""The look of a drawn figure: its size, its font and its colours."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Self

from depthtui.errors import DepthError
from depthtui.palettes import OWN_PALETTE

FONT_UNITS = 11.0
"""Size of the font of every drawing, in its own units."""

LEAST_UNITS = 200.0
"""Width of the narrowest drawing with room for its labels, in its own units."""

_POINTS = {"pt": 1.0, "in": 72.0, "cm": 72 / 2.54, "mm": 72 / 25.4, "px": 0.75}
UNITS = ("in", "cm", "mm", "pt")
"""Units of a length that is asked for."""


@dataclass(frozen=True)
class Length:
    """A length with its unit: `in`, `cm`, `mm`, `pt` or `px`."""

    value: float
    unit: str

    @classmethod
    def of(cls, text: str) -> Self:
        """The length in a text such as `3.25in`.

        Raises:
            ValueError: the text is no length; its message is for people.
        """
        units = "|".join(UNITS)
        number = r"\d{1,5}(?:\.\d{0,6})?|\.\d{1,6}"
        match = re.fullmatch(rf"({number})\s*({units})", text.strip(), re.ASCII)
        if match is None or not float(match[1]):
            raise ValueError(f"{text!r} is no length, such as 3.25in, 8cm, 80mm or 8pt")
        return cls(float(match[1]), match[2])

    @property
    def points(self) -> float:
        """The length in points, 72 to an inch."""
        return self.value * _POINTS[self.unit]

    def __str__(self) -> str:
        return f"{self.value:g}{self.unit}"

    @property
    def in_svg(self) -> str:
        """The length as an attribute of SVG, whose own unit is the pixel."""
        return f"{self.value:.4g}{self.unit.removesuffix('px')}"


_WIDEST = Length(48, "in")
"""Width of the largest figure: its pixels must fit into memory."""


@dataclass(frozen=True)
class Look:
    """The look of a drawing.

    Attributes:
        palette: name of the palette of heatmaps.
        is_alone: whether it is a file of its own, on paper, without a page's legend and colours:
            lines and signs are then told apart in grey, too.
        width: width of the figure.
        font_size: size of its text.
        font: family of its text; empty for the usual one.
    """

    palette: str = OWN_PALETTE
    is_alone: bool = False
    width: Length = Length(420, "px")
    font_size: Length = Length(FONT_UNITS, "px")
    font: str = ""

    @property
    def units(self) -> float:
        """The width in units of the drawing, in which the font always has the same size."""
        return self.width.points * FONT_UNITS / self.font_size.points

    @property
    def family(self) -> str:
        """The font for an attribute of SVG; empty for the usual one."""
        return self.font and f"'{self.font}'"

    def height(self, units: float) -> Length:
        """A height of the drawing in the unit of the figure's width."""
        return Length(units * self.width.value / self.units, self.width.unit)

    def check(self) -> None:
        """Check that its labels fit, and that it is no wall.

        Raises:
            DepthError: it is too narrow for text of its size, or too wide.
        """
        if self.units < LEAST_UNITS:
            least = self.font_size.points * LEAST_UNITS / FONT_UNITS / _POINTS[self.width.unit]
            raise DepthError(
                f"A figure {self.width} wide has no room for text of {self.font_size}.",
                f"Give --width {math.ceil(100 * least) / 100:g}{self.width.unit} or more, "
                "or a smaller --font-size.",
            )
        if self.width.points > _WIDEST.points:
            raise DepthError(
                f"A figure {self.width} wide is too large.", f"Give --width {_WIDEST} or less."
            )
