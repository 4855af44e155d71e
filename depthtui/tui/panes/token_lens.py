"""What the model would have said at each layer where it chose a token."""

from __future__ import annotations

from depthtui.data.lens_view import LOGIT, lens_heading
from depthtui.token_text import fit_shown, printable
from depthtui.tui.panes.lens_table import LensTable


class TokenLens(LensTable):
    """The lens at the position that a generated token was predicted from."""

    hint = ""

    @property
    def title(self) -> str:
        text = printable(self.shown.tokens.shown[self.token][:80])
        lens = self.view.written_through
        name = "Lens" if lens == LOGIT else lens_heading(lens)
        return f'{name} that chose "{fit_shown(text, 20).rstrip()}"'
