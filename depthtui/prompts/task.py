"""A task: prompts of one kind, mostly with a dial of difficulty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from depthtui.data.run import Prompt
from depthtui.prompts.answer_forms import PHRASE, AnswerForm

MakeChoices: TypeAlias = Callable[[Prompt, Random], tuple[str, list[str]]]
"""Makes the question of a prompt and its wrong options."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Prompts of one kind: written ones in a fixed order, or drawn ones of each level.

    Attributes:
        name: its key, such as `word_problem`.
        title: a short title, such as `Word problems`.
        sentence: description of the prompts, in one sentence.
        written: the prompts of a written task.
        draw: draws one prompt of a level; the same state of the random numbers gives the same
            prompt.
        choices: makes options to choose from, of a drawn prompt; None for a task without any.
        dial: unit of the level, a plural noun such as `steps`; empty without levels.
        levels: the levels, easiest first; empty where there is no dial.
        default_level: the default level, or None where there is no dial.
        form: the form of its answers.
    """

    name: str
    title: str
    sentence: str
    written: Callable[[], Sequence[Prompt]] | None = None
    draw: Callable[[int, Random], Prompt] | None = None
    choices: MakeChoices | None = None
    dial: str = ""
    levels: range = range(0)
    default_level: int | None = None
    form: AnswerForm = PHRASE

    @property
    def is_generated(self) -> bool:
        """Whether its prompts are drawn, from a seed."""
        return self.draw is not None

    @property
    def has_choices(self) -> bool:
        """Whether it can be asked with options to choose from."""
        return self.choices is not None

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
