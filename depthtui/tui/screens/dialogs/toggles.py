"""Switches that show their state by a mark and not by colour alone."""

from __future__ import annotations

from rich.segment import Segment
from textual import widgets
from textual.strip import Strip

from depthtui.tui.screens.dialogs.listing import Listing


class Checkbox(widgets.Checkbox):
    """A box with a mark where it is on; Textual's only changes its colour."""

    @property
    def BUTTON_INNER(self) -> str:  # type: ignore[override] # noqa: N802
        return "X" if self.value else " "


class RadioButton(widgets.RadioButton):
    """A choice among several, with a mark where it is on."""

    @property
    def BUTTON_INNER(self) -> str:  # type: ignore[override] # noqa: N802
        return "●" if self.value else " "


class SelectionList(widgets.SelectionList[str], Listing):
    """A list with marks where lines are on; Textual's has a mark in every line."""

    def render_line(self, y: int) -> Strip:
        strip, place = super().render_line(y), self.scroll_offset.y + y
        if place >= self.option_count or self.get_option_at_index(place).value in self.selected:
            return strip
        left, mark, *rest = strip
        return Strip([left, Segment(" " * mark.cell_length, mark.style), *rest])
