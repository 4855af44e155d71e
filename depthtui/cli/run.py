"""`depthtui run`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from depthtui.cli.options import (
    cache_dir_of,
    cache_options,
    dataset_options,
    gather_prompts,
    metric_options,
    model_options,
    out_options,
    prompt_options,
    read_run_settings,
    read_settings,
    read_spec,
    summary_options,
    template_option,
)
from depthtui.cli.output import log_bug, say
from depthtui.settings import Settings

if TYPE_CHECKING:
    from depthtui.data.run import RunResult


@click.command()
@click.argument("model")
@prompt_options
@dataset_options
@metric_options
@summary_options
@template_option
@model_options
@cache_options
@out_options
def run(model: str, **options: Any) -> int:
    """Measure MODEL's effective depth on prompts, which are pooled.

    MODEL is `demo`, a hub id, a local folder or a GGUF file.
    """
    if options["formats"] and options["out"] is None:
        raise click.UsageError("--format needs --out FOLDER.")
    settings = read_settings(options)
    gathered = gather_prompts(options, settings.seed)
    run_settings = read_run_settings(settings, options)

    from depthtui.cli.headless import Job, run_job

    failures: list[str] = []

    def fail(problem: str) -> None:
        failures.append(problem)
        say(problem)

    job = Job(
        spec=read_spec(model, options),
        prompts=gathered.prompts,
        settings=run_settings,
        cache_dir=cache_dir_of(settings),
        keep_results=settings.use_cache,
        cache_limit=settings.cache_limit,
        activation_limit=settings.activation_limit if settings.cache_activations else 0,
        max_tokens=options["max_tokens"],
        more=gathered.more,
        n_more=gathered.n_more,
    )
    results = run_job(job, notice=say, fail=fail, on_bug=log_bug)
    if results:
        _report(results, settings, options["out"], options["formats"] or ("json",))
    return 1 if failures else 0


def _report(
    results: Sequence[RunResult], settings: Settings, out: Path | None, formats: Sequence[str]
) -> None:
    from rich.console import Console

    from depthtui.report.export import export
    from depthtui.report.groups import group_runs
    from depthtui.report.table import depth_table, findings_table

    console = Console(highlight=False)
    for group in group_runs(results):
        console.print(depth_table(group, settings.summary_settings()))
        others = findings_table(group, settings.summary_settings())
        if others is not None:
            console.print("", others, sep="\n")
    if out is not None:
        for path in export(results, settings.summary_settings(), out, formats):
            console.print(f"wrote {path}", markup=False, soft_wrap=True)
