"""A text in the user's own editor, `$VISUAL`, `$EDITOR` or one that is there, while all waits."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from textual.app import App, SuspendNotSupported
from textual.widgets import Input, TextArea

from depthtui.errors import DepthError
from depthtui.files import read_whole, system_reason
from depthtui.tui.state.pasted import LONGEST_LINE, LONGEST_TEXT, pasted_line, pasted_text

_STAYS = "The text stays as it was."

_AT_ONCE = 0.5
"""Seconds in which no person edits."""

_EDITORS = ("editor", "vi", "nano", "vim", "emacs")
"""Programs for a terminal that edit where none is named, the preferred one first."""

_LARGEST = 1 << 20


def edit(app: App[Any], field: Input | TextArea) -> str:
    """Edit the text of a field; return what the field has no room for, in words.

    Raises:
        DepthError: there is no editor, it fails, or there is no terminal for it.
    """
    if isinstance(field, Input):
        line, sentences = pasted_line(edited(app, field.value), LONGEST_LINE)
        field.value, field.cursor_position = line, len(line)
    else:
        text, sentences = pasted_text(edited(app, field.text), LONGEST_TEXT)
        if text or not sentences:
            field.replace(text, field.document.start, field.document.end)
    return " ".join(sentences)


def edited(app: App[Any], text: str) -> str:
    """The text as the editor leaves it, without one line end after the last line.

    The explorer draws nothing until the editor ends; the engine goes on.

    Raises:
        DepthError: there is no editor, it fails, or there is no terminal for it.
    """
    command = _command()
    try:
        with tempfile.TemporaryDirectory(prefix="depthtui-") as folder:
            path = Path(folder) / "text.txt"
            path.write_bytes(text.encode("utf-8", "surrogatepass"))
            _edit_file(app, command, path)
            changed = read_whole(path, _LARGEST).decode("utf-8", "surrogatepass")
    except (OSError, UnicodeDecodeError) as error:
        reason = system_reason(error) if isinstance(error, OSError) else "it is not UTF-8"
        raise DepthError(f"The editor's file cannot be used: {reason}.", _STAYS) from error
    return text if changed == text else changed.replace("\r\n", "\n").removesuffix("\n")


def _edit_file(app: App[Any], command: Sequence[str], path: Path) -> None:
    started, before = time.monotonic(), path.stat().st_mtime_ns
    try:
        with app.suspend():
            problem = _run([*command, str(path)])
    except SuspendNotSupported:
        raise DepthError(
            "An editor needs a terminal, and the explorer is drawn in a browser."
        ) from None
    if problem:
        raise DepthError(problem, _STAYS)
    ends_at_once = time.monotonic() - started < _AT_ONCE
    if ends_at_once and path.exists() and path.stat().st_mtime_ns == before:
        raise DepthError(
            f"The editor {command[0]} ended at once.",
            "One that opens a window needs its option to wait, such as EDITOR='code --wait'.",
        )


def _command() -> list[str]:
    """The words of the editor's command: the named one's, or those of the first that is there."""
    for variable in ("VISUAL", "EDITOR"):
        try:
            words = shlex.split(os.environ.get(variable, ""))
        except ValueError as error:
            raise DepthError(f"${variable} is no command: {error}.") from None
        if words:
            return words
    program = next(filter(None, map(shutil.which, _EDITORS)), "")
    if not program:
        raise DepthError(
            f"$EDITOR names no editor, and none of {', '.join(_EDITORS)} is installed.",
            "Name one before the start: export EDITOR=micro",
        )
    return [program]


def _run(words: list[str]) -> str:
    """Run the editor; return why it failed, or nothing.

    Nothing is raised: Textual would not take the terminal back.
    """
    try:
        process = subprocess.Popen(words)
    except (OSError, ValueError) as error:
        return f"The editor {words[0]} does not start ({system_reason(error)})."
    # Ctrl-c in the editor is sent to both. One ignored before would be ignored by the editor, too.
    with _ignored(signal.SIGINT):
        status = process.wait()
    return f"The editor {words[0]} ended with status {status}." if status else ""


@contextmanager
def _ignored(number: signal.Signals) -> Iterator[None]:
    former = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, former)
