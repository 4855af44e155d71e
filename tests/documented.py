"""Command lines in a text, and whether the commands would take them."""

from __future__ import annotations

import ast
import builtins
import re
import shlex
from pathlib import Path

import click
import pytest

from depthtui.cli import commands


def command_lines(text: str) -> list[str]:
    """The command lines of the text's blocks, with the lines that they continue in."""
    blocks = "".join(re.findall(r"^```(?:sh)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    return re.findall(r"^ *depthtui (?:[^\n]*\\\n)*[^\n]*", blocks, re.MULTILINE)


def check_command_line(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read a command line in a folder with the files that it names, and do nothing."""
    monkeypatch.chdir(folder)
    words = shlex.split(line.replace("\\\n", " "))[1:]
    for word in words:
        name = word.rpartition("=")[2]
        if re.search(r"\.\w{2,7}$", name) and "/" not in name:
            (folder / name).write_text("")
        elif name.endswith("/"):
            (folder / name).mkdir(exist_ok=True)
    # Of inspect, --format is what it prints.
    assert words[:1] == ["inspect"] or "--format" not in words or "--out" in words
    # No program of the example need be here; shells are.
    if "--engine-command" in words:
        words[words.index("--engine-command") + 1] = "sh"
    _parse(commands, words)


def _parse(command: click.Command, words: list[str]) -> None:
    with command.make_context(command.name, words) as context:
        rest = [*context._protected_args, *context.args]
        if isinstance(command, click.Group) and rest:
            _, found, words = command.resolve_command(context, rest)
            assert found is not None
            _parse(found, words)


def unknown_names(text: str) -> set[str]:
    """Names in the Python examples of a text that these, read in order, have from nowhere."""
    examples = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    nodes = list(ast.walk(ast.parse("\n".join(examples))))
    known = {
        alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    names = [node for node in nodes if isinstance(node, ast.Name)]
    known |= {name.id for name in names if isinstance(name.ctx, ast.Store)}
    return {name.id for name in names} - known - set(dir(builtins))
