"""Commands that read a model and prompts: an argument too many is answered by the command meant."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from depthtui.cli.command_help import SectionedCommand, command_line, reads, words_of
from depthtui.models.catalog import may_be_a_model

_ANY_MODEL = "MODEL"
_SIGNS = ".,;:!?\"'"
"""Signs around the words of a sentence; those of names and paths are others."""
_TEXTS = ("--prompt", "--answer")
"""Options whose values have several words."""


class PromptCommand(SectionedCommand):
    """A command with an argument `model` and an option --prompt."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line; where a prompt is an argument, the error has the right one."""
        try:
            rest = super().parse_args(ctx, args)
        except click.UsageError as error:
            self._check_arguments(ctx, error)
            raise
        self._check_arguments(ctx)
        return rest

    def options_for(self, extra: Sequence[str]) -> list[str]:
        """The options that arguments beside the model were meant to be; none if uncertain."""
        if len(extra) > 1 and any(map(is_text, extra)):
            return []
        if not all(is_task(word) or word.isdecimal() for word in extra):
            return ["--prompt", " ".join(extra)]
        has_tasks = any("--task" in parameter.opts for parameter in self.params)
        return task_options(extra[0]) if has_tasks and len(extra) == 1 and is_task(extra[0]) else []

    def _check_arguments(self, ctx: click.Context, error: click.UsageError | None = None) -> None:
        """Check that there is one argument, and that it is no prompt and no task."""
        if ctx.resilient_parsing:
            return
        words = words_of(ctx)
        try:
            options, others, _ = self.make_parser(ctx).parse_args(list(words))
        except click.UsageError:
            return
        model = options.get("model")
        arguments = [model, *others] if isinstance(model, str) else others
        if not arguments:
            return
        is_model = not is_text(arguments[0]) and not is_task(arguments[0])
        if len(arguments) > 1 or not is_model:
            line = self.meant_line(words, arguments, bool(options.get("by_option")))
            command = f": `{command_line([self.name or '', *line])}`" if line else ""
            raise click.UsageError(
                f"All but the model has an option, and a prompt has quotes{command}.", ctx
            ) from error

    def meant_line(
        self, words: Sequence[str], arguments: Sequence[str], has_model: bool
    ) -> list[str]:
        """The words behind the command, with its arguments in their places; none if uncertain.

        Args:
            words: all words as they were written.
            arguments: those that belong to no option.
            has_model: whether an option names the model.
        """
        if "--" in words or any(words.count(word) > 1 for word in arguments):
            return []
        options, arguments = _quoted(words, arguments)
        model = [] if has_model else [_named_model(arguments)]
        extra = [word for word in arguments if word not in model]
        added = self.options_for(extra) if extra else []
        names = {word.partition("=")[0] for word in options}
        if (extra and not added) or names.intersection(added):
            return []
        line = [*model, *added, *options]
        return line if reads(self, line) else []


def is_text(word: str) -> bool:
    """Whether a word is a text of several words, and no path."""
    return len(word.split()) > 1 and not path_exists(word)


def is_task(word: str) -> bool:
    """Whether a word is the name of a task or a data set, with or without a level, and no path."""
    from depthtui.prompts.dataset_formats import DATASETS
    from depthtui.prompts.tasks import TASKS

    name = word.partition(":")[0]
    return (name in TASKS or name in DATASETS) and not path_exists(word)


def path_exists(word: str) -> bool:
    """Whether a word, in which `~` is the home folder, is the path of a file or folder."""
    return os.path.exists(os.path.expanduser(word))


def task_options(word: str) -> list[str]:
    """The options for a task such as `addition`, or `addition:3` with its level."""
    name, _, level = word.partition(":")
    return ["--task", name, *(["--level", level] if level else [])]


def _quoted(words: Sequence[str], arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options, and the arguments that are left where a text without quotes was parted.

    A word behind the value of --prompt belongs to it, unless it is the last and may be a model.
    """
    options: list[str] = []
    left, rest = [], list(arguments)
    for word in words:
        if word not in rest:
            options.append(word)
            continue
        rest.remove(word)
        name, sign, _ = options[-1].partition("=") if options else ("", "", "")
        is_parted = (sign and name in _TEXTS) or (len(options) > 1 and options[-2] in _TEXTS)
        if is_parted and not (word == arguments[-1] and may_be_a_model(word)):
            options[-1] += f" {word}"
        else:
            left.append(word)
    return [part for word in options for part in _option(word)], left


def _option(word: str) -> list[str]:
    """The name and the value of a text in one word, such as `--prompt=Rome`; else the word."""
    name, sign, value = word.partition("=")
    return [name, value] if sign and name in _TEXTS else [word]


def _named_model(arguments: Sequence[str]) -> str:
    """The most likely model among the arguments."""
    single = [word for word in arguments if not is_text(word) and not is_task(word)]
    for word in (*single[:1], *single[-1:]):
        if may_be_a_model(word):
            return word
    is_prose = len(arguments) > 2 or all(word.strip(_SIGNS).isalpha() for word in single)
    is_clear = single and (len(single) < len(arguments) or not is_prose)
    return single[0] if is_clear else _ANY_MODEL
