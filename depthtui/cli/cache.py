"""`depthtui cache`: manage the results on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from depthtui.cli.command_help import SectionedGroup
from depthtui.cli.output import print_notice, print_table
from depthtui.cli.shared_options import Overrides, cache_dir_option
from depthtui.data.sentence import plural
from depthtui.errors import DepthError
from depthtui.files import system_reason
from depthtui.sizes import format_size

if TYPE_CHECKING:
    from depthtui.data.store import Store


@click.group(cls=SectionedGroup)
def cache() -> None:
    """Manage the results on disk."""


@cache.command()
@cache_dir_option
def info(overrides: Overrides) -> None:
    """Print the folder of the cache, and how full it is."""
    from depthtui.token_text import printable_line

    folder, store = _store(overrides)
    contents = store.info()
    rows = [(kind, str(count), format_size(size)) for kind, (count, size) in contents.kinds.items()]
    rows.append(("all", str(contents.entries), format_size(contents.bytes)))
    where = printable_line(str(folder)) + (", read-only" if store.is_read_only else "")
    click.echo(f"{format_size(contents.bytes)} of {format_size(contents.limit)} in {where}\n")
    print_table(("kind", "entries", "size"), rows, numbers=(1, 2))


@cache.command("list")
@cache_dir_option
def list_(overrides: Overrides) -> None:
    """List the entries, the latest used first."""
    from datetime import datetime

    rows = [
        (
            datetime.fromtimestamp(entry.last_used).strftime("%Y-%m-%d %H:%M"),
            format_size(entry.size),
            entry.kind,
            entry.description,
        )
        for entry in _store(overrides)[1].entries()
    ]
    print_table(("last used", "size", "kind", "what it is"), rows, numbers=(1,))


@cache.command()
@cache_dir_option
def clear(overrides: Overrides) -> None:
    """Delete all results; models stay."""
    folder, store = _store(overrides)
    try:
        count = store.clear()
    except OSError as error:
        raise DepthError(f"{folder} cannot be emptied ({system_reason(error)}).") from None
    click.echo(f"{plural(count, 'entry', 'entries')} deleted.")


@cache.command()
@cache_dir_option
def verify(overrides: Overrides) -> None:
    """Compare every checksum, and drop damaged entries."""
    store = _store(overrides)[1]
    report = store.verify()
    if store.is_read_only:
        click.echo(f"{report.checked} entries checked, {report.damaged} are damaged.")
        return
    click.echo(
        f"{report.checked} entries checked, {report.damaged} damaged ones dropped, "
        f"{report.orphans} stray files removed."
    )


def _store(overrides: Overrides) -> tuple[Path, Store]:
    """The results folder and its store; a missing store is not created.

    Raises:
        DepthError: the folder cannot be used.
    """
    from depthtui.data.store import open_store

    settings = overrides.settings()
    folder = settings.cache_folder
    problems: list[str] = []
    has_results = os.path.isdir(folder / "results")
    store = open_store(folder if has_results else None, settings.cache_limit, problems.append)
    if has_results and not store.on_disk:
        raise DepthError(problems[0])
    for problem in problems:
        print_notice(problem)
    return folder / "results", store
