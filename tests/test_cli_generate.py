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
from depthtui.cli.streaming import TokenPrinter
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import RunSettings, SummarySettings, Writing
from depthtui.metrics.settling import Settling
from tests.builders.engines import ScriptedEngine, replace_engine
from tests.builders.models import tiny_model
from tests.builders.results import full_result
from tests.builders.written import tokens_written, with_settling, written_prompt

TEXT = " so the ferry waits, and seven boats float. so"


@pytest.fixture(autouse=True)
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[ScriptedEngine]:
    for name, place in (("CONFIG", "settings.toml"), ("CACHE_DIR", "cache")):
        monkeypatch.setenv(f"DEPTHTUI_{name}", str(tmp_path / place))
    return replace_engine(monkeypatch, lambda spec: tiny_model(spec=spec))


def test_it_prints_the_text_and_the_report_of_its_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "demo", "--prompt", "x", "--max-new-tokens", "9"]) == 0
    text, report = capsys.readouterr().out.split("\n", 1)
    assert text == TEXT
    assert "\x1b" not in report
    assert "Settling depth" in report
    assert "Means over 10 tokens" in report


def test_a_data_set_in_the_cache_folder_needs_no_name(
    engines: list[ScriptedEngine], home: Path
) -> None:
    folder = home / "kept" / "datasets"
    folder.mkdir(parents=True)
    (folder / "hellaswag.jsonl").write_text('{"ctx": "A", "endings": ["b"], "label": 0}')
    arguments = ["--task", "hellaswag", "--cache-dir", str(home / "kept")]
    assert cli.main(["generate", "demo", *arguments]) == 0
    assert engines[0].prompts[0].text == "A b"


def test_options_reach_the_writing_the_run_and_its_reading(
    engines: list[ScriptedEngine], tmp_path: Path
) -> None:
    arguments = f"""
        --max-new-tokens 20 --temperature 0.7 --top-p 0.9 --seed 5 --chat-template --confidence 0.5
        --settling-threshold 0.2 --top-k 50 --lens-top-k 4 --lens affine
        --kl-threshold 0.4 --overlap-threshold 0.6 --out {tmp_path / "out"}
    """
    assert cli.main(["generate", "demo", "--prompt", "x", *arguments.split()]) == 0
    assert engines[0].prompts == [Prompt("x")]
    assert engines[0].writings == [Writing(20, 0.7, 50, 0.9, 5)]
    settings = engines[0].settings[0]
    assert (settings.lens_top_k, settings.chat_template, settings.seed) == (4, True, 5)
    assert "affine_lens" in settings.metrics
    reading = json.loads((tmp_path / "out" / "summary.json").read_text())["settings"]
    assert reading == {
        **reading,
        "kl_threshold": 0.4,
        "overlap_threshold": 0.6,
        "confidence": 0.5,
        "settling_threshold": 0.2,
        "lens": "affine",
    }


def test_limits_of_a_draw_without_a_temperature_are_noted(
    capsys: pytest.CaptureFixture[str],
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
    assert sorted(path.name for path in out.iterdir()) == ["summary.json", "summary.md"]
    (prompt,) = json.loads((out / "summary.json").read_text())["prompts"]
    assert prompt["answer"] == TEXT
    assert prompt["written"]["max_tokens"] == 9


@pytest.mark.parametrize("name", ["file/out", "notes"])
def test_a_folder_that_cannot_be_written_is_told_before_a_model_loads(
    engines: list[ScriptedEngine],
    tmp_path: Path,
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "summary.json").write_text("mine")
    assert cli.main(["generate", "demo", "--prompt", "x", "--out", str(tmp_path / name)]) == 1
    captured = capsys.readouterr()
    assert "cannot be written to" in captured.err or "is no report of depthtui" in captured.err
    assert captured.out == ""
    assert engines == []


@pytest.mark.parametrize("option", ["--temperature", "--top-p", "--kl-threshold"])
def test_nan_is_no_number(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "demo", "--prompt", "x", option, "nan"]) == 2
    assert "'nan' is not a number" in capsys.readouterr().err


def test_ctrl_c_ends_the_text_which_is_measured_and_kept(
    engines: list[ScriptedEngine], tmp_path: Path
) -> None:
    earlier_handler = signal.getsignal(signal.SIGINT)
    prompts = ["--prompt", "ctrl-c", "--prompt", "never read", "--max-new-tokens", "9"]
    assert cli.main(["generate", "demo", *prompts, "--out", str(tmp_path / "out")]) == 130
    (prompt,) = json.loads((tmp_path / "out" / "summary.json").read_text())["prompts"]
    assert prompt["written"]["stopped_by"] == "user"
    assert "complete" not in prompt
    assert [text for _, text in engines[0].runs] == ["ctrl-c", f"ctrl-c{TEXT}"]
    assert signal.getsignal(signal.SIGINT) is earlier_handler


# A terminal -----------------------------------------------------------------


def written() -> RunResult:
    """A run of four written tokens: two of one character, a hostile one, one of two lines."""
    prompt = written_prompt(Prompt("x"), Writing(4))
    settings = with_settling(RunSettings(lens_top_k=2))
    run = full_result(prompt, tiny_model(), settings)
    run.tokens.texts[1:] = ["\udcf0\udc9f", "\udc99\udc82", "\x1b[2J", "a\nb"]
    return run


def settled(run: RunResult, *layers: int) -> RunResult:
    """The run with written tokens that settle before these layers."""
    value = run.get(Settling)
    assert value is not None
    depths = range(value.divergence.shape[0])
    for token, layer in enumerate(layers):
        value.divergence[:, token] = [0.6 if depth < layer else 0.0 for depth in depths]
    return run


def terminal() -> tuple[TokenPrinter, StringIO]:
    output = StringIO()
    console = Console(file=output, force_terminal=True, color_system="truecolor", width=80)
    printer = TokenPrinter(console, "settling", "amber", SummarySettings())
    printer.n_layers = tiny_model().n_layers
    return printer, output


def test_a_terminal_shows_depth_as_colour_and_whole_characters() -> None:
    run = settled(written(), 1, 1, tiny_model().n_layers)
    settling = run.get(Settling)
    assert settling is not None
    settling.divergence[:, 3] = np.nan
    printer, output = terminal()
    for event in tokens_written(run, size=1):
        printer.write(event)
    printer.finish(run)
    shown = output.getvalue()
    assert "🙂" in shown
    assert "\x1b[2J" not in shown
    assert shown.count("48;2;") == 2, "two tokens with a depth"
    red, green, blue = ramps.sequential(True, "amber")[-1]
    assert f"48;2;{red};{green};{blue}" in shown
    assert shown.endswith("\n")


def test_a_text_from_the_cache_is_printed_as_it_was_written() -> None:
    run = settled(written(), 1, 2, 3, 4)
    (live, as_written), (late, whole) = terminal(), terminal()
    for event in tokens_written(run):
        live.write(event)
    live.finish(run)
    late.finish(run)
    assert whole.getvalue() == as_written.getvalue()
