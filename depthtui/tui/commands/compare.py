"""The commands of two runs side by side."""

from __future__ import annotations

from dataclasses import replace

from depthtui.tui.commands import looking, moving
from depthtui.tui.commands.command import Command
from depthtui.tui.state.unfinished_work import slow_work, unfinished_text

OWN = [
    replace(looking.OPEN, does="opens the layer", model="of the run"),
    Command(
        "compute",
        "i",
        "compute",
        "Compute what this pane or one of the runs lacks",
        "compute",
        "compute",
        why_not="why_busy",
        at_cursor=True,
        does="computes",
        ends=unfinished_text,
        model="of the run",
    ),
    Command(
        "prompt",
        "p",
        "prompt",
        "Run another prompt on A's model, and compare it with A",
        "choose",
        "choose_prompt",
        does="runs the prompt",
        ends=slow_work,
        model="any",
    ),
    Command(
        "export",
        "e",
        "export",
        "Save both runs and their differences",
        "session",
        "export",
    ),
    looking.UNZOOM,
    Command("close", "escape", "back", "Back to the run", "session", "close"),
]

COMMANDS = [
    *OWN,
    *moving.COMMANDS,
    looking.READING,
    *looking.PANES,
    *looking.MEASURES,
]
