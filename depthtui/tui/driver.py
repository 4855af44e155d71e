"""A terminal driver that survives bytes which are no text.

After a reattach of tmux or a reconnect, a terminal may report the mouse in the
old X10 form, whose bytes are not UTF-8; Textual's input thread would end the
app over them.
"""

from __future__ import annotations

from textual._parser import ParseError
from textual.drivers.linux_driver import LinuxDriver


class TolerantDriver(LinuxDriver):
    """Drops a chunk of input that cannot be decoded and reads on."""

    def run_input_thread(self) -> None:
        while not self.exit_event.is_set():
            try:
                super().run_input_thread()
            except (UnicodeDecodeError, ParseError):
                continue
            except OSError:
                # The terminal is gone: no input will come any more.
                self._app.call_later(self._app.exit)
                return
