"""The screen without its toasts, for a screenshot; and a few toasts at a time.

- Textual has no screenshot without toasts. To take one, the screen is laid out without them, and
  then as it was, all before the terminal gets another frame.
- Textual mounts each toast for its whole time, however many there are (not reported): a hundred
  keep it busy for seconds.

Replaces nothing: uses `Toast`, `ToastRack`, `Compositor.reflow`, `App._notifications` and
`App._unnotify`. Without the patches, a screenshot has the toasts, and all of them are shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from textual.app import App
from textual.notifications import Notification
from textual.screen import Screen
from textual.widgets._toast import Toast, ToastRack

from depthtui.tui.textual_patches.screens import free_lines
from depthtui.tui.textual_patches.versions import ARE_ON


@contextmanager
def without_toasts(screen: Screen[Any]) -> Iterator[None]:
    """Lay the screen out without its toasts, and then as it was."""
    racks = [rack for rack in screen.query(ToastRack) if rack.display] if ARE_ON else []

    def show(display: bool) -> None:
        for rack in racks:
            rack.display = display
        if racks:
            screen._compositor.reflow(screen, screen.size)

    show(False)
    try:
        yield
    finally:
        show(True)


def make_room(app: App[Any], coming: Notification, most: int, seconds: float) -> bool:
    """Whether there is room for a notification, or it may take the place of another one.

    It replaces one in the same words, or the oldest of `most`, shown for some `seconds`.
    """
    if not ARE_ON:
        return True
    shown = list(app._notifications)
    ends = [each for each in shown if (each.title, each.message) == (coming.title, coming.message)]
    if not ends and len(shown) >= most:
        ends = shown[:1]
    if any(coming.raised_at - each.raised_at < seconds for each in ends):
        return False
    free_lines()
    for each in ends:
        app._unnotify(each, refresh=False)
    for toast in app.screen.query(Toast):
        if toast._notification in ends:
            # Textual would leave the toast's holder in its place.
            toast._expire()
    return True
