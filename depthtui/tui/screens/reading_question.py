"""Ask how depths are read; each choice is shown at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from depthtui.data.run import RunResult
from depthtui.data.run_settings import LENSES
from depthtui.tui.screens.live_screen import LiveScreen
from depthtui.tui.state.reading_choices import ReadingChoices, needed_for_lens


def ask_reading(
    screen: LiveScreen,
    reading: ReadingChoices,
    lacks: Callable[[str], str],
    lenses: tuple[str, ...] = LENSES,
    closed: Mapping[str, str] | None = None,
) -> None:
    """Ask how depths are read, on a screen that shows them; the arguments are `ReadingForm`'s."""
    from depthtui.tui.screens.dialogs.reading_form import ReadingForm

    former = reading.now

    def chosen(choices: dict[str, Any] | None) -> None:
        if choices is not None:
            # Choices that were tried are not kept yet.
            reading.set(**former)
            reading.keep(**choices)
        screen.redraw()

    screen.app.push_screen(ReadingForm(reading, screen.redraw, lacks, lenses, closed), chosen)


def ask_reading_of_runs(screen: LiveScreen, *results: RunResult) -> None:
    """Ask how the depths of runs are read: of these results."""
    explorer, run = screen.explorer, screen.explorer.session.current

    def lacks(lens: str) -> str:
        # Asked anew: a lens may be fitted while the question is open.
        pace = explorer.pace_of(run)
        words = (needed_for_lens(lens, result, pace) for result in results)
        return next(filter(None, words), "")

    ask_reading(screen, explorer.reading, lacks)
