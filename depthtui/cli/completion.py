"""`depthtui completion`: lets a shell complete commands, options, tasks and models."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from depthtui.cli.command_help import SectionedCommand
from depthtui.cli.one_of import OneOf

_VARIABLE = "_DEPTHTUI_COMPLETE"
"""The environment variable by which a shell asks click for completions."""

_SHELLS = ("bash", "zsh", "fish")


@click.command(
    cls=SectionedCommand,
    examples=[
        "bash: depthtui completion bash >> ~/.bashrc",
        "zsh:  depthtui completion zsh >> ~/.zshrc",
        "fish: depthtui completion fish > ~/.config/fish/completions/depthtui.fish",
    ],
)
@click.argument("shell", type=OneOf(_SHELLS), metavar="SHELL")
@click.pass_context
def completion(context: click.Context, /, shell: str) -> None:
    """Print the script that lets SHELL complete commands, options, tasks, metrics and models."""
    kind = get_completion_class(shell)
    assert kind is not None, f"click does not know {shell}"
    click.echo(kind(context.find_root().command, {}, "depthtui", _VARIABLE).source())


def complete_tasks(
    context: click.Context, parameter: click.Parameter, typed: str
) -> list[CompletionItem]:
    """Tasks and data sets whose names begin with the typed text."""
    from depthtui.prompts.dataset_formats import DATASETS
    from depthtui.prompts.tasks import TASKS

    tasks: dict[str, Any] = {**TASKS, **DATASETS}
    return [
        CompletionItem(name, help=task.title)
        for name, task in tasks.items()
        if name.startswith(typed)
    ]


def complete_metrics(
    context: click.Context, parameter: click.Parameter, typed: str
) -> list[CompletionItem]:
    """Names of metrics, after the names that are typed already."""
    from depthtui.metrics.registry import METRICS

    typed_names, comma, last = typed.rpartition(",")
    return [
        CompletionItem(f"{typed_names}{comma}{metric.name}", help=metric.title)
        for metric in METRICS
        if metric.name.startswith(last) and metric.name not in typed_names.split(",")
    ]


def complete_models(
    context: click.Context, parameter: click.Parameter, typed: str
) -> list[CompletionItem]:
    """Models on this disk, and files."""
    from depthtui.models.catalog import on_disk
    from depthtui.settings import load_settings, models_dir

    folder = models_dir(load_settings(on_notice=lambda _: None).cache_folder)
    names = [model.name for model in on_disk(folder) if model.name.startswith(typed)]
    models = [CompletionItem(name) for name in names]
    # A shell completes either models or files.
    return models or [CompletionItem(typed, type="file")]


def complete_results(
    context: click.Context, parameter: click.Parameter, typed: str
) -> list[CompletionItem]:
    """Sessions, or folders where none begins with the typed text."""
    from depthtui.data.session_files import SessionFolder
    from depthtui.settings import load_settings

    folder = SessionFolder(load_settings(on_notice=lambda _: None).cache_folder)
    names = [file.name for file in folder.files() if file.name.startswith(typed)]
    return [CompletionItem(name) for name in names] or [CompletionItem(typed, type="dir")]
