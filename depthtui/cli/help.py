"""Help that fits a screen, or is ordered by what options are about, with examples at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

OTHERS = "Options"
"""The heading of options that no section was given."""


def in_section(section: str, *options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Options of a command that stand under one heading of its help."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        before = list(getattr(command, "__click_params__", ()))
        for option in reversed(options):
            command = option(command)
        for parameter in vars(command)["__click_params__"]:
            if parameter not in before and not getattr(parameter, "section", ""):
                vars(parameter)["section"] = section
        return command

    return add


class Command(click.Command):
    """A command whose options stand in sections.

    Args:
        examples: command lines, which end the help.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self.examples = examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, in the order in which these come first."""
        _write_sections(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        _write_examples(self.examples, formatter)


class Group(click.Group):
    """Commands, before the options that stand in sections.

    Args:
        examples: command lines, which end the help.
    """

    command_class = Command

    def __init__(self, *args: Any, examples: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self.examples = examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, then the options."""
        self.format_commands(ctx, formatter)
        _write_sections(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        _write_examples(self.examples, formatter)


def _write_sections(
    command: click.Command, ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    sections: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None and isinstance(parameter, click.Option):
            sections.setdefault(getattr(parameter, "section", OTHERS), []).append(record)
    # What belongs to no section, such as --help, is looked for last.
    others = sections.pop(OTHERS, None)
    if others:
        sections[OTHERS] = others
    for title, records in sections.items():
        with formatter.section(title):
            formatter.write_dl(records)


def _write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
