"""What-ifs that are kept: in the session's list, under their names, and in reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.widgets import Checkbox, Input, Static

from depthtui.data.pool import POOLS
from depthtui.data.protocol import ModelLoaded, StartRun, Stop, WriteModel
from depthtui.data.run_settings import Repeated, RunSettings, Skip
from depthtui.tui.screens.dialogs.export_screen import ExportScreen
from depthtui.tui.screens.dialogs.run_list import RunList
from depthtui.tui.screens.main_screen import MainScreen
from depthtui.tui.screens.what_if_screen import WhatIfScreen
from depthtui.tui.state.what_if import Stack
from tests.builders.engines import FakeEngine
from tests.builders.models import LAYERS, model_info
from tests.tui.app_helpers import Explored, explore
from tests.tui.test_what_if import idle, only_clean, open_what_if

LAST_TEN = tuple(Skip(layer) for layer in range(20, LAYERS))


async def without_the_last_ten(it: Explored) -> WhatIfScreen:
    screen = await open_what_if(it)
    await it.press("2", "0", "G", "E")
    await idle(it)
    return screen


@pytest.mark.parametrize("off", [(), LAST_TEN, (Skip(0, "mlp"), Skip(3), Skip(4, "attention"))])
def test_a_stack_is_made_of_a_runs_setting(off: tuple[Skip, ...]) -> None:
    assert Stack.of(LAYERS, RunSettings(skipped=off)).skipped == off


async def test_k_puts_the_changed_run_into_the_list_once(it: Explored) -> None:
    await it.resize(200, 60)
    clean = it.session.current
    await without_the_last_ten(it)
    await it.press("K")
    assert "Kept as run 2, without layers 20-29" in it.toasts()[-1]
    kept = it.session.runs[-1]
    assert (kept.number, kept.settings.skipped) == (2, LAST_TEN)
    assert (it.session.current, it.session.marked) == (clean, kept)
    await it.press("K")
    assert it.session.runs == [clean, kept]
    await it.press("escape", "b", until=RunList)
    assert "without layers 20-29 · " in it.screen_text()
    await it.press("escape", until=MainScreen)
    await without_the_last_ten(it)
    await it.press("K")
    assert [run.number for run in it.session.runs] == [1, 2]


async def test_there_is_nothing_to_keep_before_a_change_is_done(it: Explored) -> None:
    await open_what_if(it)
    await it.press("K")
    assert "Every layer is on" in it.toasts()[-1]
    it.engine.manual = True
    await it.press("x")
    it.engine.advance(3)
    await it.press("K")
    assert "still running" in it.toasts()[-1]
    assert len(it.session.runs) == 1


async def test_a_change_that_failed_is_not_kept(tmp_path: Path) -> None:
    async with explore(tmp_path, lambda: FakeEngine(results=only_clean)) as it:
        await open_what_if(it)
        await it.press("x")
        await idle(it)
        await it.press("K")
        assert "did not run" in it.toasts()[-1]
        assert len(it.session.runs) == 1


async def test_a_kept_run_goes_on_as_a_what_if(it: Explored) -> None:
    clean = it.session.current
    await without_the_last_ten(it)
    await it.press("K", "escape")
    kept = it.session.runs[-1]
    it.session.select(kept)
    it.main.redraw()
    await it.until(lambda: "without layers 20-29" in it.screen_text().split("\n")[0])
    await it.press("x", until=WhatIfScreen)
    await idle(it)
    what_if = it.app.screen.what_if
    assert what_if.clean is clean.result
    assert what_if.stack.skipped == LAST_TEN
    await it.press("escape")
    it.session.delete(clean)
    it.session.select(kept)
    await it.press("x")
    assert isinstance(it.app.screen, MainScreen)
    assert "every layer on is gone" in it.toasts()[-1]


async def test_export_has_clean_and_changed(it: Explored) -> None:
    await without_the_last_ten(it)
    await it.press("e", until=ExportScreen)
    assert "clean and changed" in it.screen_text()
    await it.press("f5", until=WhatIfScreen)
    folder = it.folder / "exports"
    (page,) = folder.glob("*.md")
    assert "without layers 20-29" in page.read_text().replace("\\", "")
    assert "| loss, nats |" in page.read_text()
    assert "26%" in page.read_text()
    settings = [json.loads(path.read_text())["settings"] for path in folder.glob("*.json")]
    assert sorted("skipped" in setting for setting in settings) == [False, True]
    # The session has still one run.
    assert len(it.session.runs) == 1


async def export_model(it: Explored) -> None:
    """Export the what-if on the screen as `mine`, the model that is left too."""
    await it.press("e", until=ExportScreen)
    it.app.screen.query_one("#file-name", Input).value = "mine"
    it.app.screen.query_one("#model", Checkbox).value = True
    await it.press("f5", until=WhatIfScreen)


async def test_the_model_that_is_left_is_exported(it: Explored) -> None:
    await without_the_last_ten(it)
    it.engine.manual = True
    await export_model(it)
    folder = it.folder / "exports"
    assert "layer_range: [0, 20]" in (folder / "mine.yml").read_text()
    (command,) = it.engine.sent(WriteModel)
    assert command.left_out == tuple(range(20, 30))
    assert command.folder == str(folder / "mine-model")
    it.engine.advance(1)
    await it.until(lambda: "writing the model 25%" in it.screen_text())
    assert not it.app.explorer.can_run
    it.engine.advance()
    await it.until(lambda: it.app.explorer.can_run)
    assert "20 layers, 1,000 parameters in" in it.toasts()[-1]


async def test_the_model_is_healed_instead_of_cut_alone(it: Explored) -> None:
    await it.resize(160, 50)
    await without_the_last_ten(it)
    await it.press("e", until=ExportScreen)
    it.app.screen.query_one("#file-name", Input).value = "mine"
    cut, healed = (it.app.screen.query_one(f"#{name}", Checkbox) for name in ("model", "healed"))
    cut.value = True
    note = it.app.screen.query_one("#note", Static)
    await it.until(lambda: "-model" in str(note.content))
    healed.value = True
    await it.until(lambda: "-healed" in str(note.content))
    assert not cut.value
    await it.press("f5", until=lambda: it.engine.sent(WriteModel))
    (command,) = it.engine.sent(WriteModel)
    assert (command.heals, command.left_out) == (True, tuple(range(20, 30)))
    assert command.folder == str(it.folder / "exports" / "mine-healed")
    await it.until(lambda: "What if · healed, KL 0.570 → 0.400" in it.screen_text())
    assert "healed: layer 3, by a map" in it.toasts()[-1]
    await it.press("u", until=lambda: "healed, KL" not in it.screen_text())


async def test_escape_stops_writing_the_model_and_the_layers_stay_off(it: Explored) -> None:
    await without_the_last_ten(it)
    it.engine.manual = True
    await export_model(it)
    it.engine.advance(1)
    await it.until(lambda: "esc stop" in it.screen_text())
    await it.press("escape")
    assert it.engine.sent(Stop)
    assert isinstance(it.app.screen, WhatIfScreen)
    assert len(it.app.screen.what_if.stack.skipped) == 10


async def test_a_run_with_layers_twice_is_kept_and_exported(it: Explored) -> None:
    await it.resize(200, 60)
    clean = it.session.current
    await open_what_if(it)
    await it.press("5", "G", "3", "R")
    await idle(it)
    await it.press("K")
    assert "Kept as run 2, layers 5-7 twice" in it.toasts()[-1]
    kept = it.session.runs[-1]
    assert kept.settings.repeated == (Repeated(5, 7),)
    await export_model(it)
    folder = it.folder / "exports"
    recipe = (folder / "mine.yml").read_text()
    assert ("layer_range: [0, 8]" in recipe, "layer_range: [5, 30]" in recipe) == (True, True)
    (command,) = it.engine.sent(WriteModel)
    assert (command.left_out, command.repeated) == ((), (Repeated(5, 7),))
    assert not command.heals
    (page,) = folder.glob("*.md")
    assert "layers 5-7 twice" in page.read_text().replace("\\", "")
    summaries = [json.loads(path.read_text())["settings"] for path in folder.glob("*.json")]
    assert [one["repeated"] for one in summaries if "repeated" in one] == [
        [{"first": 5, "last": 7}]
    ]
    await it.until(lambda: it.app.explorer.can_run)
    await it.press("escape")
    it.session.select(kept)
    it.main.redraw()
    await it.until(lambda: "layers 5-7 twice" in it.screen_text().split("\n")[0])
    await it.press("x", until=WhatIfScreen)
    what_if = it.app.screen.what_if
    assert what_if.clean is clean.result
    assert what_if.stack.repeated == (Repeated(5, 7),)


async def test_an_export_whose_name_is_taken_writes_nothing(it: Explored) -> None:
    folder = it.folder / "exports"
    await without_the_last_ten(it)
    await it.press("e", until=ExportScreen)
    it.app.screen.query_one("#file-name", Input).value = "mine"
    it.app.screen.query_one("#model", Checkbox).value = True
    note = it.app.screen.query_one("#note", Static)
    for taken in ("mine.yml", "mine-model"):
        (folder / taken).mkdir(parents=True)
        await it.press("f5")
        await it.until(lambda t=taken: f"{folder / t} exists already" in str(note.content))
        assert [path.name for path in folder.iterdir()] == [taken]
        (folder / taken).rmdir()
    assert not it.engine.sent(WriteModel)


async def test_a_model_that_cannot_be_written_costs_nothing(it: Explored) -> None:
    await without_the_last_ten(it)
    it.engine.fails_at = "writing"
    it.app.explorer.write_model([3], it.folder / "model")
    await it.until(lambda: "Nothing was written [/]." in it.toasts())
    assert it.app.explorer.can_run


async def test_what_is_left_is_not_always_a_model(it: Explored) -> None:
    await it.resize(160, 50)
    await without_the_last_ten(it)
    for keys, words in (
        ("c", "no layer is off"),
        ("aR", "is off, and other layers run twice"),
        ("gE", "no layer is on"),
    ):
        await it.press("c", *keys)
        await idle(it)
        await it.press("e", until=ExportScreen)
        assert words in it.screen_text()
        assert all(it.app.screen.query_one(f"#{name}").disabled for name in ("yml", "model"))
        await it.press("escape")


async def test_a_model_with_parts_off_is_exported_and_no_recipe(it: Explored) -> None:
    await it.resize(160, 50)
    await open_what_if(it)
    await it.press("3", "G", "a", "5", "G", "m", "7", "G", "x")
    await idle(it)
    await it.press("e", until=ExportScreen)
    assert "the attention of layer 3 is off, which is no whole layer" in it.screen_text()
    disabled = [it.app.screen.query_one(f"#{name}").disabled for name in ("yml", "healed")]
    assert disabled == [True, True]
    await it.press("escape")
    await export_model(it)
    (command,) = it.engine.sent(WriteModel)
    assert (command.piece, command.left_out) == ("part", (6, 11, 14, 15))
    await it.until(lambda: it.app.explorer.can_run)
    assert "saves neither memory nor time" in it.toasts()[-1]
    assert "attention 3, 7; MLP 5, 7" in it.toasts()[-1]


async def test_export_of_a_pruning_has_every_prompt(it: Explored) -> None:
    await it.press("n")
    await it.ready()
    screen = await open_what_if(it)
    await it.press("3", "p")
    await idle(it)
    results = screen.what_if.results
    assert [bool(result.settings.skipped) for result in results] == [False, False, True, True]
    assert results[0].prompt == results[2].prompt != results[1].prompt == results[3].prompt
    await it.press("e", until=ExportScreen)
    for title in ("clean and changed", f"clean and changed, {POOLS['task']}"):
        assert title in it.screen_text()
    it.app.screen.query_one("#file-name", Input).value = "all"
    await it.press("f5", until=lambda: it.app.screen is screen)
    (path,) = (it.folder / "exports").glob("all*without*.json")
    assert [group["prompts"] for group in json.loads(path.read_text())["groups"]] == [[0], [1]]


async def test_without_counts_there_is_no_share(tmp_path: Path) -> None:
    unknown = {f"{part}_parameters": () for part in ("layer", "attention", "mlp")}

    def load(spec):  # type: ignore[no-untyped-def]
        yield ModelLoaded(model_info(spec, **unknown))

    async with explore(tmp_path, lambda: FakeEngine(load)) as it:
        await without_the_last_ten(it)
        assert it.engine.sent(StartRun)
        assert "parameters" not in it.screen_text()


async def test_the_ranking_leaves_token_0_out_where_the_means_do(it: Explored) -> None:
    await it.read(include_first_token=False)
    screen = await open_what_if(it)
    measured = screen.what_if.measured
    assert measured is not None
    # Token 0 alone would make the last layer the least useful one.
    measured.block_influence[:, 0] = 0
    measured.block_influence[LAYERS - 1, 0] = -1e6
    least = screen.what_if
    await it.press("p")
    assert least.stack.off[LAYERS - 1] == frozenset()


async def test_the_outcome_is_titled_by_what_is_off_and_has_its_share_of_parameters(
    it: Explored,
) -> None:
    await without_the_last_ten(it)
    line = next(part for part in it.screen_text().split("\n") if "parameters" in part)
    assert "74%" in line
    assert " without layers 20-29 ─╯" in it.screen_text()
    for layer in range(0, 20, 2):
        await it.press(*(str(layer) if layer else ""), "G" if layer else "g", "x")
    await idle(it)
    assert "without layers 0, 2, 4, 6" in it.screen_text()


async def test_a_kept_run_is_no_clean_run_of_its_prompt(it: Explored) -> None:
    clean = it.session.current
    await without_the_last_ten(it)
    await it.press("K", "escape", "n", until=lambda: it.session.current is not clean)
    await it.ready()
    it.session.delete(clean)
    screen = await open_what_if(it)
    await it.press("p")
    await idle(it)
    assert [effect.clean for effect in screen.what_if.effects] == [it.session.current.result]
