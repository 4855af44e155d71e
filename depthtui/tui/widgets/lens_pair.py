"""The logit lens of one token, clean and with layers left out, side by side."""

from __future__ import annotations

from rich.cells import cell_len
from textual.strip import Strip

from depthtui.engine.results import LogitLens
from depthtui.tui.token_text import fit, fit_shown, printable
from depthtui.tui.widgets.ink import Piece, probability
from depthtui.tui.widgets.layer_rows import LayerRows
from depthtui.tui.widgets.pane import Cursor
from depthtui.tui.widgets.words import sentence

_MIDDLE = " │ "
_DIFFERS = " ≠ "
_NARROWEST_TOKEN, _WIDEST_TOKEN = 5, 14
_PROBABILITY_CELLS = 3
_GAP = "  "
_LIKELY = 0.1


class LensPair(LayerRows):
    """`result` is the run without some layers, `other` the clean one.

    Attributes:
        passed_by: the layers that are off: what is read there is what is read below.
    """

    passed_by: frozenset[int] = frozenset()

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles("Logit lens")
        if self.result is None or self.other is None:
            return "What the model would say at each layer, clean and changed.", ""
        if self.result.logit_lens is None or self.other.logit_lens is None:
            return sentence(self.result.model.lens_missing or "This run has no logit lens."), ""
        return None

    def prepare(self) -> None:
        assert self.result is not None
        text = printable(self.result.tokens.texts[self._token][:80])
        self.set_titles(f'Logit lens at "{fit_shown(text, 20).rstrip()}"', "clean │ changed")
        self._half = max(1, (self.area.width - self.margin - len(_MIDDLE)) // 2)
        around = 1 + _PROBABILITY_CELLS + len(_GAP)
        self._count = max(1, min(3, (self._half + len(_GAP)) // (9 + around)))
        room = (self._half + len(_GAP)) // self._count - around
        self._cells = max(min(_NARROWEST_TOKEN, room), min(_WIDEST_TOKEN, room))
        self._final = int(self._clean.top_ids[-1, self._token, 0])
        self.scroll_to_cursor()

    @property
    def _clean(self) -> LogitLens:
        assert self.other is not None
        assert self.other.logit_lens is not None
        return self.other.logit_lens

    @property
    def _changed(self) -> LogitLens:
        assert self.result is not None
        assert self.result.logit_lens is not None
        return self.result.logit_lens

    @property
    def _token(self) -> int:
        assert self.result is not None
        return min(max(self.cursor.token, 0), len(self.result.tokens) - 1)

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        if old.token != new.token:
            self.redraw_content()
        else:
            super().move_cursor(old, new)

    def draw_line(self, y: int) -> Strip:
        if y == 0:
            left = f"{' ' * self.margin}{'clean':<{self._half + len(_MIDDLE)}}"
            return self.line((f"{left}changed", self.inks.faint))
        layer = self.layer_at(y)
        if layer is None:
            return self.line()
        row = (layer, self._token)
        clean, changed = int(self._clean.top_ids[row][0]), int(self._changed.top_ids[row][0])
        differs = changed >= 0 and clean != changed
        middle = (_DIFFERS, self.inks.strong) if differs else (_MIDDLE, self.inks.faint)
        return self.line(
            *self.draw_number(layer),
            *self._draw_half(self._clean, row),
            middle,
            *self._draw_half(self._changed, row, layer in self.passed_by),
        )

    def _draw_half(
        self, lens: LogitLens, row: tuple[int, int], is_faint: bool = False
    ) -> list[Piece]:
        """The most probable tokens of one run at a depth, in exactly a half's cells."""
        inks = self.inks
        pieces: list[Piece] = []
        for token, share in zip(
            lens.top_ids[row][: self._count].tolist(),
            lens.top_probabilities[row][: self._count].tolist(),
            strict=True,
        ):
            if token < 0:
                pieces.append(("·", inks.faint))
                break
            style = inks.text if share >= _LIKELY else inks.muted
            final = inks.accent
            if is_faint:
                style = final = inks.faint
            word = fit(lens.vocabulary.get(token, ""), self._cells)
            pieces += [
                (word, final if token == self._final else style),
                (f" {probability(share):>{_PROBABILITY_CELLS}}", style),
                (_GAP, inks.text),
            ]
        if pieces[-1][0] == _GAP:
            pieces.pop()
        used = sum(cell_len(text) for text, _ in pieces)
        return [*pieces, (" " * max(0, self._half - used), inks.text)]
