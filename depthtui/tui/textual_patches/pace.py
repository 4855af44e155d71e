"""A driver that is never far ahead of its app.

Textual queues each key at once, as a task and two futures: 100 kB that no terminal has bracketed as
a paste take 250 MB, and nothing is drawn until the last of them (not reported).

Overrides `Driver.process_message`.
"""

from __future__ import annotations

import threading
from functools import partial

from textual.driver import Driver
from textual.events import Callback
from textual.message import Message
from textual.message_pump import MessagePump

from depthtui.tui.textual_patches.versions import ARE_ON

MOST_AHEAD = 256
"""Messages after which the driver waits for the app; what follows waits in the terminal."""

_LOOK_SECONDS = 0.1


class PacedDriver(Driver):
    """Waits for an app that is behind, unless the app itself sends the message."""

    exit_event: threading.Event

    if ARE_ON:
        _ahead = 0

        def process_message(self, message: Message) -> None:
            super().process_message(message)
            self._ahead += 1
            if self._ahead < MOST_AHEAD or threading.get_ident() == self._app._thread_id:
                return
            self._ahead, handled = 0, threading.Event()
            self.send_message(Callback(partial(self._rise, handled)))
            # An app that takes no more input waits for this thread.
            while not (handled.wait(_LOOK_SECONDS) or self.exit_event.is_set()):
                pass

        def _rise(self, handled: threading.Event, pump: MessagePump | None = None) -> None:
            """Follow the messages of the keys, from the focused widget to the app."""
            pump = pump or self._app.focused or self._app.screen
            if pump is self._app or not pump.call_later(self._rise, handled, pump._parent):
                handled.set()
