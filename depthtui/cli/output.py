"""The output of the commands, and their end by ctrl-c."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from depthtui.errors import DepthError

if TYPE_CHECKING:
    from depthtui.data.lm_eval_results import LoggedAnswers
    from depthtui.data.pool import Pool
    from depthtui.data.run import RunResult
    from depthtui.data.run_settings import SummarySettings
    from depthtui.engine.control import Control
    from depthtui.report.blocks import Document
    from depthtui.report.format import Subject
    from depthtui.report.formats import Report
    from depthtui.settings import Settings
    from depthtui.trackers import TrackerChoice

INTERRUPTED = 130
"""The exit status after ctrl-c."""

PLAIN = "depthtui.plain"
"""The name of `--plain` in what the contexts of one command line share."""

_LONGEST_WORD = 400
_NO_LIMIT = 10_000


@contextmanager
def stopped_by_ctrl_c(control: Control) -> Iterator[Control]:
    """Let the first ctrl-c stop the work, and the second the program."""
    earlier_handler = signal.getsignal(signal.SIGINT)

    def stop(_number: int, _frame: Any) -> None:
        control.stop()
        signal.signal(signal.SIGINT, earlier_handler)

    signal.signal(signal.SIGINT, stop)
    try:
        yield control
    finally:
        signal.signal(signal.SIGINT, earlier_handler)


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """Let SIGTERM, by which schedulers end a job, act like ctrl-c."""
    earlier_handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier_handler)


def print_notice(message: str) -> None:
    """Print one line on stderr."""
    from depthtui.token_text import printable_line

    words = " ".join(map(_cut, message.split()))
    # `print`, unlike `click.echo`, goes above a progress bar.
    print(f"depthtui: {printable_line(words)}", file=sys.stderr, flush=True)


def noted_in(problems: list[str]) -> Callable[[str], None]:
    """Prints a problem, and keeps it in a list."""

    def note(problem: str) -> None:
        problems.append(problem)
        print_notice(problem)

    return note


def _cut(word: str) -> str:
    """A word, shortened in its middle where it would hide the rest of a line."""
    return word if len(word) <= _LONGEST_WORD else f"{word[:200]}…{word[-100:]}"


def print_line(words: str) -> None:
    """Print one line with names that others have given; what cannot be seen is spelt out."""
    from depthtui.token_text import printable_line

    # Rich would take [b] for markup, and :b: for an emoji.
    print(printable_line(words))


def print_written(paths: Iterable[Path]) -> None:
    """Print the names of written files, one per line."""
    for path in paths:
        print_line(f"wrote {path}")


@dataclass(frozen=True)
class OutOptions:
    """The files to write.

    Attributes:
        out: the folder, or None.
        formats: names of formats; None for JSON.
        trackers: the trackers to log to.
    """

    out: Path | None
    formats: tuple[str, ...] | None
    trackers: tuple[TrackerChoice, ...] = ()

    def check(self, subject: Subject) -> None:
        """Check, before anything is computed, that the files can be written.

        Raises:
            UsageError: there are formats, but no folder.
            DepthError: the folder cannot be written, or holds another file of the same name.
        """
        from depthtui.report.formats import check_folder

        if self.out is not None:
            check_folder(self.out, subject, self.formats or ["json"])
        elif self.formats:
            raise click.UsageError("--format needs --out FOLDER.")


def report_runs(
    results: Sequence[RunResult],
    settings: Settings,
    pooling: SummarySettings,
    output: OutOptions,
    missing_runs: Sequence[str] = (),
    pool: Pool = "model",
    logged: Sequence[LoggedAnswers] = (),
) -> bool:
    """Write the summary of some runs, if requested, and print it; whether every tracker took it.

    Args:
        results: at least one run.
        settings: the colours of files, and the cache.
        pooling: how the runs are pooled.
        output: the files to write.
        missing_runs: runs of the session that cannot be read, each in words.
        pool: which prompts of each model are pooled.
        logged: the model's answers in a log of lm-evaluation-harness.
    """
    from depthtui.report.controls import saved_line
    from depthtui.report.export import run_report
    from depthtui.settings import lenses_dir

    models = {run.model.fingerprint: run.model for run in results}
    folder = lenses_dir(settings.cache_folder)
    controls = {mark: saved_line(folder, model) for mark, model in models.items()}
    report = run_report(
        results,
        pooling,
        palette=settings.palette,
        missing_runs=missing_runs,
        pool=pool,
        controls=controls,
        logged=logged,
    )
    files: list[Path] = []
    try:
        # Files come first: the reader of the printed summary may stop reading.
        if output.out is not None:
            files = report.write(output.out, output.formats or ["json"])
    finally:
        print_document(report.document())
    print_written(files)
    return log_to(output.trackers, report)


def log_to(trackers: Sequence[TrackerChoice], report: Report) -> bool:
    """Log a report to trackers, and print which took it; whether all did."""
    if not trackers:
        return True
    from depthtui.trackers import log_report

    done = log_report(report, trackers, print_notice)
    for tracker in done:
        print_line(f"logged to {tracker.words}")
    return set(done) == set(trackers)


def terminal_that_cannot_draw() -> str:
    """The kind of a terminal that writes lines alone, by TERM; empty for any other."""
    kind = os.environ.get("TERM", "").lower()
    return kind if kind in ("dumb", "unknown") else ""


def is_plain() -> bool:
    """Whether output is lines alone: by `--plain`, by TERM, or by the settings file."""
    context = click.get_current_context(silent=True)
    if terminal_that_cannot_draw() or (context is not None and PLAIN in context.meta):
        return True
    from depthtui.settings import load_settings

    # Commands that need the file report what is wrong with it.
    with suppress(DepthError):
        return load_settings().plain
    return False


def print_document(document: Document, is_wide: bool = False) -> None:
    """Print a document, without its title.

    Args:
        document: the document.
        is_wide: whether lines are whole in a pipe, which has no width, for programs.
    """
    if is_plain():
        from depthtui.report.as_plain import plain_text

        print(plain_text(document), end="")
        return
    from rich.console import Console

    from depthtui.report.as_rich import rich_lines

    width = _NO_LIMIT if is_wide and not sys.stdout.isatty() else None
    Console(highlight=False, width=width).print(rich_lines(document))


def print_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()
) -> None:
    """Print rows under headings; `numbers` are the columns aligned to the right."""
    from depthtui.report.blocks import Column, Document, Table

    columns = [Column(heading, index in numbers) for index, heading in enumerate(headings)]
    print_document(Document("", [Table(columns, rows)]), is_wide=True)
