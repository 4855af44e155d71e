"""Commands as values: what is under the cursor or the pointer, messages, who works when."""

from __future__ import annotations

from inspect import signature
from pathlib import Path

import pytest
from textual.actions import parse
from textual.geometry import Offset
from textual.widgets import OptionList

from depthtui.data.arrays import arrays_of
from depthtui.data.lens import LogitLens
from depthtui.data.own_commands import OwnCommand
from depthtui.data.run import RunResult
from depthtui.report.blocks import TableCell
from depthtui.tui.app import DepthApp
from depthtui.tui.commands.own import commands_of
from depthtui.tui.navigation import keymap, screens
from depthtui.tui.panes.evidence_pane import EvidencePane
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.panes.under_cursor import MeasureRow
from depthtui.tui.screens.dialogs.command_menu import CommandMenu
from depthtui.tui.screens.dialogs.messages_dialog import MessagesDialog
from depthtui.tui.screens.layer_screen import LayerScreen
from depthtui.tui.screens.main_screen import MainScreen
from depthtui.tui.state.cell import CellTables
from tests.builders.results import full_run, half_run, lacking, run
from tests.tui.app_helpers import Explored, explore


async def test_enter_opens_the_cell_under_the_cursor(it: Explored) -> None:
    await it.press("7", "G", "3", "dollar_sign", "enter", until=LayerScreen)
    await it.until(lambda: "Layer 7 at" in it.screen_text(), "its name")
    await it.until(lambda: "after attention" in it.screen_text(), "its parts")
    assert "Layer contribution" in " ".join(it.screen_text().split())
    await it.press("escape", until=MainScreen)


async def offered(it: Explored) -> CommandMenu:
    await it.pilot.click(HeatmapPane, offset=(12, 6), button=3)
    await it.until(lambda: isinstance(it.app.screen, CommandMenu), "the menu")
    menu = it.app.screen
    assert isinstance(menu, CommandMenu)
    await it.pilot.pause()
    return menu


async def test_the_right_button_offers_what_acts_there(it: Explored) -> None:
    before = it.main.cursor
    menu = await offered(it)
    assert it.main.cursor != before
    names = [command.name for command in menu._commands]
    assert {"open", "zoom", "notes", "measured", "explain"} <= set(names)
    assert "quit" not in names
    menu.query_one(OptionList).highlighted = names.index("zoom")
    await it.press("enter")
    await it.until(lambda: it.main.maximized is not None, "a zoomed pane")


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_the_menu_stays_on_the_screen(it: Explored, size: tuple[int, int]) -> None:
    await it.resize(*size)
    heatmap = it.main.query_one("#heatmap", HeatmapPane)
    it.main.action_go_to("heatmap")
    await it.until(lambda: heatmap.size.area, "the heatmap")
    edge = (heatmap.size.width - 1, heatmap.size.height - 1)
    await it.pilot.click(heatmap, offset=edge, button=3)
    await it.until(lambda: isinstance(it.app.screen, CommandMenu), "the menu")
    frame = it.app.screen.query_one(".dialog")
    await it.until(lambda: frame.region.right <= size[0] and frame.region.bottom <= size[1])
    await it.press("escape", until=MainScreen)


async def test_messages_stay_in_a_list(it: Explored) -> None:
    await it.press("exclamation_mark", until="no message yet")
    await it.press("escape", "y", "exclamation_mark", until=MessagesDialog)
    await it.until(lambda: "Copied" in it.screen_text(), "what was copied")


async def test_the_cursor_stays_where_it_is_when_a_run_ends(it: Explored) -> None:
    await it.press("5", "G", "2", "dollar_sign")
    await it.press("r", until=lambda: len(it.session.runs) == 2)
    await it.ready()
    assert it.main.cursor == (5, 2)
    await it.press("i")
    await it.ready()
    assert it.main.cursor == (5, 2)


def cell(tables: CellTables, result: RunResult, layer: int) -> dict[str, TableCell]:
    return {str(row[0]): row[1] for row in tables.at(result, layer, 1, "logit").rows}


def test_a_cell_has_the_values_that_the_run_has() -> None:
    result = run()
    rows, above = (cell(CellTables(), result, layer) for layer in (2, 3))
    assert rows["lens after"] == above["lens before"]
    lens = result.get(LogitLens)
    assert lens is not None
    (value, _), (formula, _) = rows["Lens KL"].parts
    assert value.strip() == f"{lens.kl[2, 1]:.4g}"
    assert formula.strip() == "KL(p_l || p), nats"


def test_a_cell_has_the_rows_and_metrics_that_come_later() -> None:
    whole, tables = full_run(), CellTables()
    whole_lens = whole.get(LogitLens)
    result = lacking(half_run(full_run(), 2), "heads")
    lens = result.get(LogitLens)
    assert lens is not None
    assert whole_lens is not None
    assert cell(tables, result, 1) == cell(CellTables(), result, 1)
    # The last row comes in place, and a metric in a new mapping.
    for name, values in arrays_of(lens):
        values[:] = getattr(whole_lens, name)
    result.layers_done = result.model.n_layers
    assert "Lens agrees" in cell(tables, result, 1)
    assert "Head entropy" not in cell(tables, result, 1)
    result.put("heads", whole.measured["heads"])
    assert "Head entropy" in cell(tables, result, 1)


def test_the_main_screen_has_at_most_48_commands() -> None:
    screens = keymap().screens
    commands = [*screens["Main screen"], *screens["Everywhere"]]
    assert len({command.name for command in commands}) <= 48


async def test_the_evidence_of_a_row_is_shown_and_no_setting_is_kept(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        it.main.action_go_to("verdict")
        await it.press("enter")
        await it.until(lambda: it.main.active_pane is it.main.query_one(EvidencePane))
        kept = it.app.explorer.settings.measure
        pane = it.main.query_one(EvidencePane)
        shows = pane.under_cursor().heatmap_measure
        await it.press("enter")
        await it.until(lambda: it.main.measure.name == shows.name, "the curve of the rule")
        assert it.app.explorer.settings.measure == kept
        layer = it.main.cursor.layer
        it.main.action_go_to("evidence")
        await it.press("G", "g", "j")
        assert it.main.cursor.layer == layer
        assert pane.under_cursor() == MeasureRow(pane._measures[1])


async def test_keys_that_come_together_all_count(it: Explored) -> None:
    await it.press("s", until=lambda: it.status.state == "halted")
    for _ in range(3):
        it.main.action_command("step_layer")
    await it.until(lambda: it.main.cursor.layer == 3, "three layers")
    await it.press("escape", "slash", "tab", *"is", "enter")
    assert it.main.is_searching
    assert "in the lens's top tokens" in it.screen_text()


async def test_a_menu_is_left_before_its_list_is_there(it: Explored) -> None:
    menu = CommandMenu(it.main.KEYS[:3], it.app.keys, Offset(3, 3))
    it.app.push_screen(menu)
    assert not menu.query("#filter")
    menu.action_leave()
    await it.until(lambda: it.app.screen is it.main, "the main screen")


WITH_OWN = keymap(own=commands_of({"note": OwnCommand("f6", "Note", "true")}))


@pytest.mark.parametrize("name", WITH_OWN.screens)
def test_a_screen_has_what_its_commands_name(name: str) -> None:
    screen = screens().get(name, DepthApp)
    assert WITH_OWN.screens[name]
    for command in WITH_OWN.screens[name]:
        _, method, arguments = parse(command.effect)
        signature(getattr(screen, method)).bind(screen, *arguments)
        if command.why_not:
            signature(getattr(screen, command.why_not)).bind(screen)
        assert not command.when or isinstance(getattr(screen, command.when), property), command.name
