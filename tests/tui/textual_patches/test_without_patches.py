"""The explorer on a version of Textual that the patches were not tried with."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from textual.widgets import Static

import depthtui
from depthtui.cli.checks import check_versions
from depthtui.tui import textual_patches
from depthtui.tui.navigation import keymap
from depthtui.tui.screens.dialogs.welcome import Welcome
from depthtui.tui.textual_patches import PATCHES
from depthtui.tui.textual_patches.versions import TRIED

UNTRIED = "8.99.0"
PYPROJECT = Path(depthtui.__file__).parents[1] / "pyproject.toml"

WALK = """
import asyncio, pathlib, sys, textual
textual.__version__ = sys.argv[1]
from textual.message_pump import MessagePump
textuals = MessagePump._dispatch_message
from tests.tui.textual_patches.main_path import walk
assert MessagePump._dispatch_message is textuals, "a patch is installed"
asyncio.run(walk(pathlib.Path(sys.argv[2])))
"""


def test_without_any_patch_the_main_path_is_walked(tmp_path: Path) -> None:
    walk = [sys.executable, "-c", WALK, UNTRIED, tmp_path]
    walked = subprocess.run(walk, capture_output=True, text=True, timeout=120)
    assert walked.returncode == 0, walked.stderr


def test_the_doctor_and_the_welcome_count_the_patches_that_are_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def notes() -> list[str]:
        (welcome,) = Welcome(keymap()).body()
        assert isinstance(welcome, Static)
        findings = [check.finding for check in check_versions()]
        return [text for text in (*findings, str(welcome.content)) if "patches" in text]

    assert notes() == []
    monkeypatch.setattr(textual_patches, "ARE_ON", False)
    doctor, welcome = notes()
    assert doctor.startswith(f"{len(PATCHES)} patches of Textual are off")
    assert TRIED[-1] in doctor
    assert doctor in welcome


def test_no_version_is_older_than_those_that_the_patches_were_tried_with() -> None:
    project = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
    (needed,) = (text for text in project["dependencies"] if text.startswith("textual"))
    specifier = Requirement(needed).specifier
    assert all(map(specifier.contains, TRIED))
    assert f">={TRIED[0]}" in str(specifier)
