"""What a report is made of: blocks that say what is shown, and nothing of how.

Every text is taken as it is, hostile ones too: whatever shows a block makes it safe.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from depthtui.metrics.spec import Measure
from depthtui.palettes import OWN_PALETTE

View: TypeAlias = Literal["pictures", "text", "brief", "pane"]
"""How much there is room for: pictures, text at length, the main results in a terminal, a pane."""

AT_LENGTH: tuple[View, ...] = ("pictures", "text")
ALL_VIEWS: tuple[View, ...] = (*AT_LENGTH, "brief", "pane")

Style: TypeAlias = Literal["", "name", "strong", "soft", "depth"]
"""How a text is set: as a row's name, set off, set back, or as a depth that stays on one line."""


@dataclass(frozen=True)
class Heading:
    """A title; level 1 is the report's own."""

    text: str
    level: int


@dataclass(frozen=True)
class Paragraph:
    """A sentence or more."""

    text: str


@dataclass(frozen=True)
class Note:
    """A sentence that says how to read what is around it."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list; of a longer one a brief view shows the first `most`."""

    texts: Sequence[str]
    most: int | None = None


@dataclass(frozen=True)
class Code:
    """Text whose lines are kept."""

    text: str


@dataclass(frozen=True)
class Token:
    """A token, how it is set off, and a value beside it."""

    text: str
    css: str = ""
    value: str = ""


@dataclass(frozen=True)
class Tokens:
    """A text token by token; `text` is all of it, for views that cannot set tokens off."""

    tokens: Sequence[Token]
    text: str


@dataclass(frozen=True)
class Bar:
    """A share from 0 to 1 as a bar; None for no bar."""

    share: float | None


@dataclass(frozen=True)
class Noted:
    """A cell with a remark beneath."""

    text: str
    note: str


@dataclass(frozen=True)
class Spans:
    """A cell in several styles."""

    parts: Sequence[tuple[str, Style]]


Cell: TypeAlias = str | Token | Bar | Noted | Spans


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: its head.
        number: whether its cells are set to the right.
        style: of its cells.
        views: those that have room for it.
        brief: its head in a brief view; None for `title`.
        span: how many cells of a row it heads.
        width: in cells of a terminal; 0 for as wide as needed.
        wraps: whether its cells may be broken.
        rank: how soon a pane without room does without it, those of high rank first; 0 for never.
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
    """Rows under columns; a text must have a head, other views may leave it out."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    css: str = ""
    has_head: bool = True

    def seen(self, view: View) -> tuple[list[Column], list[list[Cell]]]:
        """The columns that a view has room for, one for each cell, and their rows."""
        columns = [column for column in self.columns for _ in range(column.span)]
        kept = [number for number, column in enumerate(columns) if view in column.views]
        return [columns[n] for n in kept], [[row[n] for n in kept] for row in self.rows]


@dataclass(frozen=True)
class Line:
    """One curve: a value a layer, NaN where unknown, and the CSS class that colours it."""

    values: np.ndarray
    css: str
    label: str = ""


@dataclass(frozen=True)
class Panel:
    """A plot over depth.

    Attributes:
        lines: drawn in order; a line of L + 1 values ends at the model's output.
        n_layers: L.
        threshold: where the rule's dashed line is, in the lines' unit, or None.
        crossing: the layer that the rule found, or None.
        limits: ends of the vertical axis, or None where the data decide.
        log: whether the vertical axis is logarithmic.
        title: what the plot shows, for those who cannot see it.
        up, across: what the axes are, with their units.
    """

    lines: Sequence[Line]
    n_layers: int
    threshold: float | None = None
    crossing: int | None = None
    limits: tuple[float, float] | None = None
    log: bool = False
    title: str = "Means over tokens, by layer"
    up: str = ""
    across: str = "layer"


@dataclass(frozen=True)
class Heatmap:
    """Rows of layers, the first at the bottom.

    Attributes:
        values: `[rows, columns]`, NaN where unknown.
        measure: says how they are scaled.
        labels: `[columns]` raw texts.
        unit: what the colours stand for.
        up, across: what rows and columns are.
        rows: `[rows]` names; empty for their numbers.
    """

    values: np.ndarray
    measure: Measure
    labels: Sequence[str]
    unit: str = ""
    up: str = "layer"
    across: str = "token"
    rows: Sequence[str] = ()


@dataclass(frozen=True)
class Bars:
    """A bar a layer, up or down from zero.

    Attributes:
        values: NaN where unknown.
        label: what is shown, for those who cannot see it.
        up: what the values are, with their unit.
        marks: beneath each bar, such as those of layers' types; empty for none.
    """

    values: np.ndarray
    label: str
    up: str = ""
    marks: Sequence[str] = ()


@dataclass(frozen=True)
class Figure:
    """A picture under its title, and beneath it what it shows and how to read it."""

    title: str
    picture: Panel | Heatmap | Bars
    meaning: str = ""


@dataclass(frozen=True)
class Figures:
    """Pictures side by side; a view without pictures passes them over."""

    figures: Iterable[Figure]


@dataclass(frozen=True)
class Legend:
    """What the lines of the pictures above stand for: labels by CSS class of colour and dashes."""

    colours: Sequence[tuple[str, str]]
    dashes: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Details:
    """Blocks that are folded away where that can be done."""

    summary: str
    blocks: Iterable[Block]


@dataclass(frozen=True)
class Only:
    """Blocks for some views; others never ask for them."""

    views: Sequence[View]
    blocks: Iterable[Block]


@dataclass(frozen=True)
class Together:
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
    | Details
    | Only
    | Together
)


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title: of the report.
        blocks: below the title, made as they are asked for.
        about: what the report is of, for a browser's window; may be empty.
        css: rules that the classes of its blocks need.
        palette: name of the palette whose colours its heatmaps have.
    """

    title: str
    blocks: Iterable[Block]
    about: str = ""
    css: str = ""
    palette: str = OWN_PALETTE


def deeper(blocks: Iterable[Block]) -> Iterator[Block]:
    """The blocks, each heading among them one level deeper."""
    for block in blocks:
        match block:
            case Heading(text, level):
                yield Heading(text, level + 1)
            case Details() | Only() | Together():
                yield replace(block, blocks=deeper(block.blocks))
            case _:
                yield block


def seen(blocks: Iterable[Block], view: View) -> Iterator[Block]:
    """The blocks that a view shows, those for some views in their place."""
    for block in blocks:
        if not isinstance(block, Only):
            yield block
        elif view in block.views:
            yield from seen(block.blocks, view)
