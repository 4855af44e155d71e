"""One prompt after another through one loaded model: the work of a sweep in any process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from depthtui.data.model import ModelInfo
from depthtui.data.run import Prompt, RunResult, WrittenAnswer
from depthtui.data.run_settings import ModelSpec, RunSettings, Writing
from depthtui.errors import DepthError
from depthtui.metrics.needed_settings import depends_on_former_prompts, with_other_prompts
from depthtui.sweep.folder import Failure, count_key
from depthtui.sweep.plan import Cell
from depthtui.sweep.prompts import choose, filled_up
from depthtui.sweep.records import Record, record_key, record_of


class SweepEngine(Protocol):
    """The methods of `engine.Engine` that a sweep needs."""

    def load(self, spec: ModelSpec) -> ModelInfo:
        """Load a model in place of the one before."""

    def count_tokens(self, prompt: Prompt, chat_template: bool = False) -> int:
        """Number of tokens of a prompt for the loaded model."""

    def run(
        self, prompt: Prompt, settings: RunSettings, *, write: Writing | None = None
    ) -> RunResult:
        """Run a prompt through the loaded model, which may write the answer first."""


@dataclass(frozen=True)
class Item:
    """One prompt of a cell.

    Attributes:
        cell: the model and the task.
        number: number of the prompt in its cell, from 0.
        prompt: the prompt.
        settings: the settings of its run.
        before: the cell's prompts before this one.
        key: key of its record.
    """

    cell: Cell
    number: int
    prompt: Prompt
    settings: RunSettings
    before: tuple[Prompt, ...]
    key: str


class UnknownLength(Exception):
    """A prompt has not been counted yet, and no model is loaded to count it."""


@dataclass(eq=False)
class TokenCounts:
    """Lengths of prompts by one model's tokenizer.

    Attributes:
        lengths: lengths by `folder.count_key`; filled as prompts are counted.
        chat_template: whether the template is counted too.
        engine: counts prompts of unknown length; None before the model is loaded.
    """

    lengths: dict[str, int]
    chat_template: bool
    engine: SweepEngine | None = None

    def __call__(self, prompt: Prompt) -> int:
        key = count_key(prompt.text, self.chat_template)
        if key not in self.lengths:
            if self.engine is None:
                raise UnknownLength
            self.lengths[key] = self.engine.count_tokens(prompt, self.chat_template)
        return self.lengths[key]


def items_of(
    cell: Cell, settings: RunSettings, candidates: Iterable[Prompt], counts: TokenCounts
) -> list[Item]:
    """The cell's prompts.

    Raises:
        DepthError: no prompt of the task is short enough.
        UnknownLength: lengths decide on the prompts, and a model must be loaded to count them.
    """
    prompts = choose(cell.task, candidates, counts)
    if cell.task.matched:
        prompts = [
            filled_up(cell.task, prompt, candidates, counts, settings.seed) for prompt in prompts
        ]
    items = []
    for number, prompt in enumerate(prompts):
        before, writes = tuple(prompts[:number]), cell.task.write is not None
        own = with_other_prompts(settings, prompts, number, writes)
        key = record_key(cell, number, prompt, own, before)
        items.append(Item(cell, number, prompt, own, before, key))
    return items


def run_cell(
    engine: SweepEngine,
    cell: Cell,
    settings: RunSettings,
    candidates: Iterable[Prompt],
    counts: TokenCounts,
    is_missing: Callable[[Item], bool],
    on_bug: Callable[[Exception], str],
) -> Iterator[Item | Record | Failure]:
    """Run a cell's prompts through the loaded model.

    Args:
        engine: an engine with the cell's model loaded.
        cell: the model and the task.
        settings: settings of every run.
        candidates: the task's prompts in order.
        counts: lengths by the loaded model.
        is_missing: returns whether to run a prompt.
        on_bug: puts an unexpected failure into words.

    Yields:
        Each prompt as it begins, then its record or its failure.
    """
    try:
        items = items_of(cell, settings, candidates, counts)
    except DepthError as error:
        yield Failure.of(cell, None, str(error))
        return
    for item in items:
        if not is_missing(item):
            continue
        yield item
        try:
            yield _run(engine, item, counts)
        except DepthError as error:
            yield Failure.of(cell, item.number, str(error))
        except Exception as error:
            yield Failure.of(cell, item.number, on_bug(error))


def _run(engine: SweepEngine, item: Item, counts: TokenCounts) -> Record:
    settings = item.settings
    if depends_on_former_prompts(settings):
        # Random positions continue through the cell's prompts (paper, metric 2), including
        # prompts that run elsewhere or fail.
        settings = replace(settings, lengths_before=tuple(counts(prompt) for prompt in item.before))
    result = engine.run(item.prompt, settings, write=item.cell.task.write)
    if result.prompt.written is not None:
        _check_text(result, result.prompt.written)
        # Writing measures settling too, which the given text then lacks.
        result.drop(set(result.settings.metrics) - set(settings.metrics))
        result.settings = replace(result.settings, metrics=settings.metrics)
    return record_of(result, item.key, item.cell, item.number)


def _check_text(result: RunResult, written: WrittenAnswer) -> None:
    """Check that a text is as long as the model wants it, and that all of it was measured.

    Raises:
        KeyboardInterrupt: the user stopped the text.
        DepthError: the memory did not suffice.
    """
    if written.stopped_by == "user":
        raise KeyboardInterrupt
    if written.stopped_by == "memory" or not result.complete:
        raise DepthError(
            "The text that the model wrote is too long for the memory.",
            "Let it write fewer tokens: --max-new-tokens.",
        )
