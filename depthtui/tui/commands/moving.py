"""The commands that move the cursor of a screen of panes. A count goes before them, as in vi."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.binding import Binding

from depthtui.tui.commands.command import Command

if TYPE_CHECKING:
    from depthtui.tui.screens.pane_screen import PaneScreen

PAGE = 8
"""Layers, or rows, of a page."""


def _command(
    name: str, keys: str, label: str, words: str, effect: Callable[[PaneScreen], object]
) -> Command[PaneScreen]:
    return Command(name, keys, "", words, "move", effect)


COMMANDS: list[Command[PaneScreen]] = [
    _command("up", "k,up,space", "up", "Move up a layer or row", lambda screen: screen.move(1, 0)),
    _command(
        "down", "j,down", "down", "Move down a layer or row", lambda screen: screen.move(-1, 0)
    ),
    _command(
        "left", "h,left", "left", "Move a token or column left", lambda screen: screen.move(0, -1)
    ),
    _command(
        "right",
        "l,right",
        "right",
        "Move a token or column right",
        lambda screen: screen.move(0, 1),
    ),
    _command(
        "first_layer",
        "g,home",
        "first layer",
        "Go to layer 0, or the first row",
        lambda screen: screen.go_to_edge("first_layer"),
    ),
    _command(
        "last_layer",
        "G,end",
        "last layer",
        "Go to the last layer or row; 12G goes to layer 12",
        lambda screen: screen.go_to_edge("last_layer"),
    ),
    _command(
        "first_token",
        "0,circumflex_accent",
        "first token",
        "Go to the first token or column",
        lambda screen: screen.go_to_first_token(),
    ),
    _command(
        "last_token",
        "dollar_sign",
        "last token",
        "Go to the last token or column; 12$ goes to token 12",
        lambda screen: screen.go_to_edge("last_token"),
    ),
    _command(
        "page_up", "pageup", "page up", "Move up eight layers", lambda screen: screen.move(PAGE, 0)
    ),
    _command(
        "page_down",
        "pagedown",
        "page down",
        "Move down eight layers",
        lambda screen: screen.move(-PAGE, 0),
    ),
]

DIGITS = [
    Binding(str(digit), f"count({digit})", "count", show=False, system=True)
    for digit in range(1, 10)
]
"""Digits are counts."""
