"""The place of a prompt among the prompts of its task."""

from __future__ import annotations

from functools import lru_cache

from depthtui.data.run import Prompt
from depthtui.errors import DepthError
from depthtui.prompts.asking import Asking
from depthtui.prompts.dataset_formats import DATASETS
from depthtui.prompts.tasks import TASKS, make_prompts, written_prompts
from depthtui.token_text import printable_chars
from depthtui.tui.state.dataset_prompts import Datasets

GENERATED = 12
"""How many prompts of a generator are offered at each level."""

FIRST_TASK = "commonsense"


def first_prompt() -> Prompt:
    """The prompt that runs before one is chosen."""
    return make_prompts(FIRST_TASK)[0]


@lru_cache
def prompts_of(
    task: str, level: int | str | None, seed: int, choices: bool = False
) -> tuple[Prompt, ...]:
    """The prompts that the picker offers for a task at a level, with options to choose from or not.

    The options are for a task that has some.
    """
    if not TASKS[task].is_generated:
        return tuple(written_prompts(task))
    for count in range(GENERATED, 0, -1):
        # A low level may have fewer different prompts than requested.
        try:
            return tuple(make_prompts(task, level, count, seed, Asking(choices)))
        except DepthError:
            continue
    return ()


def place(prompt: Prompt, seed: int, datasets: Datasets | None = None) -> tuple[int, int] | None:
    """The prompt's index in its task and the number of prompts; None outside every task.

    The rows read from a data set count as a task.
    """
    prompts = _task_of(prompt, seed, datasets)
    return (prompts.index(prompt), len(prompts)) if prompt in prompts else None


def neighbour(
    prompt: Prompt, step: int, seed: int, datasets: Datasets | None = None
) -> Prompt | None:
    """The prompt `step` places on in the same task, around its end; None outside every task."""
    prompts = _task_of(prompt, seed, datasets)
    if prompt not in prompts:
        return None
    return prompts[(prompts.index(prompt) + step) % len(prompts)]


def _task_of(prompt: Prompt, seed: int, datasets: Datasets | None) -> tuple[Prompt, ...]:
    """The prompts of a prompt's task at its level; empty outside every task."""
    if prompt.task not in TASKS:
        return datasets.around(prompt) if datasets is not None else ()
    try:
        return prompts_of(prompt.task, prompt.level or None, seed, bool(prompt.choices))
    except DepthError:
        return ()


def task_title(prompt: Prompt) -> str:
    """A prompt's task and level, such as `Word problems, 3 steps` or `MATH, level 3`."""
    task, dataset = TASKS.get(prompt.task), DATASETS.get(prompt.task)
    source = task or dataset
    title = source.title if source else printable_chars(prompt.task)
    level = printable_chars(prompt.level)
    if task:
        level = task.level_words(level)
    elif dataset and dataset.dial:
        level = f"{dataset.dial} {level}"
    return f"{title}, {level}" if prompt.level else title
