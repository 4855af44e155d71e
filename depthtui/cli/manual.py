"""`depthtui help`: the manual in the terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from depthtui.cli.command_help import SectionedCommand, show_every_option
from depthtui.cli.output import is_plain, print_line
from depthtui.cli.shared_options import Folder
from depthtui.errors import did_you_mean

if TYPE_CHECKING:
    from depthtui.manual.search import Match

_WIDEST = 100
"""Most columns of a page: longer lines are hard to read."""

_MOST_LINES = 8
"""Most passages in a list."""

_SCHEMA = "schema"
"""The topic of the JSON schema, which is no page."""


def _summary_schema() -> str:
    import json

    from depthtui.report.summary_schema import summary_schema

    return json.dumps(summary_schema(), indent=2)


def _complete_topics(
    context: click.Context, parameter: click.Parameter, typed: str
) -> list[CompletionItem]:
    """Pages whose names begin with the typed text."""
    from depthtui.manual import titles

    return [
        CompletionItem(name, help=title)
        for name, title in titles().items()
        if name.startswith(typed)
    ]


@click.command(
    "help",
    cls=SectionedCommand,
    examples=["depthtui help", "depthtui help verdict", "depthtui help holds here"],
    # Options can be looked up, too.
    context_settings={"ignore_unknown_options": True},
)
@click.argument("words", nargs=-1, shell_complete=_complete_topics)
@click.option("--raw", is_flag=True, help="Print Markdown, without a pager.")
@click.option("--html", type=Folder(), help="Write all pages as HTML into this folder.")
@click.pass_context
def manual(context: click.Context, /, words: tuple[str, ...], raw: bool, html: Path | None) -> None:
    """Show a page of the manual, or the passages that explain words.

    WORDS are a page, a command, a metric or a rule, or what to look up: a phrase, a key of the
    explorer, an option, a symbol. `schema` is the JSON schema of summary.json. Without WORDS,
    lists pages and commands.
    """
    topic = " ".join(words)
    if html is not None:
        if topic or raw:
            raise click.UsageError("--html writes all pages: leave out WORDS and --raw.")
        _write_html(html, context)
    elif not topic:
        click.echo(_list_of_pages(context))
    elif topic == _SCHEMA:
        click.echo(_summary_schema())
    else:
        text = _text(topic, context) or _passages(topic, context)
        if raw:
            click.echo(text)
        elif is_plain():
            click.echo("\n".join(_lines_alone(text)).strip())
        else:
            _show(_rendered(text))


def _write_html(folder: Path, context: click.Context) -> None:
    from depthtui.manual import PAGES
    from depthtui.manual.as_html import write_html

    files = write_html(folder, {name: _text(name, context) or "" for name in PAGES})
    print_line(f"{len(files)} pages: {files[-1]}")


def _list_of_pages(context: click.Context) -> str:
    from depthtui.manual import titles

    root = context.find_root()
    assert isinstance(root.command, click.Group)
    formatter = context.make_formatter()
    formatter.write_usage(context.command_path, "[WORDS]")
    with formatter.section("Pages"):
        formatter.write_dl(list(titles().items()))
    with formatter.section("Commands"):
        commands = root.command.commands
        formatter.write_dl([(name, commands[name].get_short_help_str(60)) for name in commands])
    formatter.write(
        "\nWORDS may also be a metric, a rule, a phrase, a key of the explorer, an option or a"
        "\nsymbol: depthtui help holds here\n"
    )
    return formatter.getvalue()


def _text(topic: str, context: click.Context) -> str | None:
    """The Markdown of a page, a command, a metric or a rule; None for any other topic."""
    from depthtui.depth import rules
    from depthtui.manual import PAGES, page
    from depthtui.manual.parts import explanation_section, metric_section
    from depthtui.metrics.registry import ALL

    root, name = context.find_root(), topic.lower()
    command = _commands(context).get(name)
    if name in PAGES or command:
        pages = [page(name, {"keys": _keys})] if name in PAGES else []
        return "\n".join([*pages, *([_usage(command, name, root)] if command else [])])
    metric = next((metric for metric in ALL if metric.name == name), None)
    if metric:
        return metric_section(metric)
    rule = next((rule for rule in rules.ALL if rule.name == name), None)
    return explanation_section(rule.explanation) if rule else None


def _passages(words: str, context: click.Context) -> str:
    """The passages of the manual that explain words, in Markdown, and the pages that have them.

    Raises:
        click.UsageError: the words are nowhere.
    """
    from depthtui.manual import all_pages
    from depthtui.manual.search import search

    pages = all_pages({"keys": _keys})
    matches, options = search(words, pages), _options_with_name(words, context)
    if not matches and not options:
        meant = _meant(words, pages, context)
        raise click.UsageError(f"The manual has nothing about {words!r}. {meant}")
    explanations = [match for match in matches if match.name]
    headings = [match for match in explanations if match.name == match.section]
    # Matches are sorted: an equal heading is the first.
    is_equal = bool(headings) and headings[0].name.lower() == words.lower()
    whole = headings[:1] if is_equal or len(headings) == 1 else []
    listed_matches = [match for match in explanations or matches if match not in whole]
    lines = options or [_line(match) for match in listed_matches[:_MOST_LINES]]
    lines += [f"\n## {match.section}\n\n{match.body}" for match in whole]
    names = list(dict.fromkeys(match.page for match in matches))[:_MOST_LINES]
    return "\n".join([*lines, *([f"\nSee `depthtui help` {', '.join(names)}."] if names else [])])


def _line(match: Match) -> str:
    """A passage as an item of a list in Markdown."""
    if match.name == match.section:
        return f"- **{match.section}**: {match.sentence}"
    return f"- **{match.name or match.page}** ({match.section}): {match.sentence}"


def _options_with_name(name: str, context: click.Context) -> list[str]:
    """The meanings of an option as a list in Markdown, each with its commands."""
    commands: dict[tuple[str, str], list[str]] = {}
    for path, command in _commands(context).items():
        with click.Context(command) as inner:
            for option in command.get_params(inner):
                record = option.get_help_record(inner)
                if record and name in (*option.opts, *option.secondary_opts):
                    commands.setdefault(record, []).append(path)
    return [
        f"- `{flags}` ({', '.join(paths)}): {sentence}"
        for (flags, sentence), paths in commands.items()
    ]


def _commands(context: click.Context) -> dict[str, click.Command]:
    """Every command by its words, such as `lens fit`."""
    root = context.find_root().command
    assert isinstance(root, click.Group)
    return dict(_within(root, ""))


def _within(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield f"{path}{name}", command
        if isinstance(command, click.Group):
            yield from _within(command, f"{path}{name} ")


def _meant(words: str, pages: Mapping[str, str], context: click.Context) -> str:
    """A hint for unknown words: a similar name, or the list of all pages."""
    from depthtui.depth import rules
    from depthtui.metrics.registry import ALL

    commands = _commands(context)
    rules_and_metrics = [rule.name for rule in rules.ALL] + [metric.name for metric in ALL]
    options = {
        name for command in commands.values() for option in command.params for name in option.opts
    }
    names = [*pages, *commands, *rules_and_metrics, *sorted(options)]
    return did_you_mean(words, names, likeness=0.7).lstrip() or "`depthtui help` lists all."


def _usage(command: click.Command, name: str, root: click.Context) -> str:
    """The `--help` of a command."""
    with click.Context(command, info_name=name, parent=root) as context:
        show_every_option(context)
        return f"## depthtui {name} --help\n\n```text\n{command.get_help(context)}\n```"


def _keys() -> str:
    from depthtui.tui.navigation import keymap

    return keymap().tables()


def _lines_alone(text: str) -> Iterator[str]:
    """Markdown without its marks: a line is a paragraph, an item, or a row with tabs."""
    from markdown_it import MarkdownIt

    cells: list[str] = []
    for token in MarkdownIt().enable("table").parse(text):
        if token.type == "inline":
            parts = token.children or ()
            cells.append("".join(" " if "break" in part.type else part.content for part in parts))
        elif cells and token.type in ("heading_close", "paragraph_close", "tr_close"):
            yield "\t".join(cells)
            cells = []
        yield from token.content.splitlines() if token.type == "fence" else ()
        is_end = token.nesting < 1 and token.level == 0 and token.type != "heading_close"
        yield from [""] if is_end else ()


def _rendered(text: str) -> str:
    """Markdown as text for this terminal; without colours where the output is none."""
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.theme import Theme

    columns = min(shutil.get_terminal_size().columns, _WIDEST)
    # Rich's own style has a black ground, also on a light terminal.
    console = Console(width=columns, highlight=False, theme=Theme({"markdown.code": "bold cyan"}))
    with console.capture() as capture:
        console.print(Markdown(text, code_theme="ansi_dark", hyperlinks=False))
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _show(text: str) -> None:
    """Print a text, on a terminal through a pager where it is longer than the screen."""
    is_long = text.count("\n") >= shutil.get_terminal_size().lines
    if is_long and sys.stdout.isatty():
        click.echo_via_pager(text)
    else:
        click.echo(text, nl=False)
