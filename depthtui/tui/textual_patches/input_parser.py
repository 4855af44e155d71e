"""A parser of a terminal's input for which a paste is text, and an answer is no key.

- Textual's parser also parses the text of a paste: an ESC in it presses keys, one for each
  character after it, and a paste whose end is lost takes all keys for ever (not reported).
- It presses the characters of every sequence that it doesn't know, such as a late answer or a mouse
  at no place, and of one that comes in two parts (not reported).
- It raises at the first meaningless key, which ends the app: one beyond Unicode (not reported), a
  mouse in a window of no size (issue 6706). Numbers that name no key are characters for it.

Overrides `XTermParser.feed`, `tick`, `_sequence_to_key_events` and
`parse_mouse_code`. Both drivers use it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterable

from textual import _xterm_parser
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual._keyboard_protocol import FUNCTIONAL_KEYS
from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.constants import ESCAPE_DELAY
from textual.events import Key, Paste
from textual.keys import Keys
from textual.message import Message

from depthtui.tui.messages import TerminalShade

MOST_PASTED = 100_000
"""Characters of a paste that are kept; the app accepts fewer, and refuses the rest in words."""

PASTE_PATIENCE = 5.0
"""Seconds since the last long read of a paste after which it is inserted: its end may be lost."""

KEY_PAUSE = 0.3
"""Seconds without input after which a short read is keys, not the rest of a paste."""

LONGEST_KEY = 16
"""Characters of the longest key or mouse report; a longer read is part of a paste."""

SEQUENCE_PATIENCE = 1.0
"""Seconds after which a sequence whose end does not come is nothing."""

_LONGEST_KNOWN = 32
"""Characters of the longest sequence that Textual's parser knows."""

_INTERRUPT = "\x03"

_PIECE = re.compile(
    r"""(?P<text>[^\x1b\ufffd]+) | (?P<invalid>\ufffd+)
    | (?P<whole>\x1b(?:
        \[<[^\x00-\x1fMm]*[Mm]                    # a mouse, at NaN too
      | \[M[^\x00-\x1f]{3}                        # a mouse in the old coding
      | \[\[[^\x00-\x1f] | \[(?:[378]|2[34])\$     # keys of a Linux console, of rxvt
      | \[(?![<M[])[0-?]*[ -/]*[@-~]              # CSI
      | O[\d;]*[ -~]                              # SS3
      | [\]PX^_][^\x00-\x1f]*(?:\x07|\x1b\\)      # OSC, DCS, SOS, PM, APC
      | [^\x1b\[\]OPX^_]                          # a key with alt
      ))
    | (?P<begun>\x1b(?:
        \[<[^\x00-\x1fMm]* | \[M[^\x00-\x1f]{,2} | \[\[ | \[[0-?]*[ -/]* | O[\d;]*
      | [\]PX^_][^\x00-\x1f]*(?:\x1b\Z)?
      )?)""",
    re.VERBOSE,
)
"""The next piece of input, by its kind; one that has only begun may be cut, or broken off."""

_OLD_MOUSE = re.compile(r"\x1b\[(M...|\d+;\d+;\d+M)")

_MODE = re.compile(r"\x1b\[\?997;([12])n")
_BACKGROUND = re.compile(
    r"\x1b\]11;rgba?:([\da-f]{1,4})/([\da-f]{1,4})/([\da-f]{1,4})(?:/[\da-f]*)?(?:\x07|\x1b\\)",
    re.I,
)

_REPORTS = (
    XTermParser._re_sgr_mouse,
    _xterm_parser._re_in_band_window_resize,
    _xterm_parser._re_cursor_position,
    _xterm_parser._re_terminal_mode_response,
)
"""The sequences that are no keys, and mean something to Textual's parser."""

_NUMBERED_KEY = re.compile(r"\x1b\[(\d*)[\d:;]*([~uA-S])")


class TolerantParser(XTermParser):
    """Returns a paste as text, and ignores meaningless sequences; keys around them count.

    Attributes:
        has_old_mouse: whether the terminal reports the mouse in an old coding.
    """

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self.has_old_mouse = False
        self._begun, self._begun_at = "", 0.0
        self._paste: str | None = None
        self._is_slow = False
        self._tail = ""
        self._heard_at = self._long_at = 0.0

    def feed(self, data: str) -> Iterable[Message]:
        """Parse input; in a paste, nothing but its end."""
        if not data:  # The end of the input.
            yield from super().feed(data)
        if self._paste is not None and self._is_typed(data):
            if not self._is_slow:
                yield self._end_paste()
            self._paste, self._tail = None, ""
        self._is_slow = False
        is_input = bool(data.strip(_INTERRUPT))
        is_long = len(data) > LONGEST_KEY or self._paste is None
        while data:
            if self._paste is None:
                data = yield from self._parse(data)
            else:
                part, data, ends = self._cut_at_end(data)
                self._paste = (self._paste + part)[:MOST_PASTED]
                if ends:
                    yield self._end_paste()
        # The driver, which takes the messages, may have waited for its app.
        now = time.monotonic()
        self._heard_at = now if is_input else self._heard_at
        self._long_at = now if is_long else self._long_at

    def tick(self) -> Iterable[Message]:
        """Give up what waits for its continuation in vain; return a paste whose end does not come.

        A key that follows is a key: the end is lost. More text is the rest of the paste.
        """
        now = time.monotonic()
        may_be_key = len(self._begun) <= 2
        if self._begun and now - self._begun_at > (
            ESCAPE_DELAY if may_be_key else SEQUENCE_PATIENCE
        ):
            begun, self._begun = self._begun, ""
            yield from self._break_off(begun)
        if self._paste is not None and not self._is_slow and now - self._long_at > PASTE_PATIENCE:
            yield self._end_paste()
            self._paste, self._is_slow = "", True

    # Keys and sequences -----------------------------------------------------

    def _parse(self, data: str) -> Generator[Message, None, str]:
        """Parse input up to the beginning of a paste; return the rest."""
        goes_on = bool(self._begun)
        data, self._begun = self._begun + data, ""
        place = 0
        while piece := _PIECE.match(data, place):
            place, text = piece.end(), piece.group()
            if text == BRACKETED_PASTE_START:
                self._paste = ""
                return data[place:]
            if piece.lastgroup == "text":
                yield from super().feed(text)
            elif piece.lastgroup == "whole":
                yield from self._take(text)
            elif piece.lastgroup == "begun" and place < len(data):
                yield from self._break_off(text)
            elif piece.lastgroup == "begun":
                self._begun = text
                if piece.start() or not goes_on:
                    self._begun_at = time.monotonic()
        return ""

    def _take(self, sequence: str) -> Iterable[Message]:
        """Parse a whole sequence, unless it means nothing here."""
        if _OLD_MOUSE.fullmatch(sequence):
            self.has_old_mouse = True
        elif mode := _MODE.fullmatch(sequence):
            yield TerminalShade(is_dark=mode[1] == "1")
        elif background := _BACKGROUND.fullmatch(sequence):
            yield TerminalShade(_is_dark(background.groups()))
        elif len(sequence) <= 2 or self._is_known(sequence):
            yield from self._press(sequence)

    def _is_known(self, sequence: str) -> bool:
        return len(sequence) <= _LONGEST_KNOWN and (
            sequence in _xterm_parser.SPECIAL_SEQUENCES
            or any(report.fullmatch(sequence) for report in _REPORTS)
            or bool(list(self._sequence_to_key_events(sequence)))
        )

    def _break_off(self, begun: str) -> Iterable[Message]:
        """Press escape, or a key with alt; a longer sequence without its end is nothing."""
        if len(begun) <= 2:
            yield from self._press(begun)

    def _press(self, sequence: str) -> Iterable[Message]:
        """Let Textual's parser parse a sequence to which nothing is added."""
        yield from super().feed(sequence)
        if self._timeout_time is not None:
            self._timeout_time = 0.0
            yield from super().tick()

    def _sequence_to_key_events(self, sequence: str, alt: bool = False) -> Iterable[Key]:
        numbered = _NUMBERED_KEY.fullmatch(sequence)
        if numbered and sequence not in ANSI_SEQUENCES_KEYS:
            number, end = numbered.groups()
            if f"{number or 1}{end}" not in FUNCTIONAL_KEYS and (end != "u" or not number):
                return [Key(Keys.Ignore, sequence)]
        try:
            return list(super()._sequence_to_key_events(sequence, alt))
        except (ValueError, OverflowError):
            return [Key(Keys.Ignore, sequence)]

    def parse_mouse_code(self, code: str) -> Message | None:
        try:
            return super().parse_mouse_code(code)
        except ZeroDivisionError:
            return None

    # Pastes -----------------------------------------------------------------

    def _is_typed(self, data: str) -> bool:
        """Whether input within a paste is keys: the end of the paste is lost."""
        is_short = len(data) <= LONGEST_KEY and BRACKETED_PASTE_END not in self._tail + data
        return is_short and (self._is_slow or time.monotonic() - self._heard_at > KEY_PAUSE)

    def _cut_at_end(self, data: str) -> tuple[str, str, bool]:
        """The data up to the end of the paste, the rest, and whether the end is there.

        It may have begun in the former data.
        """
        seen = self._tail + data
        place = seen.find(BRACKETED_PASTE_END)
        if place < 0:
            self._tail = seen[1 - len(BRACKETED_PASTE_END) :]
            return data, "", False
        end = place + len(BRACKETED_PASTE_END) - len(self._tail)
        return data[:end], data[end:], True

    def _end_paste(self) -> Paste:
        text = (self._paste or "").removesuffix(BRACKETED_PASTE_END)
        self._paste, self._tail = None, ""
        return Paste(text)


def _is_dark(colour: Iterable[str]) -> bool:
    """Whether a colour, of hexadecimal numbers of any length, is dark."""
    red, green, blue = (int(part, 16) / (16 ** len(part) - 1) for part in colour)
    return 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
