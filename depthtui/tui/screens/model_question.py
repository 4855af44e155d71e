"""Ask whether to load a run's model, where a key needs it and another model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from depthtui.token_text import printable_sentence
from depthtui.tui.commands.command import Command
from depthtui.tui.screens.dialogs.ask import Ask, ask_first
from depthtui.tui.state.comparison import distinct_names
from depthtui.tui.state.session import SessionRun
from depthtui.tui.state.unfinished_work import unfinished_work

if TYPE_CHECKING:
    from depthtui.tui.screens.compare_screen import CompareScreen
    from depthtui.tui.screens.main_screen import MainScreen

    RunScreen: TypeAlias = MainScreen | CompareScreen

OTHER_VALUES = (
    "{} has other weights, dtype or device now than in this run. r runs the prompt on it."
)


def act_with_model_of(
    screen: RunScreen,
    run: SessionRun | None,
    command: Command[Any],
    act: Callable[[], None],
    asks_first: bool = True,
) -> None:
    """Act with a run's model; where another one is loaded, ask whether to load it.

    Args:
        screen: shows the run.
        run: the run whose model is needed; None for the loaded model.
        command: the command that asks.
        act: its effect.
        asks_first: whether the loss of work is asked about.
    """
    loaded = screen.explorer.model
    if run is None or loaded is None or run.model == loaded:
        _act(screen, command, act, asks_first)
    elif run.model.spec != loaded.spec:
        _ask_to_load(screen, run, command, act)
    elif command.model == "of the run":
        screen.notify(printable_sentence(OTHER_VALUES.format(loaded.name)), markup=False)
    else:
        _act(screen, command, act, asks_first)


def _act(
    screen: RunScreen, command: Command[Any], act: Callable[[], None], asks_first: bool
) -> None:
    lost = command.ends(screen) if asks_first else ""
    ask_first(screen.app, screen.explorer, lost, command.name, command.does, act)


def _ask_to_load(
    screen: RunScreen, run: SessionRun, command: Command[Any], act: Callable[[], None]
) -> None:
    """Ask whether to load the run's model and act, or to act on the loaded one."""
    from depthtui.tui.keymap import keys_of

    explorer = screen.explorer
    assert explorer.model is not None
    needed, loaded = map(printable_sentence, distinct_names(run.model, explorer.model))
    keys = keys_of(command.name, explorer.settings.keys)
    facts = [f"This run is of {needed}, and {loaded} is loaded", unfinished_work(explorer)]
    choices = [f"{keys[0]} loads {needed} and {command.does}"]
    if command.model == "any":
        choices.append(f"enter {command.does} on {loaded}")
    question = f"{'. '.join(filter(None, facts))}. {', '.join(choices)}, other keys go back."

    def loaded_now() -> None:
        """Act on this run alone: the user may have left it while the model loaded."""
        if screen.run is run and screen.app.screen is screen:
            act_with_model_of(screen, run, command, act, asks_first=False)

    def answered(pressed: str | None) -> None:
        if pressed in keys:
            explorer.with_model_of(run, loaded_now)
            screen.redraw()
        elif pressed == "enter" and command.model == "any":
            act()

    screen.app.push_screen(Ask(question), answered)
