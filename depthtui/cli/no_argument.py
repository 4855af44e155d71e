"""Commands without arguments: a word behind one is answered by the command lines meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from depthtui.cli.command_help import SectionedCommand, command_line, reads


@dataclass(frozen=True)
class MeantLine:
    """A command line that may be meant.

    Attributes:
        words: its words behind `depthtui`.
        effect: its effect, as a verb and the rest of its sentence.
    """

    words: Sequence[str]
    effect: str


class NoArgumentCommand(SectionedCommand):
    """A command with options alone.

    Args:
        meant: returns the lines that a word may mean; its other argument is all words of the line.
    """

    def __init__(
        self,
        *args: Any,
        meant: Callable[[str, Sequence[str]], Iterable[MeantLine]],
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._meant = meant

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line; the error for an argument has the lines that may be meant."""
        words = tuple(args)
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            arguments = self._arguments(ctx, words)
            if not arguments:
                raise
            lines = self._meant(arguments[0], words) if len(arguments) == 1 else ()
            sentence = sentence_on(lines, ctx)
            message = f"`{ctx.command_path}` has no arguments. {sentence}".rstrip()
            raise click.UsageError(message, ctx) from error

    def _arguments(self, ctx: click.Context, words: Sequence[str]) -> list[str]:
        """The words that belong to no option; none where an option is wrong."""
        try:
            return self.make_parser(ctx).parse_args(list(words))[1]
        except click.UsageError:
            return []


def sentence_on(lines: Iterable[MeantLine], ctx: click.Context) -> str:
    """A sentence with the lines that their commands read; empty for none."""
    root = ctx.find_root().command
    read = [line for line in lines if _is_read(root, line.words)]
    clauses = [f"`{command_line(line.words)}` {line.effect}" for line in read]
    return f"{', '.join(clauses)}." if clauses else ""


def lines_for_model(model: str, _words: Sequence[str] = ()) -> list[MeantLine]:
    """The lines that open a model in the explorer, and measure it."""
    return [
        MeantLine(["--model", model], "opens it in the explorer"),
        MeantLine(["run", model, "--prompt", "TEXT"], "measures it without a screen"),
    ]


def _is_read(root: click.Command, words: Sequence[str]) -> bool:
    """Whether the command of a line, which is the root where the line has none, reads it."""
    command = root.commands.get(words[0]) if isinstance(root, click.Group) else None
    return reads(root, words) if command is None else reads(command, words[1:])
