"""The welcome of a first start: read once, closed by anything, in the way of nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from depthtui.data.protocol import Event, Progress, StartRun
from depthtui.data.run_settings import ModelSpec
from depthtui.ramps import MORE_COLOURS
from depthtui.report.reading_guide import GUIDE
from depthtui.settings import Settings, load_settings
from depthtui.tui import app as module
from depthtui.tui.screens.dialogs.help_screen import HelpScreen
from depthtui.tui.screens.dialogs.prompt_picker import PromptPicker
from depthtui.tui.screens.dialogs.welcome import STEPS, Welcome
from depthtui.tui.screens.main_screen import MainScreen
from tests.builders.engines import FakeEngine
from tests.tui.app_helpers import DrawnAtOnce, Explored, explore


def is_welcomed(it: Explored) -> bool:
    return isinstance(it.app.screen, Welcome)


async def test_any_key_or_click_goes_on_and_does_nothing_else(it: Explored) -> None:
    for size in ((120, 40), (70, 20), (200, 60)):
        await it.resize(*size)
        for key in ("r", "q", "escape", "a click"):
            it.app.action_welcome()
            await it.until(lambda: "any key goes on" in it.screen_text(), key)
            shown = it.screen_text()
            assert all(f"  {says}" in shown for says in STEPS.values()), size
            assert "Welcome to depthtui" in shown
            assert "searchable" in shown
            await (it.pilot.click(offset=(60, 15)) if key == "a click" else it.press(key))
            assert it.app.screen is it.main, key
    assert len(it.engine.sent(StartRun)) == 1
    assert it.main.layer_order == "up"


async def test_it_comes_first_and_a_key_that_it_names_does_what_it_says(tmp_path: Path) -> None:
    async with explore(tmp_path, welcomes=True) as it:
        assert is_welcomed(it)
        await it.press("p", until=PromptPicker)
        await it.press("escape", until=MainScreen)
        assert not load_settings(tmp_path / "settings.toml").welcome
        it.app.action_welcome()
        await it.press("question_mark", until=HelpScreen)


async def test_ctrl_c_quits(tmp_path: Path) -> None:
    async with explore(tmp_path, welcomes=True) as it:
        await it.press("ctrl+c", until=lambda: it.app.return_code == 0)
        assert load_settings(tmp_path / "settings.toml").welcome


async def test_the_keys_are_named_as_they_are(tmp_path: Path) -> None:
    settings = Settings(cache_dir=tmp_path, keys={"prompt": "f7", "help": "f8"})
    async with explore(tmp_path, settings=settings, welcomes=True) as it:
        shown = it.screen_text().lower()
        assert "f7" in shown
        assert "f8 tells more" in shown


async def test_the_guide_is_one_of_the_tabs_of_help(it: Explored) -> None:
    await it.resize(80, 24)
    await it.press("question_mark", "tab", until=lambda: GUIDE[0].title in it.screen_text())
    assert all(f"  {says}" in it.screen_text() for _, says in GUIDE[0].lines)
    await it.press("tab", until="Layer contribution")
    await it.press("tab", until="Every metric")
    await it.press("tab", until=HelpScreen)
    await it.press("escape")
    assert it.app.screen is it.main


async def test_a_start_after_a_kept_session_is_not_the_first(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await it.press("M", "enter")
        it.app.save_session()
    async with explore(tmp_path, welcomes=True) as it:
        assert it.app.explorer.sessions.offered is not None
        assert it.app.screen is it.main


async def test_a_file_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").mkdir()
    async with explore(tmp_path, welcomes=True) as it:
        before = it.toasts()
        await it.press("space")
        assert it.app.screen is it.main
        assert it.toasts() == before


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (120, 40)])
async def test_above_it_is_how_far_the_load_is(tmp_path: Path, size: tuple[int, int]) -> None:
    def slow(spec: ModelSpec) -> Iterator[Event]:
        yield Progress("Downloading", 46_000_000, 92_000_000, "B")

    engine = FakeEngine(load=slow)
    async with explore(
        tmp_path, lambda: engine, size, welcomes=True, wait=False, kind=DrawnAtOnce
    ) as it:
        await it.until(lambda: is_welcomed(it))
        await it.until(lambda: it.screen_text().split("\n")[0].endswith("◌ downloading 50% "))
        assert is_welcomed(it)
        assert re.search(r"▸ Downloading +46.* of 92.* MB", it.screen_text())
        assert "─   50% " in it.screen_text()


@pytest.mark.parametrize(
    ("system", "variables", "is_shown"),
    [
        # An empty NO_COLOR is none.
        ("standard", {"TMUX": "yes", "NO_COLOR": ""}, True),
        ("standard", {"SSH_CONNECTION": "yes"}, True),
        ("standard", {"TMUX": "yes", "NO_COLOR": "1"}, False),
        ("standard", {}, False),
        ("256", {"TMUX": "yes"}, False),
    ],
)
async def test_the_way_to_more_colours_is_shown_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    system: str,
    variables: dict[str, str],
    is_shown: bool,
) -> None:
    monkeypatch.setattr("textual.constants.COLOR_SYSTEM", system)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with explore(tmp_path) as it:
        assert any(MORE_COLOURS in message.text for message in it.app.messages) == is_shown
    settings = load_settings(tmp_path / "settings.toml")
    assert settings.colours_hint != is_shown
    if is_shown:
        async with explore(tmp_path, settings=settings) as it:
            assert not it.app.messages


@pytest.mark.parametrize("welcome", [True, False])
def test_whether_it_comes_is_a_setting(monkeypatch: pytest.MonkeyPatch, welcome: bool) -> None:
    told = []
    monkeypatch.setattr(module.DepthApp, "run", lambda app: told.append(app._welcomes))
    monkeypatch.setattr(module.gc, "freeze", lambda: None)
    module.main(ModelSpec(), Settings(welcome=welcome))
    assert told == [welcome]
