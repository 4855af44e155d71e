"""The frame beside a pane's lines is drawn once.

Textual's cache of a widget's lines makes the border and padding of every line anew
(`StylesCache.render_line`, not reported): half of the time of a heatmap that is drawn again.

For Textual 8.2.8; overrides `StylesCache.render_line` and `clear`, for panes alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual._styles_cache import StylesCache
from textual.css.styles import StylesBase
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget


def keep_frame(widget: Widget) -> None:
    """Have a widget that draws its content line by line keep its frame."""
    widget._styles_cache = FrameCache(widget.render_line)


class FrameCache(StylesCache):
    """Textual's cache of a widget's lines, which keeps the border and padding beside them too.

    Textual's own also knows opacity and tints, which panes do not have.

    Args:
        draw: a line of the content.
    """

    def __init__(self, draw: Callable[[int], Strip]) -> None:
        super().__init__()
        self._draw = draw
        self._sides: tuple[Strip, Strip] | None = None

    def clear(self) -> None:
        super().clear()
        self._sides = None

    def render_line(
        self, styles: StylesBase, y: int, size: Size, content_size: Size, *looks: Any
    ) -> Strip:
        gutter, width = styles.gutter, content_size.width
        line = y - gutter.top
        is_content = 0 <= line < content_size.height
        if is_content and self._sides is not None:
            left, right = self._sides
            # In the middle of a resize a line may still be as wide as before.
            drawn = self._draw(line).adjust_cell_length(width)
            return Strip((*left, *drawn, *right), size.width)
        strip = super().render_line(styles, y, size, content_size, *looks)
        if is_content:
            self._sides = strip.crop(0, gutter.left), strip.crop(gutter.left + width)
        return strip
