"""Scenes: what the terminal sends in a file, and played again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from textual import events

from depthtui import cli
from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError
from depthtui.tui.player import PlayedApp, play
from depthtui.tui.scene import Recorder, SceneStep, conditions, read_scene
from depthtui.tui.state.phase import CodeQuestion, Phase
from depthtui.tui.textual_patches.names import send
from tests.builders.engines import FakeEngine
from tests.tui.app_helpers import Explored, Unforgiving, explore

HEADING = {"depthtui": "0.1.0"}


class Played(PlayedApp, Unforgiving):
    """A played explorer that ends at the first error."""


@contextmanager
def recorded(it: Explored, file: Path, with_texts: bool = False) -> Iterator[None]:
    """Record an explorer within the block."""
    it.app.recorder = recorder = Recorder(file, with_texts, "", {})
    yield
    recorder.end()


def written(file: Path, *lines: object) -> Path:
    """A file of JSON lines."""
    file.write_text("\n".join(json.dumps(line) for line in lines))
    return file


async def click(it: Explored, x: int, y: int) -> None:
    for kind in (events.MouseDown, events.MouseUp):
        send(it.app, kind(None, x, y, 0, 0, 1, False, False, False, x, y))
        await it.pilot.pause()


async def test_keys_and_clicks_lead_to_the_same_place_again(tmp_path: Path) -> None:
    file = tmp_path / "scene.jsonl"
    async with explore(tmp_path / "first", size=(100, 30)) as it:
        with recorded(it, file):
            await it.press("s", "5", "space", "tab")
            # The footer's keys are clicked: the key that a click stands for comes once.
            column = it.screen_text().splitlines()[-1].index("next layer")
            await click(it, column, 29)
            await it.until(lambda: it.app.explorer.phase is Phase.HALTED)
            await it.press("question_mark", "shift+tab")
        there = conditions(it.app), it.main.cursor
    steps = read_scene(file).steps
    assert sum(step.press == "space" for step in steps) == 1
    async with explore(tmp_path / "second", size=(100, 30)) as again:
        await play(again.app, again.pilot, steps)
        assert (conditions(again.app), again.main.cursor) == there


async def test_a_typed_text_is_recorded_as_x_unless_it_is_asked_for(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        for with_texts in (False, True):
            name = tmp_path / f"{with_texts}.jsonl"
            with recorded(it, name, with_texts):
                await it.press("p", *"Pin 42")
                send(it.app, events.Paste("my key"))
                await it.pilot.pause()
                await it.press("escape")
            steps = read_scene(name).steps
            texts = [(step.type, step.paste) for step in steps if step.type or step.paste]
            typed, pasted = ("Pin 42", "my key") if with_texts else ("xxxx11", "xxxxxx")
            assert texts == [(typed, ""), ("", pasted)]
            assert [step.press for step in steps if step.press] == ["p", "escape"]


async def test_a_missed_condition_names_its_line(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        steps = [SceneStep(press="s"), SceneStep(at="halted", words="No such words", within=0.1)]
        with pytest.raises(DepthError, match=r"Line 3 .* for No such words, halted"):
            await play(it.app, it.pilot, steps)


async def test_a_scene_lets_no_model_run_its_own_code(tmp_path: Path) -> None:
    async with explore(tmp_path, kind=Played) as it:
        it.app.ask_for_trust(CodeQuestion(ModelSpec("org/own"), "/folder"))
        await it.pilot.pause()
        assert it.app.screen is it.main
        assert it.toasts() == ["A scene lets no model run its own code."]


def test_lines_that_are_no_steps_are_refused(tmp_path: Path) -> None:
    for lines, words in (
        ([], "scene.jsonl is empty"),
        ([HEADING, {"at": "nowhere"}], "Line 2 of .* 'nowhere' is not a valid Phase"),
        ([HEADING, {"press": 5}], "Line 2 of .* press must be a text"),
        ([HEADING, {}, {"sleep": 1}], "Line 3 of .* unknown key, 'sleep'"),
        ([HEADING, {"mouse": {"kind": "shake", "x": 1, "y": 1}}], "Line 2 of .* mouse.kind"),
        ([HEADING, {"size": [80]}], "Line 2 of .* size must be a list of 2"),
    ):
        with pytest.raises(DepthError, match=words):
            read_scene(written(tmp_path / "scene.jsonl", *lines))


@pytest.mark.parametrize("suffix", [".svg", ".txt"])
def test_the_last_screen_is_left_without_a_terminal(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PlayedApp, "_engine_process", lambda app: FakeEngine())
    for name in ("COLORTERM", "TERM"):
        monkeypatch.setenv(name, "")
    steps = [{"at": "ready", "press": "s"}, {"at": "halted", "press": "q"}, {"press": "s"}]
    file = written(tmp_path / "scene.jsonl", HEADING, {"size": [90, 25]}, *steps)
    picture, cache = (tmp_path / f"last{suffix}"), tmp_path / "cache"
    options = ["--play", str(file), "--until-end", str(picture), "--cache-dir", str(cache)]
    assert cli.main([*options, "--size", "100x30"]) == 0
    text = picture.read_text(encoding="utf-8")
    assert "halted" in text
    assert cli.main(options) == 1
    assert picture.read_text(encoding="utf-8") == text
    if suffix == ".txt":
        assert len(text.splitlines()) == 30
    assert {path.name for path in cache.iterdir()} == {"models", "lenses"}


def test_options_of_scenes_go_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(written(tmp_path / "scene.jsonl", HEADING))
    for options, words in (
        (["--with-texts"], "--with-texts is for --record."),
        (["--size", "80x24", "--play", file], "--size is for --until-end."),
        (["--until-end", "last.svg"], "--until-end is for --play."),
        (["--play", file, "--record", file], "exclude each other"),
        (["--play", file, "--engine-command", "true"], "without --engine-command"),
        (["--play", file, "--model", "m", "--trust-remote-code"], "and --trust-remote-code."),
        (["--play", file, "--until-end", "last.png"], "an .svg or a .txt"),
        (["--play", file, "--until-end", "last.svg", "--size", "0x9"], "no size such as 120x40"),
    ):
        assert cli.main(options) == 2
        assert words in capsys.readouterr().err


def test_a_scene_is_never_overwritten(tmp_path: Path) -> None:
    file = written(tmp_path / "scene.jsonl", HEADING)
    with pytest.raises(DepthError, match="exists"):
        Recorder(file, False, "", {})
    with pytest.raises(DepthError, match="cannot be written"):
        Recorder(tmp_path / "no" / "folder.jsonl", False, "", {})


async def test_a_full_disk_ends_the_scene_and_no_key_is_lost(tmp_path: Path) -> None:
    async with explore(tmp_path / "home", size=(100, 30)) as it:
        it.app.recorder = recorder = Recorder(tmp_path / "scene.jsonl", False, "", {})
        with pytest.raises(OSError, match="No space"), Path("/dev/full").open("w") as full:  # noqa: PT012
            recorder._file = full
            await it.press("question_mark")
            assert type(it.app.screen).__name__ == "HelpScreen"
            assert it.app.recorder is None
            assert "/dev/full ends before this input: [Errno 28]" in it.app.messages[0].text
