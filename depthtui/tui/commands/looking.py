"""The commands that every screen of panes shares: panes, measures, zoom, explanations."""

from __future__ import annotations

from depthtui.tui.commands.command import Command

PANES = [
    Command("next_pane", "tab", "panes", "Go to the next pane", "look", "turn_pane(1)"),
    Command("prev_pane", "shift+tab", "", "Go to the pane before", "look", "turn_pane(-1)"),
    Command(
        "zoom",
        "z",
        "",
        "Zoom a pane to the whole screen, or back",
        "look",
        "zoom",
        at_cursor=True,
    ),
    Command(
        "explain",
        "I",
        "explain",
        "Explain what this pane shows: how to read it",
        "look",
        "explain",
        at_cursor=True,
    ),
]

OPEN = Command(
    "open",
    "enter",
    "open",
    "Open what is under the cursor",
    "look",
    "open_at_cursor",
    why_not="why_not_open",
    at_cursor=True,
)

READING = Command(
    "reading",
    "u",
    "reading",
    "Choose lens, thresholds, and whether token 0 counts",
    "compute",
    "choose_reading",
)

TURNING = [
    Command(
        "next_measure",
        "right_square_bracket",
        "",
        "Show the next measure",
        "look",
        "turn_measure(1)",
    ),
    Command(
        "prev_measure",
        "left_square_bracket",
        "",
        "Show the measure before",
        "look",
        "turn_measure(-1)",
    ),
]

MEASURES = [
    Command(
        "measure",
        "v",
        "measure",
        "Choose the heatmap's measure, such as heads or patching, and its layer order",
        "look",
        "choose_measure",
        at_cursor=True,
    ),
    *TURNING,
]

UNZOOM = Command(
    "unzoom", "escape", "back", "Leave the zoomed pane", "look", "minimize", when="is_zoomed"
)
"""Listed after the commands that end work, and before those that leave the screen."""
