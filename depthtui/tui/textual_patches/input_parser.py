"""A parser of a terminal's input that continues after a meaningless sequence.

Textual's parser raises at the first one, which ends the app: a key beyond Unicode (not reported), a
mouse in a window of no size (issue 6706).

For Textual 8.2.8; overrides `XTermParser._sequence_to_key_events` and `parse_mouse_code`. Both
drivers use it.
"""

from __future__ import annotations

from collections.abc import Iterable

from textual._xterm_parser import XTermParser
from textual.events import Key
from textual.keys import Keys
from textual.message import Message


class TolerantParser(XTermParser):
    """Ignores meaningless sequences; keys before and after them count."""

    def _sequence_to_key_events(self, sequence: str, alt: bool = False) -> Iterable[Key]:
        try:
            return list(super()._sequence_to_key_events(sequence, alt))
        except (ValueError, OverflowError):
            return [Key(Keys.Ignore, sequence)]

    def parse_mouse_code(self, code: str) -> Message | None:
        try:
            return super().parse_mouse_code(code)
        except ZeroDivisionError:
            return None
