"""The commands of a text that the model writes."""

from __future__ import annotations

from depthtui.tui.commands import looking, moving
from depthtui.tui.commands.command import Command
from depthtui.tui.commands.working import leave_commands
from depthtui.tui.state.unfinished_work import unfinished_text

GENERATION = [
    *leave_commands("Stop writing; the text stays"),
    Command(
        "write_again",
        "r",
        "again",
        "Write anew with the same settings",
        "compute",
        "write_again",
        why_not="why_busy",
        does="begins anew",
        ends=unfinished_text,
    ),
    Command(
        "new_seed",
        "R",
        "",
        "Write anew with another seed",
        "compute",
        "write_with_new_seed",
        why_not="why_busy",
        does="begins anew",
        ends=unfinished_text,
    ),
    Command(
        "writing",
        "t",
        "settings",
        "Set temperature, seed, length and lens",
        "compute",
        "choose_settings",
        why_not="why_busy",
    ),
    Command(
        "open_run",
        "enter",
        "open",
        "Open the text as a run, teacher-forced, at this token",
        "choose",
        "open_as_run",
        why_not="why_not_open_run",
    ),
    Command(
        "export",
        "e",
        "export",
        "Save the text and its depths",
        "session",
        "export",
        why_not="why_empty",
    ),
]

COMMANDS = [*GENERATION, *moving.COMMANDS, *looking.PANES, *looking.TURNING]
