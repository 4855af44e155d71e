"""What the model would have said at each layer where it chose a token."""

from __future__ import annotations

from depthtui.data.lens_view import LOGIT, lens_heading
from depthtui.token_text import fit_shown, printable
from depthtui.tui.panes.lens_table import LensTable


class TokenLens(LensTable):
    """The lens at the position that a generated token was predicted from.

    Attributes:
        written_through: the lens that the text was read by as it was written.
    """

    written_through = LOGIT

    @property
    def title(self) -> str:
        text = printable(self.shown.tokens.texts[self.token][:80])
        name = "Lens" if self.written_through == LOGIT else lens_heading(self.written_through)
        return f'{name} that chose "{fit_shown(text, 20).rstrip()}"'
