"""The explorer on a scripted engine: start-up, runs, keys, failures, settings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Input

from depthtui.data.protocol import (
    Configure,
    Continue,
    Event,
    Failed,
    LoadModel,
    Memory,
    ModelLoaded,
    Notice,
    Progress,
    Rows,
    StartRun,
    Step,
    Stop,
)
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec
from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.settings import Settings, load_settings, save_settings
from depthtui.tui.messages import TerminalShade
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.panes.pane import Pane
from depthtui.tui.screens.dialogs.help_screen import HelpScreen
from depthtui.tui.screens.main_screen import MainScreen
from depthtui.tui.screens.what_if_screen import WhatIfScreen
from depthtui.tui.state.engine_connection import EngineDeath
from depthtui.tui.state.session import RunState
from depthtui.tui.state.task_prompts import first_prompt, neighbour
from tests.builders.engines import FakeEngine, fails, loads
from tests.builders.models import LAYERS, model_info
from tests.tui.app_helpers import SIZES, Explored, explore

# Starting -------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_left_untouched_it_ends_in_a_filled_screen(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    async with explore(tmp_path, size=size) as it:
        configure, load, start = it.engine.commands[:3]
        assert isinstance(configure, Configure)
        assert load == LoadModel(ModelSpec())
        assert isinstance(start, StartRun)
        assert start.prompt == first_prompt()
        assert it.session.current.state is RunState.FINISHED
        for pane in it.main.panes:
            assert pane.result is it.session.current.result
        is_narrow = size[0] == 80
        last = "tab panes d page i compute" if is_narrow else "tab panes v measure ⏎ open s step"
        await it.until(lambda: it.screen_text().split("\n")[-1].startswith(last), "the footer")
        titles = ["SmolLM2", "─ Verdict ─" if is_narrow else "Layer contribution"]
        if size[0] >= 120:
            titles += ["Logit lens", "Curves Evidence", "─ Verdict ─"]
        for title in titles:
            await it.until(lambda title=title: title in it.screen_text(), title)
        assert len(it.screen_text().split("\n")) == size[1]


async def test_narrow_screens_show_one_pane_at_a_time_and_tab_goes_through_all(
    tmp_path: Path,
) -> None:
    async with explore(tmp_path, size=(80, 24)) as it:
        # The prompt takes no pane's place.
        await it.press("shift+tab", until=lambda: it.main.active_pane.id == "prompt")
        await it.until(lambda: "─ Verdict ─" in it.screen_text())
        await it.press("tab")
        titles = ["─ Verdict ─", "Layer contribution", "Logit lens", "Depth curves"]
        for index, title in enumerate(titles):
            await it.until(lambda title=title: title in it.screen_text())
            text = it.screen_text()
            assert not any(other in text for other in titles if other != title)
            await it.press("tab")
            assert index == 3 or it.main.active_pane is it.main.panes[index + 1]
        await it.press("shift+tab")
        assert it.main.active_pane is it.main.panes[3]
        await it.press("v")
        await it.until(lambda: it.app.screen is not it.main, "the measures")
        await it.press("escape")
        await it.until(lambda: it.app.screen is it.main and it.main.active_pane.id == "curves")


async def test_a_load_shows_its_progress(tmp_path: Path) -> None:
    def slow(spec: ModelSpec) -> Iterator[Event]:
        yield Progress("Downloading", 40_000_000, 92_000_000, "B")

    async with explore(tmp_path, lambda: FakeEngine(load=slow), wait=False) as it:
        await it.until(lambda: "Downloading" in it.screen_text())
        assert "40.0 MB of 92.0 MB" in it.screen_text()
        it.engine.say(ModelLoaded(model_info()))
        await it.ready()
        await it.until(lambda: "Downloading" not in it.screen_text())
        await it.until(lambda: it.main.focused is it.main.query_one("#heatmap"))


async def test_a_model_that_does_not_load_says_what_to_do(tmp_path: Path) -> None:
    load = fails("The folder /nowhere is no model.", "It has no config.json.")
    async with explore(tmp_path, lambda: FakeEngine(load=load), wait=False) as it:
        await it.until(lambda: "/nowhere is no model" in it.screen_text())
        assert "It has no config.json." in it.screen_text()
        await it.until(lambda: "m model" in it.screen_text())
        assert "○ no model is loaded" in it.screen_text()
        assert not it.engine.sent(StartRun)
        await it.press("r", "s", "n", "e", "C", "y", "space")
        assert it.app.error is None


# Runs -----------------------------------------------------------------------


async def test_rows_appear_while_the_run_goes_on_and_escape_stops_it(tmp_path: Path) -> None:
    async with explore(tmp_path, lambda: FakeEngine(manual=True), wait=False) as it:
        await it.until(lambda: it.status and it.status.state == "running")
        # Contributions and lens of the first layer, contributions of the second.
        for _ in range(3):
            it.engine.advance(until=Rows)
        await it.until(lambda: it.status.layer == 2)
        assert f"layer 2 of {LAYERS}" in it.screen_text()
        await it.until(lambda: "esc stop" in it.screen_text())
        await it.press("escape")
        assert it.engine.sent(Stop)
        await it.until(lambda: it.status.state == "stopped")
        run = it.session.current
        assert (run.state, run.layers_done) == (RunState.STOPPED, 2)
        await it.until(lambda: "esc stop" not in it.screen_text())


async def test_running_again_computes_afresh_what_is_on_the_screen(it: Explored) -> None:
    await it.press("r", until=lambda: len(it.session.runs) == 2)
    first, second = it.engine.sent(StartRun)
    assert (first.fresh, second.fresh) == (False, True)
    assert second.run_id > first.run_id


async def test_a_new_run_stops_the_one_before(tmp_path: Path) -> None:
    async with explore(tmp_path, lambda: FakeEngine(manual=True), wait=False) as it:
        await it.until(lambda: it.status and it.status.state == "running")
        it.engine.advance(3)
        await it.press("n")
        kinds = [type(command) for command in it.engine.commands[-2:]]
        assert kinds == [Stop, StartRun]
        it.engine.advance()
        await it.ready()
        states = [run.state for run in it.session.runs]
        assert states == [RunState.STOPPED, RunState.FINISHED]


async def test_n_walks_the_ladder(it: Explored) -> None:
    await it.press("n", until=lambda: len(it.session.runs) == 2)
    assert it.session.current.prompt == neighbour(first_prompt(), 1, 123)
    await it.press("N", until=lambda: len(it.session.runs) == 3)
    assert it.session.current.prompt == first_prompt()
    await it.until(lambda: it.status.number.startswith("1/"), "its number")
    await it.press("3", "n", until=lambda: len(it.session.runs) == 4)
    await it.until(lambda: it.status.number.startswith("4/"), "its number")


async def test_stepping_halts_after_each_layer_and_moves_the_cursor(it: Explored) -> None:
    await it.press("s", until=lambda: it.status.state == "halted")
    assert it.engine.sent(StartRun)[-1].step
    await it.until(lambda: it.main.cursor.layer == 0)
    await it.press("space", until=lambda: it.main.cursor.layer == 1)
    await it.until(lambda: "next layer" in it.screen_text())
    await it.press("3", "space", until=lambda: it.main.cursor.layer == 4)
    assert len(it.engine.sent(Step)) == 4
    await it.press("r", until=lambda: it.status.state == "ready")
    assert it.engine.sent(Continue)
    assert it.session.current.state is RunState.FINISHED
    assert it.main.cursor.layer == 4
    await it.press("space")
    assert it.main.cursor.layer == 5


async def test_a_step_says_what_the_layer_did_and_steps_back(it: Explored) -> None:
    await it.press("backspace")
    assert "No run is halted" in it.toasts()[-1]
    await it.press("s", until="Layer 0 at")
    await it.press("2", "space", until="Layer 2 at")
    steps = len(it.engine.sent(Step))
    await it.press("backspace", until="Layer 1 at")
    assert it.main.cursor.layer == 1
    # What comes from the engine meanwhile does not take the cursor along.
    it.main.redraw()
    assert it.main.cursor.layer == 1
    # A layer that has run does not run again.
    await it.press("space")
    assert it.main.cursor.layer == 2
    assert len(it.engine.sent(Step)) == steps
    await it.press("space", until=lambda: it.main.cursor.layer == 3)
    assert len(it.engine.sent(Step)) == steps + 1
    await it.press("r", until=lambda: it.status.state == "ready")
    assert "Layer 3 at '" not in it.screen_text()


async def test_the_sentence_of_a_measure_has_a_line_of_the_whole_screen(it: Explored) -> None:
    words = "the fact sits at ' Italy' until layer 23 and at the last token from 24 on"
    it.main.measure = replace(MEASURE_BY_NAME["layer_cosine"], sentence=lambda result: words)
    await it.until(lambda: f" T{words[1:]}. " in it.screen_text())
    it.main.measure = MEASURE_BY_NAME["layer_cosine"]
    await it.until(lambda: words[1:] not in it.screen_text())


async def test_r_runs_on_and_escape_gives_the_whole_run_back(it: Explored) -> None:
    await it.press("s", until=lambda: it.status.state == "halted")
    await it.until(lambda: "r run" in it.screen_text())
    await it.press("r", until=lambda: it.status.state == "ready")
    await it.press("s", until=lambda: it.status.state == "halted")
    runs = len(it.session.runs)
    await it.press("escape", until=lambda: it.status.state == "ready")
    assert it.session.current.state is RunState.FINISHED
    assert len(it.session.runs) == runs - 1


async def test_a_prompt_that_fails_is_a_toast_and_leaves_the_screen_alone(it: Explored) -> None:
    shown = it.session.current
    it.engine.manual = True
    it.app.explorer.run(Prompt("too long"))
    number = it.engine.sent(StartRun)[-1].run_id
    it.engine.say(Failed("[/] The prompt has 9,000 tokens.", "Shorten it.", number))
    await it.until(it.toasts)
    assert it.toasts() == ["[/] The prompt has 9,000 tokens. Shorten it."]
    assert it.session.current is shown
    await it.until(lambda: it.status.state == "ready")


async def test_a_model_that_fails_leaves_the_one_before(it: Explored) -> None:
    shown, model = it.session.current, it.app.explorer.engine.model
    it.engine.silent = True
    it.app.explorer.load(ModelSpec("no/such"))
    it.engine.say(Failed("There is no such model.", "Try another.", still_loaded=model))
    await it.until(it.toasts)
    assert it.toasts() == ["There is no such model. Try another."]
    assert it.app.explorer.engine.problem is None
    assert it.app.explorer.engine.spec == model.spec
    assert it.session.current is shown
    await it.until(lambda: it.status.state == "ready")


async def test_the_engine_says_things(tmp_path: Path) -> None:
    async with explore(tmp_path, lambda: FakeEngine(cached=True)) as it:
        it.engine.say(Notice("A damaged entry was dropped."), Memory(123_000_000, 1))
        await it.until(it.toasts)
        await it.until(lambda: "cached" in it.screen_text())
        await it.until(lambda: "123 MB" in it.screen_text())


# The cursor -----------------------------------------------------------------


async def test_one_cursor_rules_all_panes(it: Explored) -> None:
    await it.press("g", "0")
    assert it.main.cursor == (0, 0)
    await it.press("k", "up", "l", "right")
    assert it.main.cursor == (2, 2)
    assert {pane.cursor for pane in it.main.query(Pane)} == {it.main.cursor}
    await it.press("j", "h")
    assert it.main.cursor == (1, 1)
    await it.press("G", "dollar_sign")
    last = len(it.main.shown_result().tokens) - 1
    assert it.main.cursor == (LAYERS, last)
    await it.press("k", "l")
    assert it.main.cursor == (LAYERS, last)


async def test_counts(it: Explored) -> None:
    await it.press("g", "0", "1", "2", "k")
    assert it.main.cursor.layer == 12
    await it.press("1", "0", "l")
    assert it.main.cursor.token == 10
    await it.press("7", "G")
    assert it.main.cursor.layer == 7
    await it.press("5", "j", "2", "k")
    assert it.main.cursor.layer == 4
    await it.press(*"99999999", "k")
    assert it.main.cursor.layer == LAYERS
    await it.press("g", "9", "z", "z", "k")
    assert it.main.cursor.layer == 1


async def test_the_cursor_stays_for_the_next_run_and_up_is_up_whatever_the_order(
    it: Explored,
) -> None:
    await it.press("5", "G", "3", "h")
    cursor = it.main.cursor
    await it.press("r", until=lambda: len(it.session.runs) == 2)
    await it.ready()
    assert it.main.cursor == cursor
    await it.press("g", "k")
    assert it.main.cursor.layer == 1
    it.main.turn_over()
    await it.press("k")
    assert it.main.cursor.layer == 0
    assert {pane.view.layer_order for pane in it.main.query(Pane)} == {"down"}


# Looking --------------------------------------------------------------------


async def test_measures_cycle_and_are_chosen_from_a_list(it: Explored) -> None:
    await it.press("right_square_bracket")
    assert it.main.measure.name == "attention_norm_ratio"
    await it.press("left_square_bracket", "left_square_bracket")
    assert it.main.measure.name == "early_exit_depth"
    await it.press("v", "7", until=lambda: it.main.measure.name == "kl")
    await it.until(lambda: "Lens KL" in it.screen_text())
    await it.press("v", "down", "enter", until=lambda: it.main.measure.name == "overlap")


async def test_measures_that_the_model_cannot_give_are_skipped(tmp_path: Path) -> None:
    def load(spec: ModelSpec) -> Iterator[Event]:
        yield ModelLoaded(
            model_info(spec, split_missing="no split here", lens_missing="no lens here")
        )

    async with explore(tmp_path, lambda: FakeEngine(load=load)) as it:
        await it.press("right_square_bracket")
        assert it.main.measure.name == "layer_cosine"
        await it.press("right_square_bracket")
        assert it.main.measure.name == "layer_norm_ratio"
        await it.press("G")
        assert it.main.cursor.layer == LAYERS - 1


async def test_escape_does_to_a_zoomed_pane_what_the_footer_says(it: Explored) -> None:
    await it.press("z", "s", until=lambda: "esc stop" in it.screen_text().splitlines()[-1])
    await it.press("escape", until=lambda: it.status.state == "ready")
    assert it.main.maximized is not None
    await it.until(lambda: "esc" not in it.screen_text().splitlines()[-1])
    await it.press("escape")
    assert it.main.maximized is None


async def test_escape_takes_the_zoom_back_before_it_leaves_a_screen(it: Explored) -> None:
    await it.press("x", until=WhatIfScreen)
    await it.press("z", until=lambda: it.app.screen.maximized is not None)
    await it.press("escape", until=lambda: it.app.screen.maximized is None)
    assert isinstance(it.app.screen, WhatIfScreen)


async def test_average_and_first_token(it: Explored) -> None:
    await it.press("v", "a", "escape")
    assert it.main.query_one("#heatmap", HeatmapPane).view.mode == "means"
    before = it.main.query_one("#evidence", Pane).reading
    await it.read(include_first_token=False)
    await it.until(lambda: it.main.query_one("#evidence", Pane).reading is not before)
    after = it.main.query_one("#evidence", Pane).reading
    assert before is not None
    assert after is not None
    assert after.n_tokens == before.n_tokens - 1


async def test_copying_says_what_was_copied(it: Explored) -> None:
    await it.press("g", "0", "y")
    values = it.main.measure.values(it.main.shown_result())
    assert it.app.clipboard == f"{values[0, 0]:.6g}"
    assert "layer 0, token 0" in it.toasts()[-1]


# Help, keys -----------------------------------------------------------------


async def test_help_lists_the_keys_of_here_and_runs_them(it: Explored) -> None:
    await it.press("question_mark", until="Run and halt after each layer")
    assert "Run one more layer" not in it.screen_text()
    field = it.app.screen.query_one(Input)
    field.value = "dial"
    await it.until(lambda: "Run and halt" not in it.screen_text())
    assert "the pane's dial" in it.screen_text()
    field.value = "whole"
    await it.until(lambda: "dial" not in it.screen_text())
    await it.press("enter", until=lambda: it.main.maximized is not None)


def test_every_command_is_whole_and_means_one_thing() -> None:
    from depthtui.tui.commands.command import GROUPS
    from depthtui.tui.navigation import keymap

    keys = keymap()
    for commands in keys.screens.values():
        names = [command.name for command in commands]
        assert len(names) == len(set(names))
        for command in commands:
            assert command.words[0].isupper()
            assert not command.words.endswith(".")
            assert command.group in GROUPS
            assert command.keys == keys.commands[command.name].keys
    own = {key for name in keys.commands for key in keys.own(name)}
    assert not own & {"ctrl+b", "ctrl+s", "ctrl+j", "ctrl+o"}


async def test_themes_are_chosen_by_key(it: Explored) -> None:
    await it.press("comma", "tab", "tab", "down", until=lambda: it.app.theme == "depth-light")
    assert load_settings(it.folder / "settings.toml").theme == ""
    await it.press("enter", "escape")
    assert it.app.screen is it.main
    assert it.app.theme == "depth-light"
    assert load_settings(it.folder / "settings.toml").theme == "depth-light"


async def test_a_theme_follows_the_terminal(it: Explored) -> None:
    await it.press("comma", "tab", "tab", "down", "down", "enter")
    assert load_settings(it.folder / "settings.toml").theme == "auto"
    for is_dark, theme in ((False, "depth-light"), (True, "depth-dark"), (False, "depth-light")):
        it.app.post_message(TerminalShade(is_dark))
        await it.until(lambda shown=theme: it.app.theme == shown, theme)
    await it.press("down", "enter", "escape")
    assert (it.app.theme, it.app.native_ansi_color) == ("ansi-light", True)
    # A theme of its own stays.
    it.app.explorer.change_session(theme="nord")
    it.app.settings.apply()
    it.app.post_message(TerminalShade(True))
    await it.pilot.pause()
    assert it.app.theme == "nord"


async def test_a_palette_is_tried_and_kept(it: Explored) -> None:
    heatmap = it.main.query_one("#heatmap", HeatmapPane)
    kept = it.folder / "settings.toml"
    await it.press("comma", "tab", "tab", "end", until=lambda: heatmap.view.palette == "amber")
    assert "violet, orange" in it.screen_text()
    await it.press("escape")
    assert heatmap.view.palette == load_settings(kept).palette == "depth"
    await it.press("comma", "tab", "tab", "end", "up", "enter", "escape")
    assert heatmap.view.palette == load_settings(kept).palette == "blue-yellow"
    await it.press("x", until=lambda: it.app.screen is not it.main)
    assert {pane.view.palette for pane in it.app.screen.query(Pane)} == {"blue-yellow"}


async def test_a_theme_that_was_only_tried_is_taken_back(tmp_path: Path) -> None:
    settings = Settings(cache_dir=tmp_path, theme="nord")
    async with explore(tmp_path, settings=settings) as it:
        await it.press("comma", "tab", "tab", "home", until=lambda: it.app.theme == "depth-dark")
        picker = it.app.screen
        await it.press("down", "escape")
        picker._try()
        assert it.app.theme == "nord"
        assert it.app.explorer.settings.theme == "nord"


async def test_a_theme_that_cannot_be_kept_is_shown_and_told(it: Explored) -> None:
    (it.folder / "settings.toml").unlink(missing_ok=True)
    (it.folder / "settings.toml").mkdir()
    await it.press("comma", "tab", "tab", "down", "enter")
    assert it.app.theme == "depth-light"
    await it.until(it.toasts)
    assert "settings.toml" in it.toasts()[-1]


async def test_the_keys_of_a_dialog_are_listed_where_its_fields_take_every_letter(
    it: Explored,
) -> None:
    await it.press("p", "ctrl+p")
    assert isinstance(it.app.screen, HelpScreen)
    it.app.screen.query_one(Input).value = "close this dialog"
    await it.until(lambda: "Close this dialog" in it.screen_text())
    await it.press("enter", until=MainScreen)


async def test_keys_are_remapped_by_the_settings(tmp_path: Path) -> None:
    remapped = {"run": "f9", "zoom": "f8", "[/]": "x", "what_if": "not a key"}
    settings = Settings(cache_dir=tmp_path, keys=remapped)
    async with explore(tmp_path, settings=settings) as it:
        assert it.toasts() == ["The settings remap unknown keys: [/]."]
        await it.press("f8")
        assert it.main.maximized is not None
        await it.press("r", "z")
        assert len(it.engine.sent(StartRun)) == 1
        assert it.main.maximized is not None
        await it.press("f9", until=lambda: len(it.engine.sent(StartRun)) == 2)


@pytest.mark.parametrize(
    "state",
    [
        "halted",
        pytest.param("loading", marks=pytest.mark.by_hand),
        pytest.param("gone", marks=pytest.mark.by_hand),
    ],
)
async def test_every_key_survives_every_state(tmp_path: Path, state: str) -> None:
    from depthtui.tui.commands import main, moving

    left_out = [] if state == "halted" else moving.COMMANDS
    commands = [command for command in main.COMMANDS if command not in left_out]
    keys = [command.keys.split(",")[0] for command in commands] + ["question_mark"]
    load = fails("no") if state == "loading" else loads
    async with explore(tmp_path, lambda: FakeEngine(load=load), (80, 24), wait=False) as it:
        await it.until(lambda: it.status)
        if state != "loading":
            await it.ready()
            await it.press("s")
        if state == "gone":
            it.engine.die()
            await it.until(lambda: it.status.state == "gone")
        for key in keys:
            await it.pilot.press(key)
            if it.app.screen is not it.main:
                await it.press("escape")
        assert it.app.error is None


# Settings -------------------------------------------------------------------


async def test_choices_are_remembered(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    save_settings(Settings(lens_top_k=7), path)
    async with explore(tmp_path) as it:
        await it.press("v", "o", "escape", "right_square_bracket", "comma", "tab", "tab")
        await it.press("down", "enter", "escape")
        theme = it.app.theme
    kept = load_settings(path)
    assert (kept.layer_order, kept.measure, kept.lens_top_k) == ("down", "attention_norm_ratio", 7)
    assert kept.theme == theme != "depth-dark"
    # What came from the command line alone stays out of the file.
    assert kept.cache_dir is None
    async with explore(tmp_path, settings=replace(kept, cache_dir=tmp_path)) as it:
        assert it.app.theme == theme
        assert it.main.layer_order == "down"
        assert it.main.measure.name == "attention_norm_ratio"


async def test_an_unknown_theme_or_measure_falls_back(tmp_path: Path) -> None:
    settings = Settings(cache_dir=tmp_path, theme="gone", measure="gone")
    async with explore(tmp_path, settings=settings) as it:
        assert it.app.theme == "depth-dark"
        assert it.main.measure.name == "layer_norm_ratio"


# Ends -----------------------------------------------------------------------


async def test_the_death_of_the_engine_is_told_and_mended(tmp_path: Path) -> None:
    engines: list[FakeEngine] = []

    def make() -> FakeEngine:
        engines.append(FakeEngine(manual=True))
        return engines[-1]

    async with explore(tmp_path, make, wait=False) as it:
        await it.until(lambda: it.status and it.status.state == "running")
        it.engine.advance(5)
        await it.until(lambda: it.status.layer == 2)
        it.engine.die(-9)
        await it.until(lambda: it.status.state == "gone")
        text = it.screen_text()
        assert "SIGKILL" in text
        assert "memory ran out" in text
        await it.until(lambda: "r run" in it.screen_text())
        assert it.session.current.layers_done == 2
        assert it.session.current.state is RunState.STOPPED
        await it.press("s")
        assert len(it.engine.sent(StartRun)) == 1
        await it.press("r", until=lambda: len(it.engines) == 2)
        await it.until(lambda: it.status.state == "running")
        it.engine.advance()
        await it.until(lambda: it.status.state == "ready")
        assert len(it.session.results) == 2


async def test_other_deaths_have_words_too_in_a_toast_where_a_dialog_covers_them(
    it: Explored,
) -> None:
    await it.press("question_mark")
    it.engine.die(3, "[/] last \x1b[31m words")
    await it.until(it.toasts)
    assert "status 3" in it.toasts()[0]
    await it.press("escape", until=lambda: it.status.state == "gone")
    await it.until(lambda: "status 3" in it.screen_text())
    for code, words in (
        (75, "a new one gets it back"),
        (-9, "SIGKILL"),
        (-15, "SIGTERM"),
        (-11, "SIGSEGV"),
        (-99, "signal 99"),
    ):
        assert words in EngineDeath(code, "").reason


async def test_quitting_kills_the_engine(it: Explored) -> None:
    await it.press("q")
    assert it.engine.killed
    assert it.app.return_code == 0


async def test_an_unexpected_error_is_kept_for_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with explore(tmp_path) as it:
            it.app.call_later(lambda: 1 / 0)
            await it.until(lambda: it.app.error)
    assert isinstance(it.app.error, ZeroDivisionError)
    assert it.engine.killed
    assert not it.app._exit_renderables


async def test_switching_the_model_keeps_the_session(it: Explored) -> None:
    it.app.explorer.load(ModelSpec("other/model"))
    await it.until(lambda: len(it.session.runs) == 2)
    await it.ready()
    assert [run.model.name for run in it.session.runs] == [
        "SmolLM2-135M-Instruct",
        "model",
    ]
    assert it.session.runs[0].prompt == it.session.runs[1].prompt
    assert load_settings(it.folder / "settings.toml").last_model == "other/model"
    await it.press("b", "down", "enter", until="model is loaded")
    assert "SmolLM2-135M-Instruct" in it.screen_text().split("\n")[0]


async def test_switching_in_the_middle_of_a_load_takes_a_fresh_engine(tmp_path: Path) -> None:
    def never(spec: ModelSpec) -> Iterator[Event]:
        if spec.name == "demo":
            yield Progress("Downloading", 1, 2, "B")
        else:
            yield ModelLoaded(model_info(spec))

    async with explore(tmp_path, lambda: FakeEngine(load=never), wait=False) as it:
        await it.until(lambda: "Downloading" in it.screen_text())
        first = it.engine
        it.app.explorer.load(ModelSpec("other"))
        await it.ready()
        assert first.killed
        assert len(it.engines) == 2


async def test_an_engine_that_was_killed_has_no_say(it: Explored) -> None:
    """Its last message waits for the app already when another model is chosen."""

    def never(spec: ModelSpec) -> Iterator[Event]:
        yield Progress("Downloading", 1, 2, "B")

    others = []
    for last in ("it needs code", "it is loaded", "the engine dies"):
        first, second = ModelSpec("own/code"), ModelSpec(f"other/{len(others)}")
        killed = it.engine
        killed.load = never
        it.app.explorer.load(first)
        match last:
            case "it needs code":
                killed.say(Failed("It needs code.", "", -1, model_info(), "/code"))
            case "it is loaded":
                killed.say(ModelLoaded(model_info(first)))
            case "the engine dies":
                killed.die()
        it.app.explorer.load(second)
        others.append(second)
        assert killed.killed
        model = it.app.explorer.engine
        await it.until(lambda m=model, s=second: m.model and m.model.spec == s, last)
        await it.until(lambda: len(it.session.results) == len(others) + 1, last)
        await it.ready()
        assert it.app.screen is it.main, last
        assert it.app.explorer.engine.problem is None, last
        assert [run.model.spec for run in it.session.runs] == [ModelSpec(), *others], last


async def test_an_engine_that_cannot_start_is_told(tmp_path: Path) -> None:
    class Broken(FakeEngine):
        def start(self, post: object) -> None:
            raise OSError(24, "Too many open files")

    async with explore(tmp_path, Broken, wait=False) as it:
        await it.until(lambda: "Too many open files" in it.screen_text())
        await it.until(lambda: "r run" in it.screen_text())


async def test_a_key_is_answered_within_a_frame_of_many_rows(it: Explored) -> None:
    """A run of many events redraws a bounded number of times, not once an event."""
    await it.until(lambda: all(worker.is_finished for worker in it.app.workers))
    await it.until(lambda: not it.main.redraw_planned)
    drawn = []
    redraw = it.main.redraw
    it.main.redraw = lambda: (drawn.append(time.monotonic()), redraw())[1]
    for _ in range(300):
        it.engine.say(Memory(1, 1))
    await it.until(lambda: drawn)
    await it.pilot.pause()
    assert len(drawn) < 30
