"""`depthtui sessions`: the saved sessions of the explorer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from depthtui.cli.command_help import SectionedGroup
from depthtui.cli.one_of import OneOf
from depthtui.cli.output import OutOptions, print_line, print_notice, print_table, report_runs
from depthtui.cli.shared_options import (
    Overrides,
    cache_dir_option,
    out_options,
    palette_option,
)
from depthtui.data.pool import POOLS, Pool
from depthtui.errors import DepthError

if TYPE_CHECKING:
    from depthtui.data.run import RunResult
    from depthtui.data.run_settings import SummarySettings
    from depthtui.data.session_files import SessionFile, SessionFolder

_LONGEST_TITLE = 60
_NAMES = "`depthtui sessions list` has the names."
"""The hint of an error about a name."""


@click.group(
    cls=SectionedGroup,
    examples=[
        "depthtui sessions list",
        "depthtui sessions export 20261127-0942 --format html --out session/",
        "depthtui sessions remove 20261127-094250-The-capital-of-France-is-Paris",
    ],
)
def sessions() -> None:
    """List, export and remove the saved sessions of the explorer."""


@sessions.command("list")
@cache_dir_option
def list_(overrides: Overrides) -> None:
    """List the sessions, the latest first."""
    from depthtui.token_text import shortened

    rows = [
        (
            file.name,
            file.session.saved[:16].replace("T", " "),
            str(len(file.session.runs)),
            ", ".join(dict.fromkeys(run.model.name for run in file.session.runs)),
            shortened(" ".join(file.title.split()), _LONGEST_TITLE),
        )
        for file in _folder(overrides).files(print_notice)
    ]
    print_table(("session", "saved", "runs", "models", "title"), rows, numbers=(2,))
    if not rows:
        print_notice("There is no session yet: the explorer saves its runs as one.")


@sessions.command(
    examples=[
        "depthtui sessions export 20261127-0942 --format html,json --out session/",
        "depthtui sessions export 20261127-0942 --pool task",
    ],
)
@click.argument("name")
@cache_dir_option
@out_options
@palette_option
@click.option(
    "--pool",
    type=OneOf(list(POOLS)),
    default="none",
    help="Prompts that are pooled: those of each task, or all of each model.  [default: none]",
)
def export(name: str, overrides: Overrides, output: OutOptions, pool: Pool) -> int:
    """Print a row and the verdict of each run of the session NAME, and write files with --out.

    NAME is in `depthtui sessions list`; its beginning is enough. The results come from the cache.
    A run that the cache no longer has is named, and the exit status is 1.
    """
    output.check("runs")
    session = read_session(name, overrides)
    settings = overrides.settings()
    is_logged = report_runs(
        session.results,
        settings,
        session.pooling,
        output,
        session.missing_runs,
        pool,
    )
    return 1 if session.missing_runs or not is_logged else 0


@dataclass(frozen=True)
class SessionResults:
    """The results of a session's runs that the cache has.

    Attributes:
        results: at least one, with its number in the session.
        missing_runs: the other runs, each in words.
        pooling: how the session reads them.
    """

    results: list[RunResult]
    missing_runs: list[str]
    pooling: SummarySettings


def read_session(name: str, overrides: Overrides) -> SessionResults:
    """The results of the session of a name, or of the only name that begins with it.

    A run that the cache no longer has is named on stderr.

    Raises:
        DepthError: no session has the name, several do, or the cache has none of its runs.
    """
    from depthtui.data.store import open_store
    from depthtui.report.saved_runs import missing_words, read_run

    settings = overrides.settings()
    session = _find_session(name, overrides).session
    store = open_store(settings.cache_folder, settings.cache_limit, print_notice)
    results, missing_runs = [], []
    for number, run in enumerate(session.runs, start=1):
        result = read_run(store, run)
        if result is None:
            missing_runs.append(missing_words(number, run.prompt, run.model))
        else:
            results.append(replace(result, number=number))
    for words in missing_runs:
        print_notice(f"{words[0].upper()}{words[1:]}.")
    if not results:
        raise DepthError(
            "The cache has no run of this session.",
            "Open the session in the explorer, which computes its runs again.",
        )
    pooling = replace(
        settings.summary_settings(),
        kl_threshold=session.kl_threshold,
        overlap_threshold=session.overlap_threshold,
    )
    return SessionResults(results, missing_runs, pooling)


@sessions.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@cache_dir_option
def remove(names: tuple[str, ...], overrides: Overrides) -> None:
    """Delete the sessions of these whole names; the results of their runs stay in the cache."""
    folder = _folder(overrides)
    files = {file.name: file for file in folder.files(print_notice)}
    for name in names:
        if name not in files:
            raise DepthError(f"No session is named {name}.", _NAMES)
    for name in dict.fromkeys(names):
        folder.remove(files[name])
        print_line(f"deleted {name}")


def _folder(overrides: Overrides) -> SessionFolder:
    from depthtui.data.session_files import SessionFolder

    return SessionFolder(overrides.settings().cache_folder)


def _find_session(name: str, overrides: Overrides) -> SessionFile:
    """The session of a name, or of the only name that begins with it.

    Raises:
        DepthError: no session has it, or several do.
    """
    files = _folder(overrides).files(print_notice)
    matches = [file for file in files if file.name == name]
    matches = matches or [file for file in files if name and file.name.startswith(name)]
    if not matches:
        raise DepthError(f"No session is named {name or repr(name)}.", _NAMES)
    if len(matches) > 1:
        raise DepthError(f"{len(matches)} sessions have names that begin with {name}.", _NAMES)
    return matches[0]
