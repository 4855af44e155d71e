"""The kinds of figures that are drawn of results for a paper."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

FigureKind: TypeAlias = Literal["curves", "left-out", "heatmap", "patch"]
"""A measure over depth, what is kept with fewer layers, a measure by layer and token, patching."""

FIGURE_KINDS: tuple[FigureKind, ...] = get_args(FigureKind)

OF_ONE: tuple[FigureKind, ...] = ("heatmap", "patch")
"""The kinds that are of one prompt."""
