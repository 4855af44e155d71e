"""`depthtui generate`: runs the engine in this process, and prints texts as they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from rich.console import Console
from rich.style import Style
from rich.text import Text

from depthtui import ramps
from depthtui.cli.headless import RunJob
from depthtui.cli.output import stopped_by_ctrl_c
from depthtui.cli.progress import ProgressDisplay
from depthtui.cli.streams import output_failure
from depthtui.data import protocol
from depthtui.data.lens import FittedLens, LogitLens
from depthtui.data.run import RunResult, utf8
from depthtui.data.run_settings import SummarySettings, Writing
from depthtui.depth.problems import problems_of
from depthtui.depth.token_depths import depths_of_run, token_depths
from depthtui.engine.control import Control
from depthtui.engine.factory import make_engine
from depthtui.errors import DepthError
from depthtui.metrics import settling
from depthtui.metrics.reduction import reduce_run
from depthtui.metrics.settling import Settling
from depthtui.models.reach import check_can_open
from depthtui.token_text import printable_line

_LONGEST_CHARACTER = 4
"""Most bytes of a character in UTF-8, each of which may be a token."""


def write_texts(
    job: RunJob,
    writing: Writing,
    printer: TokenPrinter,
    notice: Callable[[str], None],
    fail: Callable[[str], None],
    on_bug: Callable[[Exception], str],
) -> Iterator[RunResult]:
    """Let the model answer every prompt, and print each text while it is written.

    The first ctrl-c ends the text, which is measured as far as it was written, and skips the texts
    after it.

    Args:
        job: the prompts, and what to measure.
        writing: how the texts are written.
        printer: prints the tokens.
        notice: called with messages that are no failures.
        fail: called with the reason why a prompt failed; the others are run.
        on_bug: keeps the details of an unexpected failure, and puts it in words.

    Yields:
        The runs, each as it ends.

    Raises:
        DepthError: the model cannot be loaded.
    """
    check_can_open(job.spec, job.storage.models_dir, job.spec in job.trusted)

    def emit(event: protocol.Event) -> None:
        if isinstance(event, protocol.TokensWritten):
            printer.write(event)
        else:
            display.emit(event)

    with ProgressDisplay(notice) as display:
        engine = make_engine(job.storage, emit, notice, on_bug, job.trusted)
        printer.n_layers = engine.load(job.spec).n_layers
    for number, prompt in enumerate(job.prompts):
        try:
            with stopped_by_ctrl_c(Control()) as control:
                run = engine.run(prompt, job.settings, control, number, write=writing)
            printer.finish(run)
            if control.is_stopped and not run.complete:
                with stopped_by_ctrl_c(Control()) as control:
                    run = engine.run(run.prompt, run.settings, control, number)
            for problem in problems_of(reduce_run(run)):
                fail(problem)
        except Exception as error:
            is_known = isinstance(error, DepthError)
            if not is_known and output_failure() is not None:
                raise
            printer.end()
            fail(str(error) if is_known else on_bug(error))
            continue
        yield run
        if was_stopped(run):
            return


def was_stopped(run: RunResult) -> bool:
    """Whether the user ended the writing of a run's answer."""
    return run.prompt.written is not None and run.prompt.written.stopped_by == "user"


class TokenPrinter:
    """Prints tokens, coloured by depth on a terminal with colours.

    Args:
        console: the console to print to.
        measure: the field of `TokenDepths` that colours the tokens.
        palette: name of the palette of their colours.
        settings: the lens and the thresholds of depths.

    Attributes:
        n_layers: number of the model's layers.
    """

    def __init__(
        self, console: Console, measure: str, palette: str, settings: SummarySettings
    ) -> None:
        self.n_layers = 0
        self._console = console
        self._measure = measure
        self._settings = settings
        self._styles = [_style(colour) for colour in ramps.sequential(True, palette)]
        self._waiting = ""
        self._level = -1
        self._has_printed = False

    def write(self, event: protocol.TokensWritten) -> None:
        """Print the tokens; a token that ends within a character waits for the next one."""
        if not event.readings:
            return
        lens = next(value for value in event.readings.values() if isinstance(value, LogitLens))
        apart = event.readings.get(settling.NAME, lens)
        assert isinstance(apart, Settling | FittedLens)
        depths = getattr(token_depths(lens, apart.divergence, self._settings), self._measure)
        self._write(event.texts, ramps.levels(depths, 0, self.n_layers, ramps.LEVELS))

    def finish(self, run: RunResult) -> None:
        """Print the waiting tokens, or a whole text from the cache, and end the line."""
        if not self._has_printed:
            texts = run.tokens.texts[run.answer_start :]
            depths = depths_of_run(run, self._settings)
            levels = np.full(len(texts), -1)
            if depths is not None:
                values = getattr(depths, self._measure)[run.answer_start :]
                levels = ramps.levels(values, 0, self.n_layers, ramps.LEVELS)
            self._write(texts, levels)
        self.end()

    def end(self) -> None:
        """Print the waiting tokens, and end the line of a text, also of one that failed."""
        if self._has_printed:
            self._print()
            self._console.print()
            self._has_printed = False

    def _write(self, texts: Sequence[str], levels: np.ndarray) -> None:
        self._has_printed = True
        for text, level in zip(texts, levels.tolist(), strict=True):
            self._waiting += text
            self._level = level
            if _is_whole(self._waiting):
                self._print()
        self._console.file.flush()

    def _print(self) -> None:
        text = utf8(self._waiting)
        self._waiting = ""
        style = self._styles[self._level] if self._level >= 0 else Style(dim=True)
        for place, line in enumerate(text.decode("utf-8", "surrogateescape").split("\n")):
            if place:
                self._console.print()
            if line:
                text_line = Text(printable_line(line), style if self._console.is_terminal else "")
                self._console.print(text_line, end="", soft_wrap=True)


def _is_whole(text: str) -> bool:
    data = utf8(text)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return len(data) - error.start >= _LONGEST_CHARACTER
    return True


def _style(background: ramps.RGB) -> Style:
    colour = "#000000" if ramps.lightness(background) > 0.6 else "#ffffff"
    return Style(color=colour, bgcolor=ramps.css(background))
