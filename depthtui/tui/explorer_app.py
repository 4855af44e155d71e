"""The explorer's app as its screens and dialogs see it: keys, doors to other screens, messages."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from textual import on
from textual.driver import Driver
from textual.notifications import Notify

from depthtui.tui.messages import TerminalShade
from depthtui.tui.state.toast import ShownMessage, Toast
from depthtui.tui.textual_patches import toasts
from depthtui.tui.textual_patches.app import App
from depthtui.tui.themes import DEFAULT_THEME, FOLLOWING

if TYPE_CHECKING:
    from depthtui.tui.keymap import Keymap
    from depthtui.tui.state.explorer import Explorer
    from depthtui.tui.state.status import Status

MOST_MESSAGES = 200
"""Toasts whose messages are kept."""

MOST_TOASTS, LEAST_TOAST_SECONDS = 8, 1.0
"""Toasts that are shown at once, and how long one of them stays at the least."""

TOAST_SECONDS = 6
"""How long a toast is shown, unless it is an error."""


class ExplorerApp(App[int]):
    """The base of the explorer's app.

    Attributes:
        messages: the messages of toasts, newest first.
    """

    def __init__(self, driver_class: type[Driver] | None = None) -> None:
        super().__init__(driver_class)
        self._chosen_theme, self._is_dark = DEFAULT_THEME, True
        self.messages: deque[ShownMessage] = deque(maxlen=MOST_MESSAGES)

    @property
    def explorer(self) -> Explorer:
        """The explorer's state."""
        raise NotImplementedError

    @property
    def keys(self) -> Keymap:
        """The keys of every command, as they are remapped now."""
        raise NotImplementedError

    def open_screen(
        self, name: str, *details: Any, then: Callable[[Any], None] | None = None
    ) -> None:
        """Open a screen.

        Args:
            name: its name in `navigation.screens`.
            details: the arguments of its class after the explorer.
            then: called with the screen's result once it is left.
        """
        raise NotImplementedError

    def show_help(self, tab: str = "keys") -> None:
        """Show the screen's keys, how to read it, the focused pane's explanation, or the manual."""
        raise NotImplementedError

    def show_changes(self) -> None:
        """Show what has changed: every screen that shows the engine's work is drawn again."""
        raise NotImplementedError

    def show_long_work(self, status: Status) -> None:
        """Show the terminal how far the work is, and ring at the end of what took long."""
        raise NotImplementedError

    # Themes -----------------------------------------------------------------

    def show_theme(self, name: str) -> None:
        """Show a theme, or the one of `FOLLOWING` that suits the terminal, now and later.

        Args:
            name: its name; where there is no such theme, the explorer's own is shown.
        """
        if name in FOLLOWING and name != self._chosen_theme:
            self.ask_for_shade()
        self._chosen_theme = name
        dark, light = FOLLOWING.get(name, (name, name))
        shown = dark if self._is_dark else light
        self.theme = shown if shown in self.available_themes else DEFAULT_THEME

    @on(TerminalShade)
    def _follow_terminal(self, answer: TerminalShade) -> None:
        self._is_dark = answer.is_dark
        self.show_theme(self._chosen_theme)

    # Copying ----------------------------------------------------------------

    def copy(self, text: str, about: str, title: str = "Copied") -> None:
        """Copy a text by a command and by the terminal, and say by which way.

        Args:
            text: the text.
            about: what the text is, in words; untrusted.
            title: the title of the message.
        """
        from depthtui.token_text import printable_sentence
        from depthtui.tui.clipboard import BY_TERMINAL, copy_command, give

        self.copy_to_clipboard(text)
        about = printable_sentence(about)
        # In a browser, the reader's clipboard is not this machine's.
        words = () if self.is_web else copy_command(self.explorer.settings.copy_command)
        if not words:
            self.show_toast(Toast(about, title=f"{title} by {BY_TERMINAL}"))
            return

        def run() -> None:
            problem = give(words, text)
            toast = Toast(about, title=f"{title} by {words[0]}")
            if problem:
                sentence = f"{words[0]} did not take it ({problem}): {BY_TERMINAL} has it alone."
                toast = Toast(sentence, "warning", title)
            self.call_later(self.show_toast, toast)

        threading.Thread(target=run, name="copy", daemon=True).start()

    # Messages ---------------------------------------------------------------

    def notify(self, message: str, **options: Any) -> None:
        """Show a toast, and keep its message for the list of messages."""
        self.messages.appendleft(ShownMessage(datetime.now(), options.get("title", ""), message))
        super().notify(message, **options)

    @on(Notify)
    def _limit_toasts(self, message: Notify) -> None:
        """Show a few toasts at a time; the list of messages has the others."""
        if not toasts.make_room(self, message.notification, MOST_TOASTS, LEAST_TOAST_SECONDS):
            message.prevent_default()

    def show_toast(self, toast: Toast) -> None:
        """Show a toast."""
        from depthtui.token_text import printable_chars

        self.notify(
            printable_chars(toast.message),
            title=printable_chars(toast.title),
            severity=toast.severity,
            timeout=12 if toast.severity == "error" else TOAST_SECONDS,
            markup=False,
        )

    def warn(self, message: str) -> None:
        """Show a warning, unless it is empty or the last message, and may still be seen."""
        last = self.messages[0] if self.messages else None
        is_seen = last is not None and last.text == message and last.age < TOAST_SECONDS
        if message and not is_seen:
            self.show_toast(Toast(message, "warning"))
