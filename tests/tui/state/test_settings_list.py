"""The settings as a list: values, where they come from, and what is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError
from depthtui.options import WrongValue, options_of
from depthtui.settings import Settings, load_settings
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.settings_list import OWN_GROUP, EffectTime, SettingsList, Source, effect_of
from tests.builders.engines import FakeEngine
from tests.test_settings import EVERYTHING
from tests.tui.state.test_explorer import SilentHost

THEMES = {"theme": {"depth-dark": "", "nord": "nord"}}


def listed(path: Path, text: str = "", **given: object) -> SettingsList:
    """The list of a session that began with this file and this command line."""
    path.write_text(text)
    settings = load_settings(path)
    explorer = Explorer(ModelSpec(), settings, SilentHost(FakeEngine(silent=True)), given)
    explorer.change_session(**given)
    return SettingsList(explorer, path, THEMES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


def test_every_option_is_listed_once_under_its_group(path: Path) -> None:
    groups = dict(listed(path).rows())
    assert list(groups) == [OWN_GROUP, "Cache", "Runs", "Depths"]
    names = [row.name for rows in groups.values() for row in rows]
    assert sorted(names) == sorted(options_of(Settings))
    assert all(row.help.endswith(".") for rows in groups.values() for row in rows)
    assert [row.name for row in groups["Runs"]] == ["lens_top_k", "seed", "chat_template"]


@pytest.mark.parametrize("name", sorted(options_of(Settings).keys() - {"keys", "commands"}))
def test_what_is_typed_is_what_was_shown(path: Path, name: str) -> None:
    settings = listed(path)
    settings.choose(name, getattr(EVERYTHING, name))
    typed = settings.typed(name)
    settings.reset(name)
    settings.type(name, typed)
    assert settings.value(name) == getattr(EVERYTHING, name)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("lens_top_k", "0", "a whole number from 1 to 1000"),
        ("kl_threshold", "1.5", "a number from 0 to 1"),
        ("cache_limit", "plenty", 'a size such as "10GB"'),
        ("recent_models", "demo", "a list of names"),
        ("recent_models", "[" * 100_000, "a list of names"),
        ("export_dir", "", "a folder"),
    ],
)
def test_what_cannot_be_is_said_and_changes_nothing(
    path: Path, name: str, text: str, said: str
) -> None:
    settings = listed(path)
    before = settings.value(name)
    with pytest.raises(WrongValue, match=said):
        settings.type(name, text)
    assert settings.value(name) == before
    assert not settings.unwritten


def test_it_says_where_values_come_from(path: Path) -> None:
    settings = listed(path, "lens_top_k = 3\nseed = 7\n", use_cache=False, seed=9)
    sources = {name: settings.row(name).source for name in options_of(Settings)}
    assert sources["lens_top_k"] is Source.FILE
    assert sources["use_cache"] is sources["seed"] is Source.COMMAND_LINE
    assert sources["lens"] is Source.DEFAULT
    settings.type("kl_threshold", "0.4")
    assert settings.row("kl_threshold").source is Source.UNWRITTEN
    settings._explorer.reading.turn_threshold("overlap_threshold", 1)
    assert settings.row("overlap_threshold").source is Source.SESSION


def test_only_what_was_changed_is_written(path: Path) -> None:
    text = "# mine\ntop_k = 3 # three\n"
    settings = listed(path, text, use_cache=False)
    settings.type("seed", "9")
    settings.cycle("lens")
    settings._explorer.reading.turn_threshold("kl_threshold", 1)
    settings.write()
    assert path.read_text() == text + 'lens = "affine"\nseed = 9\n'
    assert not settings.unwritten
    assert settings.row("seed").source is Source.FILE


def test_what_is_set_back_needs_no_writing(path: Path) -> None:
    settings = listed(path, "seed = 7\n")
    settings.type("seed", "8")
    assert settings.unwritten == {"seed": 8}
    settings.type("seed", "7")
    assert not settings.unwritten
    settings.reset("seed")
    settings.write()
    assert path.read_text() == ""


def test_what_the_engine_began_with_waits_for_the_next_start(path: Path) -> None:
    settings = listed(path)
    settings.type("cache_limit", "2 GiB")
    assert settings._explorer.settings.cache_limit == Settings.cache_limit
    assert (settings.row("cache_limit").value, effect_of("cache_limit")) == (
        "2GiB",
        EffectTime.NEXT_START,
    )
    settings.write()
    assert load_settings(path).cache_limit == 2 << 30
    assert settings.row("cache_limit").source is Source.FILE


def test_thresholds_come_back_to_what_was_chosen(path: Path) -> None:
    settings = listed(path)
    explorer = settings._explorer
    settings.type("kl_threshold", "0.25")
    assert not explorer.reading.thresholds_turned
    explorer.reading.turn_threshold("kl_threshold", 2)
    explorer.reading.set(**explorer.reading.first)
    assert explorer.settings.kl_threshold == 0.25


def test_choices_have_the_names_that_people_know(path: Path) -> None:
    settings = listed(path)
    assert settings.row("theme").value == "depth-dark"
    settings.cycle("theme")
    assert settings.value("theme") == "nord"
    settings.cycle("theme")
    assert settings.value("theme") == ""
    assert settings.choices("use_cache") == {"true": True, "false": False}


def test_words_find_settings(path: Path) -> None:
    settings = listed(path)
    rows = [row for _, rows in settings.rows() for row in rows]
    found = [
        row.name for row in rows if all(word in row.words.lower() for word in ("cache", "disk"))
    ]
    assert found == ["use_cache", "cache_limit"]


def test_a_broken_file_is_told_and_left_alone(path: Path) -> None:
    settings = listed(path)
    path.write_text("lens_top_k = = 3")
    settings.read_file()
    assert "line 1" in settings.problem
    settings.type("seed", "9")
    with pytest.raises(DepthError, match="line 1"):
        settings.write()
    assert path.read_text() == "lens_top_k = = 3"
    assert settings.unwritten == {"seed": 9}
