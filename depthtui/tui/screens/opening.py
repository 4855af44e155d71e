"""Dialogs and screens that the main screen opens, imported when they are opened."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from textual.app import App

from depthtui.data.run import RunResult
from depthtui.data.run_settings import LENSES, ModelSpec, RunSettings
from depthtui.data.session_files import SessionFile
from depthtui.settings import datasets_dir
from depthtui.token_text import printable, printable_sentence
from depthtui.tui.panes.pane import Cursor
from depthtui.tui.screens.dialogs.ask import ask_first
from depthtui.tui.screens.dialogs.dialog import Dialog, open_tab
from depthtui.tui.screens.live_screen import LiveScreen
from depthtui.tui.screens.pane_screen import PaneScreen
from depthtui.tui.state.dataset_prompts import Datasets
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.reading_choices import ReadingChoices, needed_for_lens
from depthtui.tui.state.session import RunState, SessionRun
from depthtui.tui.state.unfinished_work import lost_by_opening, unfinished_work

if TYPE_CHECKING:
    from depthtui.data.generation import Generation
    from depthtui.report.formats import Report, Subject
    from depthtui.report.reading_guide import GuidePart
    from depthtui.tui.app import DepthApp
    from depthtui.tui.screens.dialogs.prompt_picker import PromptChoice
    from depthtui.tui.screens.dialogs.run_list import SessionChoice
    from depthtui.tui.screens.main_screen import MainScreen
    from depthtui.tui.state.sweep_rows import SweepView
    from depthtui.tui.state.sweeping import Sweeping

STILL_RUNNING = "The run goes on: esc stops it."
STILL_HALTED = "The run is halted: space runs one more layer, r all of them, esc stops it."
NO_OTHER_LENS = (
    "No other lens has read these prompts. Choose a lens on a run (u) before a sweep starts: the "
    "sweep then reads through it too."
)
ANSWER_METRICS = "erasure, integrated gradients and context depth"


def choose_prompt(
    screen: LiveScreen,
    explorer: Explorer,
    datasets: Datasets,
    then: Callable[[PromptChoice], None],
) -> None:
    """Ask for a prompt: written, of a task or from a file."""
    from depthtui.tui.screens.dialogs.prompt_picker import PromptPicker

    def chosen(choice: PromptChoice | None) -> None:
        if choice is not None:
            # A question may come before the run and be answered with no.
            explorer.draft = choice.prompt, choice.chat_template
            then(choice)

    model = explorer.model
    template = model.has_chat_template if model else None
    current = explorer.draft or explorer.prompt_and_template
    picker = PromptPicker(
        explorer.token_count, datasets, *current, explorer.settings.seed, template
    )
    screen.app.push_screen(picker, chosen)


def choose_prompt_beside(
    screen: LiveScreen, explorer: Explorer, run: SessionRun, then: Callable[[], None] = lambda: None
) -> None:
    """Ask for a prompt to run on a run's model and compare with the run; `then` is called after."""

    def chosen(choice: PromptChoice) -> None:
        lost = unfinished_work(explorer)
        ask_first(screen.app, explorer, lost, "prompt", "runs the prompt", lambda: begin(choice))

    def begin(choice: PromptChoice) -> None:
        wrapped = choice.chat_template
        explorer.run_prompt_beside(
            run, choice.prompt, run.settings.chat_template if wrapped is None else wrapped
        )
        screen.redraw()
        then()

    datasets = Datasets(datasets_dir(explorer.settings.cache_folder))
    choose_prompt(screen, explorer, datasets, chosen)


def choose_model(screen: LiveScreen, explorer: Explorer, then: Callable[[ModelSpec], None]) -> None:
    """Ask for a model."""
    from depthtui.tui.screens.dialogs.model_picker import ModelPicker

    def chosen(spec: ModelSpec | None) -> None:
        if spec is not None:
            lost = unfinished_work(explorer)
            ask_first(screen.app, explorer, lost, "model", "opens it", lambda: opened(spec))

    def opened(spec: ModelSpec) -> None:
        then(spec)
        screen.redraw()

    failed = explorer.not_loaded
    picker = ModelPicker(
        failed.spec if failed else explorer.spec,
        explorer.models.on_disk,
        explorer.models.check,
        failed.reason if failed else "",
        explorer.engine_command,
    )
    screen.app.push_screen(picker, chosen)


def choose_measured(
    screen: LiveScreen,
    explorer: Explorer,
    run: SessionRun,
    token: int,
    first: str = "",
    then: Callable[[], object] = lambda: None,
) -> None:
    """Ask for the settings of a run's slower metrics.

    Args:
        screen: shows the run.
        explorer: changes the run.
        run: the run.
        token: the token under the cursor.
        first: the field that has the focus; empty for the first one.
        then: called once the values are taken.
    """
    from depthtui.tui.screens.dialogs.measured_form import MeasuredForm

    def chosen(settings: dict[str, Any] | None) -> None:
        if settings is None or run.result is None:
            return
        start = settings.pop("answer_start")
        explorer.session.choose(run, **settings)
        if start != run.settings.answer_start:
            explorer.session.mark_answer(run, start)
            words = answer_words(run.result, start)
            screen.notify(f"{words}: for {ANSWER_METRICS}.", markup=False)
        screen.redraw()
        then()

    explorer.make_way()
    if run.state.is_live:
        halted = run.state is RunState.HALTED
        screen.notify(STILL_HALTED if halted else STILL_RUNNING, markup=False)
    elif run.result is not None:
        screen.app.push_screen(MeasuredForm(run.settings, run.result, token, first), chosen)


def answer_words(result: RunResult, start: int) -> str:
    """The start of the answer, in words."""
    if start < 0:
        return "The answer is again the one that the prompt marks"
    text = printable(result.tokens.readable_texts[start][:80])
    return f'The answer begins at token {start}, "{text}"'


def choose_reading(screen: LiveScreen, explorer: Explorer, *results: RunResult) -> None:
    """Ask how depths are read; each choice is shown at once.

    Args:
        screen: shows the runs.
        explorer: keeps the choice.
        results: the runs' results; none for the current run's.
    """
    current = explorer.session.current
    if not results and current is not None and current.result is not None:
        results = (current.result,)

    def lacks(lens: str) -> str:
        words = (needed_for_lens(lens, result, explorer.pace_of(current)) for result in results)
        return next(filter(None, words), "")

    _ask_reading(screen, explorer.reading, lacks)


def choose_sweep_reading(screen: LiveScreen, sweep: Sweeping) -> None:
    """Ask how a sweep's depths are read, through one of the lenses that read its prompts."""
    lenses = sweep.lenses
    lacks = "" if len(lenses) == len(LENSES) else NO_OTHER_LENS
    _ask_reading(screen, sweep.reading, lambda _: lacks, lenses, sweep.why_fixed)


def _ask_reading(screen: LiveScreen, reading: ReadingChoices, *how: Any) -> None:
    from depthtui.tui.screens.dialogs.reading_form import ReadingForm

    former = reading.now

    def chosen(choices: dict[str, Any] | None) -> None:
        if choices is not None:
            # Choices that were tried are not kept yet.
            reading.set(**former)
            reading.keep(**choices)
        screen.redraw()

    screen.app.push_screen(ReadingForm(reading, screen.redraw, *how), chosen)


def show_session(
    screen: LiveScreen,
    explorer: Explorer,
    open_session: Callable[[SessionFile], None],
    tab: str = "runs",
    start: SessionRun | None = None,
) -> None:
    """List the session's runs, or other sessions.

    Args:
        screen: shows the chosen run.
        explorer: the owner of the session.
        open_session: opens another session, after the user agreed to the loss of work.
        tab: `runs` or `other sessions`.
        start: the run that is highlighted at first; None for the one on the screen.
    """
    from depthtui.tui.screens.dialogs.run_list import RunList, SessionChoice
    from depthtui.tui.screens.dialogs.session_picker import SessionPicker

    tabs: dict[str, Callable[[], Dialog[Any]]] = {"runs": lambda: RunList(explorer, start)}
    if explorer.sessions.is_on:
        tabs["other sessions"] = lambda: SessionPicker(explorer)

    def chosen(choice: SessionChoice | SessionFile | None) -> None:
        if isinstance(choice, SessionFile) and not explorer.sessions.is_own(choice):
            lost = unfinished_work(explorer) if explorer.session.live else ""
            then = partial(open_session, choice)
            ask_first(screen.app, explorer, lost, "session", "opens it", then)
        elif isinstance(choice, SessionChoice):
            _do_with_run(screen, explorer, choice)
        screen.redraw()

    open_tab(screen.app, tabs, tab, chosen)


def _do_with_run(screen: LiveScreen, explorer: Explorer, choice: SessionChoice) -> None:
    """Act on a run as chosen in the session's list."""
    from depthtui.tui.screens.dialogs.run_list import Purpose

    run, current = choice.run, explorer.session.current
    if choice.purpose is Purpose.GRID:
        show_sweep(screen, explorer)
    elif choice.purpose is Purpose.OTHER_MODEL and current is not None:
        choose_model(screen, explorer, partial(explorer.run_on_model, current))
    elif choice.purpose is Purpose.OTHER_PROMPT and current is not None:
        choose_prompt_beside(screen, explorer, current)
    elif choice.purpose is Purpose.COMPARE and current is not None and run is not None:
        show_comparison(screen, explorer, current, run)
    elif choice.purpose is Purpose.SHOW and run is not None:
        show_run(screen, explorer, run)


def show_run(screen: LiveScreen, explorer: Explorer, run: SessionRun, key: str = "session") -> None:
    """Show a run; one that the cache has lost is computed, after a question.

    `key` is the id of the key that asked.
    """
    if explorer.show_run(run):
        screen.redraw()
        return

    def compute() -> None:
        explorer.compute_unopened(run)
        screen.redraw()

    lost, name = lost_by_opening(explorer, run), printable_sentence(run.model.name)
    does = "computes it"
    if explorer.spec != run.model.spec:
        lost = ". ".join(filter(None, (f"Run {run.number} is not in the cache", lost)))
        does = f"loads {name} and computes it"
    ask_first(screen.app, explorer, lost, key, does, compute)


def show_comparison(
    screen: LiveScreen,
    explorer: Explorer,
    a: SessionRun,
    b: SessionRun,
    cursor: Cursor | None = None,
) -> None:
    """Put two runs side by side; the cursor keeps its place in A, or begins at a given one."""
    from depthtui.tui.screens.compare_screen import CompareScreen

    compared = CompareScreen(explorer, a, b, screen.measure, cursor or screen.cursor)
    screen.app.push_screen(compared)


def show_sweep(screen: LiveScreen, explorer: Explorer) -> None:
    """Show the sweep, or the session's runs as a sweep."""
    from depthtui.tui.screens.sweep_screen import SweepScreen

    screen.app.push_screen(SweepScreen(explorer), lambda _: screen.redraw())


def show_what_if(
    screen: LiveScreen, explorer: Explorer, clean: SessionRun, changes: RunSettings
) -> None:
    """Open the what-if of a clean run, with the layers that these settings change."""
    from depthtui.tui.screens.what_if_screen import WhatIfScreen

    what_if = WhatIfScreen(explorer, clean, screen.cursor, screen.layer_order, changes)
    screen.app.push_screen(what_if)


def show_layer(
    screen: PaneScreen,
    explorer: Explorer,
    run: SessionRun,
    cursor: Cursor,
    lens: str,
    on_leave: Callable[[Cursor], object],
) -> None:
    """Open a layer of a run at a token; `on_leave` is called with the last place."""
    from depthtui.tui.screens.layer_screen import LayerScreen

    opened = LayerScreen(explorer, run, cursor, screen.layer_order, lens, on_leave)
    screen.app.push_screen(opened)


def show_generation(screen: MainScreen, explorer: Explorer) -> None:
    """Let the model answer the prompt, and show the text; opened as a run, the cursor stays."""
    from depthtui.tui.screens.generation_screen import GenerationScreen

    def opened(cursor: Cursor | None) -> None:
        if cursor is not None:
            screen.begin_at(explorer.session.runs[-1], cursor, in_answer=True)

    screen.app.push_screen(GenerationScreen(explorer, screen.layer_order), opened)


def export_run(screen: LiveScreen, explorer: Explorer, run: SessionRun, result: RunResult) -> None:
    """Ask how to export a run, or the whole session."""
    from depthtui.tui.screens.dialogs.export_screen import open_export

    title = f"run {run.number}, on the screen"
    open_export(screen.app, explorer, title, [result], screen.cursor.token)


def export_comparison(
    app: App[Any], explorer: Explorer, a: RunResult, b: RunResult, tokens: tuple[int, int]
) -> None:
    """Ask how to export two runs and their differences; the lens of each is read at a token."""
    from depthtui.report.export import comparison_report

    settings = explorer.settings.summary_settings()
    a, b = explorer.session.with_remarks([a, b])

    def token_of(result: RunResult) -> int:
        return tokens[0] if result is a else tokens[1]

    palette = explorer.settings.palette
    report = partial(comparison_report, a, b, settings, token_of, palette)
    _export(app, explorer, "both runs", "runs", report)


def export_generation(app: App[Any], explorer: Explorer, generation: Generation) -> None:
    """Ask how to export a generated text."""
    from depthtui.report.generation_files import generation_report

    report = partial(generation_report, [generation], explorer.settings.palette)
    _export(app, explorer, "this text", "generations", report)


def export_sweep(app: App[Any], explorer: Explorer, view: SweepView) -> None:
    """Ask how to export the report of a sweep that has a summary."""
    from depthtui.sweep.report.export import sweep_report

    assert view.summary is not None
    report = partial(sweep_report, view.summary, view.questions)
    _export(app, explorer, "this sweep", "sweeps", report)


def _export(
    app: App[Any], explorer: Explorer, title: str, subject: Subject, report: Callable[[], Report]
) -> None:
    from depthtui.tui.screens.dialogs.export_screen import Exportable, ask_where

    ask_where(app, explorer, Exportable(title, subject, report))


def show_settings(app: DepthApp, tab: str = "settings") -> None:
    """Show the settings, the keys or the looks, as tabs of one dialog."""
    from depthtui.tui.screens.dialogs.keys_screen import KeysScreen
    from depthtui.tui.screens.dialogs.looks_picker import LooksPicker
    from depthtui.tui.screens.dialogs.settings_screen import SettingsScreen

    settings, apply = app.settings_list, app.apply_settings
    tabs = {
        "settings": lambda: SettingsScreen(settings, apply),
        "keys": lambda: KeysScreen(settings, apply),
        "looks": lambda: LooksPicker(app.explorer),
    }
    open_tab(app, tabs, tab, app.name_unwritten)


def words_on(screen: PaneScreen) -> list[GuidePart]:
    """The meaning of each word on the focused pane and in its explanations; none without one."""
    from depthtui.report.glossary import terms_in
    from depthtui.report.reading_guide import GuidePart

    pane = screen.active_pane
    explained = [text for explanation in screen.explained() for _, text in explanation.lines]
    terms = terms_in("\n".join([pane.text, *explained]))
    lines = tuple((term.name, term.meaning) for term in terms)
    return [GuidePart("Words on this pane", lines)] if lines else []


def show_help(app: App[Any], tab: str = "keys") -> None:
    """Show the screen's keys, how to read it, the focused pane's explanation, or the manual."""
    from depthtui.report.reading_guide import GUIDE
    from depthtui.tui.screens.dialogs.explanation_screen import ExplanationScreen
    from depthtui.tui.screens.dialogs.help_screen import (
        HelpScreen,
        KeyCommand,
        commands_on,
        run_command,
    )
    from depthtui.tui.screens.dialogs.manual_screens import ManualPicker

    screen, commands = app.screen, commands_on(app.screen)
    tabs: dict[str, Callable[[], Dialog[Any]]] = {
        "keys": lambda: HelpScreen(commands),
        "this screen": lambda: ExplanationScreen(GUIDE),
    }
    if isinstance(screen, PaneScreen):
        tabs["this pane"] = lambda: ExplanationScreen([*screen.explained(), *words_on(screen)])
    tabs["manual"] = ManualPicker

    def chosen(command: KeyCommand | None) -> None:
        if command is not None:
            app.call_later(run_command, app, command)

    open_tab(app, tabs, tab, chosen)
