"""The plan of a sweep: every model on every task."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from depthtui.data.plain import to_plain
from depthtui.data.run import task_words
from depthtui.data.run_settings import (
    EXAMPLES,
    Drawing,
    ModelSpec,
    RunSettings,
    SummarySettings,
    Writing,
)
from depthtui.data.sentence import noun_for
from depthtui.errors import DepthError, did_you_mean, short_repr
from depthtui.files import expand_home
from depthtui.metrics.needed_settings import with_lens_metric
from depthtui.models.catalog import DEMO
from depthtui.prompts.dataset_formats import DATASETS
from depthtui.prompts.tasks import TASKS, WITH_CHOICES, no_choices

ALL_LEVELS = "*"


@dataclass(frozen=True)
class TaskChoice:
    """Prompts of one task at one level.

    Attributes:
        name: a task or a data set of `depthtui tasks`, or a name for the prompts of `data`.
        level: difficulty in the task's own unit; empty where it has no levels, or for all of them.
        data: a file of prompts; empty for the prompts of depthtui or of the hub.
        examples: number of prompts.
        max_tokens: longer prompts, by the model's own tokenizer, are left out and replaced by the
            next ones; 0 for any length.
        sample: draw the prompts with the sweep's seed instead of taking the first ones.
        matched: other prompts of the task and level precede each prompt, with their answers, up to
            this many tokens by the model's own tokenizer; 0 for none.
        write: how the model writes the answers; None for the prompts' own.
        choices: whether the prompts have options to choose from.
        shots: solved others of the task before each prompt.
    """

    name: str
    level: str = ""
    data: str = ""
    examples: int = EXAMPLES
    max_tokens: int = 0
    sample: bool = False
    matched: int = 0
    write: Writing | None = None
    choices: bool = False
    shots: int = 0

    @property
    def title(self) -> str:
        """The task and its level, such as `addition, 3 digits`, and as in `task_words`."""
        if not self.level:
            return self.source
        if self.name not in TASKS:
            return self.with_origin(f"{self.name}, level {self.level}")
        return self.with_origin(f"{self.name}, {TASKS[self.name].level_words(self.level)}")

    @property
    def source(self) -> str:
        """The task with how it is asked and who answers, as in `Prompt.source`."""
        return self.with_origin(self.name)

    @property
    def unwritten(self) -> TaskChoice:
        """The same prompts with their own answers."""
        return replace(self, write=None)

    def with_origin(self, words: str) -> str:
        """The words, with how the task is asked and who answers (see `task_words`)."""
        return task_words(words, self.choices, self.write is not None)

    @property
    def is_generated(self) -> bool:
        """Whether a generator draws the prompts, instead of a fixed set of prompts."""
        return not self.data and self.name in TASKS and TASKS[self.name].is_generated


def population(tasks: Iterable[TaskChoice]) -> str:
    """The prompts that intervals and p values of these tasks are about.

    Such as `draws of this generator`, or `prompts of these data sets`; all levels of a task have
    one generator.
    """
    tasks = list(tasks)
    drawn = {task.name for task in tasks if task.is_generated}
    stored = {task.name for task in tasks if not task.is_generated}
    return " and ".join(
        f"{prompts} of {noun_for(len(names), 'this', 'these')} {noun_for(len(names), source)}"
        for names, prompts, source in (
            (drawn, "draws", "generator"),
            (stored, "prompts", "data set"),
        )
        if names
    )


@dataclass(frozen=True)
class Cell:
    """One model on one task."""

    model: ModelSpec
    task: TaskChoice


@dataclass(frozen=True)
class SweepPlan:
    """A grid of models and tasks, with the settings of its runs.

    Attributes:
        models: the models, in the order in which they are loaded and reported.
        tasks: the tasks, in the order in which they are run and reported.
        run: settings of every run; its seed also draws the prompts.
        summary: how the runs of a cell are pooled.
        families: family by name of model, for models whose family is given.
    """

    models: tuple[ModelSpec, ...]
    tasks: tuple[TaskChoice, ...]
    run: RunSettings = field(default_factory=RunSettings)
    summary: SummarySettings = field(default_factory=SummarySettings)
    families: tuple[tuple[str, str], ...] = ()

    @property
    def cells(self) -> list[Cell]:
        """Every model on every task, model by model."""
        return [Cell(model, task) for model in self.models for task in self.tasks]

    @property
    def files(self) -> list[str]:
        """The files of prompts and of lenses' texts."""
        named = [*(task.data for task in self.tasks), self.run.lens_texts]
        return sorted({name for name in named if name})


def check_plan(plan: SweepPlan) -> SweepPlan:
    """The plan without repeated models and tasks, and with the metric that its lens needs.

    Raises:
        DepthError: the plan has no model, no task, or two tasks that cannot be told apart.
    """
    if not plan.models or not all(model.name for model in plan.models):
        raise DepthError("The sweep has no model.", "Name one or more: --model NAME.")
    if not plan.tasks:
        raise DepthError("The sweep has no task.", "Name one or more: --task NAME.")
    models = tuple(dict.fromkeys(plan.models))
    tasks = tuple(dict.fromkeys(map(_as_asked, plan.tasks)))
    names = [(choice.source, choice.level) for choice in tasks]
    for task, name in zip(tasks, names, strict=True):
        if names.count(name) > 1:
            raise DepthError(
                f"The task {task.title} is there twice, with other prompts each time.",
                "Give one of them another name, with a file of its own.",
            )
    for task in tasks:
        _check_asking(task)
    run = with_lens_metric(plan.run, plan.summary.lens)
    return replace(plan, models=models, tasks=tasks, run=run)


def _as_asked(task: TaskChoice) -> TaskChoice:
    """The task, with options where it is a data set that is always asked with them."""
    dataset = DATASETS.get(task.name)
    always = dataset is not None and dataset.to_choices is dataset.to_prompt
    return replace(task, choices=task.choices or always)


def _check_asking(task: TaskChoice) -> None:
    """Refuse options for a task without any, and others before a prompt in two ways."""
    has_choices = task.name in WITH_CHOICES or (task.data and task.name not in DATASETS)
    if task.choices and not has_choices:
        raise no_choices(f"The task {task.name}")
    if task.matched and task.shots:
        raise DepthError(
            f"The task {task.name} has other prompts before each in two ways.",
            "Leave --matched or --shots out.",
        )


def with_written(plan: SweepPlan, writing: Writing) -> SweepPlan:
    """The plan with each task once more beside it, whose answers the model writes.

    Tasks that have such a task already keep it. Random choices follow the sweep's seed.
    """
    writing = replace(writing, seed=plan.run.seed).effective
    present = {task.unwritten for task in plan.tasks if task.write is not None}
    tasks = []
    for task in plan.tasks:
        tasks.append(task)
        if task.unwritten not in present:
            tasks.append(replace(task, write=writing))
    return replace(plan, tasks=tuple(tasks))


def plan_values(plan: SweepPlan) -> dict[str, Any]:
    """The plan as JSON values; tasks have `matched` and the like only where they are chosen."""
    values: dict[str, Any] = to_plain(plan)
    for task in values["tasks"]:
        for name in ("matched", "write", "choices", "shots"):
            if not task[name]:
                del task[name]
    return values


def with_absolute_paths(plan: SweepPlan) -> SweepPlan:
    """The plan with absolute paths for models and data that are local files or folders.

    The plan then means the same from another folder, and on another machine with the same disk.
    """
    models = [
        replace(model, name=model_from_root(model.name), adapter=_absolute(model.adapter))
        for model in plan.models
    ]
    tasks = [replace(choice, data=_absolute(choice.data)) for choice in plan.tasks]
    families = [(model_from_root(name), family) for name, family in plan.families]
    return replace(plan, models=tuple(models), tasks=tuple(tasks), families=tuple(families))


def model_from_root(name: str) -> str:
    """A model's name, with an absolute path for a local file or folder."""
    return name if name == DEMO else _absolute(name)


def _absolute(name: str) -> str:
    path = Path(os.path.expanduser(name))
    # Unlike `Path.exists`, `os.path.exists` accepts names that are too long for the system.
    return str(path.absolute()) if name and os.path.exists(path) else name


def parse_task(
    text: str,
    data: dict[str, str],
    drawing: Drawing,
    all_levels: bool = False,
) -> list[TaskChoice]:
    """The choices in `NAME`, `NAME:LEVEL`, `NAME:1,3,5`, `NAME:1-5` or `NAME:*`.

    Args:
        text: a choice as given on the command line.
        data: files by the name of their task.
        drawing: how many prompts, and which.
        all_levels: whether a name alone stands for all levels instead of the default one.

    Raises:
        DepthError: there is no such task or level.
    """
    name, colon, levels = text.strip().partition(":")
    if colon and not all(map(str.strip, levels.split(","))):
        raise DepthError(
            f"{short_repr(text)} leaves a level out.",
            f"Write such as {name[:40]}:1,3, or no colon.",
        )
    if not colon and all_levels:
        levels = ALL_LEVELS
    return choose_levels(name, levels.split(","), data.get(name, ""), drawing)


def choose_levels(
    name: str, levels: Sequence[str], data: str, drawing: Drawing
) -> list[TaskChoice]:
    """One choice for every level; an empty level is the task's default, `*` all of them.

    Args:
        name: a task, a data set, or any name for the prompts of `data`.
        levels: levels such as `3`, `1-5` or `*`.
        data: a file, or empty.
        drawing: how many prompts, and which.

    Raises:
        DepthError: there is no such task or level.
    """
    scale = _levels_of(name, data)
    chosen = [level for choice in levels for level in _single_levels(name, choice.strip(), scale)]
    return [TaskChoice(name, level, data, **vars(drawing)) for level in dict.fromkeys(chosen)]


def parse_data(texts: Iterable[str]) -> dict[str, str]:
    """Files by task from `NAME=FILE`.

    Raises:
        DepthError: a text is not of this form, or names the home folder of an unknown user.
    """
    files: dict[str, str] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise DepthError(f"{short_repr(text)} names no file.", "Write --data NAME=FILE.")
        files[name] = str(expand_home(path))
    return files


def _levels_of(name: str, data: str) -> range:
    if name in DATASETS:
        return DATASETS[name].levels
    if data and name not in TASKS:
        return range(0)
    if data:
        raise DepthError(
            f"{name} is a task of depthtui's own, not the name of a file.",
            f"Call the file's prompts otherwise: --data my_{name}={data}.",
        )
    if name not in TASKS:
        raise DepthError(
            f"There is no task {name[:40]!r}.{did_you_mean(name, (*TASKS, *DATASETS))}",
            f"Tasks: {', '.join([*TASKS, *DATASETS])}; or give its prompts: --data NAME=FILE.",
        )
    return TASKS[name].levels


def _single_levels(name: str, level: str, scale: range) -> Iterable[str]:
    if level == ALL_LEVELS and scale:
        return [str(level) for level in scale]
    if level in ("", ALL_LEVELS):
        default = TASKS[name].default_level if name in TASKS else None
        return ["" if default is None else str(default)]
    if not scale:
        raise DepthError(f"The task {name} has no levels.", "Leave the level out.")
    first, dash, last = level.partition("-")
    ends = [first, last] if dash else [first]
    numbers = [int(end) for end in ends if end.isdecimal() and len(end) < 10 and int(end) in scale]
    if len(numbers) == 2 and numbers != sorted(numbers):
        raise DepthError(
            f"The levels {name}:{level} begin with the higher one.",
            f"Write {name}:{numbers[1]}-{numbers[0]}.",
        )
    if len(numbers) < len(ends):
        raise DepthError(
            f"The task {name} has no level {level[:40]!r}.",
            f"Levels: {scale[0]} to {scale[-1]}, such as {name}:{scale[0]}-{scale[-1]}.",
        )
    return [str(index) for index in range(numbers[0], numbers[-1] + 1)]
