"""A parser of a terminal's input for which a paste is text, and a meaningless sequence is nothing.

- Textual's parser also parses the text of a paste: an ESC in it presses keys, one for each
  character after it, and a paste whose end is lost takes all keys for ever (not reported).
- It raises at the first meaningless sequence, which ends the app: a key beyond Unicode (not
  reported), a mouse in a window of no size (issue 6706).

Overrides `XTermParser.feed`, `tick`, `_sequence_to_key_events` and
`parse_mouse_code`. Both drivers use it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.events import Key, Paste
from textual.keys import Keys
from textual.message import Message

MOST_PASTED = 100_000
"""Characters of a paste that are kept; the app accepts fewer, and refuses the rest in words."""

PASTE_PATIENCE = 5.0
"""Seconds without input after which a paste is inserted, whose end may be lost or slow."""

LONGEST_KEY = 16
"""Characters of the longest key or mouse report: more, or the end, go on with a slow paste."""


class TolerantParser(XTermParser):
    """Returns a paste as text, and ignores meaningless sequences; keys around them count."""

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._paste: str | None = None
        self._is_slow = False
        self._tail = ""
        self._fed_at = 0.0

    def feed(self, data: str) -> Iterable[Message]:
        """Parse input; in a paste, nothing but its end."""
        self._fed_at = time.monotonic()
        if not data:  # The end of the input.
            yield from super().feed(data)
        if self._is_slow and len(data) <= LONGEST_KEY and BRACKETED_PASTE_END not in data:
            self._paste = None
        self._is_slow = False
        while data:
            if self._paste is None:
                part, data, begins = self._cut_after(BRACKETED_PASTE_START, data)
                if begins:
                    self._paste = ""
                    # For Textual's parser, the paste is empty.
                    part += BRACKETED_PASTE_END
                yield from (each for each in super().feed(part) if not isinstance(each, Paste))
            else:
                part, data, ends = self._cut_after(BRACKETED_PASTE_END, data)
                self._paste = (self._paste + part)[:MOST_PASTED]
                if ends:
                    yield self._end_paste()

    def tick(self) -> Iterable[Message]:
        """Parse what waits for its continuation in vain; return a paste whose end does not come.

        A key that follows is a key: the end is lost. More text is the rest of the paste.
        """
        yield from super().tick()
        is_late = time.monotonic() - self._fed_at > PASTE_PATIENCE
        if self._paste is not None and is_late and not self._is_slow:
            yield self._end_paste()
            self._paste, self._is_slow = "", True

    def _cut_after(self, marker: str, data: str) -> tuple[str, str, bool]:
        """The data up to the end of a marker, the rest, and whether the marker is there.

        It may have begun in the former data.
        """
        seen = self._tail + data
        place = seen.find(marker)
        if place < 0:
            self._tail = seen[1 - len(marker) :]
            return data, "", False
        end = place + len(marker) - len(self._tail)
        self._tail = ""
        return data[:end], data[end:], True

    def _end_paste(self) -> Paste:
        text = (self._paste or "").removesuffix(BRACKETED_PASTE_END)
        self._paste, self._tail = None, ""
        return Paste(text)

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
