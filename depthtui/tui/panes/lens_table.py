"""The lens's predictions before each layer, for one token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.cells import cell_len
from rich.segment import Segment
from textual.strip import Strip

from depthtui.data.lens import FittedLens
from depthtui.data.lens_view import WORSE, lens_heading, lens_of, reads_worse
from depthtui.data.model import marks_words
from depthtui.report.tables import ValueTable, lens_table
from depthtui.token_text import fit_shown, printable, printable_chars
from depthtui.tui.draw.styles import Piece, nats, strip_of
from depthtui.tui.draw.text import BEFORE_EACH_LAYER
from depthtui.tui.panes.layer_rows import HEADER_LINES
from depthtui.tui.panes.lens_rows import (
    AROUND_TOKEN,
    GAP,
    PROBABILITY_CELLS,
    WIDEST_TOKEN,
    LensRows,
)
from depthtui.tui.panes.pane import Cursor, lens_values

_NARROWEST_TOKEN = 7
_ENTROPY_CELLS = 7
_NOTE_CELLS = len(" ← stays") - len(GAP) - 1
"""Cells that columns leave to a note, beside the last gap and the blank before the entropy."""

_AROUND_TITLE = 2


@dataclass(frozen=True)
class Landmarks:
    """The depths at which the final answer appears in a token's lens.

    Attributes:
        final: id of the model's most probable next token, or -1 where unknown.
        first_seen: the lowest depth whose top k contains it, or None.
        stays: the lowest depth from which it stays the most probable, or None.
    """

    final: int
    first_seen: int | None
    stays: int | None


def landmarks(top_ids: np.ndarray) -> Landmarks:
    """The landmarks of one token's `[L+1, k]` top ids."""
    final = int(top_ids[-1, 0])
    if final < 0:
        return Landmarks(-1, None, None)
    depths = np.flatnonzero((top_ids == final).any(axis=1))
    others = np.flatnonzero(top_ids[:, 0] != final)
    return Landmarks(final, int(depths[0]), int(others[-1]) + 1 if len(others) else 0)


class LensTable(LensRows):
    """A row for each layer, the model's output on top: the lens's top tokens, then its entropy."""

    hint = "r runs the prompt"
    footer = ("find", "open", "run_stepping", "reading", "explain")

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles(lens_heading(self.view.lens))
        if self.result is None:
            return "The model's next tokens, read before each layer.", self.hint
        if lens_of(self.result, self.view.lens) is None:
            return self.no_lens("Run the prompt again with this metric.")
        return None

    def computes(self) -> tuple[str, ...]:
        return self.lens_to_compute()

    def table(self) -> ValueTable | None:
        lens = None if self.result is None else lens_of(self.result, self.view.lens)
        return None if lens is None else lens_table(lens, self.token)

    def prepare(self) -> None:
        self._lens = lens_values(self.result, self.view.lens)
        self._landmarks = landmarks(self._lens.top_ids[:, self.token])
        self._columns = self._fit_columns()
        self.scroll_to_cursor()
        notes = filter(None, (self.hidden_note, marks_words(self.drawn_result.model)))
        self.set_titles(self._whole_title, printable_chars(" · ".join(notes)))

    @property
    def _whole_title(self) -> str:
        """The title, with the meaning of the rows where there is room."""
        title = f"{self.title}{BEFORE_EACH_LAYER}"
        return title if cell_len(title) <= self.area.width - _AROUND_TITLE else self.title

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        if old.token == new.token:
            super().move_cursor(old, new)
        elif self.scroll_to_cursor():
            self.redraw_content()
        else:
            self.prepare()
            # The header stays the same.
            self.refresh(self.whole_lines(HEADER_LINES, self.area.height - HEADER_LINES))

    def _fit_columns(self) -> tuple[int, int]:
        """The number of tokens on a row, and the cells of each one's text."""
        room = self.area.width - self.margin - _ENTROPY_CELLS
        most = self._lens.top_ids.shape[2]
        count = max(1, min(most, room // (_NARROWEST_TOKEN + AROUND_TOKEN)))
        # Fewer legible tokens are better than many cut ones.
        while count > 3 and room // count - AROUND_TOKEN < 9:
            count -= 1
        beside_note = max(_NARROWEST_TOKEN, (room - _NOTE_CELLS) // count - AROUND_TOKEN)
        return count, max(1, min(WIDEST_TOKEN, room // count - AROUND_TOKEN, beside_note))

    def draw_line(self, y: int) -> Strip:
        if y < HEADER_LINES:
            return self._draw_header()
        layer = self.layer_at(y)
        return self.line() if layer is None else self._draw_layer(layer)

    def _draw_header(self) -> Strip:
        count, cells = self._columns
        names = (
            fit_shown(f"top {rank + 1}", cells + 1 + PROBABILITY_CELLS) for rank in range(count)
        )
        head = " " * self.margin + GAP.join(names)
        style = self.pane_styles.faint
        return self._ended((head, style), end=("entropy", style))

    def _draw_layer(self, layer: int) -> Strip:
        lens, token = self._lens, self.token
        pieces = self.draw_number(layer)
        pieces += self.draw_top(lens, layer, self._landmarks.final, self._columns)
        if lens.top_ids[layer, token, 0] < 0:
            no_map = " no map here" if isinstance(lens, FittedLens) else ""
            return self.line(*pieces, (no_map, self.pane_styles.faint))
        entropy = nats(float(lens.entropy[layer, token]))
        end = (f"{entropy:>6}", self.pane_styles.muted)
        notes = self._notes(layer, self._columns[0])
        column = self._answer_column(layer) if notes else 0
        return self._ended(*pieces, end=end, notes=notes, column=column)

    def _notes(self, layer: int, columns: int) -> list[str]:
        """Notes on a layer, in full and ever shorter."""
        notes = self._landmark_notes(layer, columns)
        if not reads_worse(self._lens, layer):
            return notes
        worse = [f"{WORSE} !", "worse than logit !", "!"]
        return [f"{note} · {words}" for note in notes for words in worse] + worse

    def _landmark_notes(self, layer: int, columns: int) -> list[str]:
        marks = self._landmarks
        if layer == self.depths - 1:
            return []
        if layer == marks.stays:
            return ["← stays", "←"]
        if layer != marks.first_seen:
            return []
        rank = self._lens.top_ids[layer, self.token].tolist().index(marks.final) + 1
        if rank <= columns:
            return ["← first seen", "← seen", "←"]
        token = f"'{printable(self._lens.vocabulary.get(marks.final, ''))}'"
        return [
            f"← {token} first seen as top {rank}",
            f"← {token} seen as top {rank}",
            f"← {token} top {rank}",
            "←",
        ]

    def _answer_column(self, layer: int) -> int:
        """The column of the model's final token in a layer's row; 0 where the row lacks it."""
        ids = self._lens.top_ids[layer, self.token][: self._columns[0]].tolist()
        return ids.index(self._landmarks.final) if self._landmarks.final in ids else 0

    def _ended(
        self, *pieces: Piece, end: Piece, notes: Sequence[str] = (), column: int = 0
    ) -> Strip:
        """A line with its end at the right edge.

        The longest note that fits stands in place of whole columns, those after `column`.
        """
        width, column_cells = self.area.width, self._columns[1] + AROUND_TOKEN
        shown = self.margin + (column + 1) * column_cells - len(GAP)
        room = width - cell_len(end[0]) - 1 - shown
        note = next((words for words in notes if len(words) <= room), "")
        tail = f" {note}"
        tail_start = max(0, width - cell_len(tail) - cell_len(end[0]))
        if note:
            columns = (tail_start + len(GAP) - self.margin) // column_cells
            row_end = min(tail_start, self.margin + columns * column_cells)
            tail_start, tail = row_end, " " * (tail_start - row_end) + tail
        row = strip_of(pieces, tail_start, self.pane_styles.text)
        ending = (Segment(tail, self.pane_styles.accent), Segment(*end))
        cells = tail_start + cell_len(tail) + cell_len(end[0])
        return Strip((*row, *ending), cells).adjust_cell_length(width)
