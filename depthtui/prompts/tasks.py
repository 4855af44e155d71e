"""The prompts that a user can choose by difficulty: written ones, and generators with a dial."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from importlib.resources import files
from itertools import islice
from random import Random
from typing import Any

from depthtui.data.lazy import LazyDict, LazyTuple
from depthtui.data.run import Prompt
from depthtui.errors import DepthError, did_you_mean
from depthtui.prompts import choices, generators
from depthtui.prompts.answer_forms import NUMBER, TEXT, WORKED
from depthtui.prompts.asking import Asking
from depthtui.prompts.dataset_formats import DATASETS
from depthtui.prompts.plugin_tasks import with_plugins
from depthtui.prompts.task import Task

MOST_PROMPTS = 10_000
"""The most prompts that one call makes."""

_REPEATS_BEFORE_GIVING_UP = 1_000


def written_rows(task: str) -> list[dict[str, Any]]:
    """The rows of a written task's data file: `id`, `text`, `answer`, and how to check it."""
    data = files("depthtui.prompts").joinpath(f"{task}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in data.splitlines()]


@cache
def _of_file(task: str) -> Sequence[Prompt]:
    """The prompts of a written task's data file."""
    return tuple(Prompt(row["text"], row["answer"], task) for row in written_rows(task))


_BUILT_IN = (
    Task(
        name="commonsense",
        title="Commonsense completion",
        sentence="An everyday situation, and how it goes on.",
        written=partial(_of_file, "commonsense"),
        form=TEXT,
    ),
    Task(
        name="grade_school",
        title="Grade-school arithmetic",
        sentence="A problem in words of a few steps, with a short worked solution.",
        written=partial(_of_file, "grade_school"),
        form=WORKED,
    ),
    Task(
        name="competition",
        title="Competition mathematics",
        sentence="A competition-like problem, with a worked solution.",
        written=partial(_of_file, "competition"),
        form=WORKED,
    ),
    Task(
        name="addition",
        title="Addition",
        sentence="The sum of two numbers, without any working.",
        draw=generators.addition,
        choices=choices.of_sum,
        dial="digits",
        levels=range(1, 21),
        default_level=3,
        form=NUMBER,
    ),
    Task(
        name="multiplication",
        title="Multiplication",
        sentence="The product of two numbers, without any working.",
        draw=generators.multiplication,
        choices=choices.of_product,
        dial="digits",
        levels=range(1, 11),
        default_level=2,
        form=NUMBER,
    ),
    Task(
        name="word_problem",
        title="Word problems",
        sentence="A story in which a quantity changes step by step, with the worked solution.",
        draw=generators.word_problem,
        choices=choices.of_word_problem,
        dial="steps",
        levels=range(1, 11),
        default_level=3,
        form=WORKED,
    ),
    Task(
        name="facts",
        title="Chains of facts",
        sentence="Invented facts, and a question that takes several of them to answer.",
        draw=generators.facts,
        choices=choices.of_facts,
        dial="hops",
        levels=range(1, 9),
        default_level=2,
    ),
    Task(
        name="copying",
        title="Copying",
        sentence="A list of things, and the same list again.",
        draw=generators.copying,
        dial="things",
        levels=range(2, 21),
        default_level=6,
    ),
    Task(
        name="addition_contrast",
        title="Addition, in pairs",
        sentence="The sum of two numbers, and beside it the same with one digit changed.",
        draw=generators.addition_contrast,
        dial="digits",
        levels=range(1, 21),
        default_level=2,
        form=NUMBER,
    ),
    Task(
        name="facts_contrast",
        title="Facts, in pairs",
        sentence="A true fact behind others, and beside it the same of another country.",
        draw=generators.facts_contrast,
        dial="hops",
        levels=range(1, 4),
        default_level=2,
        form=TEXT,
    ),
)

LADDER = tuple(task.name for task in _BUILT_IN if not task.is_generated)
"""The written tasks, easiest first."""

TASKS = LazyDict(lambda: {task.name: task for task in with_plugins(_BUILT_IN, DATASETS)})
"""Every task by name, in the order of the picker: the written ladder, generators, plug-ins."""

WITH_CHOICES = LazyTuple(
    lambda: (
        *(name for name, task in TASKS.items() if task.choices),
        *(name for name, dataset in DATASETS.items() if dataset.to_choices),
    )
)
"""Names of the tasks and data sets that can be asked with options to choose from."""


def make_prompts(
    task: str,
    level: int | str | None = None,
    count: int = 1,
    seed: int = 123,
    asking: Asking | None = None,
) -> list[Prompt]:
    """The first `count` prompts of a task at a level.

    The prompts of a smaller count are the first ones of a larger count; so are their shots, unless
    a task has hardly other prompts than those that are asked. Generated
    prompts differ from one another, and depend on `seed`; written prompts do not.

    Args:
        task: a name in `TASKS`.
        level: a level of the task, or None (or an empty string) for its default.
        count: number of prompts, at least 1.
        seed: seed of the generators.
        asking: how the questions are asked; None for these alone.

    Raises:
        DepthError: there is no such task or level, or it has fewer prompts, or no options to
            choose from where these are asked for.
    """
    named_task, asking = _find_task(task), asking or Asking()
    if asking.choices and not named_task.choices:
        raise no_choices(f"The task {task}")
    chosen = _find_level(named_task, level)
    if not 1 <= count <= MOST_PROMPTS:
        raise DepthError(
            f"{count} prompts cannot be made.", f"Ask for 1 to {MOST_PROMPTS:,} prompts."
        )
    if chosen is None:
        return _from_written(named_task, count, asking)
    prompts = _from_generator(named_task, chosen, count, seed, asking.choices)
    places = {prompt.text: place for place, prompt in enumerate(prompts)}
    return [
        asking.behind_shots(
            prompt, _other_draws(prompt, chosen, asking, places), f"The task {task}"
        )
        for prompt in prompts
    ]


def _other_draws(
    prompt: Prompt, level: int, asking: Asking, places: Mapping[str, int]
) -> Iterator[Prompt]:
    """Other prompts of a generated task; those that are asked themselves come last.

    `places` are those of the questions that are asked, by text.
    """
    own_seed = f"{asking.seed} {prompt.text}"

    def drawn() -> Iterator[Prompt]:
        return draw_prompts(prompt.task, level, own_seed, asking.choices)

    yield from (other for other in drawn() if other.text not in places)
    yield from (
        other
        for other in drawn()
        if other.text in places and asking.may_precede(places[other.text], places[prompt.text])
    )


def no_choices(where: str) -> DepthError:
    """The error for a source without options to choose from."""
    return DepthError(
        f"{where} has no options to choose from.",
        f"Those that have: {', '.join(WITH_CHOICES)}; or a prompt file whose lines have `choices`.",
    )


def draw_prompts(
    task: str, level: int | str | None, seed: int | str, has_choices: bool = False
) -> Iterator[Prompt]:
    """The prompts of a generated task at a level, until its generator hardly has others.

    Args:
        task: the name of a generated task.
        level: a level of the task, or None (or an empty string) for its default.
        seed: seed of the generator.
        has_choices: whether the prompts have options to choose from, which is for a task with some.

    Raises:
        DepthError: there is no such task or level.
    """
    named_task = _find_task(task)
    number = _find_level(named_task, level)
    assert number is not None, f"{task} is not generated"
    assert named_task.draw is not None
    # A string seeds the same in every process; a hash would not.
    rng = Random(f"{task} {number} {seed}")
    # Each text comes once, whatever its contrast.
    texts: set[str] = set()
    repeats = 0
    while repeats <= _REPEATS_BEFORE_GIVING_UP:
        prompt = named_task.draw(number, rng)
        if prompt.text in texts:
            repeats += 1
            continue
        repeats = 0
        texts.add(prompt.text)
        if has_choices and named_task.choices:
            yield choices.with_choices(prompt, named_task.choices, seed)
        else:
            yield prompt


def prompt_title(prompt: Prompt, width: int = 60) -> str:
    """One printable line of at most `width` characters that distinguishes a prompt."""
    text = prompt.text
    for key in ("\nProblem: ", "\nQuestion: ", "Give the answer directly: "):
        # Others may precede the one that is asked.
        _, mark, following = f"\n{text}".rpartition(key)
        if mark:
            text = following.partition("\n")[0]
            break
    # Enough for any width, so that a prompt as long as a book costs nothing.
    line = " ".join(text[: 8 * width].split()) or "(empty)"
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def _find_task(name: str) -> Task:
    if name not in TASKS:
        names = (*TASKS, *DATASETS)
        raise DepthError(
            f"There is no task {_quote(name)}.{did_you_mean(name, names)}",
            f"Tasks: {', '.join(names)}.",
        )
    return TASKS[name]


def level_words(prompt: Prompt) -> str:
    """A prompt's level with the unit of its task: `1 digit`, `3 steps`; may be empty."""
    task = TASKS.get(prompt.task)
    return task.level_words(prompt.level) if task and prompt.level else prompt.level


def _find_level(task: Task, level: int | str | None) -> int | None:
    if level is None or level == "":
        return task.default_level
    if not task.levels:
        raise DepthError(f"The task {task.name} has no levels.", "Leave the level out.")
    try:
        number = int(level)
    except ValueError:
        number = -1
    if number not in task.levels:
        raise DepthError(
            f"The task {task.name} has no level {_quote(level)}.",
            f"Levels: {task.all_levels}.",
        )
    return number


def _quote(value: object) -> str:
    return repr(str(value)[:40])


def _from_written(task: Task, count: int, asking: Asking) -> list[Prompt]:
    prompts = written_prompts(task.name)
    if count > len(prompts):
        raise DepthError(
            f"The task {task.name} has {len(prompts)} prompts, not {count}.",
            f"Ask for 1 to {len(prompts)} prompts.",
        )
    return asking.ask_stored(prompts, f"The task {task.name}")[:count]


def written_prompts(task: str) -> Sequence[Prompt]:
    """Every prompt of a written task, in its order."""
    named_task = _find_task(task)
    assert named_task.written, f"{task} is not written"
    return named_task.written()


def _from_generator(
    task: Task, level: int, count: int, seed: int, has_choices: bool
) -> list[Prompt]:
    prompts = list(islice(draw_prompts(task.name, level, seed, has_choices), count))
    if len(prompts) < count:
        raise DepthError(
            f"The task {task.name} at level {level} has only {len(prompts)} prompts.",
            "Ask for fewer, or for a higher level.",
        )
    return prompts


def baseline_texts() -> list[str]:
    """Ten grade-school prompts, as many as in the paper: the baseline of residual erasure."""
    return [prompt.text for prompt in make_prompts("grade_school", None, 10)]
