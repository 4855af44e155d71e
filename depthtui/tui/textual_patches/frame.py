"""The frame beside a pane's lines is drawn once.

Textual's cache of a widget's lines renders the border and padding of every line again
(`StylesCache.render_line`, not reported): half of the time to redraw a heatmap. It also computes
the styles of title, subtitle and backgrounds, whichever lines it draws
(`StylesCache.render_widget`): a tenth of the time of a key that moves a cursor.

Overrides `StylesCache.render_line`, `render_widget` and `clear`, for panes alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual._styles_cache import StylesCache
from textual.color import BLACK
from textual.css.styles import StylesBase
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from depthtui.tui.textual_patches.versions import ARE_ON


def keep_frame(widget: Widget) -> None:
    """Make a widget that draws its content line by line keep its frame."""
    if ARE_ON:
        widget._styles_cache = FrameCache(widget.render_line)


class FrameCache(StylesCache):
    """Textual's cache of a widget's lines, which also keeps the border and padding beside them.

    Textual's own also supports opacity and tints, which panes do not use.

    Args:
        draw: draws a line of the content.
    """

    def __init__(self, draw: Callable[[int], Strip]) -> None:
        super().__init__()
        self._draw = draw
        self._sides: tuple[Strip, Strip] | None = None

    def clear(self) -> None:
        super().clear()
        self._sides = None

    def render_widget(self, widget: Widget, crop: Region) -> list[Strip]:
        """Draw the content lines alone, once the border and padding beside them are known."""
        size, content, top = widget.outer_size, widget.size, widget.styles.gutter.top
        filters = widget.get_line_filters()
        background = widget.background_colors[1] if filters else BLACK
        strips: list[Strip] = []
        for y in crop.line_range:
            is_content = top <= y < top + content.height
            if not is_content or self._sides is None or size.width != self._width:
                strips += super().render_widget(widget, Region(crop.x, y, crop.width, 1))
                continue
            if y in self._dirty_lines or y not in self._cache:
                left, right = self._sides
                # During a resize a line may still have its former width.
                content_line = self._draw(y - top).adjust_cell_length(content.width)
                self._cache[y] = Strip((*left, *content_line, *right), size.width)
                self._dirty_lines.discard(y)
            strip = self._cache[y]
            for each in filters:
                strip = strip.apply_filter(each, background)
            strips.append(strip.crop(crop.x, crop.right))
        return strips

    def render_line(
        self, styles: StylesBase, y: int, size: Size, content_size: Size, *looks: Any
    ) -> Strip:
        """Keep the border and padding beside a content line."""
        gutter = styles.gutter
        strip = super().render_line(styles, y, size, content_size, *looks)
        if 0 <= y - gutter.top < content_size.height:
            sides = strip.crop(0, gutter.left), strip.crop(gutter.left + content_size.width)
            self._sides = sides
        return strip
