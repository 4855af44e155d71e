"""The settings, listed and changed by their keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from textual.widgets import Input

from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.palettes import PALETTES
from depthtui.settings import Settings, load_settings
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.screens.dialogs.keys_screen import KeysScreen
from depthtui.tui.screens.dialogs.looks_picker import LooksPicker
from depthtui.tui.screens.dialogs.settings_screen import ChoicePicker, SettingsScreen
from tests.hostile import HOSTILE
from tests.tui.app_helpers import Explored, explore
from tests.tui.test_dialogs import opened


def at(it: Explored, name: str) -> None:
    """Put the cursor on a setting."""
    screen = it.app.screen
    assert isinstance(screen, SettingsScreen)
    screen.fill(name)


async def test_a_change_applies_at_once_and_is_written(it: Explored) -> None:
    path = it.folder / "settings.toml"
    path.write_text("# mine\n[other]\nx = 1\n")
    await it.resize(80, 24)
    await opened(it, "comma", SettingsScreen)
    await it.press("slash")
    await it.press(*"klr")
    assert "No setting matches “klr”." in it.screen_text()
    await it.press("backspace", "enter", "enter")
    field = it.app.screen.query_one("#value", Input)
    await it.press(*"25", "enter")
    assert "kl_threshold must be a number from 0 to 1." in it.screen_text()
    await it.press("ctrl+s")
    assert (field.display, field.value) == (True, "25")
    assert "esc leaves it as it was" in it.screen_text()
    await it.press("home", *"0.")
    assert "must be" not in it.screen_text()
    await it.press("enter")
    assert it.app.explorer.settings.kl_threshold == 0.25
    assert "not written" in it.screen_text()
    await it.press("ctrl+s", until="1 setting written to")
    assert "esc closes" in it.screen_text()
    assert load_settings(path).kl_threshold == 0.25
    assert "# mine" in path.read_text()
    await it.press("escape", "escape")
    assert it.app.screen is it.main
    assert not it.toasts()


async def test_a_value_is_of_the_setting_that_it_was_opened_for(it: Explored) -> None:
    await opened(it, "comma", SettingsScreen)
    field = it.app.screen.query_one("#value", Input)
    at(it, "kl_threshold")
    await it.press("enter", *"25")
    # As the mouse does.
    at(it, "lens_top_k")
    await it.until(lambda: "kl_threshold must be" in it.screen_text(), "the mistake")
    assert (it.app.screen.highlighted_value, field.value) == ("kl_threshold", "25")
    assert field.has_focus
    # As a filter does that hides the row.
    it.app.screen.query_one("#filter", Input).value = "seed"
    await it.until(lambda: not it.app.screen.words, "the whole list")
    assert it.app.screen.highlighted_value == "kl_threshold"
    assert "kl_threshold must be" in it.screen_text()
    field.value = "0.35"
    at(it, "seed")
    await it.until(lambda: not field.display, "the end of the field")
    assert it.app.explorer.settings.kl_threshold == 0.35
    at(it, "kl_threshold")
    await it.press("enter", *"0.45", "escape")
    await it.until(lambda: not field.display, "the end of the field")
    assert it.app.explorer.settings.kl_threshold == 0.35
    await it.press("enter", *"0.25")
    it.app.screen.query_one("#filter", Input).value = "no such words"
    await it.pilot.pause()
    await field.action_submit()
    await it.until(lambda: it.app.explorer.settings.kl_threshold == 0.25, "the value")


async def test_switches_turn_long_lists_are_picked_from_and_panes_follow(it: Explored) -> None:
    await opened(it, "comma", SettingsScreen)
    settings = it.app.explorer.settings
    for name in ("include_first_token", "layer_order", "ramp", "lens"):
        at(it, name)
        await it.press("enter")
    at(it, "lens")
    await it.press("d")
    at(it, "theme")
    await it.press("enter", until=LooksPicker)
    await it.press("down", until=lambda: it.app.theme == "depth-light")
    await it.press("shift+tab", "shift+tab", until=SettingsScreen)
    assert it.app.theme == "depth-dark"
    await it.press("tab", "tab", "down", "enter", until=lambda: it.app.theme == "depth-light")
    await it.press("end", "enter", "tab", until=SettingsScreen)
    at(it, "measure")
    await it.press("enter", until=ChoicePicker)
    await it.press("down", "enter")
    await it.until(lambda: it.app.explorer.settings.measure == it.main.measure.name)
    now = it.app.explorer.settings
    assert now == replace(
        settings,
        include_first_token=False,
        layer_order="down",
        ramp="truecolor",
        theme="depth-light",
        palette=list(PALETTES)[-1],
        measure="attention_norm_ratio",
        last_model=now.last_model,
        recent_models=now.recent_models,
    )
    assert it.main.layer_order == "down"
    assert {pane.view.ramp for pane in it.main.query(HeatmapPane)} == {"truecolor"}
    # Looks are kept at once, the rest is written by a key.
    assert load_settings(it.folder / "settings.toml") == replace(
        Settings(), recent_models=now.recent_models, theme=now.theme, palette=now.palette
    )


async def test_what_is_on_the_screen_stays_where_something_else_is_changed(it: Explored) -> None:
    it.main.measure = MEASURE_BY_NAME["direct_logits"]
    await opened(it, "comma", SettingsScreen)
    at(it, "chat_template")
    await it.press("enter")
    assert it.app.explorer.settings.chat_template
    assert it.main.measure.name == "direct_logits"


async def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").mkdir()
    async with explore(tmp_path) as it:
        await opened(it, "comma", SettingsScreen)
        await it.until(lambda: "cannot be read" in it.screen_text())
        at(it, "chat_template")
        await it.press("enter", "f5", until="cannot be read")
        await it.press("escape")
        await it.until(lambda: any("file yet: chat_template" in said for said in it.toasts()))


async def test_hostile_values_are_text(tmp_path: Path) -> None:
    texts = " ".join(text for text in HOSTILE.values() if text)
    # Half of a pair is in no file.
    hostile = texts.encode(errors="ignore").decode()
    settings = Settings(
        theme=hostile, last_model=hostile, recent_models=(hostile,), keys={"export": hostile}
    )
    async with explore(tmp_path, settings=replace(settings, cache_dir=tmp_path)) as it:
        await opened(it, "comma", SettingsScreen)
        await it.press("down")
        assert "\x1b" not in it.screen_text()
        await it.press("tab", until=KeysScreen)
        await it.press("down")
        assert "\x1b" not in it.screen_text()
        await it.press("escape")
