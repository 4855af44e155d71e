"""The blocks of a report: their content, without their appearance.

Every text is raw and may be hostile: the code that shows a block makes it safe.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from depthtui.metrics.spec import Measure
from depthtui.palettes import OWN_PALETTE

View: TypeAlias = Literal["pictures", "text", "brief", "pane"]
"""Kind of output: pictures, text at length, the main results in a terminal, a pane."""

AT_LENGTH: tuple[View, ...] = ("pictures", "text")
ALL_VIEWS: tuple[View, ...] = (*AT_LENGTH, "brief", "pane")

Style: TypeAlias = Literal["", "name", "strong", "soft", "depth"]
"""Style of a text: a row's name, emphasised, subdued, or a depth that stays on one line."""


@dataclass(frozen=True)
class Heading:
    """A line that heads the blocks below it."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """A sentence or more."""

    text: str


@dataclass(frozen=True)
class Note:
    """A sentence on how to read the blocks around it."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list; a brief view shows its first `most` items."""

    texts: Sequence[str]
    most: int | None = None


@dataclass(frozen=True)
class Code:
    """Text whose line breaks are kept."""

    text: str


@dataclass(frozen=True)
class Token:
    """A token, its highlight, and a value beside it."""

    text: str
    css: str = ""
    value: str = ""


@dataclass(frozen=True)
class Tokens:
    """A text token by token; `text` is the whole, for views that cannot highlight tokens."""

    tokens: Sequence[Token]
    text: str


@dataclass(frozen=True)
class Bar:
    """A share from 0 to 1 as a bar; None for no bar."""

    share: float | None


@dataclass(frozen=True)
class Noted:
    """A cell with a remark beneath, in one line or more."""

    text: str
    note: str


@dataclass(frozen=True)
class Spans:
    """A cell in several styles."""

    parts: Sequence[tuple[str, Style]]


TableCell: TypeAlias = str | Token | Bar | Noted | Spans


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: head of the column.
        number: whether its cells are right-aligned.
        style: style of its cells.
        views: views that have room for it.
        brief: head in a brief view; None for `title`.
        span: number of cells of a row under its head.
        width: width in cells of a terminal; 0 for as wide as needed.
        wraps: whether its cells may wrap.
        rank: order in which a narrow pane drops columns, the highest rank first; 0 for never.
    """

    title: str
    number: bool = False
    style: Style = ""
    views: Sequence[View] = ALL_VIEWS
    brief: str | None = None
    span: int = 1
    width: int = 0
    wraps: bool = True
    rank: int = 0


@dataclass(frozen=True)
class Table:
    """Rows under columns; a text always has the head, other views only with `has_head`."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[TableCell]]
    css: str = ""
    has_head: bool = True

    def in_view(self, view: View) -> tuple[list[Column], list[list[TableCell]]]:
        """The columns that a view has room for, one for each cell, and their rows."""
        columns = [column for column in self.columns for _ in range(column.span)]
        visible = [number for number, column in enumerate(columns) if view in column.views]
        return [columns[n] for n in visible], [[row[n] for n in visible] for row in self.rows]


@dataclass(frozen=True)
class Line:
    """One curve: a value per layer, NaN where unknown, and the CSS class of its colour.

    The label is drawn; the name is that of a curve without one, where there is no room, or of one
    of several with the same label. The interval is the lower and the upper end at each place,
    `[2, places]`, or None.
    """

    values: np.ndarray
    css: str
    label: str = ""
    name: str = ""
    interval: np.ndarray | None = None


@dataclass(frozen=True)
class Mark:
    """A place on the horizontal axis that a rule found.

    Attributes:
        place: the place, in steps from the left end.
        words: its label.
        interval: the places of the ends of its interval; None where unknown.
    """

    place: float
    words: str
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Panel:
    """A plot over depth.

    Attributes:
        lines: drawn in order; a line of L + 1 values ends at the model's output.
        n_layers: L.
        threshold: place of the rule's dashed line, in the lines' unit, or None.
        mark: the place that the rule found, or None.
        limits: ends of the vertical axis, or None where the data decide.
        log: whether the vertical axis is logarithmic.
        title: description of the plot, for readers who cannot see it.
        up, across: titles of the axes, with their units.
        falls_from: the number at the left end of an axis that counts down, or None.
    """

    lines: Sequence[Line]
    n_layers: int
    threshold: float | None = None
    mark: Mark | None = None
    limits: tuple[float, float] | None = None
    log: bool = False
    title: str = "Means over tokens, by layer"
    up: str = ""
    across: str = "layer"
    falls_from: int | None = None


@dataclass(frozen=True)
class Heatmap:
    """Rows of layers, the first at the bottom.

    Attributes:
        values: `[rows, columns]`, NaN where unknown.
        measure: measure of the values, with their scale.
        labels: `[columns]` raw texts.
        unit: unit of the colours.
        up, across: titles of rows and columns.
        rows: `[rows]` names; empty for their numbers.
        hatched: `[rows, columns]`, where values say little; None for nowhere.
    """

    values: np.ndarray
    measure: Measure
    labels: Sequence[str]
    unit: str = ""
    up: str = "layer"
    across: str = "token"
    rows: Sequence[str] = ()
    hatched: np.ndarray | None = None


@dataclass(frozen=True)
class Bars:
    """A bar per layer or depth, up or down from zero.

    Attributes:
        values: a value per layer or depth, NaN where unknown.
        label: description of the picture, for readers who cannot see it.
        up: title of the values, with their unit.
        marks: marks beneath each bar, such as those of layers' types; empty for none.
        across: title of the horizontal axis.
    """

    values: np.ndarray
    label: str
    up: str = ""
    marks: Sequence[str] = ()
    across: str = "layer"


@dataclass(frozen=True)
class Figure:
    """A picture under its title, and beneath it its description and how to read it.

    Attributes:
        title: the title.
        picture: the picture.
        meaning: its description, and how to read it.
        name: name of its values on the command line, such as `kl`; empty for none.
    """

    title: str
    picture: Panel | Heatmap | Bars
    meaning: str = ""
    name: str = ""


@dataclass(frozen=True)
class Figures:
    """Pictures side by side; a view without pictures skips them."""

    figures: Iterable[Figure]


@dataclass(frozen=True)
class Legend:
    """The legend of the lines in the pictures above: labels by CSS class of colour and dashes."""

    colours: Sequence[tuple[str, str]]
    dashes: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Chapter:
    """A title and the blocks below it; nothing is shown of a chapter without blocks.

    Attributes:
        title: title of the chapter; its level is how deep chapters are nested.
        blocks: blocks of the chapter.
        is_open: whether it is never folded; a view that can fold folds the others.
        views: views that it is in; other views never iterate over its blocks.
    """

    title: str
    blocks: Iterable[Block]
    is_open: bool = False
    views: Sequence[View] = ALL_VIEWS


@dataclass(frozen=True)
class ViewBlocks:
    """Blocks for some views; other views never iterate over them."""

    views: Sequence[View]
    blocks: Iterable[Block]


@dataclass(frozen=True)
class TightBlocks:
    """Blocks that a terminal shows without blank lines between them."""

    blocks: Iterable[Block]


Block: TypeAlias = (
    Heading
    | Paragraph
    | Note
    | Items
    | Code
    | Tokens
    | Table
    | Figures
    | Legend
    | Chapter
    | ViewBlocks
    | TightBlocks
)


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title: title of the report.
        blocks: blocks below the title, made on demand.
        about: subject of the report, for a browser's window; may be empty.
        css: rules that the classes of its blocks need.
        palette: name of the palette of its heatmaps.
    """

    title: str
    blocks: Iterable[Block]
    about: str = ""
    css: str = ""
    palette: str = OWN_PALETTE


def blocks_in(blocks: Iterable[Block], view: View) -> Iterator[Block]:
    """The blocks that a view shows; `ViewBlocks` is replaced by its blocks or left out.

    Of a chapter, an empty one is left out; in a terminal and in a pane, which fold nothing, any
    other is replaced by a heading and its blocks.
    """
    for block in blocks:
        match block:
            case ViewBlocks(views, inner):
                if view in views:
                    yield from blocks_in(inner, view)
            case Chapter(title, inner, views=views):
                shown = list(blocks_in(inner, view)) if view in views else []
                if shown and view in AT_LENGTH:
                    yield replace(block, blocks=shown)
                elif shown:
                    yield from (Heading(title), *shown)
            case _:
                yield block
