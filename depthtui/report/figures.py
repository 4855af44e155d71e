"""The figures of a document as files: one for each, with a name from its title."""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from zlib import crc32

import numpy as np

from depthtui.errors import DepthError, did_you_mean
from depthtui.files import distinct_names, read_whole, slug
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
from depthtui.report.look import Look
from depthtui.token_text import printable_line

if TYPE_CHECKING:
    import typst

_SCREEN_DOTS, _PAPER_DOTS = 192.0, 300.0
"""Dots to an inch of a PNG: twice as many as pixels of a page, or as print asks for."""

_PNG_HEAD = 33
"""Bytes of a PNG's signature and header, which come before every text in it."""

_KEYWORD = b"/Keywords(depthtui)"
"""The mark of a PDF."""

_FONT = "Libertinus Serif"
"""The font of PNG and PDF where none is asked for, which typst has."""

_LARGEST_PDF = 256 << 20

_PAGE = """\
#set document(title: sys.inputs.title, keywords: "depthtui", date: none)
#set page(width: auto, height: auto, margin: 0pt, fill: none)
#image(bytes(sys.inputs.drawing), format: "svg", width: %rpt)
"""
"""A page that is as large as its drawing, for typst."""

Placed: TypeAlias = tuple[tuple[str, ...], Figure]
"""A figure, with the texts of the headings above it."""


def figure_files(
    document: Document, render: Callable[[Figure, Look], bytes], most: int | None = None
) -> dict[str, bytes]:
    """The content of each figure's file by its name, without an ending.

    A name is the figure's title; where several have one title, as those of each prompt, as many of
    the headings above them follow as tell them apart.

    Args:
        document: the document.
        render: makes a file of a figure with a look.
        most: how many of the first figures; None for all.
    """
    placed = list(_figures(document.blocks, ()))
    names = distinct_names(slug(" ".join(words)).lower() for words in _words_of_names(placed))
    look = Look(document.palette, is_alone=True)
    named = islice(zip(names, placed, strict=True), most)
    return {name: render(figure, look) for name, (_, figure) in named}


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


def svg_bytes(figure: Figure, look: Look) -> bytes:
    """The figure with the legend that is beside it on a report's page."""
    return svg.drawing(figure.picture, look).encode("utf-8", "replace")


def png_bytes(figure: Figure, look: Look) -> bytes:
    """The figure in pixels; the file has its size, and names depthtui as its software."""
    dots = _SCREEN_DOTS if look.width.unit == "px" else _PAPER_DOTS
    drawing = _typeset(figure, look, format="png", ppi=dots)
    per_metre = round(dots / 0.0254)
    size = _chunk(b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1))
    mark = _chunk(b"tEXt", b"Software\0depthtui")
    return drawing[:_PNG_HEAD] + mark + size + drawing[_PNG_HEAD:]


def pdf_bytes(figure: Figure, look: Look) -> bytes:
    """The figure as lines and text, in fonts that the file has; the same bytes each time."""
    return _typeset(figure, look, format="pdf", pdf_tags=False)


def is_pdf(path: Path) -> bool:
    """Whether depthtui wrote a PDF."""
    try:
        return _KEYWORD in read_whole(path, _LARGEST_PDF)
    except OSError:
        return False


def check_font(family: str, is_embedded: bool) -> None:
    """Check that a family of fonts can be named, and embedded.

    Args:
        family: the family; empty for the usual one.
        is_embedded: whether the file has the font itself.

    Raises:
        DepthError: it is no family's name, or this machine has no such font.
    """
    if family and not re.fullmatch(r"\w[\w .+-]{0,79}", family):
        raise DepthError(
            f"{family[:80]!r} is no family of fonts.", "Name one, such as 'Times New Roman'."
        )
    if not family or not is_embedded:
        return
    families = _fonts().families()
    if family.casefold() not in map(str.casefold, families):
        similar = did_you_mean(family, families)
        raise DepthError(
            f"This machine has no font {family}.",
            f"Install it, or choose one of {', '.join(sorted(families))}.{similar}",
        )


@cache
def _fonts() -> typst.Fonts:
    """The fonts of typst and of this machine, which take longer to find than a figure to draw."""
    import typst

    return typst.Fonts()


def _typeset(figure: Figure, look: Look, **options: Any) -> bytes:
    """The figure's SVG in another format, in fonts of typst or of this machine."""
    import typst

    drawing = svg_bytes(figure, replace(look, font=look.font or _FONT)).decode()
    inputs = {"drawing": drawing, "title": printable_line(figure.title)}
    page = _PAGE % look.width.points
    content: bytes = typst.compile(page.encode(), sys_inputs=inputs, font_paths=_fonts(), **options)
    return content


def _chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    length, check = struct.pack(">I", len(content)), struct.pack(">I", crc32(kind + content))
    return length + kind + content + check


def csv_bytes(figure: Figure, look: Look) -> bytes:
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
    has_output = max(len(line.values) for line in panel.lines) == panel.n_layers + 1
    output = f", {panel.n_layers} is the output" if has_output else ""
    up = f"y: {panel.up or panel.title}"
    heads, columns = [f"x: {panel.across}{output}"], []
    for line in panel.lines:
        name = line.name or line.label
        heads.append(f"{up}; {name}" if name else up)
        columns.append(line.values)
        if line.interval is not None:
            heads += [f"{heads[-1]}; low", f"{heads[-1]}; high"]
            columns += list(line.interval)
    return heads, columns


def _of_heatmap(heatmap: Heatmap) -> tuple[list[str], Iterable[np.ndarray]]:
    """The heads of the columns, and the values of each, from row 0 up."""
    unit = heatmap.unit or heatmap.measure.title
    labels = [
        label if label == str(place) else f"{place} {label}"
        for place, label in enumerate(heatmap.labels)
    ]
    return [f"y: {heatmap.up}; x: {heatmap.across}; values: {unit}", *labels], heatmap.values.T
