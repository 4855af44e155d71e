"""Commands that list models, tasks and metrics."""

from __future__ import annotations

from collections.abc import Sequence

import click

from depthtui.cli.no_argument import MeantLine, NoArgumentCommand, lines_for_model
from depthtui.cli.output import print_line, print_table
from depthtui.cli.prompt_command import is_task, task_options
from depthtui.cli.shared_options import Overrides, cache_dir_option
from depthtui.settings import models_dir
from depthtui.sizes import format_size


def _lines_for_task(word: str, _words: Sequence[str]) -> list[MeantLine]:
    """The line that measures a task; none for another word."""
    if not is_task(word):
        return []
    return [MeantLine(["run", "MODEL", *task_options(word)], "measures a model on it")]


def _lines_for_metric(word: str, _words: Sequence[str]) -> list[MeantLine]:
    """The lines that explain a metric and compute it; none for another word."""
    from depthtui.metrics.registry import METRICS

    if all(metric.name != word for metric in METRICS):
        return []
    return [
        MeantLine(["help", word], "explains it"),
        MeantLine(["run", "MODEL", "--prompt", "TEXT", "--metrics", word], "computes it"),
    ]


@click.command(cls=NoArgumentCommand, meant=lines_for_model)
@cache_dir_option
def models(overrides: Overrides) -> None:
    """List the models on this disk, the latest opened in the explorer first."""
    from depthtui.models.catalog import on_disk, recent_first

    settings = overrides.settings()
    ordered_models = recent_first(
        on_disk(models_dir(settings.cache_folder)), settings.recent_models
    )
    print_table(
        ("model", "kind", "size"),
        [
            (model.name, model.kind, format_size(model.size) + ("" if model.ready else " to fetch"))
            for model in ordered_models
        ],
    )


@click.command(cls=NoArgumentCommand, meant=_lines_for_task)
def tasks() -> None:
    """List the tasks and their levels."""
    from depthtui.prompts.dataset_formats import DATASETS
    from depthtui.prompts.tasks import TASKS, WITH_CHOICES

    rows = []
    for task in TASKS.values():
        rows.append((task.name, task.all_levels, task.default_in_words, task.sentence))
    print_table(("task", "levels", "default", "what it is"), rows)
    sets = [
        (
            dataset.name,
            f"{dataset.levels[0]} to {dataset.levels[-1]}" if dataset.levels else "–",
            dataset.sentence,
            f"{dataset.hub_id}, {dataset.split}",
        )
        for dataset in DATASETS.values()
    ]
    click.echo("\nData sets, from a file (--data NAME=FILE), on this disk or on the hub:\n")
    print_table(("task", "levels", "what it is", "on the hub"), sets)
    _echo_packages("task", list(TASKS))
    click.echo(f"\nWith options to choose from (--choices): {', '.join(WITH_CHOICES)}.")


def _echo_packages(kind: str, names: Sequence[str]) -> None:
    """Name the packages that some of these values come from."""
    from depthtui.plugins import plugin_of

    found_plugins = [plugin for name in names if (plugin := plugin_of(kind, name))]
    if found_plugins:
        words = ", ".join(f"{plugin.name} ({plugin.distribution})" for plugin in found_plugins)
        click.echo()
        print_line(f"From other packages: {words}.")


@click.command(cls=NoArgumentCommand, meant=_lines_for_metric)
def metrics() -> None:
    """List the metrics, their meaning and their cost.

    L is the number of layers, T that of tokens; a forward is one pass through the model.
    `depthtui help metrics` has their formulas, and how to read them.
    """
    from depthtui.manual.parts import meaning
    from depthtui.metrics.registry import DERIVED, METRICS

    headings = ("metric", "what it tells", "cost")
    print_table(headings, [(metric.name, meaning(metric), metric.cost) for metric in METRICS])
    click.echo("\nFree with these:\n")
    derived = [(metric.title, metric.derived_from, metric.description) for metric in DERIVED]
    print_table(("metric", "comes with", "what it tells"), derived)
    _echo_packages("metric", [metric.name for metric in (*METRICS, *DERIVED)])
