"""A pane that shares its place with others: one of them is seen, a key turns to the next."""

from __future__ import annotations

from rich.cells import cell_len
from textual.reactive import reactive

from depthtui.data.lens import LogitLens
from depthtui.tui.draw.styles import Piece
from depthtui.tui.panes.layer_bars import counts_first_token, first_token_note
from depthtui.tui.panes.lines_pane import LinesPane
from depthtui.tui.panes.pane import lens_of, nothing_pooled


class Page(LinesPane):
    """A pane whose title says which page it is.

    Attributes:
        place: such as `2 of 4, d turns`; empty for a pane that stands alone.
        dial: what its dial sets, such as `confidence`; empty where it has none.
    """

    hint: reactive[str] = reactive("r runs the prompt", repaint=False)
    place = ""
    dial = ""

    def set_titles(self, title: str, subtitle: str = "") -> None:
        super().set_titles(f"{title} · {self.place}" if self.place else title, subtitle)

    def turn_dial(self, steps: int) -> None:
        """Raise what the dial sets, or lower it with a negative number."""

    def title_with_dial(self, title: str) -> None:
        """Title the frame, and say which keys turn the dial."""
        note = first_token_note(self.summary)
        keys = f"+ - {self.dial}" if self.dial else ""
        self.set_titles(title, " · ".join(words for words in (note, keys) if words))

    # What the tokens that count have ----------------------------------------

    @property
    def first_token(self) -> int:
        """The first token that counts in means."""
        return 0 if counts_first_token(self.summary) else 1

    def why_no_lens(self, purpose: str) -> tuple[str, str] | None:
        """Why a page that reads the lens is empty, or None."""
        if self.result is None or self.summary is None:
            return nothing_pooled(self.result, purpose, self.hint)
        lens = self.result.get(LogitLens)
        if lens is None:
            return self.no_lens()
        if not lens.is_read:
            return purpose, "It needs every layer: the run goes on."
        return None

    def lens(self) -> LogitLens:
        return lens_of(self.result)


def as_many_as_fit(pieces: list[Piece], width: int) -> list[Piece]:
    """The first pieces, up to the first that is too long."""
    fitting: list[Piece] = []
    for text, style in pieces:
        width -= cell_len(text)
        if width < 0 and fitting:
            break
        fitting.append((text, style))
    return fitting
