"""A field of one line has an end, and draws hostile text without sending it to the terminal.

- Textual measures a field's whole value with each key, and has no limit for it: with a million
  characters, a key takes seconds (not reported).
- It sends control characters of a field's value, of its suggestion and of its placeholder to the
  terminal as they are, where they are commands (not reported). They stay in the value.

For Textual 8.2.8; replaces the default of `max_length` in `Input.__init__`, and
`Input.render_line`, for all of Textual.
"""

from __future__ import annotations

from rich.segment import Segment
from textual.strip import Strip
from textual.widgets import Input

from depthtui.token_text import printable_chars
from depthtui.tui.state.pasted import LONGEST_LINE

textuals = Input.render_line


def render_line(self: Input, y: int) -> Strip:
    """The line, with a harmless character for each harmful one."""
    strip = textuals(self, y)
    if strip.text.isprintable():
        return strip
    segments = [Segment(printable_chars(text), style, control) for text, style, control in strip]
    return Strip(segments).adjust_cell_length(strip.cell_length)


def install() -> None:
    """Replace Textual's function, and the default of its keyword."""
    Input.__init__.__kwdefaults__["max_length"] = LONGEST_LINE  # type: ignore[index]
    Input.render_line = render_line  # type: ignore[method-assign]
