"""The user's own editor for what is typed."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from textual.widgets import Input

from depthtui.tui.app import DepthApp
from depthtui.tui.screens.dialogs.notes_dialog import NotesDialog
from depthtui.tui.screens.dialogs.prompt_picker import PromptPicker
from depthtui.tui.screens.dialogs.safe_text_area import SafeTextArea
from depthtui.tui.state.pasted import CONTROLS_DROPPED, FIRST_LINE_ONLY, LONGEST_TEXT, TOO_LONG
from tests.tui.app_helpers import Explored

Name = Callable[[str], None]


@pytest.fixture
def suspensions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lets an editor run as on a terminal; what happens to the terminal, in order."""
    seen: list[str] = []

    @contextmanager
    def suspend(app: DepthApp) -> Iterator[None]:
        seen.append("given")
        yield
        seen.append("back")

    monkeypatch.setattr(DepthApp, "suspend", suspend)
    return seen


@pytest.fixture
def name_editor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Name:
    """Names a Python script as the editor: `text` is the text, `path` its file."""
    monkeypatch.delenv("VISUAL", raising=False)

    def name(script: str) -> None:
        file = tmp_path / "my editor.py"
        file.write_text(
            "import pathlib, sys\n"
            "path = pathlib.Path(sys.argv[1])\n"
            "text = path.read_bytes().decode('utf-8', 'surrogatepass')\n" + script
        )
        monkeypatch.setenv("EDITOR", shlex.join([sys.executable, str(file)]))

    return name


async def edit_prompt(it: Explored, before: str = "It rained.") -> str:
    await it.press("p")
    picker = it.app.screen
    assert isinstance(picker, PromptPicker)
    area = picker.query_one("#text", SafeTextArea)
    area.load_text(before)
    await it.press("ctrl+e")
    return area.text


def last_message(it: Explored) -> str:
    return it.app.messages[0].text if it.app.messages else ""


async def test_a_prompt_is_edited(suspensions: list[str], name_editor: Name, it: Explored) -> None:
    name_editor("path.write_text(text + ' And rained.\\nOn.\\n')")
    assert await edit_prompt(it) == "It rained. And rained.\nOn."
    assert suspensions == ["given", "back"]
    await it.press("ctrl+z")
    area = it.app.screen.query_one("#text", SafeTextArea)
    assert area.text == "It rained.", "it can be undone"


async def test_an_editor_that_changes_nothing_changes_nothing(
    suspensions: list[str], name_editor: Name, it: Explored
) -> None:
    name_editor("import time; time.sleep(0.6)")
    assert await edit_prompt(it, "It rained.\n") == "It rained.\n"
    assert last_message(it) == ""


async def test_an_editor_that_ends_at_once_is_named(
    suspensions: list[str], name_editor: Name, it: Explored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depthtui.tui.text_editor._AT_ONCE", 60.0)
    name_editor("")
    assert await edit_prompt(it) == "It rained."
    assert "ended at once. One that opens a window needs" in last_message(it)


async def test_visual_comes_before_editor(
    suspensions: list[str],
    name_editor: Name,
    monkeypatch: pytest.MonkeyPatch,
    it: Explored,
) -> None:
    name_editor("path.write_text('of EDITOR')")
    monkeypatch.setenv("VISUAL", "true")
    assert await edit_prompt(it) == "It rained."


async def test_a_line_keeps_its_first_line(
    suspensions: list[str], name_editor: Name, it: Explored
) -> None:
    name_editor("path.write_text(text + 'ny\\nand more')")
    await it.press("p", "tab")
    answer = it.app.screen.focused
    assert isinstance(answer, Input)
    answer.value = "rai"
    await it.press("ctrl+e")
    assert answer.value == "rainy"
    assert last_message(it) == FIRST_LINE_ONLY


async def test_notes_are_edited(suspensions: list[str], name_editor: Name, it: Explored) -> None:
    name_editor("path.write_text('seen')")
    await it.press("M", "tab")
    assert isinstance(it.app.screen, NotesDialog)
    await it.press("ctrl+e")
    assert it.app.screen.query_one("#note", SafeTextArea).text == "seen"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("sys.exit(3)", "ended with status 3. The text stays as it was."),
        ("path.write_bytes(b'\\xff')", "The editor's file cannot be used: it is not UTF-8."),
        ("path.unlink()", "The editor's file cannot be used: No such file or directory."),
        ("path.unlink(); import os; os.mkfifo(path)", "it is no ordinary file."),
        ("path.unlink(); path.symlink_to('/dev/zero')", "it is no ordinary file."),
        ("path.open('wb').truncate(50_000_000)", "it is larger than 1 MiB."),
        (f"path.write_text('a' * {LONGEST_TEXT + 1})", TOO_LONG),
    ],
    ids=["fails", "no text", "no file", "a pipe", "a device", "a big file", "too long"],
)
async def test_what_cannot_be_taken_leaves_the_text(
    script: str,
    words: str,
    suspensions: list[str],
    name_editor: Name,
    it: Explored,
) -> None:
    name_editor(script)
    assert await edit_prompt(it) == "It rained."
    assert words in last_message(it)
    assert suspensions == ["given", "back"]


async def test_control_characters_are_dropped(
    suspensions: list[str], name_editor: Name, it: Explored
) -> None:
    name_editor("path.write_bytes(b'a\\x1b[31mb\\r\\nc')")
    assert await edit_prompt(it) == "a[31mb\nc"
    assert last_message(it) == CONTROLS_DROPPED


@pytest.mark.parametrize(
    ("editor", "words"),
    [
        (None, "$EDITOR names no editor, and none of editor, vi, nano, vim, emacs is installed."),
        (
            "no-such-editor -f",
            "The editor no-such-editor does not start (No such file or directory).",
        ),
        ("'vim", "$EDITOR is no command"),
    ],
)
async def test_an_editor_that_is_missing_is_named(
    editor: str | None,
    words: str,
    suspensions: list[str],
    name_editor: Name,
    monkeypatch: pytest.MonkeyPatch,
    it: Explored,
) -> None:
    name_editor("")
    if editor is None:
        monkeypatch.delenv("EDITOR")
        monkeypatch.setenv("PATH", "/nowhere")
    else:
        monkeypatch.setenv("EDITOR", editor)
    assert await edit_prompt(it) == "It rained."
    assert words in last_message(it)


async def test_an_editor_that_is_there_needs_no_name(
    suspensions: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, it: Explored
) -> None:
    vi = tmp_path / "vi"
    vi.write_text('#!/bin/sh\necho "by vi" > "$1"\n')
    vi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for variable in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(variable, raising=False)
    assert await edit_prompt(it) == "by vi"


async def test_a_browser_has_none(name_editor: Name, it: Explored) -> None:
    name_editor("path.write_text('never')")
    assert await edit_prompt(it) == "It rained."
    assert "needs a terminal" in last_message(it)
