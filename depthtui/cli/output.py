"""What the commands print, and how ctrl-c ends them."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from depthtui.settings import log_path

if TYPE_CHECKING:
    from depthtui.engine.control import Control

INTERRUPTED = 130
"""The exit status after ctrl-c."""


@contextmanager
def stopped_by_ctrl_c(control: Control) -> Iterator[None]:
    """The first ctrl-c stops the work, the second the program."""
    before = signal.getsignal(signal.SIGINT)

    def stop(_number: int, _frame: Any) -> None:
        control.stop()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def say(message: str) -> None:
    """Print one line on stderr."""
    from depthtui.token_text import printable_line

    # `print`, unlike `click.echo`, goes above a progress bar.
    print(f"depthtui: {printable_line(' '.join(message.split()))}", file=sys.stderr, flush=True)


def log_bug(error: Exception) -> str:
    """Append the traceback to the log, and return what to tell people."""
    path = log_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", errors="backslashreplace") as log:
            traceback.print_exception(error, file=log)
        where = f"The details are in {path}."
    except OSError:
        where = f"The details could not be written to {path}."
    return f"Something unexpected went wrong ({type(error).__name__}: {error}). {where}"


def print_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()
) -> None:
    """Print rows under headings; `numbers` are the columns aligned to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from depthtui.token_text import printable_line

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index in numbers else "left")
    for row in rows:
        table.add_row(*(Text(printable_line(cell)) for cell in row))
    # A pipe has no width: lines that are read by programs must not be cut.
    width = None if sys.stdout.isatty() else 10_000
    Console(highlight=False, width=width).print(table)


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under headings as a Markdown table; cells are Markdown, of which `|` is escaped."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |" for cells in lines
    )
