"""The commands that every screen of panes shares: panes, measures, zoom, explanations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from depthtui.tui.commands.command import SILENT, Command

if TYPE_CHECKING:
    from depthtui.tui.screens.pane_screen import PaneScreen

NOTHING_HERE = "There is nothing under the cursor yet."

PANES: list[Command[PaneScreen]] = [
    Command(
        "next_pane", "tab", "", "Go to the next pane", "look", lambda screen: screen.turn_pane(1)
    ),
    Command(
        "prev_pane",
        "shift+tab",
        "",
        "Go to the pane before",
        "look",
        lambda screen: screen.turn_pane(-1),
    ),
    Command(
        "zoom",
        "z",
        "",
        "Zoom a pane to the whole screen, or back",
        "look",
        lambda screen: screen.zoom(),
        at_cursor=True,
    ),
    Command(
        "explain",
        "I",
        "",
        "Explain what this pane shows: how to read it",
        "look",
        lambda screen: screen.explain(),
        at_cursor=True,
    ),
]

OPEN: Command[PaneScreen] = Command(
    "open",
    "enter",
    "open",
    "Open what is under the cursor",
    "look",
    lambda screen: screen.open_at_cursor(),
    lambda screen: None if screen.active_pane.under_cursor() is not None else NOTHING_HERE,
    at_cursor=True,
)

READING: Command[Any] = Command(
    "reading",
    "u",
    "",
    "Choose lens, thresholds, and whether token 0 counts",
    "compute",
    lambda screen: screen.choose_reading(),
)

MEASURE: Command[PaneScreen] = Command(
    "measure",
    "v",
    "",
    "Choose the heatmap's measure, such as heads or patching, and its layer order",
    "look",
    lambda screen: screen.choose_measure(),
    at_cursor=True,
)

TURNING: list[Command[PaneScreen]] = [
    Command(
        "next_measure",
        "right_square_bracket",
        "",
        "Show the next measure",
        "look",
        lambda screen: screen.turn_measure(1),
    ),
    Command(
        "prev_measure",
        "left_square_bracket",
        "",
        "Show the measure before",
        "look",
        lambda screen: screen.turn_measure(-1),
    ),
]

MEASURES = [MEASURE, *TURNING]


def _why_not_back(screen: PaneScreen) -> str | None:
    return None if screen.maximized is not None else SILENT


UNZOOM: Command[PaneScreen] = Command(
    "unzoom",
    "escape",
    "back",
    "Leave the zoomed pane",
    "look",
    lambda screen: screen.minimize(),
    _why_not_back,
)
"""Listed after the commands that end work, and before those that leave the screen."""
