"""A terminal driver that survives bytes which are no text, and ends with its terminal.

After a reattach of tmux or a reconnect, a terminal may report the mouse in the
old X10 form, whose bytes are not UTF-8; Textual's input thread would end the
app over them.
"""

from __future__ import annotations

import codecs

from textual._ansi_sequences import SYNC_END, SYNC_START
from textual.drivers import linux_driver

from depthtui.tui.input_parser import TolerantParser
from depthtui.tui.messages import HangUp


def _lossy_decoder(encoding: str) -> type[codecs.IncrementalDecoder]:
    """A decoder that stands a replacement character in for what it cannot decode."""

    class Lossy(codecs.getincrementaldecoder(encoding)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(errors="replace")

        def decode(self, data: bytes, final: bool = False) -> str:
            """Raises OSError at the end of input, at which Textual would read on without end."""
            if not data and not final:
                raise OSError("The terminal is gone.")
            text: str = super().decode(data, final)
            return text

    return Lossy


# The driver's input loop makes them by these names and offers no other way in.
linux_driver.getincrementaldecoder = _lossy_decoder  # type: ignore[assignment, attr-defined]
linux_driver.XTermParser = TolerantParser  # type: ignore[attr-defined]


class TolerantDriver(linux_driver.LinuxDriver):
    """Reads on whatever comes, and ends the app when the terminal is gone."""

    _frame: str = ""

    def write(self, data: str) -> None:
        """Send data; a frame in one piece, since each wakes the thread that writes."""
        if data != SYNC_START and not self._frame:
            super().write(data)
            return
        self._frame += data
        if data == SYNC_END:
            super().write(self._frame)
            self._frame = ""

    def run_input_thread(self) -> None:
        try:
            super().run_input_thread()
        except OSError:
            self.send_message(HangUp())

    def _sigcont_application(self, *_: object) -> None:
        """Take the terminal back, unless it was never given away: SIGSTOP gives no notice.

        `LinuxDriver._sigcont_application` would start a second thread that reads keys.
        """
        if self._must_signal_resume:
            super()._sigcont_application()
        else:
            self.send_message(self.SignalResume())
