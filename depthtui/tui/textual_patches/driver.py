"""A terminal driver that survives bytes that are no text, and ends with its terminal.

- After a reattach of tmux or a reconnect, a terminal may report the mouse in the old X10 form,
  whose bytes are not UTF-8. Textual's input thread ends the app over them (issues 6668 and 6456),
  and over a key that means nothing (see `input_parser`). Here the new form is asked for again.
- At the end of input Textual's input thread reads on without end (pull request 6690).
- After SIGSTOP, which a process cannot notice, SIGCONT makes Textual start a second thread that
  reads keys (not reported).
- Textual restores the terminal once the app has ended in order, which a busy app does not.

Overrides `LinuxDriver.run_input_thread` and `_sigcont_application`. Whenever it takes the terminal
again, it asks again whether that is dark.
"""

from __future__ import annotations

import codecs
import os
import select
import selectors
import termios
from contextlib import suppress

from textual.drivers.linux_driver import LinuxDriver

from depthtui.tui.messages import HangUp
from depthtui.tui.textual_patches.input_parser import TolerantParser
from depthtui.tui.textual_patches.pace import PacedDriver

_RELEASE = (
    b"\x1b[?2031l\x1b[?2026l\x1b[?2004l\x1b[?7h\x1b[?2048l"
    b"\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l"
    b"\x1b[<u\x1b[?1049l\x1b[?25h\x1b[?1004l"
)
"""All that `stop_application_mode` writes, at the end of a frame."""

_ASK_FOR_SHADE, _NO_MORE_SHADES = "\x1b]11;?\x1b\\\x1b[?2031h", "\x1b[?2031l"
"""The query for the background's colour, and the mode that reports when dark turns light."""


class TolerantDriver(PacedDriver, LinuxDriver):
    """Reads despite invalid bytes, and ends the app when the terminal is gone."""

    asks_for_shade = False

    def ask_for_shade(self) -> None:
        """Ask whether the terminal is dark, and for word of every change until the end."""
        self.asks_for_shade = True
        self.write(_ASK_FOR_SHADE)
        self.flush()

    def start_application_mode(self) -> None:
        super().start_application_mode()  # type: ignore[no-untyped-call]
        if self.asks_for_shade:
            self.ask_for_shade()

    def stop_application_mode(self) -> None:
        if self.asks_for_shade:
            self.write(_NO_MORE_SHADES)
        super().stop_application_mode()

    def give_back(self) -> None:
        """Restore the terminal at once, from any thread, unless it takes no more text."""
        if self.attrs_before is not None:
            with suppress(termios.error):
                termios.tcsetattr(self.fileno, termios.TCSANOW, self.attrs_before)
        assert self._file is not None
        output = self._file.fileno()
        if select.select([], [output], [], 0)[1]:
            os.write(output, _RELEASE)

    def run_input_thread(self) -> None:
        """Read until the app ends, or the terminal is gone."""
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            try:
                self._read(selector)
            except OSError:
                self.send_message(HangUp())

    def _read(self, selector: selectors.BaseSelector) -> None:
        """Read until the app ends, and once more for the input that came until then.

        Raises:
            OSError: the terminal is gone.
        """
        parser = TolerantParser(self._debug)
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        is_last = False
        while not is_last:
            is_last = self.exit_event.is_set()
            if selector.select(0.1):
                data = os.read(self.fileno, 4096)
                if not data:
                    raise OSError("The terminal is gone.")
                # The parser would treat an empty text as the end of the input.
                if text := decode(data):
                    for message in parser.feed(text):
                        self.process_message(message)
                if parser.has_old_mouse:
                    parser.has_old_mouse = False
                    self._enable_mouse_support()
            for message in parser.tick():
                self.process_message(message)

    def _sigcont_application(self, *_: object) -> None:
        """Set up the terminal again, unless it was never released."""
        if self._must_signal_resume:
            super()._sigcont_application()
        else:
            self.send_message(self.SignalResume())
