"""Commands whose standard streams are closed, full, or read by nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tui.terminal import Terminal

FULL = "depthtui: write error: No space left on device.\n"

LINES = [
    # Rich, click, and print, whose output is held to the end where it goes to no terminal.
    ("depthtui tasks >/dev/full", 1, FULL),
    ("depthtui --version >/dev/full", 1, FULL),
    ("depthtui completion bash >/dev/full", 1, FULL),
    ("PYTHONUNBUFFERED=1 depthtui tasks >/dev/full", 1, FULL),
    ("PYTHONUNBUFFERED=1 depthtui tasks", 0, ""),
    ("depthtui tasks >/dev/full 2>&1", 1, ""),
    ("depthtui tasks >/dev/full 2>&-", 1, ""),
    ("depthtui tasks <&- >&-", 0, ""),
    ("depthtui tasks >&- 2>&-", 0, ""),
    ("depthtui nonsense 2>/dev/full", 2, ""),
    ("depthtui nonsense 2>&-", 2, ""),
    ("depthtui <&- 2>/dev/full", 1, ""),
]


def run(line: str) -> subprocess.CompletedProcess[str]:
    """What becomes of a line of the shell; `depthtui` in it is this one."""
    line = f'depthtui() {{ "{sys.executable}" -m depthtui "$@"; }}; {line}'
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("line", "status", "errors"), LINES)
def test_a_stream_that_cannot_be_written(line: str, status: int, errors: str) -> None:
    process = run(line)
    assert (process.returncode, process.stderr) == (status, errors)


@pytest.mark.parametrize("command", ["tasks", "--version", "completion bash"])
def test_a_reader_that_goes_away_is_no_trouble(command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    arguments = [sys.executable, "-m", "depthtui", *command.split()]
    process = subprocess.run(arguments, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (process.returncode, process.stderr) == (1, b"")


SCRIPTED = """
import sys
import pytest
from depthtui import cli
from tests.builders.engines import replace_engine
from tests.builders.models import tiny_model

replace_engine(pytest.MonkeyPatch(), lambda spec: tiny_model(spec=spec))
sys.exit(cli.main())
"""
"""The command on an engine without a model, which makes remarks."""


def test_remarks_that_cannot_be_written_end_no_run(tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    options = f"--prompt hello --out {out} --cache-dir {tmp_path / 'cache'}"
    process = run(f"\"{sys.executable}\" -c '{SCRIPTED}' run demo {options} >&- 2>/dev/full")
    assert process.returncode == 0
    assert out.stat().st_size > 0


def test_a_text_that_cannot_be_printed_ends_its_command(home: Path) -> None:
    with open("/dev/full", "wb") as full:
        process = subprocess.run(
            [sys.executable, "-u", "-c", SCRIPTED, "generate", "demo", "--prompt", "a b"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert process.returncode == 1
    assert "unexpected" not in process.stderr
    assert process.stderr.endswith(FULL)


@pytest.mark.parametrize(
    ("command", "sink", "errors"),
    [("run", "full", "No space left on device"), ("generate", "a pipe without a reader", "")],
)
def test_files_are_written_where_output_is_lost(
    home: Path, command: str, sink: str, errors: str
) -> None:
    reading, pipe = os.pipe()
    os.close(reading)
    words = [command, "demo", "--prompt", "a b", "--prompt", "c", "--out", str(home / "out")]
    with open("/dev/full" if sink == "full" else pipe, "wb") as output:
        process = subprocess.run(
            [sys.executable, "-c", SCRIPTED, *words],
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert process.returncode == 1
    *_, last = process.stderr.splitlines()
    assert (last == f"depthtui: write error: {errors}.") == bool(errors)
    assert "error" not in process.stderr.removesuffix(f"{last}\n")
    assert (home / "out" / "summary.json").stat().st_size > 0


def test_a_file_opened_later_is_not_taken_for_a_closed_stream() -> None:
    code = (
        "from depthtui.cli.streams import open_streams; open_streams();"
        "import os; print(os.open(os.devnull, os.O_RDONLY) > 2, file=open(3, 'w'))"
    )
    process = run(f'{sys.executable} -c "{code}" 3>&1 <&- >&- 2>&-')
    assert process.stdout == "True\n"


def test_the_explorer_is_not_drawn_where_nobody_sees_it(tmp_path: Path) -> None:
    code = "import os; os.dup2(os.open(os.devnull, os.O_WRONLY), 2);"
    code += "import runpy; runpy.run_module('depthtui', run_name='__main__')"
    (tmp_path / "unseen.py").write_text(code)
    terminal = Terminal(tmp_path, "unseen", environment={"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"})
    try:
        assert terminal.end() == 1
        assert b"\x1b" not in terminal.sent
    finally:
        terminal.close()
