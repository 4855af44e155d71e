"""What the model would say at each layer, for one token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.cells import cell_len
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.reactive import reactive
from textual.strip import Strip

from depthtui.engine.results import LogitLens
from depthtui.tui.token_text import fit, fit_shown, printable
from depthtui.tui.widgets.ink import Piece, number, probability
from depthtui.tui.widgets.pane import Cursor, CursorMoved, Pane
from depthtui.tui.widgets.words import sentence

_HEADER_LINES = 1
_NARROWEST_TOKEN, _WIDEST_TOKEN = 7, 14
_GAP = "  "
_PROBABILITY_CELLS = 3
_ENTROPY_CELLS = 7
_LIKELY = 0.1


@dataclass(frozen=True)
class Landmarks:
    """Where the final answer turns up in the lens of one token.

    Attributes:
        final: id of the model's most probable next token, or -1 where unknown.
        first_seen: the lowest depth whose top k holds it, or None.
        settles: the lowest depth from which it stays the most probable, or None.
    """

    final: int
    first_seen: int | None
    settles: int | None


def landmarks(top_ids: np.ndarray) -> Landmarks:
    """The landmarks of one token's `[L+1, k]` top ids."""
    final = int(top_ids[-1, 0])
    if final < 0:
        return Landmarks(-1, None, None)
    seen = np.flatnonzero((top_ids == final).any(axis=1))
    others = np.flatnonzero(top_ids[:, 0] != final)
    return Landmarks(final, int(seen[0]), int(others[-1]) + 1 if len(others) else 0)


class LensTable(Pane):
    """One row a layer, the model's own output on top: the lens's top tokens, then its entropy."""

    hint: reactive[str] = reactive("r runs the prompt", repaint=False)

    def __init__(
        self, *, name: str | None = None, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._first = 0
        self._landmarks = Landmarks(-1, None, None)
        self._columns = (1, 1)
        self._final_style = Style.null()

    def why_empty(self) -> tuple[str, str] | None:
        if self.result is None:
            self.set_titles("Logit lens")
            return "What the model would say at each layer.", self.hint
        if self.result.logit_lens is None:
            self.set_titles("Logit lens")
            missing = self.result.model.lens_missing
            if missing:
                return sentence(missing), ""
            return "This run has no logit lens.", "Run it again with that metric."
        return None

    def prepare(self) -> None:
        assert self.result is not None
        text = printable(self.result.tokens.texts[self._token][:80])
        self.set_titles(f'Logit lens at "{fit_shown(text, 20).rstrip()}"')
        self._landmarks = landmarks(self._lens.top_ids[:, self._token])
        self._columns = self._fit_columns()
        self._final_style = self.inks.accent
        if self.ramp_for(False).glyphs:
            self._final_style += Style(underline=True)
        self._scroll_to_cursor()

    @property
    def _lens(self) -> LogitLens:
        assert self.result is not None
        assert self.result.logit_lens is not None
        return self.result.logit_lens

    @property
    def _token(self) -> int:
        assert self.result is not None
        return min(max(self.cursor.token, 0), len(self.result.tokens) - 1)

    @property
    def _depths(self) -> int:
        """Rows of the table, L + 1."""
        return len(self._lens.kl)

    @property
    def _lines(self) -> int:
        return max(1, self.area.height - _HEADER_LINES)

    # The cursor -------------------------------------------------------------

    def _place_of(self, layer: int) -> int:
        """The table's line of a layer, from its top, scrolled or not."""
        layer = min(max(layer, 0), self._depths - 1)
        return self._depths - 1 - layer if self.layer_order == "up" else layer

    def _layer_at(self, y: int) -> int | None:
        """The layer on a line of the pane."""
        place = y - _HEADER_LINES + self._first
        if y < _HEADER_LINES or place >= self._depths:
            return None
        return self._depths - 1 - place if self.layer_order == "up" else place

    def _scroll_to_cursor(self) -> bool:
        place, before = self._place_of(self.cursor.layer), self._first
        first = before
        if not before <= place < before + self._lines:
            # By half a pane, so that few moves repaint all of it.
            first = place - self._lines // 2
        self._first = max(0, min(first, self._depths - self._lines))
        return self._first != before

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        if self._scroll_to_cursor():
            self.redraw_content()
        elif old.token != new.token:
            self.prepare()
            # Neither the header nor the layers' numbers change.
            width, height = self.area
            self.refresh(
                Region(0, self._place_of(old.layer) - self._first + _HEADER_LINES, width, 1),
                Region(0, self._place_of(new.layer) - self._first + _HEADER_LINES, width, 1),
                Region(self._margin, _HEADER_LINES, width - self._margin, height - _HEADER_LINES),
            )
        else:
            lines = {self._place_of(each.layer) - self._first for each in (old, new)}
            width = self.area.width
            self.refresh(*(Region(0, line + _HEADER_LINES, width, 1) for line in lines))

    # Drawing ----------------------------------------------------------------

    @property
    def _margin(self) -> int:
        return max(3, len(str(self._depths - 1))) + 2

    def _fit_columns(self) -> tuple[int, int]:
        """How many tokens fit on a row, and the cells of each one's text."""
        room = self.area.width - self._margin - _ENTROPY_CELLS
        around = 1 + _PROBABILITY_CELLS + len(_GAP)
        most = self._lens.top_ids.shape[2]
        count = max(1, min(most, room // (_NARROWEST_TOKEN + around)))
        # Fewer tokens that can be read rather than many that are cut.
        while count > 3 and room // count - around < 9:
            count -= 1
        return count, max(1, min(_WIDEST_TOKEN, room // count - around))

    def draw_line(self, y: int) -> Strip:
        if y < _HEADER_LINES:
            return self._draw_header()
        layer = self._layer_at(y)
        return self.line() if layer is None else self._draw_layer(layer)

    def _draw_header(self) -> Strip:
        count, cells = self._columns
        names = (
            fit_shown(f"top {each + 1}", cells + 1 + _PROBABILITY_CELLS) for each in range(count)
        )
        left = " " * self._margin + _GAP.join(names)
        style = self.inks.faint
        return self._ended((left, style), end=("H nats", style))

    def _draw_layer(self, layer: int) -> Strip:
        row = (layer, self._token)
        name = "out" if layer == self._depths - 1 else str(layer)
        at_cursor = self._place_of(layer) == self._place_of(self.cursor.layer)
        label = f"{name:>{self._margin - 2}} "
        pieces: list[Piece] = (
            [("▸", self.inks.accent), (label, self.inks.accent)]
            if at_cursor
            else [(" ", self.inks.text), (label, self.inks.muted)]
        )
        if self._lens.top_ids[row][0] < 0:
            return self.line(*pieces, ("·", self.inks.faint))
        count, cells = self._columns
        for token, share in zip(
            self._lens.top_ids[row][:count].tolist(),
            self._lens.top_probabilities[row][:count].tolist(),
            strict=True,
        ):
            pieces += self._draw_token(token, share, cells)
        entropy: Piece = (f"{number(float(self._lens.entropy[row])):>6}", self.inks.muted)
        return self._ended(*pieces, end=entropy, notes=self._notes(layer, count))

    def _draw_token(self, token: int, share: float, cells: int) -> list[Piece]:
        if token < 0:
            return [(" " * (cells + 1 + _PROBABILITY_CELLS) + _GAP, self.inks.text)]
        likely = share >= _LIKELY
        style = self.inks.text if likely else self.inks.muted
        if token == self._landmarks.final:
            style = self._final_style
        word = fit(self._lens.vocabulary.get(token, ""), cells)
        bare = word.rstrip(" ")
        return [
            (bare, style),
            (word[len(bare) :] + " ", self.inks.text),
            (
                f"{probability(share):>{_PROBABILITY_CELLS}}",
                self.inks.text if likely else self.inks.muted,
            ),
            (_GAP, self.inks.text),
        ]

    def _notes(self, layer: int, columns: int) -> list[str]:
        """What to say about a layer, in full and ever shorter."""
        marks = self._landmarks
        if layer == self._depths - 1:
            return []
        if layer == marks.settles:
            return ["← settles", "←"]
        if layer != marks.first_seen:
            return []
        rank = self._lens.top_ids[layer, self._token].tolist().index(marks.final) + 1
        if rank <= columns:
            return ["← first seen", "← seen", "←"]
        return [f"← first seen as top {rank}", f"← seen as top {rank}", f"← top {rank}", "←"]

    def _ended(self, *pieces: Piece, end: Piece, notes: Sequence[str] = ()) -> Strip:
        """A line with its end at the right edge, and a note over all but the first token."""
        width = self.area.width
        first_token = self._margin + self._columns[1] + 1 + _PROBABILITY_CELLS
        room = width - cell_len(end[0]) - 2 - first_token
        note = next((each for each in notes if len(each) <= room), "")
        tail = f" {note} " if note else " "
        left = max(0, width - cell_len(tail) - cell_len(end[0]))
        kept = self.line(*pieces).crop(0, left)
        return Strip.join([kept, self.line((tail, self.inks.accent), end).crop(0, width - left)])

    # The mouse --------------------------------------------------------------

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on the layer under the mouse."""
        offset = event.get_content_offset(self)
        if offset is None or not self.is_ready:
            return
        layer = self._layer_at(offset.y)
        if layer is not None:
            self.post_message(CursorMoved(layer, self.cursor.token))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._scroll(1 if self.layer_order == "up" else -1, event)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._scroll(-1 if self.layer_order == "up" else 1, event)

    def _scroll(self, step: int, event: events.Event) -> None:
        event.stop()
        if self.is_ready:
            layer = min(max(self.cursor.layer + step, 0), self._depths - 1)
            self.post_message(CursorMoved(layer, self.cursor.token))
