"""The prompts that a user can choose by difficulty: written ones, and generators with a dial."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import islice
from random import Random
from typing import Any

from depthtui.data.run import Prompt
from depthtui.errors import DepthError, did_you_mean
from depthtui.prompts import generators
from depthtui.prompts.answer_forms import NUMBER, PHRASE, TEXT, WORKED, AnswerForm
from depthtui.prompts.asking import Asking
from depthtui.prompts.choices import MAKERS, no_choices, with_choices

MOST_PROMPTS = 10_000
"""The most prompts that one call makes."""

_REPEATS_BEFORE_GIVING_UP = 1_000


@dataclass(frozen=True)
class Task:
    """Prompts of one kind.

    Attributes:
        name: its key, such as `word_problem`.
        title: a short title, such as `Word problems`.
        sentence: description of the prompts, in one sentence.
        kind: `written`, in a fixed order, or `generated`, from a seed.
        dial: unit of the level, a plural noun such as `steps`; empty without levels.
        levels: the levels, easiest first; empty where there is no dial.
        default_level: the default level, or None where there is no dial.
        form: the form of its answers.
    """

    name: str
    title: str
    sentence: str
    kind: str
    dial: str = ""
    levels: range = range(0)
    default_level: int | None = None
    form: AnswerForm = PHRASE

    @property
    def has_choices(self) -> bool:
        """Whether it can be asked with options to choose from."""
        return self.name in MAKERS

    @property
    def default_in_words(self) -> str:
        """The default level; a dash where there is no dial."""
        return "–" if self.default_level is None else str(self.default_level)

    @property
    def all_levels(self) -> str:
        """Every level with the unit, such as `1 to 9 digits`; a dash where there is no dial."""
        return f"{self.levels[0]} to {self.levels[-1]} {self.dial}" if self.levels else "–"

    def level_words(self, level: int | str) -> str:
        """A level with its unit, such as `1 digit` or `3 steps`; no unit where there is no dial."""
        unit = self.dial.removesuffix("s") if str(level) == "1" else self.dial
        return f"{level} {unit}".rstrip()


_WRITTEN = (
    Task(
        "commonsense",
        "Commonsense completion",
        "An everyday situation, and how it goes on.",
        "written",
        form=TEXT,
    ),
    Task(
        "grade_school",
        "Grade-school arithmetic",
        "A problem in words of a few steps, with a short worked solution.",
        "written",
        form=WORKED,
    ),
    Task(
        "competition",
        "Competition mathematics",
        "A competition-like problem, with a worked solution.",
        "written",
        form=WORKED,
    ),
)

_GENERATED: tuple[tuple[Task, Callable[[int, Random], Prompt]], ...] = (
    (
        Task(
            "addition",
            "Addition",
            "The sum of two numbers, without any working.",
            "generated",
            "digits",
            range(1, 21),
            3,
            form=NUMBER,
        ),
        generators.addition,
    ),
    (
        Task(
            "multiplication",
            "Multiplication",
            "The product of two numbers, without any working.",
            "generated",
            "digits",
            range(1, 11),
            2,
            form=NUMBER,
        ),
        generators.multiplication,
    ),
    (
        Task(
            "word_problem",
            "Word problems",
            "A story in which a quantity changes step by step, with the worked solution.",
            "generated",
            "steps",
            range(1, 11),
            3,
            form=WORKED,
        ),
        generators.word_problem,
    ),
    (
        Task(
            "facts",
            "Chains of facts",
            "Invented facts, and a question that takes several of them to answer.",
            "generated",
            "hops",
            range(1, 9),
            2,
        ),
        generators.facts,
    ),
    (
        Task(
            "addition_contrast",
            "Addition, in pairs",
            "The sum of two numbers, and beside it the same with one digit changed.",
            "generated",
            "digits",
            range(1, 21),
            2,
            form=NUMBER,
        ),
        generators.addition_contrast,
    ),
    (
        Task(
            "facts_contrast",
            "Facts, in pairs",
            "A true fact behind others, and beside it the same of another country.",
            "generated",
            "hops",
            range(1, 4),
            2,
            form=TEXT,
        ),
        generators.facts_contrast,
    ),
)

TASKS: dict[str, Task] = {
    task.name: task for task in (*_WRITTEN, *(task for task, _ in _GENERATED))
}
"""Every task by name, in the order of the picker: the written ladder, then the generators."""

_GENERATORS = {task.name: generate for task, generate in _GENERATED}


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
    if asking.choices and not named_task.has_choices:
        raise _no_choices(task)
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


def _no_choices(task: str) -> DepthError:
    from depthtui.prompts.dataset_formats import WITH_CHOICES

    return no_choices(f"The task {task}", (*MAKERS, *WITH_CHOICES))


def draw_prompts(
    task: str, level: int | str | None, seed: int | str, choices: bool = False
) -> Iterator[Prompt]:
    """The prompts of a generated task at a level, until its generator hardly has others.

    Args:
        task: a name in `TASKS`, of the kind `generated`.
        level: a level of the task, or None (or an empty string) for its default.
        seed: seed of the generator.
        choices: whether the prompts have options to choose from, which is for a task with some.

    Raises:
        DepthError: there is no such task or level.
    """
    named_task = _find_task(task)
    number = _find_level(named_task, level)
    assert number is not None, f"{task} is not generated"
    # A string seeds the same in every process; a hash would not.
    rng = Random(f"{task} {number} {seed}")
    # Each text comes once, whatever its contrast.
    texts: set[str] = set()
    repeats = 0
    while repeats <= _REPEATS_BEFORE_GIVING_UP:
        prompt = _GENERATORS[task](number, rng)
        if prompt.text in texts:
            repeats += 1
            continue
        repeats = 0
        texts.add(prompt.text)
        yield with_choices(prompt, seed) if choices else prompt


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


def written_rows(task: str) -> list[dict[str, Any]]:
    """The rows of a written task's data file: `id`, `text`, `answer`, and how to check it."""
    data = files("depthtui.prompts").joinpath(f"{task}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in data.splitlines()]


@cache
def _written_prompts(task: str) -> tuple[Prompt, ...]:
    return tuple(Prompt(row["text"], row["answer"], task) for row in written_rows(task))


def _find_task(name: str) -> Task:
    if name not in TASKS:
        from depthtui.prompts.dataset_formats import DATASETS

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
    prompts = _written_prompts(task.name)
    if count > len(prompts):
        raise DepthError(
            f"The task {task.name} has {len(prompts)} prompts, not {count}.",
            f"Ask for 1 to {len(prompts)} prompts.",
        )
    return asking.ask_stored(prompts, f"The task {task.name}")[:count]


def _from_generator(task: Task, level: int, count: int, seed: int, choices: bool) -> list[Prompt]:
    prompts = list(islice(draw_prompts(task.name, level, seed, choices), count))
    if len(prompts) < count:
        raise DepthError(
            f"The task {task.name} at level {level} has only {len(prompts)} prompts.",
            "Ask for fewer, or for a higher level.",
        )
    return prompts


def baseline_texts() -> list[str]:
    """Ten grade-school prompts, as many as in the paper: the baseline of residual erasure."""
    return [prompt.text for prompt in make_prompts("grade_school", None, 10)]
