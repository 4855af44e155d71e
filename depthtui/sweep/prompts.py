"""Where a sweep's prompts come from, and which of them fit a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

from depthtui.data.run import Prompt
from depthtui.errors import DepthError
from depthtui.prompts.dataset_formats import DATASETS
from depthtui.prompts.datasets import rows
from depthtui.prompts.files import read_prompts
from depthtui.prompts.tasks import TASKS, make_prompts, written_rows
from depthtui.sweep.plan import TaskChoice


class Candidates:
    """A task's prompts in order, made once and only as far as somebody asks.

    Args:
        task: which, and how many.
        seed: draws a sample.
        datasets: the folder of data sets (see `prompts.datasets.rows`).

    Raises:
        DepthError: when the source cannot be read; later, when a prompt of it is none.
    """

    def __init__(self, task: TaskChoice, seed: int, datasets: Path | None = None) -> None:
        self._rest = _source(task, seed, datasets)
        self._made: list[Prompt] = []

    def __iter__(self) -> Iterator[Prompt]:
        index = 0
        while True:
            if index == len(self._made):
                following = next(self._rest, None)
                if following is None:
                    return
                self._made.append(following)
            yield self._made[index]
            index += 1


def choose(
    task: TaskChoice, candidates: Iterable[Prompt], count: Callable[[Prompt], int]
) -> list[Prompt]:
    """The first prompts that are short enough; fewer than the task asks for where there are.

    Args:
        task: how many, and how long they may be.
        candidates: the task's prompts in order.
        count: a prompt's length in tokens; asked only where the task has a limit.

    Raises:
        DepthError: there is none.
    """
    chosen: list[Prompt] = []
    for candidate in candidates:
        if not task.max_tokens or count(candidate) <= task.max_tokens:
            chosen.append(candidate)
        # Not one more is made than is needed.
        if len(chosen) == task.examples:
            break
    if not chosen:
        short = f" of at most {task.max_tokens} tokens" if task.max_tokens else ""
        raise DepthError(
            f"{task.title} has no prompt{short}.",
            "Raise --max-tokens." if task.max_tokens else "Give another file.",
        )
    return chosen


def _source(task: TaskChoice, seed: int, datasets: Path | None) -> Iterator[Prompt]:
    if task.name in DATASETS:
        sample_seed = seed if task.sample else None
        yield from rows(task.name, task.data or None, sample_seed, task.level, datasets)
    elif task.data:
        found = read_prompts(task.data)
        prompts = [replace(prompt, task=task.name) for prompt in found]
        yield from _sampled(task, prompts, seed) if task.sample else prompts
    elif TASKS[task.name].kind == "written":
        prompts = make_prompts(task.name, count=len(written_rows(task.name)))
        yield from _sampled(task, prompts, seed) if task.sample else prompts
    else:
        # Generated prompts are a sample already.
        yield from make_prompts(task.name, task.level, task.examples, seed)


def _sampled(task: TaskChoice, prompts: list[Prompt], seed: int) -> list[Prompt]:
    # Seeding by a string is the same in every process, unlike by a hash.
    return Random(f"{task.name} {seed}").sample(prompts, len(prompts))
