"""`depthtui generate`: runs the engine in this process, and prints texts as they are written."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.style import Style
from rich.text import Text

from depthtui import ramps
from depthtui.cli.output import stopped_by_ctrl_c
from depthtui.cli.progress import ProgressDisplay
from depthtui.cli.streams import output_failure
from depthtui.data import protocol
from depthtui.data.generation import Continuation, Generation, utf8
from depthtui.data.run import Prompt
from depthtui.data.run_settings import GenerationSettings, ModelSpec
from depthtui.engine.control import Control
from depthtui.engine.factory import Storage, make_engine
from depthtui.errors import DepthError
from depthtui.models.reach import check_can_open
from depthtui.token_text import printable_line

_LONGEST_CHARACTER = 4
"""Most bytes of a character in UTF-8, each of which may be a token."""


@dataclass(frozen=True)
class GenerationJob:
    """The texts to write, and the place to keep them.

    Attributes:
        spec: the model.
        prompts: the prompts, in order.
        settings: the settings of every text.
        measure: the attribute of `TokenDepths` that colours the tokens.
        palette: name of the palette of their colours.
        storage: the storage of models and texts.
        trusted: the models whose own Python code may run.
    """

    spec: ModelSpec
    prompts: Sequence[Prompt]
    settings: GenerationSettings
    measure: str
    palette: str
    storage: Storage
    trusted: Container[ModelSpec] = ()


def generate_texts(
    job: GenerationJob,
    console: Console,
    notice: Callable[[str], None],
    fail: Callable[[str], None],
    on_bug: Callable[[Exception], str],
) -> Iterator[Generation]:
    """Let the model answer every prompt, and print each text while it is written.

    The first ctrl-c ends the text, which keeps its tokens, and skips the texts after it.

    Args:
        job: the texts to write.
        console: the console to print to.
        notice: called with messages that are no failures.
        fail: called with the reason why a prompt failed; the others are run.
        on_bug: keeps the details of an unexpected failure, and puts it in words.

    Yields:
        The texts, each as it ends.

    Raises:
        DepthError: the model cannot be loaded.
    """
    check_can_open(job.spec, job.storage.models_dir, job.spec in job.trusted)
    printer: _TokenPrinter | None = None

    def emit(event: protocol.Event) -> None:
        if isinstance(event, protocol.GeneratedTokens) and printer is not None:
            printer.write(event.part)
        else:
            display.emit(event)

    with ProgressDisplay(notice) as display:
        storage = job.storage.without_activations()
        engine = make_engine(storage, emit, notice, trusted=job.trusted)
        model = engine.load(job.spec)
    for number, prompt in enumerate(job.prompts):
        printer = _TokenPrinter(console, job.measure, job.palette, model.n_layers)
        control = Control()
        try:
            with stopped_by_ctrl_c(control):
                generation = engine.generate(prompt, job.settings, control, number)
        except DepthError as error:
            fail(str(error))
            continue
        except Exception as error:
            if output_failure() is not None:
                raise
            fail(on_bug(error))
            continue
        printer.finish()
        yield generation
        if generation.stopped_by == "user":
            return


class _TokenPrinter:
    """Prints tokens, coloured by depth on a terminal with colours."""

    def __init__(self, console: Console, measure: str, name: str, n_layers: int) -> None:
        self._console = console
        self._measure = measure
        self._n_layers = n_layers
        self._styles = [_style(colour) for colour in ramps.sequential(True, name)]
        self._waiting = ""
        self._level = -1

    def write(self, part: Continuation) -> None:
        """Print the tokens; a token that ends within a character waits for the next one."""
        depths = getattr(part.depths, self._measure)
        levels = ramps.levels(depths, 0, self._n_layers, ramps.LEVELS)
        for text, level in zip(part.texts, levels.tolist(), strict=True):
            self._waiting += text
            self._level = level
            if _is_whole(self._waiting):
                self._print()
        self._flush()

    def finish(self) -> None:
        """Print the waiting tokens, and end the line."""
        self._print()
        self._console.print()

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

    def _flush(self) -> None:
        self._console.file.flush()


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
