"""A driver for the explorer on a web page, which ends with the page.

- Textual's driver stops reading at the end of its input and leaves the app running (not reported).
- It writes each piece with one `os.write`, which may write less than all of it, and raises once the
  page is gone (not reported).

Replaces the name `XTermParser` in `textual.drivers.web_driver`, overrides
`WebDriver.run_input_thread` and `_write`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from textual.app import App
from textual.drivers import web_driver

from depthtui.tui.messages import HangUp
from depthtui.tui.signals import end_for_certain
from depthtui.tui.textual_patches.input_parser import TolerantParser
from depthtui.tui.textual_patches.pace import PacedDriver
from depthtui.tui.textual_patches.versions import ARE_ON

# The driver's input loop creates its parser by this name, and ends with the parser.
if ARE_ON:
    web_driver.XTermParser = TolerantParser  # type: ignore[attr-defined]


class PageDriver(PacedDriver, web_driver.WebDriver):
    """Draws through standard output, and ends the app at the end of standard input."""

    if ARE_ON:

        def __init__(self, app: App[Any], **options: Any) -> None:
            super().__init__(app, **options)
            self._write = self._write_whole  # type: ignore[assignment]

        def _write_whole(self, data: bytes) -> int:
            """Write all data, even if a signal interrupts; no more once the page is gone."""
            rest = memoryview(data)
            with suppress(BrokenPipeError):
                while rest:
                    rest = rest[os.write(self.fileno, rest) :]
            return len(data)

        def run_input_thread(self) -> None:
            """Read input until the app ends, or the page is gone."""
            super().run_input_thread()
            if not self.exit_event.is_set():
                end_for_certain()
                self.send_message(HangUp())
