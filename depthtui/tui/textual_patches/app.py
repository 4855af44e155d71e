"""The base of the explorer's app.

Textual ends the app at any error, and does not record the contents of the terminal. The docstrings
of the methods describe these, and faults of Textual's own app.

Overrides `App._end_batch`, `_handle_exception`, `panic`, `_check_bindings` and `_display`.
"""

from __future__ import annotations

from typing import Any

import textual.app
from textual import screen
from textual._compositor import LayoutUpdate
from textual.app import ReturnType
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.widgets import Input, TextArea
from textual.worker import WorkerFailed

from depthtui.tui.textual_patches.minimal_updates import ShownCells, ThinUpdate, thin
from depthtui.tui.textual_patches.screens import Screen
from depthtui.tui.textual_patches.versions import ARE_ON


class App(textual.app.App[ReturnType]):
    """An app that decides how to handle an error, and tracks the contents of the terminal.

    Attributes:
        shown_cells: the known contents of the terminal.
    """

    def __init__(self, driver_class: type[Driver] | None = None) -> None:
        super().__init__(driver_class=driver_class)
        self.shown_cells = ShownCells()

    def get_default_screen(self) -> screen.Screen[Any]:
        return Screen(id="_default")

    @property
    def error(self) -> Exception | None:
        """The error that ended the app, or None."""
        return self._exception

    def handle_error(self, error: Exception) -> None:
        """Handle an error: end the app, unless a subclass overrides this."""
        self.end_with(error)

    def end_with(self, error: Exception) -> None:
        """End the app, and keep the error for its caller."""
        self._return_code = 1
        if self._exception is None:
            self._exception = error
            self._exception_event.set()
        self._close_messages_no_wait()

    def give_back_terminal(self) -> None:
        """Restore the terminal at once; for a process that ends at once, and from any thread."""
        give_back = getattr(self._driver, "give_back", None)
        if give_back is not None:
            give_back()

    def write_to_terminal(self, sequences: str) -> None:
        """Write sequences that draw nothing; there is no terminal in a browser, and in a test."""
        if sequences and isinstance(self._driver, LinuxDriver):
            self._driver.write(sequences)
            self._driver.flush()

    def ask_for_shade(self) -> None:
        """Ask the terminal whether it is dark; it answers by `TerminalShade`, now and later."""
        ask = getattr(self._driver, "ask_for_shade", None)
        if ask is not None:
            ask()

    if ARE_ON:

        def _handle_exception(self, error: Exception) -> None:
            """Let `handle_error` decide; Textual ends the app with a traceback (by design)."""
            if isinstance(error, WorkerFailed) and isinstance(error.error, Exception):
                error = error.error
            self.handle_error(error)

        def panic(self, *renderables: object) -> None:
            """End the app with an error; Textual prints a text and returns as if all were well."""
            self.end_with(RuntimeError("the terminal could not be read"))

        async def _check_bindings(self, key: str, priority: bool = False) -> bool:
            """Let a text field handle keys typed before one that its screen binds with priority.

            Textual acts on such a key at once, while characters still wait in the field's queue
            (issue 6605); the field looks for these bindings itself (`act_in_order`).
            """
            field = self.focused
            if priority and isinstance(field, Input | TextArea) and field.message_queue_size:
                return False
            return await super()._check_bindings(key, priority)

        def _display(self, screen: screen.Screen[Any], renderable: Any) -> None:
            """Pass the known contents of the terminal to an update."""
            if isinstance(renderable, LayoutUpdate):
                renderable = thin(renderable)
            if isinstance(renderable, ThinUpdate):
                renderable.shown_cells = self.shown_cells
            elif renderable is not None:
                self.shown_cells.forget()
            super()._display(screen, renderable)

        def _end_batch(self) -> None:
            """Let every visible screen paint the changes that were held back.

            Textual wakes the app alone: a screen whose timer has fired in the meantime sleeps until
            its next event. The keys of a footer are composed in such a batch (not reported).
            """
            super()._end_batch()
            if not self._batch_count:
                for each in self.screen_stack:
                    each.check_idle()
