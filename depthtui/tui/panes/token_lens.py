"""The lens's predictions at each layer where the model chose a token."""

from __future__ import annotations

from depthtui.data.lens_view import LOGIT, lens_heading
from depthtui.token_text import fit_shown, printable
from depthtui.tui.panes.lens_table import LensTable


class TokenLens(LensTable):
    """The lens at the position from which a generated token was predicted."""

    hint = ""

    @property
    def title(self) -> str:
        text = printable(self.drawn_result.tokens.readable_texts[self.token][:80])
        lens = self.view.written_through
        name = "Lens" if lens == LOGIT else lens_heading(lens)
        return f'{name} that chose "{fit_shown(text, 20).rstrip()}"'
