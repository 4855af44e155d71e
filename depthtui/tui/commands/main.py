"""The commands of the main screen, in the order in which the footer names them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from depthtui.metrics import patch
from depthtui.prompts.dataset_formats import DATASETS
from depthtui.token_text import printable_sentence
from depthtui.tui.commands import looking, moving, stepping
from depthtui.tui.commands.command import SILENT, Command
from depthtui.tui.commands.working import why_busy
from depthtui.tui.panes.verdict_pane import VerdictPane
from depthtui.tui.screens import opening
from depthtui.tui.screens.model_question import act_with_model_of
from depthtui.tui.state.phase import WHY_BUSY, Phase
from depthtui.tui.state.task_prompts import neighbour
from depthtui.tui.state.unfinished_work import lost_by_writing, slow_work
from depthtui.tui.state.what_if import can_be_changed

if TYPE_CHECKING:
    from depthtui.data.run import Prompt
    from depthtui.tui.panes.pane import Pane
    from depthtui.tui.screens.dialogs.prompt_picker import PromptChoice
    from depthtui.tui.screens.main_screen import MainScreen
    from depthtui.tui.state.session import SessionRun

MainCommand = Command["MainScreen"]

STOPPABLE = (Phase.RUNNING, Phase.HALTED, Phase.LOADING, Phase.SWEEPING, Phase.WRITING)
GONE = (Phase.DEAD, Phase.NO_MODEL)

PLAIN_AGAIN = (
    "The chat template belonged to the prompt before; this one has none. p switches it on."
)
JUST_BEGUN = "The run has only begun: wait for its first layer."
NOTHING_YET = "Nothing has been run yet: r runs the prompt."
NOT_WHOLE = "A what-if starts from a run through every layer: r runs the prompt."
CLEAN_RUN_GONE = "The run with every layer on is gone: r runs it."
VERDICT_AFTER_RUN = "The verdict is computed once the run is through."


# Why a command does not work ---------------------------------------------------


def _why_no_result(screen: MainScreen) -> str | None:
    """The reason why there is no run to act on."""
    if screen.shown_result() is not None:
        return None
    has_begun = screen.explorer.phase is Phase.RUNNING
    return why_busy(screen) or (JUST_BEGUN if has_begun else NOTHING_YET)


def _why_not_run(screen: MainScreen) -> str | None:
    phase = screen.explorer.phase
    return None if phase in (Phase.HALTED, *GONE) else why_busy(screen)


def _why_not_stepping(screen: MainScreen) -> str | None:
    return opening.STILL_HALTED if screen.explorer.phase is Phase.HALTED else why_busy(screen)


def _why_not_stop(screen: MainScreen) -> str | None:
    return None if screen.explorer.phase in STOPPABLE else SILENT


def _why_not_compute(screen: MainScreen) -> str | None:
    return None if screen.has_run_ahead else _why_no_result(screen)


def _why_not_next(screen: MainScreen) -> str | None:
    return None if screen.is_searching else why_busy(screen)


def _why_not_back(screen: MainScreen) -> str | None:
    return None if screen.is_searching or screen.maximized is not None else SILENT


def _why_not_what_if(screen: MainScreen) -> str | None:
    reason = why_busy(screen) or _why_no_result(screen)
    return reason or (None if can_be_changed(screen.run) else NOT_WHOLE)


# Running -----------------------------------------------------------------------


def _run(screen: MainScreen) -> None:
    """Run the prompt, continue a halted run, or start an engine that is gone."""
    explorer = screen.explorer
    if explorer.phase in GONE:
        explorer.engine.restart()
        screen.redraw()
    elif explorer.phase is Phase.HALTED:
        explorer.stepping.run_on()
        screen.redraw()
    else:
        _run_prompt(screen, "run")


def _run_stepping(screen: MainScreen) -> None:
    _run_prompt(screen, "run_stepping", step=True)


def _run_prompt(
    screen: MainScreen,
    name: str,
    prompt: Prompt | None = None,
    step: bool = False,
    chat_template: bool | None = None,
) -> None:
    """Run a prompt, by default the current one; `name` is the command that does so."""

    def run() -> None:
        explorer = screen.explorer
        was_wrapped = explorer.chat_template
        explorer.run(prompt, step, chat_template)
        if explorer.phase is Phase.SWEEPING:
            screen.notify(WHY_BUSY[Phase.SWEEPING], severity="warning", markup=False)
        elif chat_template is None and was_wrapped and not explorer.chat_template:
            screen.notify(PLAIN_AGAIN, markup=False)
        screen.redraw()

    act_with_model_of(screen, screen.run, screen.commands[name], run)


def _slow_work(screen: MainScreen) -> str:
    return slow_work(screen.explorer)


def _next_or_match(step: int) -> Any:
    """The effect of going by matches of a search, or else by the task's prompts."""

    def go(screen: MainScreen) -> None:
        if screen.is_searching:
            screen.next_match(step)
        else:
            _next_prompt(screen, step * screen.pop_count())

    return go


def _next_prompt(screen: MainScreen, step: int) -> None:
    """Run the prompt of the same task that comes `step` prompts later."""
    explorer, prompt = screen.explorer, screen.explorer.prompt
    later = neighbour(prompt, step, explorer.settings.seed, screen.datasets)
    if later is None and prompt.task in DATASETS:
        title = DATASETS[prompt.task].title
        screen.notify(f"The rows of {title} have not been read yet: p reads them.", markup=False)
    elif later is None:
        screen.notify("This prompt belongs to no task: p chooses one.", markup=False)
    else:
        _run_prompt(screen, "next_prompt" if step > 0 else "prev_prompt", later)


def _back(screen: MainScreen) -> None:
    """Leave the search, or else the zoomed pane."""
    if screen.is_searching:
        screen.end_search()
    else:
        screen.minimize()


# Computing -----------------------------------------------------------------------


def _compute(screen: MainScreen) -> None:
    """Compute the metrics that the pane with the focus lacks, then those of the verdict.

    Without a result yet, the verdict is computed at the end of the run.
    """
    if screen.shown_result() is None:
        screen.wants_verdict = True
        screen.notify(VERDICT_AFTER_RUN, markup=False)
    elif not compute_for(screen, screen.active_pane):
        compute_verdict(screen)


def compute_verdict(screen: MainScreen) -> None:
    """Go to the verdict and compute what it lacks; slow metrics only if it was focused before."""
    pane = screen.query_one(VerdictPane)
    was_here = screen.active_pane is pane
    screen.go_to_pane(pane)
    if not (was_here or pane.computes_quickly):
        return
    if not compute_for(screen, pane) and was_here:
        screen.notify("The verdict lacks nothing.", markup=False)


def compute_for(screen: MainScreen, pane: Pane) -> bool:
    """Compute what a pane lacks, or notify the reason why not; False where it lacks nothing."""
    run = screen.run
    if run is None or run.result is None:
        return True
    changes = pane.computes_with()
    metrics, why_not = run.to_compute(pane.computes(), changes)
    if not metrics and not why_not:
        return False
    if not screen.explorer.can_run:
        screen.notify(WHY_BUSY[screen.explorer.phase], severity="warning", markup=False)
    elif patch.NAME in pane.computes() and not run.result.source_text:
        _ask_for_source(screen, run, pane)
    elif metrics:

        def compute() -> None:
            screen.explorer.compute(*metrics, **changes)
            screen.redraw()

        act_with_model_of(screen, run, screen.commands["compute"], compute)
    else:
        screen.notify(printable_sentence(why_not), markup=False)
    return True


def _ask_for_source(screen: MainScreen, run: SessionRun, pane: Pane) -> None:
    """Ask for the text to patch from, then compute what a pane lacks."""

    def compute() -> None:
        if run.result is not None and run.result.source_text:
            compute_for(screen, pane)

    token = screen.cursor.token
    opening.choose_measured(screen, screen.explorer, run, token, "patch_from", compute)


# Prompts and models ----------------------------------------------------------------


def _choose_prompt(screen: MainScreen) -> None:
    def chosen(choice: PromptChoice) -> None:
        _run_prompt(screen, "prompt", choice.prompt, chat_template=choice.chat_template)

    opening.choose_prompt(screen, screen.explorer, screen.datasets, chosen)


def _choose_measured(screen: MainScreen) -> None:
    if screen.run is not None:
        opening.choose_measured(screen, screen.explorer, screen.run, screen.cursor.token)


def _choose_model(screen: MainScreen) -> None:
    opening.choose_model(screen, screen.explorer, screen.explorer.load)


def _what_if(screen: MainScreen) -> None:
    """Leave layers out of the run that is shown."""
    run, explorer = screen.run, screen.explorer
    assert run is not None
    clean = explorer.session.clean_of(run)
    if clean is None:
        screen.notify(CLEAN_RUN_GONE, markup=False)
        return

    def show() -> None:
        explorer.session.select(clean)
        opening.show_what_if(screen, explorer, clean, run.settings)

    act_with_model_of(screen, run, screen.commands["what_if"], show)


def _write(screen: MainScreen) -> None:
    def write() -> None:
        opening.show_generation(screen, screen.explorer)

    act_with_model_of(screen, screen.run, screen.commands["write"], write)


# The commands ---------------------------------------------------------------------

RUNNING: list[MainCommand] = [
    *stepping.COMMANDS,
    Command(
        "stop",
        "escape",
        "stop",
        "Stop the computation, and keep its results so far",
        "compute",
        lambda screen: screen.explorer.automatic.call_off(),
        _why_not_stop,
    ),
    Command(
        "back",
        "escape",
        "",
        "Leave the search, or the zoomed pane",
        "look",
        _back,
        _why_not_back,
    ),
]
"""Listed first, so that the footer leads with them while they apply."""

CHOOSING: list[Command[Any]] = [
    Command(
        "run",
        "r",
        "run",
        "Run the prompt, continue a halted run, or start the engine",
        "compute",
        _run,
        _why_not_run,
        does="runs the prompt",
        ends=_slow_work,
        model="any",
    ),
    Command(
        "compute",
        "i",
        "compute",
        "Compute what this pane lacks, then the verdict",
        "compute",
        _compute,
        _why_not_compute,
        at_cursor=True,
        does="computes",
        model="of the run",
    ),
    looking.OPEN,
    Command(
        "measured",
        "L",
        "",
        "Choose the parts, layers, tokens and answer of slower metrics",
        "compute",
        _choose_measured,
        _why_no_result,
        at_cursor=True,
    ),
    Command(
        "run_stepping",
        "s",
        "step",
        "Run and halt after each layer",
        "compute",
        _run_stepping,
        _why_not_stepping,
        does="runs the prompt",
        ends=_slow_work,
        model="any",
    ),
    Command(
        "prompt",
        "p",
        "prompt",
        "Write, paste or open a prompt, or choose a task",
        "choose",
        _choose_prompt,
        does="runs the prompt",
        ends=_slow_work,
        model="any",
    ),
    Command(
        "next_prompt",
        "n",
        "",
        "Run the task's next prompt, or go to the next match",
        "choose",
        _next_or_match(1),
        _why_not_next,
        does="runs the prompt",
        ends=_slow_work,
        model="any",
    ),
    Command(
        "prev_prompt",
        "N",
        "",
        "Run the prompt before, or go to the match before",
        "choose",
        _next_or_match(-1),
        _why_not_next,
        does="runs the prompt",
        ends=_slow_work,
        model="any",
    ),
    Command("model", "m", "model", "Choose a model", "choose", _choose_model),
    Command(
        "what_if",
        "x",
        "what if",
        "Leave layers out and see what it costs",
        "choose",
        _what_if,
        _why_not_what_if,
        does="opens the what-if, whose first change stops it",
        ends=_slow_work,
        model="of the run",
    ),
    Command(
        "write",
        "w",
        "",
        "Let the model write, and watch each token's depth",
        "choose",
        _write,
        why_busy,
        does="writes",
        ends=lambda screen: lost_by_writing(screen.explorer),
        model="any",
    ),
    Command(
        "session",
        "b",
        "",
        "List the runs: open, compare, sweep, other sessions",
        "session",
        lambda screen: screen.show_session(),
    ),
    Command(
        "export",
        "e",
        "export",
        "Save the session or this run",
        "session",
        lambda screen: screen.export(),
        _why_no_result,
    ),
    Command(
        "find",
        "slash",
        "",
        "Find words in the tokens or in what the lens reads",
        "look",
        lambda screen: screen.find(),
        _why_no_result,
    ),
    Command(
        "notes",
        "M",
        "",
        "Mark this place, list the marks, write a note on the run",
        "session",
        lambda screen: screen.show_notes(),
        _why_no_result,
        at_cursor=True,
    ),
    Command(
        "copy",
        "y",
        "",
        "Copy the value under the cursor, the verdict, or an option",
        "look",
        lambda screen: screen.copy_value(),
        _why_no_result,
        at_cursor=True,
    ),
]

PAGES: list[MainCommand] = [
    Command(
        "turn_page",
        "d",
        "",
        "Turn the depth pane to its next page",
        "look",
        lambda screen: screen.turn_page(),
    ),
    Command(
        "dial_up",
        "plus,equals_sign",
        "",
        "Raise the page's dial, such as the KL rule's threshold",
        "look",
        lambda screen: screen.turn_dial(1),
    ),
    Command(
        "dial_down",
        "minus",
        "",
        "Lower the page's dial, such as the KL rule's threshold",
        "look",
        lambda screen: screen.turn_dial(-1),
    ),
]

COMMANDS: list[Command[Any]] = [
    *RUNNING,
    *CHOOSING,
    looking.READING,
    *moving.COMMANDS,
    *looking.PANES,
    *looking.MEASURES,
    *PAGES,
]
