"""A sweep for Slurm: the scripts, and a pretended `sbatch`."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from depthtui import cli
from depthtui.errors import DepthError
from depthtui.sweep.on_slurm import (
    SlurmSweep,
    array_script,
    merge_script,
    sbatch_options,
    write_scripts,
)
from tests.builders.engines import ScriptedEngine
from tests.report.test_logged_answers import path_of

Output = pytest.CaptureFixture[str]
Script = Callable[[SlurmSweep], str]

GOLDEN = Path(__file__).parent / "slurm"
ODD = "it's 100% $HOME"
ODD_NAMES = [
    ODD,
    'a "b" `c` $(d) #1; e & f',
    "-a 1 --array=2",
    "%%A %j %",
    "\u96ea \u00e9",
    "hetjob :x",
]
UNPRINTABLE = [
    "x\ntouch PWNED\n#",
    "x\n#SBATCH --array=1-9",
    "a\rb",
    "\x1b[31m",
    "\udcff",
    "\u2028",
]
SWEEP = SlurmSweep(
    ("my plan.toml", "--metrics", "ablation,logit_lens", "--sample"),
    Path("/home/me/my work"),
    Path("/home/me/50%/sweep"),
    ("html", "json"),
    8,
    sbatch_options("-p gpu --gres=gpu:1 --time=2:00:00 --comment='two words'"),
    (Path("/home/me/my logs/results.json"),),
    "/opt/depthtui/bin/python",
)
ASKED = ("--model", "demo", "--task", "addition:1", "--slurm", "3")


@pytest.fixture(autouse=True)
def folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own, in which the command is given."""
    monkeypatch.chdir(home)
    return home


def run(*arguments: str) -> int:
    return cli.main(["sweep", *arguments])


@pytest.mark.parametrize(("name", "script"), [("array", array_script), ("merge", merge_script)])
def test_a_script_is_as_people_have_read_it(name: str, script: Script) -> None:
    path = GOLDEN / f"{name}.sbatch"
    assert script(SWEEP) == path.read_text()
    subprocess.run(["bash", "-n", str(path)], check=True)


def sbatch_reads(script: str) -> list[str]:
    """The arguments that sbatch finds in a script: lines until the first command, no shell.

    A backslash escapes within quotes of both kinds, too, and `#` ends a line outside of them.
    """
    arguments = []
    for line in script.split("\n"):
        if line.strip() and not line.startswith("#"):
            break
        text = line.removeprefix("#SBATCH") if line.startswith("#SBATCH") else ""
        argument, quote, characters = "", "", iter(text + " ")
        for character in characters:
            if character == "\\":
                argument += next(characters)
            elif character == quote:
                quote = ""
            elif not quote and character in "\"'":
                quote = character
            elif not quote and character in " #":
                arguments += [argument] if argument else []
                argument = ""
                if character == "#":
                    break
            else:
                argument += character
        assert not quote, f"unmatched in {line}"
    return arguments


def log_path(argument: str, **values: str) -> str:
    """The log that Slurm writes for an `--output` with patterns such as `%j`."""
    path = argument.removeprefix("--output=")
    assert "\\" not in path, "Slurm would replace no pattern"
    return re.sub("%(.)", lambda pattern: {"%": "%", **values}[pattern[1]], path)


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("script", [array_script, merge_script])
def test_a_script_runs_the_words_that_were_given(script: Script, name: str, tmp_path: Path) -> None:
    """In bash, with a program that prints its words in the place of Python."""
    python = tmp_path / name / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    out = str(tmp_path / name / "out")
    words = ("plan.toml", "--data", f"mine={name}", f"--lens-texts={name}", "--seed", "-1")
    asked = [f"--comment={name}", "-p", "a\\b"]
    sweep = replace(
        SWEEP,
        words=words,
        directory=tmp_path / name,
        out=Path(out),
        logs=(Path(f"/{name}/results.json"),),
        options=sbatch_options(shlex.join(asked)),
        python=str(python),
    )
    write_scripts(sweep)
    path = sweep.array_path if script is array_script else sweep.merge_path
    subprocess.run(["bash", "-n", path], check=True)
    own = {
        array_script: ["--job-name=depthtui-sweep", "--array=1-8", "--requeue"],
        merge_script: ["--job-name=depthtui-merge"],
    }
    log = {array_script: "1_a.log", merge_script: "merge-1.log"}
    arguments = sbatch_reads(path.read_text())
    (output,) = (word for word in arguments if word.startswith("--output="))
    assert log_path(output, A="1", a="a", j="1") == f"{out}/slurm/{log[script]}"
    arguments.remove(output)
    assert [word for word in arguments if word != "--open-mode=append"] == own[script] + asked
    process = subprocess.run(
        ["bash", path],
        capture_output=True,
        text=True,
        env={"SLURM_ARRAY_TASK_ID": "5"},
        check=True,
        cwd=tmp_path / name,
    )
    folder, *arguments = process.stdout.splitlines()
    assert folder == str(tmp_path / name)
    own = {
        array_script: ["--shard", "5/8", "--out", out, *words],
        merge_script: [
            *("--merge", out, "--out", out, "--format", "html,json"),
            *("--lm-eval", f"/{name}/results.json"),
        ],
    }
    assert arguments == ["-P", "-m", "depthtui", "sweep", *own[script]]


@pytest.mark.parametrize("name", UNPRINTABLE)
@pytest.mark.parametrize("place", ["words", "directory", "out", "python"])
def test_a_name_that_cannot_be_printed_is_in_no_script(
    tmp_path: Path, place: str, name: str
) -> None:
    odd = {
        "words": ("--model", name),
        "directory": tmp_path / name,
        "out": tmp_path / name,
        "python": name,
    }
    sweep = replace(SWEEP, **{"out": tmp_path, place: odd[place]})  # type: ignore[arg-type]
    with pytest.raises(DepthError, match="cannot be printed"):
        write_scripts(sweep)
    assert list(tmp_path.iterdir()) == []


def test_an_out_folder_with_a_backslash_has_no_place_for_logs(tmp_path: Path) -> None:
    with pytest.raises(DepthError, match="backslash"):
        write_scripts(replace(SWEEP, out=tmp_path / "a\\b"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x\ntouch PWNED\n#", "\udcff"])
@pytest.mark.parametrize("place", ["--out", "--model", "the folder"])
def test_the_command_refuses_a_name_that_cannot_be_printed(
    home: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch, place: str, name: str
) -> None:
    if place == "the folder":
        (home / name).mkdir()
        monkeypatch.chdir(home / name)
    named = {"--out": "o", "--model": "demo"} | ({} if place == "the folder" else {place: name})
    arguments = [word for pair in named.items() for word in pair]
    assert run("--task", "addition:1", "--slurm", "3", *arguments) == 1
    assert "cannot be printed" in capsys.readouterr().err
    assert not list(home.rglob("*.sbatch"))


def test_the_command_writes_scripts_and_says_how_to_submit_them(home: Path, capsys: Output) -> None:
    command = (*ASKED, "--out", "o", "--sbatch", "--time=10 -p gpu", "--format=json", "--seed=3")
    shutil.copy(path_of("whole", "samples_sums*"), "log.jsonl")
    command += ("--lm-eval", "log.jsonl")
    for _ in range(2):
        assert run(*command) == 0
    scripts = home / "o" / "slurm"
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == f"array=$(sbatch --parsable {scripts}/array.sbatch)"
    assert lines[-1] == f"sbatch --dependency=afterany:$array {scripts}/merge.sbatch"
    array, merge = ((scripts / f"{name}.sbatch").read_text() for name in ("array", "merge"))
    assert "#SBATCH --array=1-3\n" in array
    assert "#SBATCH --time=10\n#SBATCH -p gpu\n" in array
    assert "#SBATCH --time=10\n#SBATCH -p gpu\n" in merge
    options = ["--model demo", "--task addition:1", "--seed=3"]
    assert array.endswith(" \\\n    ".join(["", f"--out {home}/o", *options]) + "\n")
    assert merge.endswith(f"--format json \\\n    --lm-eval {home}/log.jsonl\n")
    assert not list(home.rglob("records"))


def test_a_script_that_was_changed_stays(home: Path, capsys: Output) -> None:
    assert run(*ASKED, "--out", "o") == 0
    path = Path("o/slurm/array.sbatch")
    path.write_text("#!/bin/bash\nmine\n")
    assert run(*ASKED, "--out", "o") == 1
    assert "is not what this command would write. Submit it as it is" in capsys.readouterr().err
    assert path.read_text() == "#!/bin/bash\nmine\n"


def test_a_folder_of_other_settings_is_told_before_the_cluster_works(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depthtui.engine.factory.make_engine", lambda *how: ScriptedEngine())
    assert run(*ASKED[:4], "--shard", "1/3", "--out", "o") == 0
    assert run(*ASKED, "--out", "o") == 0
    assert run(*ASKED, "--out", "o", "--seed", "5") == 1
    errors = capsys.readouterr().err
    assert "cannot be merged with what o holds. The sweeps were measured with diff" in errors


def put_sbatch(folder: Path, merges: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An sbatch that takes an array as job 12, and does `merges` with what waits for it."""
    path = folder / "sbatch"
    log = folder / "sbatch.log"
    path.write_text(
        f'#!/bin/sh\necho "$@" >> "{log}"\n'
        f'case "$*" in *--dependency*) {merges};; *) echo "12;here";; esac\n'
    )
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return log


def test_submit_submits_both(
    tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = put_sbatch(tmp_path, "echo 13", monkeypatch)
    assert run(*ASKED, "--out", "o", "--submit") == 0
    assert "Submitted as job 12, and 13, which waits" in capsys.readouterr().out
    scripts = Path.cwd() / "o" / "slurm"
    assert log.read_text().splitlines() == [
        f"--parsable {scripts}/array.sbatch",
        f"--parsable --dependency=afterany:12 {scripts}/merge.sbatch",
    ]


def test_what_slurm_does_not_take_is_said_in_its_words(
    tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_sbatch(tmp_path, 'echo "sbatch: error: no such partition: gpu" >&2; exit 1', monkeypatch)
    assert run(*ASKED, "--out", "o", "--submit") == 1
    errors = capsys.readouterr().err
    assert "The array is submitted as job 12. sbatch does not take" in errors
    assert "merge.sbatch: no such partition: gpu." in errors
    assert "scancel 12" in errors


def test_no_sbatch_is_said_before_anything_is_written(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert run(*ASKED, "--out", "o", "--submit") == 1
    assert "There is no sbatch here" in capsys.readouterr().err
    assert not Path("o").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--slurm", "0"), "'0' is not a whole number of at least 1."),
        (("--slurm", "10001"), "more than 10,000 parts"),
        (("--submit",), "need --slurm N"),
        (("--sbatch", "--time=10"), "need --slurm N"),
        (("--slurm", "2", "--shard", "1/2"), "without --shard and --merge"),
        (("--slurm", "2", "--sbatch", "gpu"), "'gpu' is no list of sbatch's options"),
        (("--slurm", "2", "--sbatch", ""), "'' is no list of sbatch's options"),
        (("--slurm", "2", "--sbatch", "--time=1\nreboot"), "is no list of sbatch's options"),
        (("--slurm", "2", "--sbatch", "--comment='a"), "no list of options: No closing quotation"),
        (("--slurm", "2", "--sbatch", "-a1-4"), "The scripts need --array for themselves"),
        (("--slurm", "2", "--sbatch", "-p gpu --dependency=1"), "The scripts need --dependency"),
        (("--slurm", "2", "--sbatch", "--arr 1"), "The scripts need --array"),
        (("--slurm", "2", "--sbatch", "--dep=1"), "The scripts need --dependency"),
        (("--slurm", "2", "--sbatch", "-Ha1-4"), "The scripts need --array"),
        (("--slurm", "2", "--sbatch", "-QOd 1"), "The scripts need --dependency"),
        (("--slurm", "2", "--sbatch", "-p gpu -- x"), "is no list of sbatch's options"),
    ],
)
def test_wrong_usage(capsys: Output, arguments: tuple[str, ...], problem: str) -> None:
    assert run("--model", "demo", "--task", "facts", *arguments) == 2
    assert problem in capsys.readouterr().err
