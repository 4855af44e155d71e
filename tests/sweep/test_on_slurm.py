"""A sweep for Slurm: the scripts, and a pretended `sbatch`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from depthtui import cli
from depthtui.sweep.on_slurm import SlurmSweep, array_script, merge_script, sbatch_options
from tests.builders.engines import ScriptedEngine

Output = pytest.CaptureFixture[str]
Script = Callable[[SlurmSweep], str]

GOLDEN = Path(__file__).parent / "slurm"
ODD = "it's 100% $HOME"
SWEEP = SlurmSweep(
    ("my plan.toml", "--metrics", "ablation,logit_lens", "--sample"),
    Path("/home/me/my work"),
    Path("/home/me/50%/sweep"),
    ("html", "json"),
    8,
    sbatch_options("-p gpu --gres=gpu:1 --time=2:00:00 --comment='two words'"),
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


@pytest.mark.parametrize("script", [array_script, merge_script])
def test_a_script_runs_the_words_that_were_given(script: Script, tmp_path: Path) -> None:
    """In bash, with a program that prints its words in the place of Python."""
    python = tmp_path / ODD / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    out = str(tmp_path / ODD / "out")
    words = ("plan.toml", "--data", f"mine={ODD}", f"--lens-texts={ODD}", "--seed", "-1")
    sweep = replace(SWEEP, words=words, directory=tmp_path / ODD, out=Path(out), python=str(python))
    process = subprocess.run(
        ["bash"],
        input=script(sweep),
        capture_output=True,
        text=True,
        env={"SLURM_ARRAY_TASK_ID": "5"},
        check=True,
        cwd=tmp_path / ODD,
    )
    folder, *arguments = process.stdout.splitlines()
    assert folder == str(tmp_path / ODD)
    own = {
        array_script: ["--shard", "5/8", "--out", out, *words],
        merge_script: ["--merge", out, "--out", out, "--format", "html,json"],
    }
    assert arguments == ["-P", "-m", "depthtui", "sweep", *own[script]]


def test_the_command_writes_scripts_and_says_how_to_submit_them(home: Path, capsys: Output) -> None:
    command = (*ASKED, "--out", "o", "--sbatch", "--time=10 -p gpu", "--format=json", "--seed=3")
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
    assert merge.endswith("--format json\n")
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
        (("--slurm", "0"), "0 is not in the range"),
        (("--slurm", "10001"), "more than 10,000 parts"),
        (("--submit",), "need --slurm N"),
        (("--sbatch", "--time=10"), "need --slurm N"),
        (("--slurm", "2", "--shard", "1/2"), "without --shard"),
        (("--slurm", "2", "--ray"), "without --shard, --merge and --ray"),
        (("--slurm", "2", "--sbatch", "gpu"), "'gpu' is no list of sbatch's options"),
        (("--slurm", "2", "--sbatch", ""), "'' is no list of sbatch's options"),
        (("--slurm", "2", "--sbatch", "--time=1\nreboot"), "is no list of sbatch's options"),
        (("--slurm", "2", "--sbatch", "--comment='a"), "no list of options: No closing quotation"),
        (("--slurm", "2", "--sbatch", "-a1-4"), "The scripts need --array for themselves"),
        (("--slurm", "2", "--sbatch", "-p gpu --dependency=1"), "The scripts need --dependency"),
    ],
)
def test_wrong_usage(capsys: Output, arguments: tuple[str, ...], problem: str) -> None:
    assert run("--model", "demo", "--task", "facts", *arguments) == 2
    assert problem in capsys.readouterr().err
