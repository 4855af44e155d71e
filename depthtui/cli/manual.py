"""`depthtui help`: the manual in the terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from depthtui.cli.help import Command, show_every_option
from depthtui.cli.options import Folder
from depthtui.errors import DepthError, did_you_mean
from depthtui.files import why

_WIDEST = 100
"""Columns of a page: longer lines are hard to read."""


_SCHEMA = "schema"
"""The topic that is no page."""


def _summary_schema() -> str:
    import json

    from depthtui.report.summary_schema import summary_schema

    return json.dumps(summary_schema(), indent=2)


def _complete_topics(
    context: click.Context, parameter: click.Parameter, typed: str
) -> list[CompletionItem]:
    """Pages whose names begin so."""
    from depthtui.manual import titles

    return [
        CompletionItem(name, help=title)
        for name, title in titles().items()
        if name.startswith(typed)
    ]


@click.command(
    "help",
    cls=Command,
    examples=["depthtui help", "depthtui help verdict", "depthtui help ablation --raw"],
)
@click.argument("topic", required=False, shell_complete=_complete_topics)
@click.option("--raw", is_flag=True, help="Print Markdown, without a pager.")
@click.option("--html", type=Folder(), help="Write all pages as HTML into this folder.")
@click.pass_context
def manual(context: click.Context, /, topic: str | None, raw: bool, html: Path | None) -> None:
    """Show a page of the manual.

    TOPIC is a page, a command, a metric or a rule; `schema` is the JSON schema of summary.json.
    Without it, lists pages and commands.
    """
    if html is not None:
        if topic is not None or raw:
            raise click.UsageError("--html writes all pages: leave out TOPIC and --raw.")
        _write_html(html, context)
    elif topic is None:
        click.echo(_list_of_pages(context))
    elif topic == _SCHEMA:
        click.echo(_summary_schema())
    elif raw:
        click.echo(_text(topic, context))
    else:
        _show(_rendered(_text(topic, context)))


def _write_html(folder: Path, context: click.Context) -> None:
    from depthtui.manual import PAGES
    from depthtui.manual.as_html import write_html

    try:
        written = write_html(folder, {name: _text(name, context) for name in PAGES})
    except OSError as error:
        raise DepthError(f"{folder} cannot be written: {why(error)}.") from error
    click.echo(f"{len(written)} pages: {written[-1].with_name('index.html')}")


def _list_of_pages(context: click.Context) -> str:
    from depthtui.manual import titles

    root = context.find_root()
    assert isinstance(root.command, click.Group)
    formatter = context.make_formatter()
    formatter.write_usage(context.command_path, "[TOPIC]")
    with formatter.section("Pages"):
        formatter.write_dl(list(titles().items()))
    with formatter.section("Commands"):
        commands = root.command.commands
        formatter.write_dl([(name, commands[name].get_short_help_str(60)) for name in commands])
    formatter.write("\nThe name of a metric or of a rule, such as ablation or kl, is a topic, too.")
    return formatter.getvalue()


def _text(topic: str, context: click.Context) -> str:
    """The Markdown of a topic.

    Raises:
        click.BadParameter: there is none of this name.
    """
    from depthtui.depth import rules
    from depthtui.manual import PAGES, page
    from depthtui.manual.parts import explained, metric_section
    from depthtui.metrics import ALL

    root, topic = context.find_root(), topic.lower()
    assert isinstance(root.command, click.Group)
    command = root.command.get_command(root, topic)
    if topic in PAGES or command:
        found = [page(topic, {"keys": _keys})] if topic in PAGES else []
        return "\n".join([*found, *([_usage(command, topic, root)] if command else [])])
    metrics = {metric.name: metric for metric in ALL}
    if topic in metrics:
        return metric_section(metrics[topic])
    by_name = {rule.name: rule for rule in rules.ALL}
    if topic in by_name:
        return explained(by_name[topic].explained)
    names = [*PAGES, *root.command.commands, *metrics, *by_name]
    raise click.UsageError(f"The manual has no page {topic!r}. {_meant(topic, names)}")


def _meant(topic: str, names: Sequence[str]) -> str:
    """What somebody may have meant: a name that is like the topic, or pages with the word."""
    from depthtui.manual import PAGES, source

    meant = did_you_mean(topic, names, likeness=0.7).lstrip()
    if meant:
        return meant
    counts = {name: source(name).lower().count(topic) for name in PAGES}
    having = sorted(filter(counts.get, counts), key=lambda name: -counts[name])[:3]
    return f"The word is in {', '.join(having)}." if having else "`depthtui help` lists all."


def _usage(command: click.Command, name: str, root: click.Context) -> str:
    """The `--help` of a command."""
    with click.Context(command, info_name=name, parent=root) as context:
        show_every_option(context)
        return f"## depthtui {name} --help\n\n```text\n{command.get_help(context)}\n```"


def _keys() -> str:
    from depthtui.tui.keymap import all_keys

    return all_keys()


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
