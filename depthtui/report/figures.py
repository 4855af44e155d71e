"""The figures of a document as files: one for each, with a name from its title."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import TypeAlias
from zlib import crc32

import numpy as np

from depthtui.files import distinct_names, slug
from depthtui.report import svg
from depthtui.report.blocks import (
    Bars,
    Block,
    Chapter,
    Document,
    Figure,
    Figures,
    Heading,
    Heatmap,
    Panel,
    TightBlocks,
    blocks_in,
)
from depthtui.report.csv_text import csv_text

_PNG_SCALE = 2
_PNG_HEAD = 33
"""Bytes of a PNG's signature and header, which come before every text in it."""

_FONT = "Noto Serif"
"""The font of the extra `png`, for a machine without fonts."""

Placed: TypeAlias = tuple[tuple[str, ...], Figure]
"""A figure, with the texts of the headings above it."""


def figure_files(document: Document, render: Callable[[Figure, str], bytes]) -> dict[str, bytes]:
    """The content of each figure's file by its name, without an ending.

    A name is the figure's title; where several have one title, as those of each prompt, as many of
    the headings above them follow as tell them apart.

    Args:
        document: the document.
        render: makes a file of a figure and the name of a palette.
    """
    placed = list(_figures(document.blocks, ()))
    names = distinct_names(slug(" ".join(words)).lower() for words in _words_of_names(placed))
    return {
        name: render(figure, document.palette)
        for name, (_, figure) in zip(names, placed, strict=True)
    }


def _words_of_names(placed: Sequence[Placed]) -> Iterator[Sequence[str]]:
    """The title of each figure, and the headings that tell it from those of the same title."""
    most = max((len(headings) for headings, _ in placed), default=0)
    by_length = [
        [(figure.title, *headings[:length]) for headings, figure in placed]
        for length in range(most + 1)
    ]
    counts = [Counter(words) for words in by_length]
    for words_of_one in zip(*by_length, strict=True):
        fewest = counts[-1][words_of_one[-1]]
        yield next(
            words
            for words, count in zip(words_of_one, counts, strict=True)
            if count[words] == fewest
        )


def _figures(blocks: Iterable[Block], above: tuple[str, ...]) -> Iterator[Placed]:
    """Each figure with the headings above it, the nearest first."""
    heading: tuple[str, ...] = ()
    for block in blocks_in(blocks, "pictures"):
        match block:
            case Heading(text):
                heading = (text,)
            case Figures(figures):
                yield from (((*heading, *above), figure) for figure in figures)
            case Chapter(title, inner):
                yield from _figures(inner, (title, *above))
            case TightBlocks(inner):
                yield from _figures(inner, (*heading, *above))


def svg_bytes(figure: Figure, palette: str) -> bytes:
    """The figure as the report's page shows it, with the legend that is beside it there."""
    return svg.drawing(figure.picture, palette, is_alone=True).encode("utf-8", "replace")


def png_bytes(figure: Figure, palette: str) -> bytes:
    """The figure at twice the size of its SVG, in fonts of this machine or one that is installed.

    The file names depthtui as its software.
    """
    import fontpkg
    import resvg_py

    drawing: bytes = resvg_py.svg_to_bytes(
        svg_string=svg_bytes(figure, palette).decode(),
        zoom=_PNG_SCALE,
        font_files=[str(fontpkg.path(_FONT))],
        serif_family=_FONT,
        monospace_family=_FONT,
    )
    kind, text = b"tEXt", b"Software\0depthtui"
    mark = struct.pack(">I", len(text)) + kind + text + struct.pack(">I", crc32(kind + text))
    return drawing[:_PNG_HEAD] + mark + drawing[_PNG_HEAD:]


def csv_bytes(figure: Figure, palette: str) -> bytes:
    """The numbers of a figure: a column for each curve, or for each column of a heatmap.

    The first line names the axes, x and y, with their units. An unknown value is empty.
    """
    match figure.picture:
        case Panel() as panel:
            heads, columns = _of_panel(panel)
        case Heatmap() as heatmap:
            heads, columns = _of_heatmap(heatmap)
        case Bars() as bars:
            heads, columns = [f"x: {bars.across}", f"y: {bars.up or bars.label}"], [bars.values]
    first = figure.picture.falls_from if isinstance(figure.picture, Panel) else None
    rows = enumerate(zip_longest(*columns))
    return csv_text(
        heads, ([place if first is None else first - place, *row] for place, row in rows)
    )


def _of_panel(panel: Panel) -> tuple[list[str], Iterable[np.ndarray]]:
    """The heads of the columns, and the curves."""
    columns = [line.values for line in panel.lines]
    has_output = max(map(len, columns)) == panel.n_layers + 1
    across = f"x: {panel.across}" + f", {panel.n_layers} is the output" * has_output
    names = (line.label or line.name for line in panel.lines)
    up = f"y: {panel.up or panel.title}"
    return [across, *(f"{up}; {name}" if name else up for name in names)], columns


def _of_heatmap(heatmap: Heatmap) -> tuple[list[str], Iterable[np.ndarray]]:
    """The heads of the columns, and the values of each, from row 0 up."""
    unit = heatmap.unit or heatmap.measure.title
    labels = [
        label if label == str(place) else f"{place} {label}"
        for place, label in enumerate(heatmap.labels)
    ]
    return [f"y: {heatmap.up}; x: {heatmap.across}; values: {unit}", *labels], heatmap.values.T
