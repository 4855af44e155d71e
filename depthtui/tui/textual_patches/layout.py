"""A widget that changes twice between two layouts is laid out with its second size.

Textual keeps a widget's size by the count of its changes (`Widget._get_box_model`), and counts no
change while an earlier one waits to be laid out: a widget that is measured between the two keeps
the size of the first (not reported).

A text area measures every word that it wraps by a function of Rich that keeps the last 4,096: an
edit of a word of 20,000 characters costs 20 KB until 4,096 others (not reported).

Replaces `Widget.refresh` and `_wrap.cell_len` for all of Textual.
"""

from __future__ import annotations

from rich.cells import cell_len
from textual import _wrap
from textual.geometry import Region
from textual.widget import Widget

textuals = Widget.refresh
textuals_cell_len = _wrap.cell_len  # type: ignore[attr-defined]


def refresh(self: Widget, *regions: Region, layout: bool = False, **options: bool) -> Widget:
    """Refresh a widget as Textual does, but count a change that comes while another waits."""
    if layout and self._layout_required:
        self._layout_updates += 1
    return textuals(self, *regions, layout=layout, **options)


def install() -> None:
    """Replace Textual's functions."""
    Widget.refresh = refresh  # type: ignore[method-assign, assignment]
    _wrap.cell_len = cell_len  # type: ignore[attr-defined]
