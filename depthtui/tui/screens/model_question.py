"""Ask whether the model of a run is to be loaded, where a key needs it and another one is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from depthtui.token_text import printable_sentence
from depthtui.tui import keymap
from depthtui.tui.screens.dialogs.ask import Ask, ask_first
from depthtui.tui.state.session import Run
from depthtui.tui.state.unfinished import unfinished

if TYPE_CHECKING:
    from depthtui.tui.screens.main_screen import MainScreen

OTHER_VALUES = (
    "{} has other weights, dtype or device now than in this run. r runs the prompt on it."
)


@dataclass(frozen=True)
class KeyAction:
    """The effect of a key that needs a model.

    Attributes:
        key: the key's id.
        does: the effect in words, such as `runs the prompt`.
        run: does it.
        adds_to_run: whether it adds to the values of the run on the screen, so that weights, dtype
            and device must be those of that run. Else it makes a run of its own, which the
            loaded model may do, too.
        lost: the work that it ends; empty for none.
    """

    key: str
    does: str
    run: Callable[[], None]
    adds_to_run: bool = True
    lost: str = ""


def act_with_model_of(screen: MainScreen, run: Run | None, action: KeyAction) -> None:
    """Do something with a run's model; where another one is loaded, ask whether to load it.

    Args:
        screen: shows the run.
        run: whose model is needed; None for the loaded one.
        action: the effect.
    """
    loaded = screen.explorer.model
    if run is None or loaded is None or run.model == loaded:
        _act(screen, action)
    elif run.model.spec != loaded.spec:
        _ask(screen, run, action)
    elif action.adds_to_run:
        screen.notify(printable_sentence(OTHER_VALUES.format(loaded.name)), markup=False)
    else:
        _act(screen, action)


def _act(screen: MainScreen, action: KeyAction) -> None:
    ask_first(screen.app, screen.explorer, action.lost, action.key, action.does, action.run)


def _ask(screen: MainScreen, run: Run, action: KeyAction) -> None:
    """Ask whether to load the run's model and act, or to act on the loaded one."""
    explorer = screen.explorer
    assert explorer.model is not None
    needed, loaded = (printable_sentence(model.name) for model in (run.model, explorer.model))
    keys = keymap.keys_of(action.key, explorer.settings.keys)
    facts = [f"This run is of {needed}, and {loaded} is loaded", unfinished(explorer)]
    choices = [f"{keys[0]} loads {needed} and {action.does}"]
    if not action.adds_to_run:
        choices.append(f"enter {action.does} on {loaded}")
    question = f"{'. '.join(filter(None, facts))}. {', '.join(choices)}, other keys go back."

    def loaded_now() -> None:
        """Act on this run alone: the user may have gone elsewhere while the model loaded."""
        if screen.run is run and screen.app.screen is screen:
            act_with_model_of(screen, run, replace(action, lost=""))

    def answered(pressed: str | None) -> None:
        if pressed in keys:
            explorer.with_model_of(run, loaded_now)
            screen.redraw()
        elif pressed == "enter" and not action.adds_to_run:
            action.run()

    screen.app.push_screen(Ask(question), answered)
