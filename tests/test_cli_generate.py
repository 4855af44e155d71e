"""`depthtui generate`, with a scripted engine in place of the real one."""

from __future__ import annotations

import json
import signal
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from depthtui import cli, ramps
from depthtui.cli.streaming import _TokenPrinter
from depthtui.data.run import Prompt
from depthtui.data.run_settings import GenerationSettings
from tests.builders.engines import ScriptedEngine, replace_engine
from tests.builders.generations import full_generation, part_of
from tests.builders.models import tiny_model


@pytest.fixture(autouse=True)
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[ScriptedEngine]:
    for name, place in (("CONFIG", "settings.toml"), ("CACHE_DIR", "cache")):
        monkeypatch.setenv(f"DEPTHTUI_{name}", str(tmp_path / place))
    return replace_engine(monkeypatch, lambda spec: tiny_model(spec=spec))


def test_it_prints_the_text_the_table_and_the_trend(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "demo", "--prompt", "x", "--max-new-tokens", "30"]) == 0
    out = capsys.readouterr().out
    assert " the ferry waits, and seven boats." in out
    assert "\x1b" not in out
    assert "settling depth" in out
    assert "depth rises or falls: neighbouring tokens are so alike" in " ".join(out.split())


def test_a_data_set_in_the_cache_folder_needs_no_name(
    engines: list[ScriptedEngine], home: Path
) -> None:
    folder = home / "kept" / "datasets"
    folder.mkdir(parents=True)
    (folder / "hellaswag.jsonl").write_text('{"ctx": "A", "endings": ["b"], "label": 0}')
    arguments = ["--task", "hellaswag", "--cache-dir", str(home / "kept")]
    assert cli.main(["generate", "demo", *arguments]) == 0
    ((prompt, _),) = engines[0].generations
    assert prompt.text == "A b"


def test_options_reach_the_engine_and_answers_stay_out(engines: list[ScriptedEngine]) -> None:
    arguments = """
        --max-new-tokens 20 --temperature 0.7 --top-p 0.9 --seed 5 --chat-template --confidence 0.5
        --settling-threshold 0.2 --top-k 50 --lens-top-k 4
        --kl-threshold 0.4 --overlap-threshold 0.6
    """
    assert cli.main(["generate", "demo", "--prompt", "x", *arguments.split()]) == 0
    ((prompt, settings),) = engines[0].generations
    assert prompt == Prompt("x")
    assert settings == GenerationSettings(20, 0.7, 50, 0.9, 5, True, 4, 0.5, 0.2, 0.4, 0.6)


def test_limits_of_a_draw_without_a_temperature_are_noted(
    engines: list[ScriptedEngine], capsys: pytest.CaptureFixture[str]
) -> None:
    note = "--top-k and --top-p only matter with --temperature above 0."
    for arguments, is_noted in (("--top-k 5", True), ("--top-k 5 --temperature 1", False)):
        assert cli.main(["generate", "demo", "--prompt", "x", *arguments.split()]) == 0
        assert (note in capsys.readouterr().err) == is_noted


def test_files_are_written_and_failures_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    prompts = ["--prompt", "too long", "--prompt", "x", "--max-new-tokens", "9"]
    assert cli.main(["generate", "demo", *prompts, "--out", str(out), "--format", "md,json"]) == 1
    assert "The prompt is too long." in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == ["generation.json", "generation.md"]
    assert len(json.loads((out / "generation.json").read_text())["generations"]) == 1


@pytest.mark.parametrize("name", ["file/out", "notes"])
def test_a_folder_that_cannot_be_written_is_told_before_a_model_loads(
    engines: list[ScriptedEngine],
    tmp_path: Path,
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "generation.json").write_text("mine")
    assert cli.main(["generate", "demo", "--prompt", "x", "--out", str(tmp_path / name)]) == 1
    captured = capsys.readouterr()
    assert "cannot be written to" in captured.err or "is no report of depthtui" in captured.err
    assert captured.out == ""
    assert engines == []


@pytest.mark.parametrize("option", ["--temperature", "--top-p", "--kl-threshold"])
def test_nan_is_no_number(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "demo", "--prompt", "x", option, "nan"]) == 2
    assert "'nan' is not a number" in capsys.readouterr().err


def test_ctrl_c_ends_the_text_and_keeps_it(
    engines: list[ScriptedEngine], capsys: pytest.CaptureFixture[str]
) -> None:
    earlier_handler = signal.getsignal(signal.SIGINT)
    prompts = ["--prompt", "ctrl-c", "--prompt", "never read", "--max-new-tokens", "9"]
    assert cli.main(["generate", "demo", *prompts]) == 130
    assert "stopped." in capsys.readouterr().out
    assert len(engines[0].generations) == 1
    assert signal.getsignal(signal.SIGINT) is earlier_handler


def test_a_terminal_shows_depth_as_colour_and_whole_characters() -> None:
    generation = full_generation(
        Prompt("x"), tiny_model(), GenerationSettings(max_tokens=4)
    ).continuation
    generation.texts[:] = ["\udcf0\udc9f", "\udc99\udc82", "\x1b[2J", "a\nb"]
    generation.depths.settling[:] = [1, 1, 4, np.nan]
    console = Console(file=StringIO(), force_terminal=True, color_system="truecolor", width=80)
    pen = _TokenPrinter(console, "settling", "amber", 4)
    for place in range(4):
        pen.write(part_of(generation, slice(place, place + 1)))
    pen.finish()
    assert isinstance(console.file, StringIO)
    output = console.file.getvalue()
    assert "🙂" in output
    assert "\x1b[2J" not in output
    assert output.count("48;2;") == 2, "two tokens with a depth"
    red, green, blue = ramps.sequential(True, "amber")[-1]
    assert f"48;2;{red};{green};{blue}" in output
    assert "\n" in output
