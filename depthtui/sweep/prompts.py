"""The prompts of a sweep: their sources, and which fit a model, at which length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

from depthtui.data.run import Prompt
from depthtui.errors import DepthError
from depthtui.prompts.asking import BETWEEN_SHOTS, Asking, behind
from depthtui.prompts.dataset_formats import DATASETS
from depthtui.prompts.datasets import rows
from depthtui.prompts.prompt_files import ask_prompts, read_prompts
from depthtui.prompts.tasks import TASKS, draw_prompts, make_prompts, written_prompts
from depthtui.sweep.plan import TaskChoice


class Candidates:
    """A task's prompts in order, each made once and only on demand.

    Args:
        task: the task, and the number of prompts.
        seed: seed of the sample.
        datasets: the folder of data sets (see `prompts.datasets.rows`).

    Raises:
        DepthError: the source cannot be read; while iterating, a prompt of it is invalid.
    """

    def __init__(self, task: TaskChoice, seed: int, datasets: Path | None = None) -> None:
        self._source = _source(task, seed, datasets)
        self._prompts: list[Prompt] = []

    def __iter__(self) -> Iterator[Prompt]:
        index = 0
        while True:
            if index == len(self._prompts):
                following = next(self._source, None)
                if following is None:
                    return
                self._prompts.append(following)
            yield self._prompts[index]
            index += 1


def choose(
    task: TaskChoice, candidates: Iterable[Prompt], count: Callable[[Prompt], int]
) -> list[Prompt]:
    """The first prompts that are short enough; may be fewer than the task asks for.

    Args:
        task: the number of prompts, and their largest length.
        candidates: the task's prompts in order.
        count: returns a prompt's length in tokens; called only where the task has a limit.

    Raises:
        DepthError: no prompt is short enough.
    """
    chosen: list[Prompt] = []
    for candidate in candidates:
        if not task.max_tokens or count(candidate) <= task.max_tokens:
            chosen.append(candidate)
        # Stop before another candidate is made.
        if len(chosen) == task.examples:
            break
    if not chosen:
        short = f" of at most {task.max_tokens} tokens" if task.max_tokens else ""
        raise DepthError(
            f"{task.title} has no prompt{short}.",
            "Raise --max-tokens." if task.max_tokens else "Give another file.",
        )
    return chosen


def filled_up(
    task: TaskChoice,
    prompt: Prompt,
    candidates: Iterable[Prompt],
    count: Callable[[Prompt], int],
    seed: int,
) -> Prompt:
    """A prompt behind as many others of its task and level as `task.matched` has room for.

    The others are whole, with their answers; question and answer stay at the end. Which they are
    depends on nothing but the prompt, the seed and the lengths.

    Args:
        task: the task, and the length in tokens.
        prompt: the prompt; one that is too long for others stays as it is.
        candidates: all prompts of a task that is not generated.
        count: returns a prompt's length in tokens.
        seed: seed of the others.
    """
    filled, front = prompt, ""
    for other in _others(task, prompt, candidates, seed):
        front += other.text + BETWEEN_SHOTS
        longer = behind(front, prompt)
        if count(longer) > task.matched:
            break
        filled = longer
    return filled


def _others(
    task: TaskChoice, prompt: Prompt, candidates: Iterable[Prompt], seed: int
) -> Iterator[Prompt]:
    """Other prompts of the task and level, in an order of this prompt's own."""
    own_seed = f"{seed} {prompt.text}"
    if task.is_generated:
        others = draw_prompts(task.name, task.level, own_seed, task.choices)
    else:
        stored = list(candidates)
        others = iter(Random(own_seed).sample(stored, len(stored)))
    return (other for other in others if other.text not in (prompt.text, prompt.contrast))


def _source(task: TaskChoice, seed: int, datasets: Path | None) -> Iterator[Prompt]:
    asking = Asking(task.choices, task.shots, seed)
    if task.name in DATASETS:
        sample_seed = seed if task.sample else None
        yield from rows(task.name, task.data or None, sample_seed, task.level, datasets, asking)
    elif task.data:
        own_prompts = [replace(prompt, task=task.name) for prompt in read_prompts(task.data)]
        prompts = _sample(task, own_prompts, seed) if task.sample else own_prompts
        yield from ask_prompts(prompts, task.data, asking)
    elif not TASKS[task.name].is_generated:
        written = list(written_prompts(task.name))
        prompts = _sample(task, written, seed) if task.sample else written
        yield from asking.ask_stored(prompts, f"The task {task.name}")
    else:
        # Generated prompts are already a sample.
        yield from make_prompts(task.name, task.level, task.examples, seed, asking)


def _sample(task: TaskChoice, prompts: list[Prompt], seed: int) -> list[Prompt]:
    # A string seeds the same in every process; a hash would not.
    return Random(f"{task.name} {seed}").sample(prompts, len(prompts))
