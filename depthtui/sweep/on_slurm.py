"""A sweep on a Slurm cluster: two scripts that people can read and change.

The tasks of an array run the parts of the sweep, all into one folder on a shared disk. A task
that is preempted and restarted continues from its records. A second job merges the parts after
all tasks have ended, whether or not they succeeded.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from depthtui.errors import DepthError, first_line, short_repr
from depthtui.files import write_new
from depthtui.token_text import shell_word

_OURS = {"-a": "--array", "-d": "--dependency"}
"""Options of sbatch that the scripts need for themselves, by their short names."""

_WITHOUT_VALUE = "hHIkOQsvVW"
"""Letters of sbatch's options that other letters may follow."""


@dataclass(frozen=True)
class SlurmSweep:
    """A sweep for a cluster.

    Attributes:
        words: command line of `depthtui sweep`: models, tasks and settings.
        directory: the folder that paths in `words` are relative to.
        out: absolute path of the folder of records and report.
        formats: formats of the report; empty for all.
        tasks: number of tasks of the array.
        options: options of sbatch for both jobs, each as written after `#SBATCH`.
        logs: absolute paths of logs of lm-evaluation-harness for the report.
        python: the interpreter that depthtui is installed for.
    """

    words: tuple[str, ...]
    directory: Path
    out: Path
    formats: tuple[str, ...]
    tasks: int
    options: tuple[str, ...]
    logs: tuple[Path, ...] = ()
    python: str = sys.executable

    @property
    def array_path(self) -> Path:
        """Path of the array's script."""
        return self.out / "slurm" / "array.sbatch"

    @property
    def merge_path(self) -> Path:
        """Path of the merging script."""
        return self.out / "slurm" / "merge.sbatch"

    @property
    def commands(self) -> tuple[str, str]:
        """The lines for a shell that submit the scripts."""
        array, merge = shell_word(str(self.array_path)), shell_word(str(self.merge_path))
        return (
            f"array=$(sbatch --parsable {array})",
            f"sbatch --dependency=afterany:$array {merge}",
        )


def sbatch_options(text: str) -> tuple[str, ...]:
    """Options of sbatch in a text such as `-p gpu --time=2:00:00`, each as a line of a script.

    Raises:
        DepthError: the text is no list of options, or has one that the scripts need themselves.
    """
    hint = "Write such as --sbatch '--partition=gpu --gres=gpu:1 --time=2:00:00'."
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise DepthError(
            f"{short_repr(text)} is no list of options: {first_line(error)}.", hint
        ) from None
    if "--" in words or not "".join(words[:1]).startswith("-") or not text.isprintable():
        raise DepthError(f"{short_repr(text)} is no list of sbatch's options.", hint)
    if name := next(filter(None, map(_own_option, words)), ""):
        raise DepthError(
            f"The scripts need {name} for themselves.",
            "--slurm N says how many tasks the array has; the scripts can be changed by hand.",
        )
    return tuple(_by_option(words, _quote_for_sbatch))


def _own_option(word: str) -> str:
    """The option of the scripts that sbatch would read in a word; empty for none.

    Names of options may be cut short, and letters without a value joined: `--arr`, `-Ha1-4`.
    """
    if word.startswith("--"):
        name = word.partition("=")[0]
        return next((option for option in _OURS.values() if option.startswith(name)), "")
    letters = re.match(rf"-[{_WITHOUT_VALUE}]*([ad])", word)
    return _OURS[f"-{letters[1]}"] if letters else ""


def array_script(sweep: SlurmSweep) -> str:
    """The script of the array, each task of which runs one part."""
    lines = [
        "#!/bin/bash",
        f"# Runs a sweep of depthtui in {sweep.tasks} parts, one in each task of the array.",
        "# A task that begins again, by requeue or `sbatch --array=1`, goes on from its records.",
        "#SBATCH --job-name=depthtui-sweep",
        f"#SBATCH --array=1-{sweep.tasks}",
        "#SBATCH --requeue",
        f"#SBATCH --output={_log(sweep, '%A_%a.log')}",
        "#SBATCH --open-mode=append",
        *(f"#SBATCH {option}" for option in sweep.options),
        "",
        "# Whatever a node needs first, such as `module load cuda`, stands here.",
        "",
        f"cd {shlex.quote(str(sweep.directory))} || exit",
        f"exec {_program(sweep)} \\",
        f'    --shard "$SLURM_ARRAY_TASK_ID/{sweep.tasks}" \\',
        _continuation([f"--out {shlex.quote(str(sweep.out))}", *_by_option(sweep.words)]),
    ]
    return "\n".join(lines) + "\n"


def merge_script(sweep: SlurmSweep) -> str:
    """The script of the job that merges the parts into one sweep and writes its report."""
    out = shlex.quote(str(sweep.out))
    formats = [f"--format {','.join(sweep.formats)}"] if sweep.formats else []
    logs = [f"--lm-eval {shlex.quote(str(log))}" for log in sweep.logs]
    lines = [
        "#!/bin/bash",
        "# Merges the parts of a sweep of depthtui, and writes its report.",
        "# It needs no GPU: an option that asks for one can go where the partition allows.",
        "#SBATCH --job-name=depthtui-merge",
        f"#SBATCH --output={_log(sweep, 'merge-%j.log')}",
        *(f"#SBATCH {option}" for option in sweep.options),
        "",
        f"exec {_program(sweep)} \\",
        _continuation([f"--merge {out}", f"--out {out}", *formats, *logs]),
    ]
    return "\n".join(lines) + "\n"


def write_scripts(sweep: SlurmSweep) -> list[Path]:
    """Write both scripts; a script that exists already is kept, and must be the same.

    Raises:
        DepthError: a name cannot be in a script, an existing script was changed or is of another
            sweep, or the folder cannot be written.
    """
    _check_names(sweep)
    scripts = {
        sweep.array_path: array_script(sweep).encode(),
        sweep.merge_path: merge_script(sweep).encode(),
    }
    new_paths = [path for path, content in scripts.items() if not _is_there(path, content)]
    for path in new_paths:
        write_new(path, scripts[path])
    return list(scripts)


def _check_names(sweep: SlurmSweep) -> None:
    """Check that every name can be in a script, where no quote protects a new line from sbatch.

    Raises:
        DepthError: a name cannot be printed, or sbatch would read it as another.
    """
    for name in map(str, (sweep.out, sweep.directory, sweep.python, *sweep.logs, *sweep.words)):
        if not name.isprintable():
            raise DepthError(
                f"{short_repr(name)} cannot be in a script for Slurm: it has a character that "
                "cannot be printed.",
                "Give it another name.",
            )
    if "\\" in str(sweep.out):
        raise DepthError(
            f"Slurm cannot write logs to {sweep.out}, whose name has a backslash.",
            "Choose another --out folder.",
        )


def check_sbatch() -> None:
    """Check that jobs can be submitted from this machine.

    Raises:
        DepthError: there is no sbatch.
    """
    if shutil.which("sbatch") is None:
        raise DepthError(
            "There is no sbatch here, which --submit needs.",
            "Leave --submit out, and submit the scripts on a machine of the cluster.",
        )


def submit(sweep: SlurmSweep) -> tuple[str, str]:
    """Submit both scripts; returns the ids of the array's job and of the merging one.

    Raises:
        DepthError: Slurm rejects a script.
    """
    array = _sbatch(sweep.array_path)
    try:
        return array, _sbatch(sweep.merge_path, f"--dependency=afterany:{array}")
    except DepthError as error:
        raise DepthError(
            f"The array is submitted as job {array}. {error.message}",
            f"Submit that script anew, or end the array with `scancel {array}`.",
        ) from None


def _sbatch(script: Path, *options: str) -> str:
    command = ["sbatch", "--parsable", *options, str(script)]
    try:
        process = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
        )
    except OSError as error:
        raise DepthError(f"sbatch cannot be run: {first_line(error.strerror)}.") from None
    if process.returncode:
        why = first_line(process.stderr).removeprefix("sbatch: ").removeprefix("error: ")
        raise DepthError(f"sbatch does not take {script}: {why}.", "Correct its options.")
    # In a federation the cluster's name follows the id.
    return process.stdout.strip().partition(";")[0]


def _is_there(path: Path, content: bytes) -> bool:
    if not os.path.lexists(path):
        return False
    if path.is_file() and path.read_bytes() == content:
        return True
    raise DepthError(
        f"{path} is there already, and is not what this command would write.",
        "Submit it as it is, move it away, or choose another --out folder.",
    )


def _program(sweep: SlurmSweep) -> str:
    # -P: no module of the folder that the job runs in is imported.
    return f"{shlex.quote(sweep.python)} -P -m depthtui sweep"


def _log(sweep: SlurmSweep, name: str) -> str:
    """Path of a log beside the scripts, for sbatch, which expands `%` patterns in it."""
    return _quote_for_sbatch(str(sweep.array_path.parent).replace("%", "%%") + f"/{name}")


def _quote_for_sbatch(word: str) -> str:
    """A word quoted for a `#SBATCH` line, where a backslash escapes within quotes, too."""
    return shlex.quote(word.replace("\\", "\\\\"))


def _by_option(words: Sequence[str], quote: Callable[[str], str] = shlex.quote) -> Iterable[str]:
    """Words of a command line, quoted for a shell, each option together with its values."""
    group: list[str] = []
    for word in words:
        if word.startswith("-") and group:
            yield " ".join(group)
            group = []
        named = re.fullmatch(r"(--[a-z-]+=)(.+)", word)
        group.append(named[1] + quote(named[2]) if named else quote(word))
    if group:
        yield " ".join(group)


def _continuation(groups: Iterable[str]) -> str:
    """The rest of a command, an option on each line."""
    return " \\\n".join(f"    {group}" for group in groups)
