"""The commands of a text that the model writes."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from depthtui.data.run_settings import GenerationSettings
from depthtui.tui.commands import looking, moving
from depthtui.tui.commands.command import Command
from depthtui.tui.commands.working import leave_commands, why_busy
from depthtui.tui.state.unfinished_work import unfinished_work

if TYPE_CHECKING:
    from depthtui.tui.screens.generation_screen import GenerationScreen

STILL_WRITING = "The text is still being written: esc ends it, then enter opens it as a run."
NOTHING_WRITTEN = "Nothing is written yet: the first token is still to come."

_WARM = 0.7
"""The temperature of a new seed after a greedy text."""


def _why_empty(screen: GenerationScreen) -> str | None:
    return NOTHING_WRITTEN if screen.shown_result() is None else None


def _why_not_open(screen: GenerationScreen) -> str | None:
    return _why_empty(screen) or (STILL_WRITING if screen.is_live else None)


def _unfinished(screen: GenerationScreen) -> str:
    return unfinished_work(screen.explorer) if screen.is_live else ""


def _settings(screen: GenerationScreen) -> GenerationSettings | None:
    return screen.generation_state.settings if screen.generation_state else None


def _new_seed(screen: GenerationScreen) -> None:
    """Write the text again with a new random seed; greedy texts get a temperature."""
    settings = _settings(screen) or GenerationSettings()
    warm = settings.temperature or _WARM
    screen.begin(replace(settings, seed=random.randrange(1000), temperature=warm))


def _open_as_run(screen: GenerationScreen) -> None:
    """Read prompt and text teacher-forced, on the main screen, at the token under the cursor."""
    state = screen.generation_state
    assert state is not None
    screen.explorer.run(state.as_prompt(), chat_template=state.settings.chat_template)
    screen.dismiss(screen.cursor)


GENERATION: list[Command[Any]] = [
    *leave_commands("Stop writing; the text stays"),
    Command(
        "write_again",
        "r",
        "again",
        "Write anew with the same settings",
        "compute",
        lambda screen: screen.begin(_settings(screen)),
        why_busy,
        does="begins anew",
        ends=_unfinished,
    ),
    Command(
        "new_seed",
        "R",
        "",
        "Write anew with another seed",
        "compute",
        _new_seed,
        why_busy,
        does="begins anew",
        ends=_unfinished,
    ),
    Command(
        "writing",
        "t",
        "settings",
        "Set temperature, seed, length and lens",
        "compute",
        lambda screen: screen.choose_settings(),
        why_busy,
    ),
    Command(
        "open_run",
        "enter",
        "open",
        "Open the text as a run, teacher-forced, at this token",
        "choose",
        _open_as_run,
        _why_not_open,
    ),
    Command(
        "export",
        "e",
        "export",
        "Save the text and its depths",
        "session",
        lambda screen: screen.export(),
        _why_empty,
    ),
]

COMMANDS: list[Command[Any]] = [*GENERATION, *moving.COMMANDS, *looking.PANES, *looking.TURNING]
