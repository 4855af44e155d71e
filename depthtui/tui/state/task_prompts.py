"""Where a prompt stands among the prompts of its task."""

from __future__ import annotations

from functools import lru_cache

from depthtui.data.run import Prompt
from depthtui.errors import DepthError
from depthtui.prompts import TASKS, make_prompts
from depthtui.prompts.tasks import written_rows
from depthtui.token_text import printable_chars

GENERATED = 12
"""How many prompts of a generator are offered at each level."""

FIRST_TASK = "commonsense"


def first_prompt() -> Prompt:
    """What runs when nothing was chosen yet."""
    return make_prompts(FIRST_TASK)[0]


@lru_cache
def prompts_of(task: str, level: int | str | None, seed: int) -> tuple[Prompt, ...]:
    """The prompts that the picker offers for a task at a level."""
    if TASKS[task].kind == "written":
        return tuple(make_prompts(task, count=len(written_rows(task))))
    for count in range(GENERATED, 0, -1):
        # A low level may have fewer different prompts than asked for.
        try:
            return tuple(make_prompts(task, level, count, seed))
        except DepthError:
            continue
    return ()


def place(prompt: Prompt, seed: int) -> tuple[int, int] | None:
    """The prompt's index in its task and how many there are; None outside every task."""
    if prompt.task not in TASKS:
        return None
    try:
        prompts = prompts_of(prompt.task, prompt.level or None, seed)
    except DepthError:
        return None
    return (prompts.index(prompt), len(prompts)) if prompt in prompts else None


def neighbour(prompt: Prompt, step: int, seed: int) -> Prompt | None:
    """The prompt `step` places on in the same task, around its end; None outside every task."""
    found = place(prompt, seed)
    if found is None:
        return None
    index, count = found
    return prompts_of(prompt.task, prompt.level or None, seed)[(index + step) % count]


def task_title(prompt: Prompt) -> str:
    """A prompt's task and level, such as `Word problems, 3 steps`."""
    task = TASKS.get(prompt.task)
    title = task.title if task else printable_chars(prompt.task)
    level = f"{prompt.level} {task.dial}" if task and task.dial else printable_chars(prompt.level)
    return f"{title}, {level}" if prompt.level else title
