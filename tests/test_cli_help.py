"""Help and shell completion of every command."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator

import click
import pytest
from click.shell_completion import ShellComplete

from depthtui.cli import commands, main

Output = pytest.CaptureFixture[str]

SCREEN = 24
"""Lines."""


def every_command(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from every_command(inner, (*path, name))


EVERY = list(every_command(commands))


def help_of(path: tuple[str, ...], capsys: Output, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    # Every command has `--plain`.
    assert main([*path, "--plain", "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_help_fits_a_screen_or_is_ordered_and_ends_with_examples(
    path: tuple[str, ...], capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = help_of(path, capsys, monkeypatch)
    assert max(map(len, text.splitlines())) <= 80
    if len(text.splitlines()) <= SCREEN:
        return
    headings = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    assert len(headings) >= 3
    assert headings[-1] == "Examples"
    assert len(headings) == len(set(headings))


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_examples_are_command_lines(
    path: tuple[str, ...], capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, examples = help_of(path, capsys, monkeypatch).partition("\nExamples:\n")
    lines = examples.partition("\n\n")[0].replace("\\\n", " ").splitlines()
    for line in lines:
        _, program, words = line.partition("depthtui")
        assert program, line
        arguments = shlex.split(re.split("[>]", words)[0])
        with commands.make_context("depthtui", arguments) as context:
            if arguments and not arguments[0].startswith("-"):
                name, command, rest = commands.resolve_command(context, arguments)
                assert command is not None
                with command.make_context(name, rest, parent=context, resilient_parsing=True):
                    pass


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_printed_for_each_shell(shell: str, capsys: Output) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_DEPTHTUI_COMPLETE={shell}_complete" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize(
    ("words", "typed", "completions"),
    [
        ([], "pru", {"prune"}),
        (["run", "demo", "--task"], "grade", {"grade_school"}),
        (["run", "demo", "--task"], "gsm", {"gsm8k"}),
        (["run", "demo", "--metrics"], "ablation,simi", {"ablation,similarity"}),
        (["run", "demo", "--erase-s"], "--erase-s", {"--erase-search"}),
        (["run"], "de", {"demo"}),
        (["lens", "fit"], "de", {"demo"}),
    ],
)
def test_what_a_shell_is_told(
    words: list[str],
    typed: str,
    completions: set[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: object,
) -> None:
    monkeypatch.setenv("DEPTHTUI_CONFIG", f"{tmp_path}/settings.toml")
    monkeypatch.setenv("DEPTHTUI_CACHE_DIR", f"{tmp_path}/cache")
    words = [word for word in words if word != typed]
    shell = ShellComplete(commands, {}, "depthtui", "_DEPTHTUI_COMPLETE")
    assert {item.value for item in shell.get_completions(words, typed)} == completions


def _options(capsys: Output) -> str:
    return capsys.readouterr().out.partition("\nExamples:\n")[0]


@pytest.mark.parametrize("name", ["run", "generate", "sweep"])
def test_help_shows_about_twenty_options_and_help_all_every_one(name: str, capsys: Output) -> None:
    flags = {
        flag
        for parameter in commands.commands[name].params
        if not getattr(parameter, "hidden", False)
        for flag in parameter.opts
        if flag.startswith("--")
    }
    assert main([name, "--help"]) == 0
    few = _options(capsys)
    assert main([name, "--help-all"]) == 0
    every = _options(capsys)
    assert all(flag in every for flag in flags)
    assert 15 <= sum(f"{flag} " in few for flag in flags) <= 23
    more = re.search(r"--help-all +Show every option: (\d+) more", few)
    assert more
    assert int(more[1]) == sum(f"{flag} " in every and f"{flag} " not in few for flag in flags)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (
            ["run", "demo", "--metrics", "ablations", "--prompt", "x"],
            "Did you mean ablation or head_ablation?",
        ),
        (["run", "demo", "--task", "comonsense"], "Did you mean commonsense?"),
        (["run", "demo", "--task", "hellaswagg"], "Did you mean hellaswag?"),
        (["sweep", "--task", "adition"], "Did you mean addition"),
        (["run", "demo", "--lens", "afine", "--prompt", "x"], "Did you mean affine?"),
    ],
)
def test_a_value_that_is_much_like_one_is_asked_about(
    arguments: list[str], meant: str, capsys: Output
) -> None:
    assert main(arguments) == 2
    assert meant in capsys.readouterr().err
