"""Commands and reasons of the screens that wait for the engine: busy, stop, back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from depthtui.tui.commands import looking
from depthtui.tui.commands.command import SILENT, Command
from depthtui.tui.state.phase import WHY_BUSY

if TYPE_CHECKING:
    from depthtui.tui.screens.generation_screen import GenerationScreen
    from depthtui.tui.screens.pane_screen import PaneScreen
    from depthtui.tui.screens.sweep_screen import SweepScreen

    WorkScreen: TypeAlias = GenerationScreen | SweepScreen


def why_busy(screen: PaneScreen) -> str | None:
    """The reason why nothing can be run now."""
    explorer = screen.explorer
    return None if explorer.can_run else WHY_BUSY.get(explorer.phase, SILENT)


def _stop(screen: WorkScreen) -> None:
    screen.explorer.stop()


def _why_not_stop(screen: WorkScreen) -> str | None:
    return None if screen.is_live else SILENT


def _close(screen: WorkScreen) -> None:
    screen.close()


def _why_not_close(screen: WorkScreen) -> str | None:
    return SILENT if screen.is_live else None


def leave_commands(words: str) -> list[Command[Any]]:
    """The commands on escape of a screen of long work; `words` describe the one that stops it."""
    return [
        Command("stop", "escape", "stop", words, "compute", _stop, _why_not_stop),
        looking.UNZOOM,
        Command("close", "escape", "back", "Back to the run", "session", _close, _why_not_close),
    ]
