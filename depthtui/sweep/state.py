"""State of a sweep: its records, its missing prompts, its failures."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec
from depthtui.depth.problems import problems_of
from depthtui.errors import DepthError
from depthtui.metrics.registry import named_metrics, unavailable_in_words
from depthtui.sweep.folder import Failure, Notify, SweepFolder, can_be_pooled, model_title
from depthtui.sweep.plan import Cell, SweepPlan, TaskChoice
from depthtui.sweep.prompts import Candidates, choose
from depthtui.sweep.records import Record
from depthtui.sweep.work import Item, TokenCounts, UnknownLength, items_of

MOST_SHARDS = 10_000
"""Most parts of one sweep."""


@dataclass(frozen=True)
class Shard:
    """One part of a sweep: every `count`-th prompt of the plan.

    Attributes:
        index: its number, from 1 to `count`.
        count: number of parts, at most `MOST_SHARDS`.
    """

    index: int = 1
    count: int = 1

    @property
    def suffix(self) -> str:
        """Suffix of the shard's files; empty for a whole sweep."""
        return "" if self.count == 1 else f"-{self.index}-of-{self.count}"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a sweep.

    Attributes:
        plan: the plan.
        records: records of each cell, in the order of its prompts.
        failures: cells and prompts that failed.
    """

    plan: SweepPlan
    records: Mapping[Cell, list[Record]]
    failures: list[Failure]


class SweepState:
    """State of a plan.

    Args:
        plan: the plan.
        folder: folder of the records.
        notify: gets messages for people.
        shard: which part of the plan to run.
        datasets: the folder of data sets (see `prompts.datasets.rows`).

    Raises:
        DepthError: a task's prompts cannot be read, or a task has none.
    """

    def __init__(
        self,
        plan: SweepPlan,
        folder: SweepFolder,
        notify: Notify,
        shard: Shard,
        datasets: Path | None = None,
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.candidates = {
            task: _candidates(Candidates(task, plan.run.seed, datasets), task, notify)
            for task in dict.fromkeys(choice.unwritten for choice in plan.tasks)
        }
        self.missing_items: dict[Cell, list[Item] | None] = {}
        """The missing prompts of each cell that lacks some; None where they are unknown."""
        self.work: dict[ModelSpec, float] = {}
        """The work of a token in each model, relative to the others; 0 where unknown."""
        self._notify = notify
        self._records: dict[Cell, dict[int, Record]] = {cell: {} for cell in plan.cells}
        self._numbers = _numbers(plan, shard)
        self._changed: set[ModelSpec] = set()
        self._incomplete: set[tuple[Cell, int]] = set()
        """The prompts whose records, from an earlier sweep, lack a metric that failed."""

    @property
    def n_done(self) -> int:
        """Number of prompts that are done."""
        return sum(len(record) for record in self._records.values()) - len(self._incomplete)

    @property
    def waiting(self) -> list[tuple[Cell, int | None]]:
        """The missing prompts: cell and number of characters, None where not known yet."""
        return [
            (cell, None if item is None or cell.task.write else len(item.prompt.text))
            for cell, items in self.missing_items.items()
            for item in (items if items is not None else [None] * len(self._numbers[cell]))
        ]

    def find_records(
        self, model: ModelSpec, counts: TokenCounts, fingerprint: str | None
    ) -> list[Cell]:
        """Find the model's records, and return its cells that lack some.

        Args:
            model: a model of the plan.
            counts: known lengths of its prompts.
            fingerprint: fingerprint of its weights; records of other weights are ignored. None
                accepts all records.
        """
        for cell in self.plan.cells:
            if cell.model == model and self._numbers[cell]:
                self._find_records_of(cell, counts, fingerprint)
        return [cell for cell in self.missing_items if cell.model == model]

    def is_missing(self, item: Item) -> bool:
        """Whether the prompt is still to be run."""
        return item.number in self.missing_numbers(item.cell)

    def missing_numbers(self, cell: Cell) -> list[int]:
        """The numbers of the cell's prompts that are missing and to be run."""
        complete = {
            number for number in self._records[cell] if (cell, number) not in self._incomplete
        }
        return sorted(self._numbers[cell] - complete)

    def prompts_for(self, cell: Cell) -> list[Prompt]:
        """The candidates for the cell's prompts, no more than needed."""
        candidates, task = self.candidates[cell.task.unwritten], cell.task
        if task.max_tokens or task.matched:
            return list(candidates)
        return choose(task, candidates, _no_limit)

    def save(self, cell: Cell, record: Record) -> None:
        """Add a new record and write it; report which of its metrics failed.

        Raises:
            DepthError: the folder cannot be written.
        """
        self.folder.save(cell, record)
        self._records[cell][record.number] = record
        self._incomplete.discard((cell, record.number))
        for problem in problems_of(record):
            self.fail(Failure.of(cell, record.number, problem))

    def fail(self, failure: Failure) -> None:
        """Write a failure, and report it.

        Raises:
            DepthError: the folder cannot be written.
        """
        self.folder.fail(failure)
        self._notify(str(failure))

    def outcome(self) -> Outcome:
        """The outcome; its records are also written to the manifest.

        A metric that the plan names is a failure of each finished cell without it.

        Raises:
            DepthError: the folder cannot be written.
        """
        for cell, of_cell in self._records.items():
            if not self.missing_numbers(cell):
                self._fail_missing(cell, of_cell.values())
        records = {
            cell: [of_cell[number] for number in sorted(of_cell)]
            for cell, of_cell in self._records.items()
        }
        self.folder.write_manifest(self.plan, records)
        return Outcome(self.plan, records, self.folder.failures)

    def _fail_missing(self, cell: Cell, records: Collection[Record]) -> None:
        for problem in unavailable_in_words(named_metrics(self.plan.run), records):
            failure = Failure.of(cell, None, problem)
            if failure not in self.folder.failures:
                self.fail(failure)

    def _find_records_of(self, cell: Cell, counts: TokenCounts, fingerprint: str | None) -> None:
        self.missing_items.pop(cell, None)
        self._records[cell].clear()
        self._incomplete -= {(cell, number) for number in self._numbers[cell]}
        try:
            items = items_of(cell, self.plan.run, self.candidates[cell.task.unwritten], counts)
        except (UnknownLength, DepthError):
            # Running the cell reports the error.
            self.missing_items[cell] = None
            return
        missing = []
        for item in items:
            if item.number not in self._numbers[cell]:
                continue
            record = self.folder.find(cell, item.number, item.key)
            if (
                record is not None
                and fingerprint in (None, record.model.fingerprint)
                and can_be_pooled(record, self._records[cell].values())
            ):
                self._records[cell][item.number] = record
                if not record.failed:
                    continue
                self._incomplete.add((cell, item.number))
            missing.append(item)
            if record is not None and not record.failed and cell.model not in self._changed:
                self._changed.add(cell.model)
                self._notify(
                    f"The weights of {model_title(cell.model)} have changed since its records "
                    "were made: its prompts are run again."
                )
        if missing:
            self.missing_items[cell] = missing


def _candidates(candidates: Candidates, task: TaskChoice, notify: Notify) -> Candidates:
    if task.max_tokens:
        # Which prompts fit depends on the model, but the source must be readable.
        next(iter(candidates), None)
        return candidates
    n_prompts = len(choose(task, candidates, _no_limit))
    if n_prompts < task.examples:
        notify(f"{task.title} has {n_prompts} prompts, not {task.examples}: all are taken.")
    return candidates


def _no_limit(prompt: Prompt) -> int:
    return 0


def _numbers(plan: SweepPlan, shard: Shard) -> dict[Cell, frozenset[int]]:
    """The shard's prompts of each cell: dealt out in turn, so that shards have equal work."""
    numbers, first = {}, 0
    for cell in plan.cells:
        places = range(first, first + cell.task.examples)
        own = (place - first for place in places if place % shard.count == shard.index - 1)
        numbers[cell] = frozenset(own)
        first = places.stop
    return numbers
