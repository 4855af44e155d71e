"""What commands print for those who hear the screen: the same values, and nothing that is drawn."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from depthtui.cli import main
from depthtui.cli.progress import ProgressDisplay
from depthtui.data.protocol import Progress
from depthtui.report import progress_bars
from depthtui.settings import Settings, save_settings
from tests.golden.renew import GOLDEN


def test_the_values_are_the_same_and_nothing_is_drawn() -> None:
    """In the golden files: those of hostile names are made of what may be drawn."""
    paths = [path for path in GOLDEN.rglob("*.plain.txt") if "hostile" not in str(path)]
    assert len(paths) > 2
    for path in paths:
        plain = path.read_text("utf-8")
        assert not re.search("[\u2500-\u259f\u2800-\u28ff\x1b]| \u00b7 ", plain)
        drawn = path.with_name(path.name.replace(".plain", "")).read_text("utf-8")
        assert numbers(plain) == numbers(drawn)


def numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+(?:[.,]\d+)*", text))


@pytest.mark.parametrize("way", ["option", "before", "terminal", "setting"])
def test_every_way_to_ask_for_lines_alone(
    way: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "dumb" if way == "terminal" else "xterm-256color")
    if way == "setting":
        save_settings(Settings(plain=True), home / "settings.toml")
    words = {"option": ["metrics", "--plain"], "before": ["--plain", "metrics"]}
    assert main(words.get(way, ["metrics"])) == 0
    assert "metric\twhat it tells\tcost\n" in capsys.readouterr().out
    assert main(["help", "screen", *(["--plain"] if way in words else [])]) == 0
    out = capsys.readouterr().out
    assert "\npane\tshows\nPrompt\tthe tokens" in out
    assert "**" not in out


def test_the_explorer_names_the_command_instead(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--plain"]) == 2
    assert "`depthtui run MODEL --prompt TEXT --plain`" in capsys.readouterr().err


def test_progress_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = StringIO()
    monkeypatch.setattr(
        progress_bars, "Console", lambda stderr: Console(file=shown, force_terminal=True)
    )
    monkeypatch.setattr("depthtui.report.progress.LOG_PACE", 0.0)
    monkeypatch.setenv("TERM", "dumb")
    lines: list[str] = []
    with ProgressDisplay(lines.append) as display:
        display.emit(Progress("Loading weights", 1, 2, "weights"))
    assert shown.getvalue() == ""
    assert lines[-1] == "Loading weights, 1 of 2 weights"
