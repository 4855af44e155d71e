"""A field of one line that has an end, and draws hostile text without sending it to the terminal.

Textual measures a field's whole value with each key: with a million characters, a key takes
seconds. It sends control characters as they are, which are commands to the terminal. It inserts a
character in the field's own queue of messages, while a bound key, such as backspace, goes up to the
app and comes back as an action: keys that arrive together, as over a slow line, overtake each other
(issue 6605).
"""

from __future__ import annotations

from typing import Any

from rich.segment import Segment
from textual.events import Key
from textual.strip import Strip
from textual.widgets import Input, TextArea

from depthtui.token_text import printable_chars
from depthtui.tui.state.pasted import LONGEST_LINE


async def act_in_order(field: Input | TextArea, key: Key) -> None:
    """Run at once what a field, or its screen with priority, binds to a key that it got.

    A key that waited behind one that moved the focus, such as tab, goes on to who has it now.
    """
    screen = field.screen
    active = screen.active_bindings.get(key.key)
    if (
        active is not None
        and (active.binding.priority or active.node is field)
        and await field.app.run_action(active.binding.action, active.node)
    ):
        key.stop()
        key.prevent_default()
    elif screen.is_current and screen.focused not in (None, field):
        key.stop()
        key.prevent_default()
        screen.focused.post_message(Key(key.key, key.character))


class SafeInput(Input):
    """Keeps the text unchanged and draws a harmless character for each harmful one."""

    def __init__(self, value: str | None = None, placeholder: str = "", **options: Any) -> None:
        super().__init__(value, placeholder, max_length=LONGEST_LINE, **options)

    async def on_key(self, event: Key) -> None:
        await act_in_order(self, event)

    def render_line(self, y: int) -> Strip:
        """The line: its value, suggestion or placeholder, as wide as the field.

        Textual ends a placeholder's line, and with it an underline, after its last character.
        """
        strip = super().render_line(y).extend_cell_length(self.size.width, self.rich_style)
        if strip.text.isprintable():
            return strip
        segments = [
            Segment(printable_chars(text), style, control) for text, style, control in strip
        ]
        return Strip(segments).adjust_cell_length(strip.cell_length)
