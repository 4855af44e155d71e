"""Commands of one's own: what a line may be, and that no value is ever run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from depthtui.data.own_commands import OwnCommand, read_commands, variable_of
from depthtui.options import WrongValue


def command(run: str) -> OwnCommand:
    return read_commands({"note": {"key": "f6", "title": "Note", "run": run}})["note"]


def printed(run: str, folder: Path, **values: str) -> str:
    """What the shell prints for a line with these values."""
    variables = {variable_of(name): value for name, value in values.items()}
    line = ["/bin/sh", "-c", command(run).shell_line]
    environment = os.environ | variables
    return subprocess.run(
        line, env=environment, cwd=folder, check=True, capture_output=True, text=True
    ).stdout


HOSTILE = [
    '"; touch x; "',
    "'; touch x; '",
    "$(touch x)",
    "`touch x`",
    "; touch x",
    "a\ntouch x",
    "a && touch x",
    "${PATH}",
    "*",
    "a  b",
    "{layer}",
    "\\",
]
"""Names of models of which a careless shell would run a part, or make another name."""


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("printf %s {model}", "{}"),
        ("printf %s --model={model}", "--model={}"),
        ("echo 'x' | while read y; do printf %s {model}$y; done", "{}x"),
        ("printf %s $(printf %s {model})x | head -c 0; printf %s {model}", "{}"),
        ("sh -c 'printf %s \"$1\"' sh {model}", "{}"),
        ('printf %s "it\'s" {model} "\'"', "it's{}'"),
    ],
)
def test_the_shell_gets_a_name_as_it_is_and_runs_nothing_of_it(
    run: str, expected: str, name: str, tmp_path: Path
) -> None:
    assert printed(run, tmp_path, model=name) == expected.replace("{}", name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("printf %s ${HOME}", "/home/someone"),
        ("home=1; printf %s ${home}", "1"),
        ("echo 'a b' | awk '{print $2}'", "b\n"),
        ("printf '{\"a\": 1}' | sed 's/{a}/b/'", '{"a": 1}'),
        ('printf %s "{print}"', "{print}"),
        ("printf %s \\{model}", "{model}"),
        ("printf %s {} {1,2} {A}", "{}{1,2}{A}"),
        ("f() { printf %s 3; }; f", "3"),
        ("printf %s 'a\\'{layer}", "a\\7"),
        ('printf %s "\\""{layer}', '"7'),
    ],
)
def test_braces_of_the_shell_and_of_programs_stay(
    run: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert printed(run, tmp_path, layer="7") == expected


def test_a_line_names_its_placeholders_once_and_is_shown_with_their_values() -> None:
    own = command("note {model} {layer}\n--again {model}")
    assert own.placeholders == ["model", "layer"]
    shown = own.shown({"model": "my model\x1b[2J", "layer": "3"})
    assert shown == "note $'my\\x20model\\x1b[2J' 3↵--again $'my\\x20model\\x1b[2J'"


NOTE = {"key": "f6", "title": "Note", "run": "true"}


@pytest.mark.parametrize(
    ("commands", "part", "requirement", "found"),
    [
        (3, "", "tables such as [commands.note]", ""),
        ({"a b": NOTE}, "", "letters, digits, - and _", "one named 'a b'"),
        ({"a": "note"}, ".a", "a table with key, title and run", "'note'"),
        ({"a": {"key": "f6", "title": "x"}}, ".a", "a table with", "one without run"),
        ({"a": {"run": "x", "title": "x"}}, ".a", "a table with", "one without key"),
        ({"a": NOTE | {"shell": "x"}}, ".a", "in_browser alone", "one with 'shell'"),
        ({"a": NOTE | {"key": 6}}, ".a.key", "a key such as", "6"),
        ({"a": NOTE | {"key": ""}}, ".a.key", "a key such as", "''"),
        ({"a": NOTE | {"key": "F6"}}, ".a.key", "a key such as", "'F6'"),
        ({"a": NOTE | {"key": "<c-n>"}}, ".a.key", "a key such as", "'<c-n>'"),
        ({"a": NOTE | {"key": "f99"}}, ".a.key", "a key such as", "'f99'"),
        ({"a": NOTE | {"key": "f6,"}}, ".a.key", "a key such as", "'f6,'"),
        ({"a": NOTE | {"title": " "}}, ".a.title", "a line of text", "' '"),
        ({"a": NOTE | {"title": "x\x1b[2J"}}, ".a.title", "a line of text", "'x\\x1b[2J'"),
        ({"a": NOTE | {"run": ["x"]}}, ".a.run", "a line for the shell", "['x']"),
        ({"a": NOTE | {"run": ""}}, ".a.run", "a line for the shell", "''"),
        ({"a": NOTE | {"run": "x\0"}}, ".a.run", "a line for the shell", "'x\\x00'"),
        ({"a": NOTE | {"in_browser": "yes"}}, ".a.in_browser", "true or false", "'yes'"),
        ({"a": NOTE | {"run": "x {modle}"}}, ".a.run", "{model}, {layer}", "{modle}"),
        ({"a": NOTE | {"run": 'x "{model}"'}}, ".a.run", "{model} outside of quotes", '"{'),
        ({"a": NOTE | {"run": "sh -c 'x {layer}'"}}, ".a.run", "{layer} outside", "{layer}"),
        ({"a": NOTE, "b": NOTE}, ".b.key", "a key of its own", "f6, the key of a"),
        ({"a": NOTE, "b": NOTE | {"key": "f7, f6"}}, ".b.key", "a key of its own", "f6"),
    ],
)
def test_a_wrong_command_is_named_with_its_place(
    commands: object, part: str, requirement: str, found: str
) -> None:
    with pytest.raises(WrongValue) as caught:
        read_commands(commands)
    assert caught.value.part == part
    assert requirement in str(caught.value)
    assert found in caught.value.actual


@pytest.mark.parametrize(
    "key", ["f6", "f24", "ctrl+f2", "f", "ctrl+n", "N", "ctrl+shift+up", "f6, f7", "+"]
)
def test_a_key_is_named_as_the_explorer_names_it(key: str) -> None:
    assert read_commands({"a": NOTE | {"key": key}})["a"].key == key
