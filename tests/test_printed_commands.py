"""Names in printed command lines: what a shell reads is the name."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from depthtui import installing
from depthtui.cli import main
from depthtui.cli.pruned_words import _other_tools
from depthtui.engine.lenses import LensChoice, Lenses
from depthtui.errors import DepthError
from depthtui.lenses.lens_files import _unreadable
from depthtui.sweep.on_slurm import SlurmSweep
from depthtui.token_text import printable_line, shell_word

NAMES = [
    "my model",
    "two  spaces ",
    'it\'s "quoted"',
    "x\ntouch PWNED\n#",
    "$(touch PWNED) `x` $HOME; y & z | * ?",
    "back\\slash",
    "=model",
    "\x1b[31mred\x07",
    "caf\u00e9 \u96ea",
    "\u05d0\u202e\u200b",
    os.fsdecode(b"\xff"),
]


def read_by_bash(words: str) -> list[str]:
    """The words that bash reads in a part of a command line."""
    script = f"printf '%s\\0' {words}"
    output = subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, check=True).stdout
    return [os.fsdecode(word) for word in output.split(b"\0")[:-1]]


def between(text: str, start: str, end: str) -> str:
    return text.partition(start)[2].rpartition(end)[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_word_is_shown_as_it_is_and_read_as_the_name(name: str) -> None:
    word = shell_word(name)
    assert read_by_bash(word) == [name]
    assert " ".join(printable_line(word).split()) == word


@pytest.mark.parametrize("name", ["model", "Qwen/Qwen2.5-7B", "/a/b_c.gguf"])
def test_an_ordinary_name_is_itself(name: str) -> None:
    assert shell_word(name) == name


def test_no_name_is_a_command_for_zsh() -> None:
    assert shell_word("=ls") == "'=ls'"


def _pruned(name: str) -> str:
    pruned: Any = SimpleNamespace(folder=Path(name), layers=[0, 1], exits_early=False)
    return between(_other_tools(pruned, [2]), "mergekit: ", "; the layers that stay")


def _no_lens(kind: str) -> Callable[[str], str]:
    def words(name: str) -> str:
        model = SimpleNamespace(
            info=SimpleNamespace(spec=SimpleNamespace(name=name)),
            loaded=SimpleNamespace(is_readout=True),
        )
        lenses: Any = SimpleNamespace(stored=lambda choice: None, model=model)
        with pytest.raises(DepthError) as caught:
            Lenses.find_or_fit(lenses, LensChoice(kind), pytest.fail, pytest.fail)
        end = " --kind jacobian` fits" if kind == "jacobian" else "` fits"
        return between(caught.value.hint, "`depthtui lens fit ", end)

    return words


def _damaged_lens(name: str) -> str:
    file: Any = SimpleNamespace(path=Path("x"), name=name)
    return between(_unreadable(file, "damaged").hint, "`depthtui lens remove ", "`, and fit")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("words", "read"),
    [
        (_pruned, "{}/mergekit_config.yml"),
        (_no_lens("jacobian"), "{}"),
        (_no_lens("affine"), "{}"),
        (_damaged_lens, "{}"),
    ],
)
def test_a_name_in_a_printed_command_is_quoted(
    words: Callable[[str], str], read: str, name: str
) -> None:
    assert read_by_bash(words(name)) == [read.format(name)]
    assert printable_line(words(name)) == words(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_in_place_of_a_command_is_quoted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    assert main([name]) == 2
    error = capsys.readouterr().err
    assert read_by_bash(between(error, "`depthtui --model ", "` opens it")) == [name]
    assert main(["sweep", name]) == 2
    error = capsys.readouterr().err
    words = between(error, "`depthtui sweep ", "`. See")
    assert read_by_bash(words) == ["--model", name, "--task", "NAME"]


@pytest.mark.parametrize("text", [name for name in NAMES if len(name.split()) > 1])
def test_a_prompt_in_place_of_a_model_is_quoted(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", text, "demo"]) == 2
    words = between(capsys.readouterr().err, "`depthtui run ", "`. See")
    assert read_by_bash(words) == ["demo", "--prompt", text]


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_of_a_checkout_is_quoted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installing, "_ROOT", tmp_path / name)
    (tmp_path / name).mkdir()
    (tmp_path / name / "pyproject.toml").touch()
    command = installing.install_extra("wandb")
    assert read_by_bash(command)[-2:] == ["-e", f"{tmp_path / name}[wandb]"]


@pytest.mark.parametrize("name", [name for name in NAMES if name.isprintable()])
def test_the_commands_for_slurm_are_quoted(name: str) -> None:
    sweep = SlurmSweep((), Path("/"), Path("/") / name, (), 3, ())
    array, merge = sweep.commands
    assert read_by_bash(merge)[-1] == f"/{name}/slurm/merge.sbatch"
    assert read_by_bash(between(array, "--parsable ", ")")) == [f"/{name}/slurm/array.sbatch"]
