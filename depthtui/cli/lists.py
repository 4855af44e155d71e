"""Commands that list what there is."""

from __future__ import annotations

import click

from depthtui.cli.options import Given, cache_dir_option
from depthtui.cli.output import print_table
from depthtui.settings import models_dir
from depthtui.sizes import format_size


@click.command()
@cache_dir_option
def models(given: Given) -> None:
    """List the models that are on this disk."""
    from depthtui.models.catalog import on_disk

    found = on_disk(models_dir(given.settings().cache_folder))
    print_table(
        ("model", "kind", "size"),
        [
            (each.name, each.kind, format_size(each.size) + ("" if each.ready else " to fetch"))
            for each in found
        ],
    )


@click.command()
def tasks() -> None:
    """List the tasks and how hard they can be made."""
    from depthtui.prompts.dataset_formats import DATASETS
    from depthtui.prompts.tasks import TASKS

    rows = []
    for each in TASKS.values():
        levels = f"{each.levels[0]} to {each.levels[-1]} {each.dial}" if each.levels else "–"
        rows.append((each.name, levels, each.sentence))
    print_table(("task", "levels", "what it is"), rows)
    sets = [
        (
            each.name,
            f"{each.levels[0]} to {each.levels[-1]}" if each.levels else "–",
            each.sentence,
            f"{each.hub_id}, {each.split}",
        )
        for each in DATASETS.values()
    ]
    click.echo("\nData sets, out of a file (--data NAME=FILE) or from the hub:\n")
    print_table(("task", "levels", "what it is", "on the hub"), sets)


@click.command()
def metrics() -> None:
    """List the metrics, what they tell and what they cost.

    L is the number of layers, T that of tokens; a forward is one pass through the model.
    """
    from depthtui.metrics import DERIVED, METRICS

    rows = [
        (each.name, each.tells + (" Needs an answer." if each.needs_answer else ""), each.cost)
        for each in METRICS
    ]
    print_table(("metric", "what it tells", "cost"), rows)
    click.echo("\nFree with these:\n")
    print_table(("with", "what it tells"), [(metric.of, metric.tells) for metric in DERIVED])
