"""No key does nothing and says nothing: what does not work now says why, and what helps."""

from __future__ import annotations

import pytest
from textual.widgets import Input

from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.screens.dialogs.export_screen import ExportScreen
from depthtui.tui.screens.pane_screen import NO_TOKENS, PaneScreen
from depthtui.tui.screens.sweep_screen import SweepScreen
from depthtui.tui.screens.what_if_screen import WhatIfScreen
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.phase import Phase
from tests.tui.app_helpers import Explored
from tests.tui.test_writing import writing

RETREATS = {"escape"}
"""Pressed to be sure that nothing is open: that there is nothing to leave is no news."""


def silent_keys(screen: PaneScreen) -> list[str]:
    """The keys of a screen that do nothing now, and of which it does not say why."""
    by_key: dict[str, list[bool]] = {}
    for command in screen.commands.values():
        for key in command.keys.split(","):
            by_key.setdefault(key, []).append(command.works(screen) or bool(command.reason(screen)))
    silent = [key for key, commands in by_key.items() if not any(commands)]
    return sorted(set(silent) - RETREATS)


async def test_the_main_screen_in_every_phase_with_a_run_and_without(
    it: Explored, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        for phase in Phase:
            monkeypatch.setattr(Explorer, "phase", phase)
            assert silent_keys(it.main) == [], phase
        it.session.current = None


async def test_without_a_run_keys_say_what_is_missing(
    it: Explored, monkeypatch: pytest.MonkeyPatch
) -> None:
    it.session.current = None
    for key, words in (
        ("y", "Nothing has been run yet: r runs the prompt."),
        ("x", "Nothing has been run yet: r runs the prompt."),
    ):
        await it.press(key)
        assert it.toasts()[-1] == words
    monkeypatch.setattr(Explorer, "phase", Phase.RUNNING)
    await it.press("y")
    assert it.toasts()[-1] == "The run has only begun: wait for its first layer."
    monkeypatch.setattr(Explorer, "phase", Phase.LOADING)
    await it.press("w")
    assert it.toasts()[-1] == "A model is being opened: wait for it, or esc stops that."


async def test_a_key_that_works_says_nothing(it: Explored) -> None:
    # The first of its bindings does not work, the second does.
    await it.press("space", "escape")
    assert it.toasts() == []


async def test_a_map_of_layers_has_no_tokens_to_average(it: Explored) -> None:
    it.main.measure = MEASURE_BY_NAME["skip_effects"]
    await it.press("v", "a")
    assert it.toasts() == [NO_TOKENS]
    assert not it.main.averaged


async def test_a_measure_that_is_chosen_is_shown_where_means_were(it: Explored) -> None:
    heatmap = it.main.query_one("#heatmap", HeatmapPane)
    await it.press("v", "a", "escape")
    assert heatmap.view.mode == "means"
    it.main.measure = MEASURE_BY_NAME["patch"]
    assert (heatmap.view.mode, heatmap.view.measure.name) == ("tokens", "patch")


async def test_where_a_load_covers_the_panes_none_can_have_the_screen(it: Explored) -> None:
    # Intervals that are there by now draw the screen again.
    it.main._show_load = lambda: None  # type: ignore[method-assign]
    it.main.query_one("#panes").display = False
    await it.pilot.pause()
    await it.press("z")
    assert it.toasts() == ["There is no pane to enlarge yet."]


# A text that is being written ------------------------------------------------


@pytest.mark.parametrize("parts", [0, 3])
async def test_the_screen_while_a_text_is_written(it: Explored, parts: int) -> None:
    await writing(it, parts)
    assert silent_keys(it.main) == []


async def test_a_text_that_is_being_written_is_saved_as_far_as_it_is(it: Explored) -> None:
    run = await writing(it, 2)
    await it.press("e")
    dialog = it.app.screen
    assert isinstance(dialog, ExportScreen)
    it.engine.advance(2)
    await it.until(lambda: run.n_written > 10, "more of it")
    dialog.query_one("#file-name", Input).value = "text"
    await it.press("f5")
    await it.until(lambda: it.app.screen is not dialog, "the files")
    assert "stopped after 0 of" in (it.folder / "exports" / "text.md").read_text()


# What-if, sweep ---------------------------------------------------------------


async def test_a_what_if_says_where_there_is_nothing_to_do(it: Explored) -> None:
    await it.press("x", until=WhatIfScreen)
    await it.press("c")
    assert it.toasts()[-1] == "Every layer is on already."
    await it.press("i")
    await it.until(lambda: it.app.screen.what_if.clean.has_all("ablation"), "the loss")
    await it.press("i")
    await it.until(lambda: it.app.screen.what_if.clean.has_all("parts"), "the parts")
    said = len(it.toasts())
    await it.press("i")
    assert len(it.toasts()) == said + 1
    assert "there already" in it.toasts()[-1]


async def test_a_sweep_without_rows(it: Explored) -> None:
    it.session.current = None
    it.session.runs.clear()
    await it.press("b", "S")
    screen = it.app.screen
    assert isinstance(screen, SweepScreen)
    assert silent_keys(screen) == []
    for key in ("c", "f", "u", "v", "slash", "e", "r"):
        await it.press(key)
        assert it.toasts()[-1] == "There is no sweep yet: n starts one, o opens one."


async def test_a_sweep_of_the_session(it: Explored) -> None:
    await it.press("b", "S")
    screen = it.app.screen
    assert isinstance(screen, SweepScreen)
    await it.until(lambda: screen.rows, "the rows")
    await it.press("c")
    assert it.toasts()[-1] == "No rows are compared: space marks one."
    await it.press("slash", "x", "q", "enter", "s")
    assert it.toasts()[-1] == "No row is shown: / changes the filter."
    await it.press("r")
    assert it.toasts()[-1] == "Nothing is missing here: n starts another sweep."
    assert silent_keys(screen) == []
