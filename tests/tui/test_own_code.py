"""Python code of a model, which no file can let run: the person at the keyboard is asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import pytest
from textual.widgets import Input, Static

from depthtui.data.run import Prompt
from depthtui.data.run_settings import Drawing, ModelSpec, RunSettings
from depthtui.data.saved_session import SavedRun, SavedSession
from depthtui.data.session_files import SessionFolder
from depthtui.settings import Settings
from depthtui.tui.screens.dialogs import code_dialog
from depthtui.tui.screens.dialogs.ask import Ask
from depthtui.tui.screens.dialogs.code_dialog import NO, CodeDialog
from depthtui.tui.screens.dialogs.model_picker import ModelPicker
from depthtui.tui.screens.dialogs.sweep_list import SweepList
from depthtui.tui.screens.main_screen import MainScreen
from depthtui.tui.screens.sweep_screen import SweepScreen
from depthtui.tui.state.phase import CodeQuestion
from tests.builders.engines import ScriptedEngine, WorkerEngine
from tests.builders.models import model_info
from tests.builders.own_code import OwnCode, model_with_code
from tests.hostile import HOSTILE
from tests.sweep.sweeps import make_plan, sweep
from tests.tiny_models import tiny_folder
from tests.tui.app_helpers import Explored, explore
from tests.tui.test_sweep import show, surveyed


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OwnCode:
    """A model with code; the question about it can be agreed to at once."""
    monkeypatch.setattr(code_dialog, "SECONDS_TO_READ", 0.01)
    return model_with_code(tmp_path, monkeypatch)


@asynccontextmanager
async def explorer_of(tmp_path: Path, trusted: Sequence[ModelSpec] = ()) -> AsyncIterator[Explored]:
    """An explorer with a real engine that has opened a model without code."""
    settings = Settings(cache_dir=tmp_path / "cache")
    spec = ModelSpec(str(plain_model(tmp_path)))
    async with explore(tmp_path, WorkerEngine, settings=settings, spec=spec, trusted=trusted) as it:
        yield it


def plain_model(tmp_path: Path) -> Path:
    """The folder of a model without code."""
    parent = tmp_path / "plain"
    parent.mkdir()
    return tiny_folder(parent)


def strangers_sweep(own_code: OwnCode, path: Path) -> Path:
    """A folder of a sweep of which one of two prompts is there."""
    plan = make_plan((str(own_code.folder),), ("commonsense",), Drawing(examples=2))
    sweep(plan, path, ScriptedEngine())
    manifest = path / "sweep.json"
    body = json.loads(manifest.read_text())
    (path / "records" / body["cells"][0]["records"].pop()).unlink()
    manifest.write_text(json.dumps(body))
    return path


async def open_sweep(it: Explored, folder: Path) -> SweepScreen:
    """Press S and o, and type a folder."""
    screen = await show(it)
    await it.press("o", until=SweepList)
    field = it.app.screen.query_one("#name", Input)
    field.value = str(folder)
    field.focus()
    await it.press("enter")
    await it.until(lambda: it.app.screen is screen, "the sweep")
    await surveyed(it, screen)
    return screen


async def asked(it: Explored, own_code: OwnCode) -> CodeDialog:
    """Wait for the question, which names the model and its folder before anything ran."""
    await it.until(lambda: isinstance(it.app.screen, CodeDialog), "the question")
    dialog = it.app.screen
    assert isinstance(dialog, CodeDialog)
    for name in ("#model", "#folder"):
        assert str(dialog.query_one(name, Static).content) == str(own_code.folder)
    assert dialog.listing.highlighted == 0
    assert not own_code.has_run
    return dialog


async def say_yes(it: Explored, dialog: CodeDialog) -> None:
    await it.until(lambda: not dialog.listing.get_option_at_index(1).disabled, "yes can be said")
    await it.press("down", "enter")
    await it.until(lambda: it.app.screen is not dialog, "the answer")


async def open_model(it: Explored, own_code: OwnCode) -> None:
    """Press m, and type the model's folder."""
    await it.press("m", until=ModelPicker)
    name = it.app.screen.query_one("#name", Input)
    name.value = str(own_code.folder)
    name.focus()
    await it.press("enter")


def is_open(it: Explored, own_code: OwnCode) -> bool:
    model = it.app.explorer.engine.model
    return model is not None and model.spec.name == str(own_code.folder)


async def test_enter_on_a_row_of_a_strangers_sweep_asks(own_code: OwnCode, tmp_path: Path) -> None:
    folder = strangers_sweep(own_code, tmp_path / "stranger")
    async with explorer_of(tmp_path) as it:
        screen = await open_sweep(it, folder)
        prompt = screen.row.first[1].prompt
        await it.press("enter")
        await asked(it, own_code)
        await it.press("enter", until=MainScreen)
        assert not own_code.has_run
        assert not is_open(it, own_code)
        # What was asked for is done after a yes.
        await it.press("b", "S")
        await it.until(lambda: isinstance(it.app.screen, SweepScreen) and it.app.screen.rows)
        await it.press("enter")
        await say_yes(it, await asked(it, own_code))
        await it.until(lambda: it.session.current.prompt == prompt, "its prompt")
        await it.ready()
        assert it.session.current.model.architecture == "OwnForCausalLM"
        assert own_code.has_run


async def test_going_on_with_a_strangers_sweep_runs_no_code_until_the_model_is_trusted(
    own_code: OwnCode, tmp_path: Path
) -> None:
    folder = strangers_sweep(own_code, tmp_path / "stranger")
    async with explorer_of(tmp_path) as it:
        screen = await open_sweep(it, folder)
        await it.press("r")
        await it.until(lambda: screen.sweep.stage == "done", "the end of the sweep")
        assert "--trust-remote-code" in screen.sweep.failures[0].message
        assert not own_code.has_run
        await it.press("escape")
        await open_model(it, own_code)
        await say_yes(it, await asked(it, own_code))
        await it.until(lambda: is_open(it, own_code), "the model")
        await it.ready()
        await show(it)
        await it.press("r")
        await it.until(lambda: it.app.explorer.work.sweep.stage == "done", "the end of the sweep")
        assert it.app.explorer.work.sweep.failures == []
        assert it.app.explorer.work.sweep.n_done == 2
    assert "trust_remote" not in (folder / "sweep.json").read_text()


async def test_a_strangers_session_asks(own_code: OwnCode, tmp_path: Path) -> None:
    spec = ModelSpec(str(own_code.folder))
    run = SavedRun(model_info(spec), Prompt("one two"), RunSettings(), "2026-01-02T03:04:05")
    saved = SavedSession(
        "2026-01-02T03:04:05", (run,), 0, 0, 0, "kl", "verdict", "heatmap", 0.5, 0.3
    )
    writer = SessionFolder(tmp_path / "cache").create(saved, datetime(2026, 1, 2, 3, 4))
    writer.close()
    async with explorer_of(tmp_path) as it:
        await it.press("b", "R")
        await it.press("enter")
        # Whether its model is loaded at all is a question of its own.
        await it.until(lambda: isinstance(it.app.screen, Ask), "the first question")
        await it.press("b")
        await asked(it, own_code)
        await it.press("escape", until=MainScreen)
        assert not own_code.has_run


async def test_no_leaves_the_model_before(
    own_code: OwnCode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with explorer_of(tmp_path) as it:
        before = it.app.explorer.engine.model

        async def refuse(*keys: str) -> None:
            await open_model(it, own_code)
            await asked(it, own_code)
            await it.press(*keys, until=MainScreen)
            assert it.app.explorer.engine.model == before
            assert it.app.explorer.can_run
            assert not own_code.has_run

        await refuse("enter")
        await refuse("escape")
        # Keys that come with the question do not agree.
        monkeypatch.setattr(code_dialog, "SECONDS_TO_READ", 1e6)
        await refuse("down", "j", "G", "end", "enter")


async def test_the_command_lines_model_is_not_asked_about(
    own_code: OwnCode, tmp_path: Path
) -> None:
    async with explorer_of(tmp_path, trusted=[ModelSpec(str(own_code.folder))]) as it:
        await open_model(it, own_code)
        await it.until(lambda: is_open(it, own_code), "the model")
        assert own_code.has_run


async def test_hostile_names_are_shown_as_they_are(tmp_path: Path) -> None:
    async with explore(tmp_path, size=(80, 24)) as it:
        text = " ".join(HOSTILE.values())
        it.app.ask_for_trust(CodeQuestion(ModelSpec(text), text))
        await it.until(lambda: NO in it.screen_text(), "the choices")
        await it.press("escape", until=MainScreen)
