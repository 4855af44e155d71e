"""A widget that changes twice between two layouts is laid out with its second size.

Textual keeps a widget's size by the count of its changes (`Widget._get_box_model`), and counts no
change while an earlier one waits to be laid out: a widget that is measured between the two keeps
the size of the first (not reported).

Replaces `Widget.refresh` for all of Textual.
"""

from __future__ import annotations

from textual.geometry import Region
from textual.widget import Widget

textuals = Widget.refresh


def refresh(self: Widget, *regions: Region, layout: bool = False, **options: bool) -> Widget:
    """Refresh a widget as Textual does, but count a change that comes while another waits."""
    if layout and self._layout_required:
        self._layout_updates += 1
    return textuals(self, *regions, layout=layout, **options)


def install() -> None:
    """Replace Textual's function."""
    Widget.refresh = refresh  # type: ignore[method-assign, assignment]
