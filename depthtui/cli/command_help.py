"""Help in sections, with examples at its end; `--help-all` shows rare options too."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import click

OTHERS = "Options"
"""The heading of options without a section."""

_ALL = "depthtui.cli.command_help.all"
"""The key in a context's `meta` for whether its help has every option."""


_WORDS = "depthtui.cli.command_help.words"
"""The key in a context's `meta` for the words behind its command."""


def words_of(ctx: click.Context) -> Sequence[str]:
    """The words of the command line behind a command, as they were written."""
    words: Sequence[str] = ctx.meta[_WORDS]
    return words


def command_line(words: Sequence[str]) -> str:
    """The words of a command behind `depthtui`, for a shell to read."""
    # Its module imports Rich, which `--help` does without.
    from depthtui.token_text import shell_word

    return " ".join(["depthtui", *map(shell_word, words)])


def reads(command: click.Command, words: Sequence[str]) -> bool:
    """Whether a command reads these words without an error."""
    try:
        command.make_context(command.name, list(words))
    except click.UsageError:
        return False
    return True


def show_every_option(ctx: click.Context) -> None:
    """Show the rare options too in the help of a context."""
    ctx.meta[_ALL] = True


def in_section(section: str, *options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Put options of a command under one heading of its help."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        earlier_parameters = list(getattr(command, "__click_params__", ()))
        for option in reversed(options):
            command = option(command)
        for parameter in vars(command)["__click_params__"]:
            if parameter not in earlier_parameters and not getattr(parameter, "section", ""):
                vars(parameter)["section"] = section
        return command

    return add


class SectionedCommand(click.Command):
    """A command whose help has its options in sections.

    Args:
        examples: command lines at the end of the help.
        common: names of the parameters that `--help` shows; none for all.
    """

    def __init__(
        self,
        *args: Any,
        examples: Sequence[str] = (),
        common: Collection[str] = (),
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.examples = examples
        names = {parameter.name for parameter in self.params}
        assert names.issuperset(common), f"no parameters: {set(common) - names}"
        self._rare = names - set(common) if common else set()
        if common:
            self.params.append(_help_all(len(self._rare)))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line, and keep it; an error names its command."""
        ctx.meta[_WORDS] = tuple(args)
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, in order of first use."""
        _write_sections(self, ctx, formatter, () if _ALL in ctx.meta else self._rare)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        _write_examples(self.examples, formatter)


def _help_all(rare: int) -> click.Option:
    """The option that shows every option."""

    def show(ctx: click.Context, _parameter: click.Parameter, is_set: bool) -> None:
        if is_set:
            show_every_option(ctx)
            click.echo(ctx.get_help(), color=ctx.color)
            ctx.exit()

    return click.Option(
        ["--help-all"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help=f"Show every option: {rare} more.",
    )


class SectionedGroup(click.Group):
    """A group whose help lists its commands, then its options in sections.

    Args:
        examples: command lines, which end the help.
    """

    command_class = SectionedCommand

    def __init__(self, *args: Any, examples: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self.examples = examples

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; the error for an unlike name has the names of all."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            # Releases of click before 8.4 know no similar names.
            if args[0].startswith("-") or getattr(error, "possibilities", None):
                raise
            names = ", ".join(self.commands)
            raise click.UsageError(f"{error.message} Commands: {names}.", ctx) from error

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, then the options."""
        self.format_commands(ctx, formatter)
        _write_sections(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        _write_examples(self.examples, formatter)


def _write_sections(
    command: click.Command,
    ctx: click.Context,
    formatter: click.HelpFormatter,
    hidden: Collection[str | None] = (),
) -> None:
    sections: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(ctx):
        record = None if parameter.name in hidden else parameter.get_help_record(ctx)
        if record is not None and isinstance(parameter, click.Option):
            sections.setdefault(getattr(parameter, "section", OTHERS), []).append(record)
    # Options without a section, such as --help, come last.
    other_options = sections.pop(OTHERS, None)
    if other_options:
        sections[OTHERS] = other_options
    for title, records in sections.items():
        with formatter.section(title):
            formatter.write_dl(records)


def _write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
