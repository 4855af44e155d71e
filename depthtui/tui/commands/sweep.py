"""The commands of a sweep: a grid of models and tasks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from depthtui.tui.commands import looking, moving
from depthtui.tui.commands.command import Command
from depthtui.tui.commands.working import leave_commands

if TYPE_CHECKING:
    from depthtui.tui.screens.sweep_screen import SweepScreen

NO_SWEEP = "There is no sweep yet: n starts one, o opens one."
STILL_SWEEPING = "A sweep is running: esc stops it first."
NOTHING_MISSING = "Nothing is missing here: n starts another sweep."
NOTHING_MARKED = "No rows are compared: space marks one."
FILTERED = "No row is shown: / changes the filter."
NO_ROWS = "There are no rows yet: each comes with its first prompt."


def _why_no_sweep(screen: SweepScreen) -> str | None:
    return NO_SWEEP if screen.sweep is None else None


def _why_live(screen: SweepScreen) -> str | None:
    return STILL_SWEEPING if screen.is_live else None


def _why_no_rows(screen: SweepScreen) -> str | None:
    if screen.rows:
        return None
    return _why_no_sweep(screen) or (FILTERED if screen.is_filtered else NO_ROWS)


def _why_not_go_on(screen: SweepScreen) -> str | None:
    sweep = screen.sweep
    reason = _why_no_sweep(screen) or _why_live(screen)
    if reason or sweep is None:
        return reason
    is_whole = sweep.is_session or sweep.n_done >= sweep.n_prompts
    return NOTHING_MISSING if is_whole else None


def _why_not_unmark(screen: SweepScreen) -> str | None:
    return _why_no_sweep(screen) or (None if screen.marks else NOTHING_MARKED)


def _why_not_export(screen: SweepScreen) -> str | None:
    if screen.sweep_view.summary is not None:
        return None
    return _why_no_sweep(screen) or (FILTERED if screen.is_filtered else NO_ROWS)


SWEEPING: list[Command[Any]] = [
    *leave_commands("Stop the sweep; every prompt that is done stays"),
    Command(
        "sweep_leave",
        "b",
        "",
        "Back to the run; the sweep goes on",
        "session",
        lambda screen: screen.close(),
    ),
    Command(
        "new_sweep",
        "n",
        "new",
        "Choose models and tasks, and start a sweep",
        "compute",
        lambda screen: screen.choose_sweep(),
        _why_live,
    ),
    Command(
        "open_sweep",
        "o",
        "open",
        "Open a sweep that was run before",
        "session",
        lambda screen: screen.open_sweep(),
        _why_live,
    ),
    Command(
        "sweep_on",
        "r",
        "go on",
        "Run the sweep's missing prompts",
        "compute",
        lambda screen: screen.go_on(),
        _why_not_go_on,
    ),
    Command(
        "open_row",
        "enter",
        "open",
        "Open the row's first prompt as a run, or the rows of a finding",
        "look",
        lambda screen: screen.open_at_cursor(),
        lambda screen: None if screen.is_in_findings else _why_no_rows(screen),
        at_cursor=True,
    ),
    Command(
        "mark_row",
        "space",
        "mark",
        "Mark this row to compare, or unmark it",
        "look",
        lambda screen: screen.mark(),
        _why_no_rows,
        at_cursor=True,
    ),
    Command(
        "unmark_rows",
        "c",
        "",
        "Unmark every row",
        "look",
        lambda screen: screen.unmark(),
        _why_not_unmark,
    ),
    Command(
        "rows",
        "v",
        "rows",
        "Show cells, or pool them by model or by level",
        "look",
        lambda screen: screen.turn_grouping(),
        _why_no_sweep,
    ),
    Command(
        "sort",
        "s",
        "",
        "Sort by the column under the cursor; again, the other way",
        "look",
        lambda screen: screen.sort(),
        _why_no_rows,
        at_cursor=True,
    ),
    Command(
        "filter",
        "slash",
        "",
        "Show only rows with these words in them",
        "look",
        lambda screen: screen.ask_filter(),
        _why_no_sweep,
    ),
    replace(looking.READING, why_not=_why_no_sweep),
    Command(
        "export",
        "e",
        "export",
        "Save the sweep's report",
        "session",
        lambda screen: screen.export(),
        _why_not_export,
    ),
]

COMMANDS: list[Command[Any]] = [*SWEEPING, *moving.COMMANDS, *looking.PANES]
