"""Timers that are over before they begin call once, like others.

Textual looks for the next tick of a timer that is late. A timer of less than no time, such as a
toast whose seconds were over just before it was mounted, never catches up with the clock: its loop
waits for nothing, and the app handles no key any more. A timer of a microsecond may be late at its
first look, and then never calls. Neither is reported.

Replaces `MessagePump.set_timer`.
"""

from __future__ import annotations

from typing import Any

from textual.message_pump import MessagePump
from textual.timer import Timer, TimerCallback

SHORTEST = 0.001
"""Seconds of the shortest timer, long enough for its first look."""

textuals = MessagePump.set_timer


def set_timer(
    self: MessagePump, delay: float, callback: TimerCallback | None = None, **options: Any
) -> Timer:
    """Call a function after a delay, at the earliest after `SHORTEST`."""
    return textuals(self, max(delay, SHORTEST), callback, **options)


def install() -> None:
    """Replace Textual's function."""
    MessagePump.set_timer = set_timer  # type: ignore[method-assign]
