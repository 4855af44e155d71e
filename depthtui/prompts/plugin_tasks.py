"""Tasks of other packages: what they must be, and whose error it is where they raise."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from depthtui.data.run import Prompt
from depthtui.errors import DepthError
from depthtui.plugins import Plugin, PluginError, check_value, load_plugins, raising
from depthtui.prompts.task import MakeChoices, Task
from depthtui.returned import fits


def with_plugins(built_in: Sequence[Task], others: Collection[str]) -> tuple[Task, ...]:
    """The tasks, and behind them those of plug-ins, which have neither their names nor others."""
    taken = [*(task.name for task in built_in), *others]
    return (*built_in, *load_plugins("task", taken, _accepted))


def _accepted(value: Any, plugin: Plugin) -> Task:
    """The task of a plug-in, whose errors name it.

    Raises:
        DepthError: it cannot be one; the error is a clause.
    """
    task = check_value(value, Task, plugin)
    if (task.draw is None) == (task.written is None):
        raise DepthError("it has neither or both of `draw` and `written`")
    if task.is_generated and not (task.dial and task.default_level in task.levels):
        raise DepthError("`draw` needs a `dial`, `levels`, and a `default_level` among them")
    if task.written and (task.dial or task.levels or task.default_level is not None):
        raise DepthError("a written task has no `dial`, `levels` or `default_level`")
    changes: dict[str, Any] = {}
    if task.draw is not None:
        changes["draw"] = _drawing(task.draw, plugin)
    if task.written is not None:
        changes["written"] = _written(task.written, plugin)
    if task.choices is not None:
        changes["choices"] = _choosing(task.choices, plugin)
    return replace(task, **changes)


def _drawing(
    draw: Callable[[int, Random], Prompt], plugin: Plugin
) -> Callable[[int, Random], Prompt]:
    draw = raising(plugin, draw)

    def drawn(level: int, rng: Random) -> Prompt:
        return replace(_checked(draw(level, rng), plugin), task=plugin.name, level=str(level))

    return drawn


def _written(
    written: Callable[[], Sequence[Prompt]], plugin: Plugin
) -> Callable[[], Sequence[Prompt]]:
    made = raising(plugin, lambda: list(written()))

    def prompts() -> Sequence[Prompt]:
        return [replace(_checked(prompt, plugin), task=plugin.name) for prompt in made()]

    return prompts


def _choosing(choices: MakeChoices, plugin: Plugin) -> MakeChoices:
    choices = raising(plugin, choices)

    def chosen(prompt: Prompt, rng: Random) -> tuple[str, list[str]]:
        question = choices(prompt, rng)
        if not fits(question, tuple[str, list[str]]):
            raise PluginError(plugin, "made choices that are no question with a list of options")
        return question

    return chosen


def _checked(value: Any, plugin: Plugin) -> Prompt:
    if not isinstance(value, Prompt):
        raise PluginError(plugin, f"made a value of type {type(value).__name__}, not Prompt")
    if not fits(value, Prompt):
        raise PluginError(plugin, "made a prompt with a value of another type")
    if not value.text.endswith(value.answer):
        raise PluginError(plugin, "made a prompt whose text does not end in its answer")
    return value
