"""The commands of a sweep: a grid of models and tasks."""

from __future__ import annotations

from dataclasses import replace

from depthtui.tui.commands import looking, moving
from depthtui.tui.commands.command import Command
from depthtui.tui.commands.working import leave_commands

SWEEPING = [
    *leave_commands("Stop the sweep; every prompt that is done stays"),
    Command(
        "sweep_leave",
        "b",
        "",
        "Back to the run; the sweep goes on",
        "session",
        "close",
    ),
    Command(
        "new_sweep",
        "n",
        "new",
        "Choose models and tasks, and start a sweep",
        "compute",
        "choose_sweep",
        why_not="why_live",
    ),
    Command(
        "open_sweep",
        "o",
        "open",
        "Open a sweep that was run before",
        "session",
        "open_sweep",
        why_not="why_live",
    ),
    Command(
        "sweep_on",
        "r",
        "go on",
        "Run the sweep's missing prompts",
        "compute",
        "go_on",
        why_not="why_not_go_on",
    ),
    Command(
        "open_row",
        "enter",
        "open",
        "Open the row's first prompt as a run, or the rows of a finding",
        "look",
        "open_at_cursor",
        why_not="why_not_open",
        at_cursor=True,
    ),
    Command(
        "mark_row",
        "space",
        "mark",
        "Mark this row to compare, or unmark it",
        "look",
        "mark",
        why_not="why_no_rows",
        at_cursor=True,
    ),
    Command(
        "unmark_rows",
        "c",
        "",
        "Unmark every row",
        "look",
        "unmark",
        why_not="why_not_unmark",
    ),
    Command(
        "rows",
        "v",
        "rows",
        "Show cells, or pool them by model or by level",
        "look",
        "turn_grouping",
        why_not="why_no_sweep",
    ),
    Command(
        "sort",
        "s",
        "",
        "Sort by the column under the cursor; again, the other way",
        "look",
        "sort",
        why_not="why_no_rows",
        at_cursor=True,
    ),
    Command(
        "filter",
        "slash",
        "",
        "Show only rows with these words in them",
        "look",
        "ask_filter",
        why_not="why_no_sweep",
    ),
    replace(looking.READING, why_not="why_no_sweep"),
    Command(
        "export",
        "e",
        "export",
        "Save the sweep's report",
        "session",
        "export",
        why_not="why_not_export",
    ),
]

COMMANDS = [*SWEEPING, *moving.COMMANDS, *looking.PANES]
