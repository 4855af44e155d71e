"""The screen without its toasts, for a screenshot.

Textual has no screenshot without toasts. To take one, the screen is laid out without them, and then
as it was, all before the terminal gets another frame.

For Textual 8.2.8; replaces nothing: uses `ToastRack` and `Compositor.reflow`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from textual.screen import Screen
from textual.widgets._toast import ToastRack


@contextmanager
def without_toasts(screen: Screen[Any]) -> Iterator[None]:
    """Lay the screen out without its toasts, and then as it was."""
    racks = [rack for rack in screen.query(ToastRack) if rack.display]

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
