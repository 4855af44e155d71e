"""Commands that read a model and prompts: an argument too many is answered by the command meant."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from depthtui.cli.command_help import SectionedCommand
from depthtui.models.catalog import may_be_a_model

_ANY_MODEL = "MODEL"


class PromptCommand(SectionedCommand):
    """A command with an argument `model` and an option --prompt."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line; where a prompt is an argument, the error has the right one."""
        words = list(args)
        try:
            rest = super().parse_args(ctx, args)
        except click.UsageError as error:
            self._check_arguments(ctx, words, error)
            raise
        self._check_arguments(ctx, words)
        return rest

    def _check_arguments(
        self, ctx: click.Context, words: Sequence[str], error: click.UsageError | None = None
    ) -> None:
        """Check that there is one argument, and that it is no prompt."""
        if ctx.resilient_parsing:
            return
        options, others, _ = self.make_parser(ctx).parse_args(list(words))
        model = options.get("model")
        arguments = [model, *others] if isinstance(model, str) else others
        if len(arguments) > 1 or (arguments and _is_text(arguments[0])):
            command = _meant_command(ctx.command_path, words, arguments, options)
            raise click.UsageError(
                "The model comes first, and then --prompt with the whole prompt in quotes: "
                f"`{command}`.",
                ctx,
            ) from error


def _is_text(word: str) -> bool:
    """Whether a word is a text of several words, and no path."""
    return len(word.split()) > 1 and not os.path.exists(word)


def _meant_command(
    path: str, words: Sequence[str], arguments: Sequence[str], options: dict[str, object]
) -> str:
    """The command line with its arguments in their places.

    Args:
        path: the command, such as `depthtui run`.
        words: all words behind it.
        arguments: those that are no options.
        options: the options by name.
    """
    from depthtui.token_text import shell_word

    others = list(words)
    for word in arguments:
        others.remove(word)
    typed = options.get("prompts") or options.get("prompt")
    prompts = [typed] if isinstance(typed, str) else list(typed) if isinstance(typed, list) else []
    if len(prompts) == 1 and "--prompt" in others and not any(map(_is_text, arguments)):
        # The shell has parted a prompt without quotes: its first word is the option's.
        place = others.index("--prompt")
        del others[place : place + 2]
    else:
        prompts = []
    model = [] if options.get("by_option") else [_named_model(arguments)]
    texts = [*prompts, *(word for word in arguments if word not in model)]
    line = [*model, "--prompt", " ".join(map(str, texts)), *others]
    return " ".join([path, *map(shell_word, line)])


def _named_model(arguments: Sequence[str]) -> str:
    """The most likely model among the arguments."""
    for word in (arguments[0], arguments[-1]):
        if may_be_a_model(word):
            return word
    single = [word for word in arguments if not _is_text(word)]
    is_clear = single and (len(single) < len(arguments) or len(arguments) == 2)
    return single[0] if is_clear else _ANY_MODEL
