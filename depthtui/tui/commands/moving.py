"""The commands that move the cursor of a screen of panes. A count goes before them, as in vi."""

from __future__ import annotations

from textual.binding import Binding

from depthtui.tui.commands.command import Command

PAGE = 8
"""Layers, or rows, of a page."""


def _command(name: str, keys: str, words: str, effect: str) -> Command:
    return Command(name, keys, "", words, "move", effect)


COMMANDS = [
    _command("up", "up,k,space", "Move up a layer or row", "move(1, 0)"),
    _command("down", "down,j", "Move down a layer or row", "move(-1, 0)"),
    _command("left", "left,h", "Move a token or column left", "move(0, -1)"),
    _command("right", "right,l", "Move a token or column right", "move(0, 1)"),
    _command(
        "first_layer", "g,home", "Go to layer 0, or the first row", "go_to_edge('first_layer')"
    ),
    _command(
        "last_layer",
        "G,end",
        "Go to the last layer or row; 12G goes to layer 12",
        "go_to_edge('last_layer')",
    ),
    _command(
        "first_token",
        "0,circumflex_accent",
        "Go to the first token or column",
        "go_to_first_token",
    ),
    _command(
        "last_token",
        "dollar_sign",
        "Go to the last token or column; 12$ goes to token 12",
        "go_to_edge('last_token')",
    ),
    _command("page_up", "pageup", "Move up eight layers", f"move({PAGE}, 0)"),
    _command("page_down", "pagedown", "Move down eight layers", f"move({-PAGE}, 0)"),
]

DIGITS = [
    Binding(str(digit), f"count({digit})", "count", show=False, system=True)
    for digit in range(1, 10)
]
"""Digits are counts."""
