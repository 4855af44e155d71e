"""The settings file, and where things are kept."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from depthtui import settings as module
from depthtui.data.own_commands import OwnCommand
from depthtui.data.run_settings import RunSettings, SummarySettings, Writing
from depthtui.errors import DepthError
from depthtui.options import options_of
from depthtui.report.formats import FORMATS
from depthtui.settings import (
    EXPORT_FORMATS,
    Settings,
    default_cache_dir,
    load_settings,
    save_settings,
)
from depthtui.sizes import about, format_size, parse_size
from tests.odd_files import ODD_FILES, put_odd_file


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config" / "settings.toml"
    path.parent.mkdir()
    monkeypatch.setenv("DEPTHTUI_CONFIG", str(path))
    return path


EVERYTHING = Settings(
    theme="nord",
    cache_dir=Path("/somewhere"),
    use_cache=False,
    cache_limit=5 * 10**9,
    activation_limit=0,
    cache_activations=False,
    export_dir=Path("/elsewhere"),
    lens_top_k=3,
    kl_threshold=0.25,
    overlap_threshold=0.75,
    include_first_token=False,
    lens="affine",
    seed=7,
    chat_template=True,
    measure="kl",
    layer_order="down",
    ramp="glyph",
    palette="amber",
    copy_command="pbcopy -pboard general",
    notify=90,
    plain=True,
    welcome=False,
    colours_hint=False,
    last_model='odd "name" \\ é',
    recent_models=("/a folder", "demo"),
    export_formats=("md", "screen"),
    keys={"export": "ctrl+e", "quit": "q,ctrl+q"},
    commands={
        "note": OwnCommand("f6", 'Note "it"', "note {model}\n", in_browser=True),
        "other": OwnCommand("f7", "Other", "true"),
    },
)


def test_without_a_file_there_are_the_defaults(file: Path) -> None:
    assert load_settings() == Settings()
    assert not file.exists()


def test_what_is_saved_comes_back(file: Path) -> None:
    for setting in fields(Settings):
        assert getattr(EVERYTHING, setting.name) != getattr(Settings(), setting.name), setting.name
    assert save_settings(EVERYTHING) == file
    assert load_settings() == EVERYTHING
    save_settings(Settings())
    assert load_settings() == Settings()


def test_only_what_differs_is_written_and_nothing_lies_beside_it(file: Path) -> None:
    save_settings(Settings(lens_top_k=3))
    assert file.read_text() == "lens_top_k = 3\n"
    assert list(file.parent.iterdir()) == [file]


CHANGED = Settings(
    lens_top_k=7, theme="nord", recent_models=("x", 'y "q"'), keys={"help": "f1", "quit": "Q"}
)


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ("", ""),
        ("# only", "# only"),
        ("# head\nlens_top_k = 3  # mine\n\n# sec\nseed=1\n", "lens_top_k = 7  # mine"),
        ("lens_top_k = 7 # as it is\n[also]\nx = 'y' # z", "lens_top_k = 7 # as it is"),
        ("[also]\nx = 'y' # z\n[keys]\n# k\nquit = 'Q' # e", "# k\nquit = 'Q' # e"),
        ('keys.quit = "Q"\nkeys.export = "e"\n[other]\na.b = 1\n', 'keys.quit = "Q"'),
        ('keys = { export = "e", quit = "Q" }\n', 'quit = "Q"'),
        ("# head\r\nseed = 3\r\n[also]\r\nx = 1\r\n", "# head\r\n"),
        ("\"lens_top_k\" = 3\n'seed' = 4\n", '"lens_top_k" = 7'),
        ('mine = """a\nlens_top_k = 3"""\nlast_model = """b\nc"""', '"""a\nlens_top_k = 3"""'),
        ("recent_models = [\n 'demo', # one\n]\n[a.b]\nx=1\n[keys]\n[a.c]\ny=2", "[a.c]\ny=2"),
        ('[[t]]\nz=1\n[t.u]\ny=1\n[[t]]\nz=2\n[ "keys" ]\n"export" = "e"', '[ "keys" ]'),
        ('cache_limit = "2 GiB" # "#"\ncache_dir = "/x" # y\n', 'cache_limit = "2 GiB" # "#"'),
    ],
)
def test_what_is_not_changed_stays_as_it_is_written(file: Path, text: str, stays: str) -> None:
    file.write_bytes(text.encode())
    expected = replace(CHANGED, cache_limit=load_settings().cache_limit)
    save_settings(expected)
    assert load_settings() == expected
    assert stays.encode() in file.read_bytes()
    before = file.read_bytes()
    save_settings(expected)
    assert file.read_bytes() == before


def test_unknown_settings_are_told_and_kept(file: Path) -> None:
    file.write_text('from_the_future = 3\nlens_top_k = 4\n[also]\nx = "y"\n')
    notices: list[str] = []
    settings = load_settings(on_notice=notices.append)
    assert settings == Settings(lens_top_k=4)
    assert len(notices) == 1
    assert "also, from_the_future" in notices[0]
    save_settings(Settings(seed=1))
    assert "from_the_future = 3" in file.read_text()
    assert "[also]" in file.read_text()
    assert load_settings() == Settings(seed=1)


def test_sizes_may_be_written_as_people_write_them(file: Path) -> None:
    file.write_text('cache_limit = "2 GiB"\nactivation_limit = 5\n')
    assert load_settings() == Settings(cache_limit=2 << 30, activation_limit=5)


def test_a_home_folder_is_understood(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    file.write_text('cache_dir = "~/cache"\n')
    assert load_settings().cache_dir == Path("/home/someone/cache")


def test_every_format_of_reports_may_be_set() -> None:
    assert (*FORMATS, "screen") == EXPORT_FORMATS


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("lens_top_k = 0", "lens_top_k"),
        ("lens_top_k = 1.5", "lens_top_k"),
        ("lens_top_k = true", "lens_top_k"),
        ("seed = -1", "seed"),
        ('kl_threshold = "x"', "kl_threshold"),
        ("overlap_threshold = 1.1", "overlap_threshold"),
        ("overlap_threshold = nan", "overlap_threshold"),
        ("chat_template = 1", "chat_template"),
        ('layer_order = "sideways"', "layer_order"),
        ('ramp = "pink"', "ramp"),
        ('palette = "pink"', "palette"),
        ("theme = 3", "theme"),
        ('copy_command = "it\'s"', "copy_command"),
        ('cache_limit = "plenty"', "cache_limit"),
        ("cache_limit = -1", "cache_limit"),
        ('export_dir = ""', "export_dir"),
        ('export_formats = ["doc"]', "export_formats"),
        ("keys = 3", "keys"),
        ("[keys]\nquit = 3", "keys"),
        ("commands = 3", "commands"),
        ("[commands.note]\nkey = 3", "commands.note"),
    ],
)
def test_a_wrong_value_is_named(file: Path, line: str, name: str) -> None:
    file.write_text(line)
    with pytest.raises(DepthError) as caught:
        load_settings()
    assert name in caught.value.message
    assert str(file) in caught.value.message
    assert caught.value.hint


NOTE = """\
[commands.note] # mine
key = 'f6' # free
title = "Note"
run = "echo {layer}"
"""


def test_commands_stay_as_they_are_written_where_something_else_changes(file: Path) -> None:
    file.write_text(NOTE)
    settings = load_settings()
    assert settings.commands == {"note": OwnCommand("f6", "Note", "echo {layer}")}
    save_settings(replace(settings, seed=3))
    assert NOTE in file.read_text()
    assert load_settings() == replace(settings, seed=3)


def test_a_wrong_command_is_named_with_its_place_in_the_file(file: Path) -> None:
    file.write_text(NOTE.replace("{layer}", "{lyer}"))
    with pytest.raises(DepthError) as caught:
        load_settings()
    names = "{model}, {layer}, {token}, {prompt_file}, {run_json}"
    assert caught.value.message == (
        f"The settings file {file} is wrong: commands.note.run must be a line with placeholders "
        f"among {names}, not {{lyer}}."
    )
    file.write_text(NOTE + NOTE)
    with pytest.raises(DepthError, match="line 5"):
        load_settings()


def test_no_file_but_the_user_s_own_has_commands(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloaded = tmp_path / "downloaded"
    downloaded.mkdir()
    for name in ("settings.toml", "depthtui.toml", ".depthtui.toml", "pyproject.toml"):
        (downloaded / name).write_text(NOTE)
    monkeypatch.chdir(downloaded)
    assert load_settings().commands == {}


def test_a_broken_file_names_the_line_and_is_left_alone(file: Path) -> None:
    file.write_text("lens_top_k = 3\nlens_top_k = = 4\n")
    with pytest.raises(DepthError, match="line 2"):
        load_settings()
    with pytest.raises(DepthError, match="line 2"):
        save_settings(Settings(seed=1))
    assert file.read_text() == "lens_top_k = 3\nlens_top_k = = 4\n"


def test_bytes_that_are_no_text_are_told(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(DepthError, match="UTF-8"):
        load_settings()


def test_a_folder_in_the_way_is_told(file: Path) -> None:
    file.mkdir()
    with pytest.raises(DepthError, match="cannot be read"):
        load_settings()


def test_a_place_that_cannot_be_written_is_told() -> None:
    with pytest.raises(DepthError) as caught:
        save_settings(Settings(seed=1), Path("/proc/depthtui/settings.toml"))
    assert "DEPTHTUI_CONFIG" in caught.value.hint


def test_every_setting_is_described_and_read() -> None:
    options = options_of(Settings)
    assert list(options) == [setting.name for setting in fields(Settings)]
    for name, option in options.items():
        assert option.help.endswith("."), name


def test_what_a_setting_shares_with_runs_is_declared_once() -> None:
    mine = options_of(Settings)
    for kind in (RunSettings, SummarySettings, Writing):
        theirs = options_of(kind)
        shared = mine.keys() & theirs.keys()
        assert shared
        assert {name: mine[name] for name in shared} == {name: theirs[name] for name in shared}


def test_it_gives_the_settings_of_runs_and_summaries() -> None:
    run, summary = EVERYTHING.run_settings(), EVERYTHING.summary_settings()
    assert EVERYTHING.writing() == Writing(seed=7)
    assert (run.lens_top_k, run.chat_template) == (3, True)
    assert (summary.kl_threshold, summary.overlap_threshold) == (0.25, 0.75)
    assert (summary.include_first_token, summary.seed) == (False, 7)
    assert Settings().summary_settings() == type(summary)()
    assert Settings().run_settings() == type(run)()


class TestWhereThingsAre:
    @pytest.fixture(autouse=True)
    def _no_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("DEPTHTUI_CACHE_DIR", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", "/xdg/cache")

    def checkout(self, monkeypatch: pytest.MonkeyPatch, root: Path, project: str) -> None:
        (root / "depthtui").mkdir(exist_ok=True)
        (root / "pyproject.toml").write_text(project)
        monkeypatch.setattr(module, "__file__", str(root / "depthtui" / "settings.py"))

    def test_in_a_checkout(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.checkout(monkeypatch, tmp_path, '[project]\nname = "depthtui"\n')
        assert default_cache_dir() == Path("/xdg/cache/depthtui")
        (tmp_path / "cache").mkdir()
        assert default_cache_dir() == tmp_path / "cache"

    def test_in_a_checkout_of_something_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "cache").mkdir()
        self.checkout(monkeypatch, tmp_path, '[project]\nname = "other"\n')
        assert default_cache_dir() == Path("/xdg/cache/depthtui")

    def test_where_the_environment_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DEPTHTUI_CACHE_DIR", "/there")
        assert default_cache_dir() == Path("/there")
        assert module.models_dir(default_cache_dir()) == Path("/there/models")

    def test_the_settings_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("DEPTHTUI_CONFIG", raising=False)
        monkeypatch.setenv("XDG_CONFIG_HOME", "/xdg/config")
        assert module.settings_path() == Path("/xdg/config/depthtui/settings.toml")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", 1 << 20),
        ("10GiB", 10 << 30),
        ("500MB", 500 * 10**6),
        ("1.5 gib", 3 << 29),
        ("2G", 2 << 30),
        (" 7 B ", 7),
        ("1TiB", 1 << 40),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1e3", "1 2", "10XB", "inf", "1.GiB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9_994, "9.99 kB"),
        (9_996, "10.0 kB"),
        (88_646_656, "88.6 MB"),
        (999_600, "1.00 MB"),
        (10 * 1000**3, "10.0 GB"),
        (999 * 1000**4, "999 TB"),
        (5000 * 1000**4, "5000 TB"),
    ],
)
def test_sizes_are_written(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "about 1 s"),
        (8.4, "about 8 s"),
        (12.0, "about 10 s"),
        (54.0, "about 50 s"),
        (56.0, "about 1 min"),
        (130.0, "about 2 min"),
        (3500.0, "about 1 h"),
        (7 * 3600.0, "about 7 h"),
        (33 * 3600.0, "about 1 day"),
        (88 * 86400.0, "about 90 days"),
    ],
)
def test_times_are_told_in_one_digit(seconds: float, text: str) -> None:
    assert about(seconds) == text


@pytest.mark.parametrize(
    "text",
    [
        "lens_top_k = " + "9" * 5000,
        "lens_top_k = 0x" + "f" * 5000,
        "lens_top_k = " + "[" * 100_000,
        "cache_limit = 1" + "0" * 30,
        'cache_limit = "10000000TB"',
        'cache_dir = "a\\u0000b"',
        'cache_dir = "~nosuchuser/x"',
        'export_dir = "~nosuchuser/x"',
    ],
    ids=lambda text: text[:40],
)
def test_what_cannot_be_is_a_short_sentence(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(DepthError) as caught:
        load_settings()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("kind", ODD_FILES)
def test_what_is_no_ordinary_file(file: Path, kind: str) -> None:
    put_odd_file(file, kind)
    with pytest.raises(DepthError, match="cannot be read"):
        load_settings()


@pytest.mark.parametrize("value", ["0x" + "f" * 5000, "[" * 300 + "]" * 300])
def test_what_cannot_be_written_again_stays(file: Path, value: str) -> None:
    text = f"mine = {value}\n"
    file.write_text(text)
    try:
        save_settings(Settings(lens_top_k=3))
    except DepthError:
        assert file.read_text() == text
    else:
        assert load_settings().lens_top_k == 3


def test_a_link_to_a_folder_of_dotfiles_stays_one(file: Path, tmp_path: Path) -> None:
    (tmp_path / "dotfiles.toml").write_text("# mine\n")
    file.symlink_to(tmp_path / "dotfiles.toml")
    assert save_settings(Settings(lens_top_k=3)) == file
    assert file.is_symlink()
    assert (tmp_path / "dotfiles.toml").read_text() == "# mine\nlens_top_k = 3\n"
