"""One prompt after another through one loaded model: what a sweep does wherever it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from depthtui.data.model import ModelInfo
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.errors import DepthError
from depthtui.metrics import depends_on_former_prompts
from depthtui.sweep.folder import Failure, count_key
from depthtui.sweep.plan import Cell
from depthtui.sweep.prompts import choose
from depthtui.sweep.records import Record, record_key, record_of


class SweepEngine(Protocol):
    """What a sweep needs of `engine.Engine`."""

    def load(self, spec: ModelSpec) -> ModelInfo:
        """Load a model in place of the one before."""

    def count_tokens(self, prompt: Prompt, chat_template: bool = False) -> int:
        """How many tokens the loaded model reads a prompt as."""

    def run(self, prompt: Prompt, settings: RunSettings) -> RunResult:
        """Run a prompt through the loaded model."""


@dataclass(frozen=True)
class Item:
    """One prompt of a cell.

    Attributes:
        cell: the model and the task.
        number: which prompt of the cell it is, from 0.
        prompt: the prompt.
        before: the cell's prompts before it.
        key: of its record.
    """

    cell: Cell
    number: int
    prompt: Prompt
    before: tuple[Prompt, ...]
    key: str


class UnknownLength(Exception):
    """A prompt has not been counted yet, and no model is loaded to do it."""


class TokenCounts:
    """Lengths of prompts by one model's tokenizer.

    Args:
        known: lengths by `folder.count_key`; filled as prompts are counted.
        chat_template: whether the template is counted too.
        engine: counts what is not known; None before the model is loaded.
    """

    def __init__(
        self, known: dict[str, int], chat_template: bool, engine: SweepEngine | None = None
    ) -> None:
        self.known = known
        self._chat_template = chat_template
        self._engine = engine

    def __call__(self, prompt: Prompt) -> int:
        key = count_key(prompt.text, self._chat_template)
        if key not in self.known:
            if self._engine is None:
                raise UnknownLength
            self.known[key] = self._engine.count_tokens(prompt, self._chat_template)
        return self.known[key]


def items_of(
    cell: Cell, settings: RunSettings, candidates: Iterable[Prompt], counts: TokenCounts
) -> list[Item]:
    """The cell's prompts.

    Raises:
        DepthError: there are too few.
        UnknownLength: the task has a limit, and a model must be loaded to apply it.
    """
    prompts = choose(cell.task, candidates, counts)
    return [
        Item(
            cell,
            number,
            prompt,
            tuple(prompts[:number]),
            record_key(cell, number, prompt, settings, prompts[:number]),
        )
        for number, prompt in enumerate(prompts)
    ]


def run_cell(
    engine: SweepEngine,
    cell: Cell,
    settings: RunSettings,
    candidates: Iterable[Prompt],
    counts: TokenCounts,
    wants: Callable[[Item], bool],
    on_bug: Callable[[Exception], str],
) -> Iterator[Item | Record | Failure]:
    """Run a cell's prompts through the loaded model.

    Args:
        engine: with the cell's model loaded.
        cell: the model and the task.
        settings: of every run.
        candidates: the task's prompts in order.
        counts: by the loaded model.
        wants: which prompts to run.
        on_bug: puts an unexpected failure in words.

    Yields:
        Each prompt as it begins, then its record or why there is none.
    """
    try:
        items = items_of(cell, settings, candidates, counts)
    except DepthError as error:
        yield Failure.of(cell, None, str(error))
        return
    for item in items:
        if not wants(item):
            continue
        yield item
        try:
            yield _run(engine, item, settings, counts)
        except DepthError as error:
            yield Failure.of(cell, item.number, str(error))
        except Exception as error:
            yield Failure.of(cell, item.number, on_bug(error))


def _run(engine: SweepEngine, item: Item, settings: RunSettings, counts: TokenCounts) -> Record:
    if depends_on_former_prompts(settings):
        # Random positions run on through the cell's prompts (paper, metric 2), also those
        # that run elsewhere or fail.
        settings = replace(settings, lengths_before=tuple(counts(prompt) for prompt in item.before))
    return record_of(engine.run(item.prompt, settings), item.key, item.cell, item.number)
