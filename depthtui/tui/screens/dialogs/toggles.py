"""What can be switched on and off, shown by a mark and not by its colour alone."""

from __future__ import annotations

from textual import widgets


class Checkbox(widgets.Checkbox):
    """A box with a mark in it where it is on; Textual's is drawn in another colour instead."""

    @property
    def BUTTON_INNER(self) -> str:  # type: ignore[override] # noqa: N802
        return "X" if self.value else " "


class RadioButton(widgets.RadioButton):
    """The same of one choice among several."""

    @property
    def BUTTON_INNER(self) -> str:  # type: ignore[override] # noqa: N802
        return "●" if self.value else " "
