"""Ask for a prompt: to run it, or to compare its run with another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from depthtui.settings import datasets_dir
from depthtui.tui.screens.dialogs.ask import ask_first
from depthtui.tui.screens.live_screen import LiveScreen
from depthtui.tui.state.dataset_prompts import Datasets
from depthtui.tui.state.session import SessionRun
from depthtui.tui.state.unfinished_work import unfinished_work

if TYPE_CHECKING:
    from depthtui.tui.screens.dialogs.prompt_picker import PromptChoice


def choose_prompt(
    screen: LiveScreen, datasets: Datasets, then: Callable[[PromptChoice], None]
) -> None:
    """Ask for a prompt: written, of a task or from a file."""
    from depthtui.tui.screens.dialogs.prompt_picker import PromptPicker

    explorer = screen.explorer

    def chosen(choice: PromptChoice | None) -> None:
        if choice is not None:
            # A question may come before the run and be answered with no.
            explorer.draft = choice.prompt, choice.chat_template
            then(choice)

    model = explorer.engine.model
    template = model.has_chat_template if model else None
    current = explorer.draft or explorer.prompt_and_template
    picker = PromptPicker(
        explorer.token_count, datasets, *current, explorer.settings.seed, template
    )
    screen.app.push_screen(picker, chosen)


def choose_prompt_beside(
    screen: LiveScreen, run: SessionRun, then: Callable[[], None] = lambda: None
) -> None:
    """Ask for a prompt to run on a run's model and compare with the run; `then` is called after."""
    explorer = screen.explorer

    def chosen(choice: PromptChoice) -> None:
        lost = unfinished_work(explorer)
        ask_first(screen.app, lost, "prompt", "runs the prompt", lambda: begin(choice))

    def begin(choice: PromptChoice) -> None:
        wrapped = choice.chat_template
        explorer.run_beside(
            run, choice.prompt, run.settings.chat_template if wrapped is None else wrapped
        )
        screen.redraw()
        then()

    choose_prompt(screen, Datasets(datasets_dir(explorer.settings.cache_folder)), chosen)
