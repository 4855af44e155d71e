"""The code is clean, and keeps the walls between its parts; `.ci/run` checks its types."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    ["ruff check .", "ruff format --check .", "lint-imports"],
)
def test_the_code_passes(command: str) -> None:
    tool, *arguments = command.split()
    done = subprocess.run(
        [TOOLS / tool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "module",
    ["depthtui.tui.app", "depthtui.cli", "depthtui.report.export", "depthtui.engine.factory"],
)
def test_the_terminal_process_stays_light(module: str) -> None:
    script = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", script], text=True).split()
    assert module in loaded
    assert not {"torch", "transformers", "accelerate", "tokenizers"} & set(loaded)


@pytest.mark.parametrize(
    "module", ["depthtui.cli", "depthtui.cli.headless", "depthtui.report.export"]
)
def test_the_command_line_runs_without_textual(module: str) -> None:
    script = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", script], text=True).split()
    assert "textual" not in loaded
