"""A pane that shares its place with others: one of them is visible, a key turns to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.cells import cell_len
from textual.content import Content

from depthtui.data.lens import LogitLens
from depthtui.data.lens_view import lens_of, through_words
from depthtui.data.run import RunResult
from depthtui.tui.draw.names import OTHER_NAME, in_a_row
from depthtui.tui.draw.styles import Piece
from depthtui.tui.panes.layer_bars import counted_tokens, left_out_note
from depthtui.tui.panes.lines_pane import LinesPane
from depthtui.tui.panes.pane import lens_values, nothing_pooled
from depthtui.tui.panes.under_cursor import HeatmapCell, Target

_TURNS = " · d next page"
_EDGES = 2
"""Cells of the content's width that a title leaves to its frame."""

DIAL_KEYS = "+ -"
"""The keys of a page's dial."""


class Page(LinesPane):
    """A pane that shares its place with others, whose names are in its frame.

    Attributes:
        pages: all pages of the place, including this one; none for a single pane.
        dial: the quantity of its dial, such as `confidence`; empty for no dial.
    """

    hint = "r runs the prompt"
    footer = ("turn_page", "open", "compute", "reading", "explain")
    pages: Sequence[Page] = ()
    dial = ""

    @property
    def computed(self) -> RunResult:
        """The run with the settings that its missing metrics will be computed with."""
        settings = replace(self.drawn_result.settings, **self.computes_with())
        return replace(self.drawn_result, settings=settings)

    def titled(self, title: str) -> Content:
        """The names of all pages, which can be clicked, and as much of the title as fits."""
        if not self.pages or self.screen.has_class("-narrow"):
            return Content(title)
        own, lens = (f" · {title}" if title != self.name else ""), through_words("", self.view.lens)
        names = self._names(cell_len(lens))
        room = self.size.width - names.cell_length
        ends = (f"{own}{_TURNS}", own or _TURNS, lens or _TURNS, "")
        return names + Content(next(end for end in ends if cell_len(end) <= max(0, room)))

    def _names(self, reserved: int) -> Content:
        """The names of the pages, of all or of as many around this one as fit.

        Args:
            reserved: the cells of the lens, which is named behind them.
        """
        place = next(at for at, page in enumerate(self.pages) if page is self)
        names = list(map(self._link, self.pages))
        cells = [cell_len(page.name or "") for page in self.pages]
        return in_a_row(names, cells, place, self.size.width - _EDGES - reserved)

    def _link(self, page: Page) -> Content:
        style = "reverse" if page is self else OTHER_NAME
        return Content.from_markup(f"[@click=screen.go_to('{page.id}')][{style}]{page.name}[/][/]")

    def under_cursor(self) -> Target | None:
        if self.result is None:
            return None
        return HeatmapCell(
            min(self.cursor.layer, self.result.model.n_layers - 1), self.cursor.token
        )

    def turn_dial(self, steps: int) -> None:
        """Raise the dial by this many steps, or lower it for a negative number."""

    def title_with_dial(self, title: str) -> None:
        """Set the frame's title, and the keys of the dial."""
        note = left_out_note(self.reading)
        keys = f"{DIAL_KEYS} {self.dial}" if self.dial else ""
        self.set_titles(title, " · ".join(words for words in (note, keys) if words))

    # Tokens that count ------------------------------------------------------

    @property
    def tokens(self) -> slice:
        """The tokens in means."""
        return counted_tokens(self.reading)

    def why_no_lens(self, purpose: str) -> tuple[str, str] | None:
        """Why a page that reads the lens is empty, or None."""
        if self.result is None or self.reading is None:
            return nothing_pooled(self.result, purpose, self.hint)
        lens = lens_of(self.result, self.view.lens)
        if lens is None:
            return self.no_lens()
        if not lens.is_read:
            layers = f"{self.result.layers_done} of {self.result.model.n_layers}"
            return purpose, f"It needs the lens of every layer; {layers} have run."
        return None

    def lens(self) -> LogitLens:
        return lens_values(self.result, self.view.lens)


def as_many_as_fit(pieces: list[Piece], width: int) -> list[Piece]:
    """The first pieces, up to the first that does not fit."""
    fitting: list[Piece] = []
    for text, style in pieces:
        width -= cell_len(text)
        if width < 0 and fitting:
            break
        fitting.append((text, style))
    return fitting
