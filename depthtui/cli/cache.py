"""`depthtui cache`: look after the results on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from depthtui.cli.command_help import SectionedGroup
from depthtui.cli.output import print_table, say
from depthtui.cli.shared_options import Overrides, cache_dir_option
from depthtui.errors import DepthError
from depthtui.files import system_reason
from depthtui.sizes import format_size

if TYPE_CHECKING:
    from depthtui.data.store import Store


@click.group(cls=SectionedGroup)
def cache() -> None:
    """Look after the results on disk."""


@cache.command()
@cache_dir_option
def info(overrides: Overrides) -> None:
    """Say where the cache is and how full."""
    from depthtui.token_text import printable_line

    folder, store = _store(overrides)
    found = store.info()
    rows = [(kind, str(count), format_size(size)) for kind, (count, size) in found.kinds.items()]
    rows.append(("all", str(found.entries), format_size(found.bytes)))
    where = printable_line(str(folder))
    click.echo(f"{format_size(found.bytes)} of {format_size(found.limit)} in {where}\n")
    print_table(("kind", "entries", "size"), rows, numbers=(1, 2))


@cache.command("list")
@cache_dir_option
def list_(overrides: Overrides) -> None:
    """List what is kept, the latest used first."""
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
    click.echo("1 entry deleted." if count == 1 else f"{count} entries deleted.")


@cache.command()
@cache_dir_option
def verify(overrides: Overrides) -> None:
    """Compare every checksum and drop what is damaged."""
    report = _store(overrides)[1].verify()
    click.echo(
        f"{report.checked} entries checked, {report.damaged} damaged ones dropped, "
        f"{report.orphans} stray files removed."
    )


def _store(overrides: Overrides) -> tuple[Path, Store]:
    """The results folder and its store, which is not made where it is missing.

    Raises:
        DepthError: the folder cannot be used.
    """
    from depthtui.data.store import open_store

    settings = overrides.settings()
    folder = settings.cache_folder
    problems: list[str] = []
    is_there = os.path.isdir(folder / "results")
    store = open_store(folder if is_there else None, settings.cache_limit, problems.append)
    if is_there and not store.on_disk:
        raise DepthError(problems[0])
    for problem in problems:
        say(problem)
    return folder / "results", store
