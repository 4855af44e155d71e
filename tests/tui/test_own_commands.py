"""The user's own commands: run by their keys, shown, ended, and brought by no file of others."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest
from textual.widgets import Static

from depthtui.data.own_commands import read_commands
from depthtui.data.protocol import Event, ModelLoaded
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec
from depthtui.report.groups import group_runs
from depthtui.report.summary_json import summary_json
from depthtui.settings import Settings, load_settings
from depthtui.tui import own_commands
from depthtui.tui.keymap import OWN
from depthtui.tui.panes.pane import Cursor
from depthtui.tui.process_logs import lines_of
from depthtui.tui.screens.compare_screen import CompareScreen
from depthtui.tui.screens.dialogs.ask import Ask
from depthtui.tui.screens.dialogs.command_output import CommandOutput
from depthtui.tui.screens.dialogs.help_screen import HelpScreen
from depthtui.tui.screens.dialogs.keys_screen import KeysScreen
from depthtui.tui.screens.dialogs.settings_screen import SettingsScreen
from depthtui.tui.screens.layer_screen import LayerScreen
from depthtui.tui.screens.main_screen import MainScreen
from depthtui.tui.state.own_values import MAY_BE_OPTION, NO_RUN, NOT_THROUGH
from tests.builders.engines import FakeEngine
from tests.builders.models import model_info
from tests.hostile import HOSTILE
from tests.tui.app_helpers import Explored, explore
from tests.tui.terminal import Terminal
from tests.tui.test_compare import compared_with_model
from tests.tui.test_compare import engine as two_models
from tests.tui.test_dialogs import opened
from tests.tui.test_hostile import UNSAFE

F6 = b"\x1b[17~"
"""The key as a terminal sends it."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the explorer, with a folder of its own for temporary files."""
    temporary, working = tmp_path / "temporary", tmp_path / "working"
    temporary.mkdir()
    working.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.chdir(working)
    return working


@pytest.fixture
def no_dialog(monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent command is only reported, however slow this machine is."""
    monkeypatch.setattr(own_commands, "_PATIENCE", 600)


def explore_with(
    folder: Path, *runs: str, settings: dict[str, Any] | None = None, **options: Any
) -> AbstractAsyncContextManager[Explored]:
    """An explorer with commands on f6, f7 and so on, called as their keys."""
    commands = {
        f"f{number}": {"key": f"f{number}", "title": f"Command {number}", "run": run}
        for number, run in enumerate(runs, 6)
    }
    root = folder.parent
    kept = Settings(
        cache_dir=root / "cache",
        export_dir=root / "exports",
        commands=read_commands(commands),
        **(settings or {}),
    )
    return explore(root, settings=kept, **options)


def temporary_files(folder: Path) -> list[Path]:
    return list((folder.parent / "temporary").iterdir())


def output_of(it: Explored) -> str:
    """The output on the screen."""
    screen = it.app.screen
    assert isinstance(screen, CommandOutput)
    return str(screen.query_one("#printed", Static).content)


def state_of(it: Explored) -> str:
    """How the command on the screen is going."""
    screen = it.app.screen
    return str(screen.query_one("#note", Static).content) if screen.query("#note") else ""


async def shown(it: Explored, key: str, state: str) -> str:
    """Run a command, and wait until its dialog shows a state; returns the output."""
    await opened(it, key, CommandOutput)
    await it.until(lambda: state_of(it) == state, state)
    return output_of(it)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# Values ---------------------------------------------------------------------


@pytest.mark.usefixtures("no_dialog")
async def test_a_key_runs_a_command_with_the_place_under_the_cursor(folder: Path) -> None:
    async with explore_with(folder, "echo {model} {layer} {token} >> notes") as it:
        await it.press("7", "G", "3", "dollar_sign", "f6")
        await it.until(lambda: "It has ended, and printed nothing." in it.toasts())
        assert (folder / "notes").read_text() == "demo 7 3\n"
        assert it.app.screen is it.main
        await it.press("enter", until=LayerScreen)
        await it.press("k", "f6")
        await it.until(lambda: (folder / "notes").read_text() == "demo 7 3\ndemo 8 3\n")


@pytest.mark.usefixtures("no_dialog")
async def test_at_the_output_the_layer_is_the_last_one(folder: Path) -> None:
    async with explore_with(folder, "echo {layer} >> notes") as it:
        result = it.main.active_pane.result
        assert result is not None
        n_layers = result.model.n_layers
        it.main.cursor = Cursor(n_layers, 0)
        await it.press("f6", until=lambda: (folder / "notes").read_text() == f"{n_layers - 1}\n")


@pytest.mark.usefixtures("no_dialog")
async def test_files_have_the_prompt_and_the_summary_and_go_with_the_command(
    folder: Path,
) -> None:
    run = "cp {prompt_file} prompt; cp {run_json} run; stat -c %a {prompt_file} {run_json} > modes"
    async with explore_with(folder, run) as it:
        await it.press("f6")
        await it.until(lambda: it.toasts(), "its end")
        assert (folder / "modes").read_text() == "600\n600\n"
        result = it.session.results[0]
        assert (folder / "prompt").read_text() == result.prompt.text
        (group,) = group_runs([result], it.app.explorer.settings.summary_settings())
        assert (folder / "run").read_bytes() == summary_json(group)
        assert temporary_files(folder) == []


@pytest.mark.usefixtures("reachable_hub")
async def test_a_pane_of_a_comparison_gives_its_own_run(folder: Path) -> None:
    run = "echo {model} {layer} {token} >> notes"
    async with explore_with(folder, run, make_engine=two_models) as it:
        screen = await compared_with_model(it, "nobody/shallow")
        assert isinstance(screen, CompareScreen)
        for pane in ("lens-a", "lens-b"):
            screen.action_go_to(pane)
            await it.press("f6")
            await it.until(lambda: not it.app.explorer.own_command, "its end")
        a, b = (screen.query_one(f"#{name}") for name in ("lens-a", "lens-b"))
        lines = (folder / "notes").read_text().splitlines()
        assert lines == [
            f"demo {a.result.model.n_layers - 1} {a.cursor.token}",
            f"nobody/shallow {b.result.model.n_layers - 1} {b.cursor.token}",
        ]
        assert a.cursor.layer > b.cursor.layer == b.result.model.n_layers


@pytest.mark.usefixtures("no_dialog")
async def test_without_a_run_a_command_with_placeholders_reports_it(folder: Path) -> None:
    runs = "echo {layer} >> notes", "echo any >> notes"
    engine = lambda: FakeEngine(silent=True)  # noqa: E731
    async with explore_with(folder, *runs, make_engine=engine, wait=False) as it:
        await it.until(lambda: it.main.is_mounted and it.app.screen is it.main)
        await it.press("f6")
        assert it.toasts() == [NO_RUN]
        await it.press("f7")
        await it.until(lambda: len(it.toasts()) == 2, "its end")
        assert (folder / "notes").read_text() == "any\n"


async def test_a_run_that_is_not_through_has_no_summary_yet(folder: Path) -> None:
    engine = lambda: FakeEngine(manual=True)  # noqa: E731
    async with explore_with(
        folder, "cat {run_json}", "echo {layer} > notes", make_engine=engine, wait=False
    ) as it:
        await it.until(lambda: it.session.live is not None)
        it.engine.advance(3)
        await it.until(lambda: it.main.active_pane.result is not None)
        await it.press("f6")
        assert it.toasts() == [NOT_THROUGH]
        assert temporary_files(folder) == []
        await it.press("f7", until=lambda: (folder / "notes").exists())


HOSTILE_NAMES = ['"; touch x; "', "$(touch x)", "'; touch x; '", "a\ntouch x"]


@pytest.mark.usefixtures("no_dialog")
@pytest.mark.parametrize("name", HOSTILE_NAMES)
async def test_nothing_of_a_name_or_a_prompt_is_run(folder: Path, name: str) -> None:
    run = "printf %s {model} > name; cp {prompt_file} prompt; cp {run_json} run"
    async with explore_with(folder, run, spec=ModelSpec(name)) as it:
        it.app.explorer.run(Prompt(name, task=name, level=name))
        await it.until(lambda: len(it.session.results) == 2)
        await it.until(lambda: it.main.active_pane.result is it.session.results[-1], "its panes")
        await it.press("f6")
        await it.until(lambda: it.toasts(), "its end")
        assert (folder / "name").read_text() == name
        assert (folder / "prompt").read_text() == name
        assert sorted(os.listdir(folder)) == ["name", "prompt", "run"]


async def test_a_name_that_is_an_option_is_refused(folder: Path) -> None:
    async with explore_with(folder, "ls {model}", spec=ModelSpec("-rf")) as it:
        await it.press("f6")
        assert it.toasts() == [f"{MAY_BE_OPTION} Open it as ./-rf"]


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b", "a" * 200_000], ids=["NUL", "half", "long"])
async def test_what_no_program_can_be_given_is_a_sentence(folder: Path, name: str) -> None:
    def load(spec: ModelSpec) -> Iterator[Event]:
        yield ModelLoaded(model_info(ModelSpec(name)))

    async with explore_with(
        folder, "echo {model}", make_engine=lambda: FakeEngine(load=load)
    ) as it:
        await it.press("f6")
        assert it.toasts()[-1].startswith("It cannot be started (")
        assert temporary_files(folder) == []
        assert not it.app.explorer.own_command


# Output ---------------------------------------------------------------------


async def test_output_and_errors_are_shown_with_the_line_and_the_status(folder: Path) -> None:
    run = "echo out of {layer}; echo to the error >&2; [ -t 0 ] || cat; exit 3"
    async with explore_with(folder, run) as it:
        await it.press("5", "G")
        output = await shown(it, "f6", "It ended with status 3.")
        assert output == "out of 5\nto the error"
        line = str(it.app.screen.query_one("#line", Static).content)
        assert line == f"$ {run}".replace("{layer}", "5")
        await it.press("escape", until=MainScreen)
        assert it.toasts() == []


@pytest.mark.parametrize(
    ("printed", "lines"),
    [
        ("", []),
        ("a\n\nb\n", ["a", "", "b"]),
        ("\x1b[1;31mred\x1b[0m \x1b]0;title\x07x", ["red x"]),
        ("10%\r50%\r100%\r\nend\r\n", ["100%", "end"]),
    ],
)
def test_lines_are_those_that_a_terminal_leaves(printed: str, lines: list[str]) -> None:
    assert lines_of(printed) == lines


async def test_hostile_output_is_shown_safely(folder: Path) -> None:
    texts = "\n".join(text for text in HOSTILE.values() if text)
    (folder / "hostile").write_bytes(texts.encode("utf-8", "surrogatepass") + b"\n\xff\xfe end")
    async with explore_with(folder, "cat hostile; exit 1") as it:
        output = await shown(it, "f6", "It ended with status 1.")
        assert "[@click='app.quit']quit[/]" in output
        assert output.endswith(" end")
        for key in ("g", "space", "G"):
            await it.press(key)
            assert not UNSAFE.search(it.screen_text())
        assert it.app.screen is not it.main


async def test_a_flood_keeps_its_end(folder: Path) -> None:
    async with explore_with(folder, "yes 123456789 | head -n 1000000; echo end") as it:
        output = await shown(it, "f6", "It has ended.")
        assert len(output) <= 1 << 16
        assert output.endswith("123456789\nend")
        await it.until(lambda: " end " in it.screen_text(), "its end in sight")


async def test_output_comes_before_the_end_and_a_reader_stays_where_it_is(folder: Path) -> None:
    os.mkfifo(folder / "go")
    async with explore_with(folder, "seq 100; cat go; seq 200") as it:
        await shown(it, "f6", "It is running.")
        await it.until(lambda: output_of(it).endswith("100"))
        await it.until(lambda: " 100 " in it.screen_text(), "the last line")
        await it.press("g")
        (folder / "go").write_text("gone on\n")
        await it.until(lambda: state_of(it) == "It has ended.")
        assert output_of(it).endswith("200")
        await it.pilot.pause()
        assert " 199 " not in it.screen_text()
        await it.press("G")
        assert " 199 " in it.screen_text()


# Its end --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "keys"),
    [
        ("sleep 1000 & echo $!; wait", ["x"]),
        ("sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' & trap '' TERM; wait", "xx"),
    ],
)
async def test_a_command_is_stopped_with_all_that_it_has_started(
    folder: Path, run: str, keys: list[str]
) -> None:
    async with explore_with(folder, run) as it:
        await shown(it, "f6", "It is running.")
        await it.until(lambda: output_of(it))
        child = int(output_of(it))
        assert not is_gone(child)
        for key in keys[:-1]:
            await it.press(key)
            assert state_of(it) == "It is being stopped."
        await it.press(keys[-1], until=lambda: state_of(it) == "It was stopped.")
        await it.until(lambda: is_gone(child))
        await it.until(lambda: not it.app.explorer.own_command)
        assert it.toasts() == []


async def test_the_end_of_a_command_is_no_other_after_x(folder: Path) -> None:
    async with explore_with(folder, "echo no such luck; exit 2") as it:
        await shown(it, "f6", "It ended with status 2.")
        await it.press("x")
        assert state_of(it) == "It ended with status 2."


async def test_a_command_goes_on_behind_the_screen_and_reports_its_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(folder / "go")
    async with explore_with(folder, "cat go; echo no such luck.; exit 2", "true") as it:
        await shown(it, "f6", "It is running.")
        await it.press("escape", until=MainScreen)
        await it.press("f7")
        assert it.toasts() == ["“Command 6” is running. Its key shows it, and x stops it there."]
        await shown(it, "f6", "It is running.")
        await it.press("escape")
        (folder / "go").write_text("")
        await it.until(lambda: "It ended with status 2: no such luck." in it.toasts())
        monkeypatch.setattr(own_commands, "_PATIENCE", 600)
        await it.press("f7", until=lambda: "It has ended, and printed nothing." in it.toasts())


@pytest.mark.parametrize("way", ["q", "ctrl+c", "SIGTERM"])
async def test_quitting_asks_and_ends_it(folder: Path, way: str) -> None:
    async with explore_with(folder, "echo $$; cat {prompt_file}; sleep 1000 & wait") as it:
        await shown(it, "f6", "It is running.")
        await it.until(lambda: output_of(it))
        shell = psutil.Process(int(output_of(it).split()[0]))
        await it.until(shell.children)
        processes = [shell, *shell.children()]
        if way == "q":
            await it.press("escape")
        if way == "SIGTERM":
            it.app._signalled(signal.SIGTERM)
            it.app._cancel_last_resort()
        else:
            await it.press(way, until=Ask)
            assert "“Command 6” is running. " in it.screen_text()
            assert not any(is_gone(process.pid) for process in processes)
            await it.press(way)
        await it.until(lambda: all(is_gone(process.pid) for process in processes))
        assert temporary_files(folder) == []


def test_in_a_terminal_it_reads_no_keys_and_ends_with_the_explorer(tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    run = "[ -t 0 ] && echo from keys; cat; echo shell $$ of {model}; sleep 1000"
    settings.write_text(
        f'welcome = false\n[commands.note]\nkey = "f6"\ntitle = "Note"\nrun = "{run}"\n'
    )
    terminal = Terminal(tmp_path, "tests.tui.fake_explorer")
    try:
        terminal.until(lambda: "Curves Evidence" in terminal.text)
        terminal.type(F6)
        terminal.until(lambda: re.search(r"shell \d+ of demo", terminal.text))
        shell = int(re.findall(r"shell (\d+) of demo", terminal.text)[0])
        assert "│ from keys" not in terminal.text
        terminal.type(b"\x03")
        terminal.until(lambda: "“Note” is running." in terminal.text)
        terminal.type(b"\x03")
        assert terminal.end() == 0
        terminal.assert_restored()
        assert is_gone(shell)
        assert list(tmp_path.glob(".depthtui-*")) == []
    finally:
        terminal.close()


# Where they are --------------------------------------------------------------


async def test_help_lists_and_runs_them(folder: Path) -> None:
    async with explore_with(folder, "echo helped > notes") as it:
        await opened(it, "question_mark", HelpScreen)
        assert "Your commands" in it.screen_text()
        await it.press(*"Command 6", "enter", until=lambda: (folder / "notes").exists())


async def test_another_key_is_written_as_that_of_any_command(folder: Path) -> None:
    path = folder.parent / "settings.toml"
    text = '[commands.f6]\nkey = "f6" # mine\ntitle = "Command 6"\nrun = "echo ran > notes"\n'
    path.write_text(text)
    async with explore_with(folder, "echo ran > notes") as it:
        await opened(it, "comma", SettingsScreen)
        await it.press("tab", until=KeysScreen)
        it.app.screen.fill("commands.f6")
        assert "Your commands" in it.screen_text()
        await it.press("enter", "f9", "ctrl+s", until="written to")
        assert load_settings(path).keys == {"commands.f6": "f9"}
        assert text in path.read_text()
        await it.press("escape", "f6")
        assert not it.app.explorer.own_command
        await it.press("f9", until=lambda: (folder / "notes").exists())


async def test_the_settings_name_them_and_change_none(folder: Path) -> None:
    async with explore_with(folder, "true", "true") as it:
        await opened(it, "comma", SettingsScreen)
        it.app.screen.fill("commands")
        assert "2 of your own" in it.screen_text()
        for key in ("enter", "d"):
            await it.press(key)
            assert "Commands are written in the settings file" in it.screen_text(), key
            it.app.screen.note("")
        assert len(it.app.explorer.settings.commands) == 2


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("m", "The settings give m to both model and commands.note, m to both mlp_off"),
        ("q", "q to both quit and commands.note"),
        ("escape", "The settings give escape to commands.note, and it closes the open screen"),
    ],
)
async def test_a_key_that_is_taken_is_named_and_stays(
    folder: Path, key: str, sentence: str
) -> None:
    commands = read_commands({"note": {"key": key, "title": "Note", "run": "touch ran"}})
    settings = Settings(cache_dir=folder / "cache", commands=commands)
    async with explore(folder, settings=settings) as it:
        assert any(sentence in toast for toast in it.toasts()), it.toasts()
        if key != "escape":
            await it.press(key)
            assert it.app.screen is not it.main or it.app.return_code is not None
            assert not (folder / "ran").exists()


async def test_a_page_runs_those_alone_that_the_settings_allow(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depthtui.tui.app.DepthApp.is_web", True)
    table = {"title": "Note", "run": "echo ran >> notes"}
    commands = read_commands(
        {"a": table | {"key": "f6"}, "b": table | {"key": "f7", "in_browser": True}}
    )
    settings = Settings(cache_dir=folder / "cache", commands=commands)
    async with explore(folder, settings=settings) as it:
        await it.press("f6")
        assert "Your own commands run in a terminal" in it.toasts()[-1]
        await it.press("f7", until=lambda: (folder / "notes").exists())
        await it.until(lambda: not it.app.explorer.own_command)
        assert (folder / "notes").read_text() == "ran\n"


# Nobody else brings one ------------------------------------------------------

TABLE = '[commands.note]\nkey = "f6"\ntitle = "Note"\nrun = "touch ran"\n'


async def test_no_session_and_no_folder_brings_one(folder: Path) -> None:
    model = folder / "model"
    model.mkdir()
    commands = {"commands": {"note": {"key": "f6", "title": "Note", "run": "touch ran"}}}
    (model / "config.json").write_text(json.dumps(commands))
    for place in (folder, model):
        for name in ("depthtui.toml", "settings.toml", "plan.toml"):
            (place / name).write_text(TABLE)
    async with explore_with(folder, spec=ModelSpec(str(model))) as it:
        await it.press("n", until=lambda: len(it.session.results) == 2)
    (kept,) = (folder.parent / "cache" / "sessions").glob("*.json")
    kept.write_text(json.dumps(json.loads(kept.read_text()) | commands))
    async with explore_with(folder, spec=ModelSpec(str(model))) as it:
        await it.press("b", "tab", "enter")
        await it.until(lambda: len(it.session.runs) == 2, "the session")
        await it.until(lambda: it.app.screen is it.main)
        assert list(it.app.keys.screens[OWN]) == []
        await it.press("f6")
        assert not it.app.explorer.own_command
    assert not (folder / "ran").exists()


def test_the_settings_file_alone_makes_commands(package: dict[str, ast.Module]) -> None:
    def users(name: str) -> set[str]:
        return {
            path
            for path, module in package.items()
            for node in ast.walk(module)
            if (isinstance(node, ast.Call) and ast.unparse(node.func) == name)
            or (isinstance(node, ast.alias) and node.name == name == "read_commands")
        }

    assert users("OwnCommand") == {"data/own_commands.py"}
    assert users("read_commands") == {"settings.py"}
