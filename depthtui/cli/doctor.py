"""`depthtui doctor`: what works here, and how to mend the rest."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from depthtui.cli.command_help import SectionedCommand
from depthtui.cli.completion import complete_models
from depthtui.cli.output import print_table, say
from depthtui.cli.shared_options import (
    Overrides,
    PromptOptions,
    cache_dir_option,
    model_options,
    run_prompt_options,
)
from depthtui.data.run_settings import ModelSpec
from depthtui.data.trust import TrustedModels

if TYPE_CHECKING:
    from depthtui.cli.checks import Check
    from depthtui.engine.acceptance import DeviceComparison


@click.command(
    cls=SectionedCommand,
    examples=[
        "depthtui doctor",
        "depthtui doctor --device cuda:0 --dtype bfloat16",
        "depthtui doctor --tensor-parallel 4 --model Qwen/Qwen2.5-7B",
        "depthtui doctor --controls demo",
        "depthtui doctor --controls Qwen/Qwen2.5-1.5B --task addition --examples 20",
    ],
)
@click.option(
    "--model",
    default="demo",
    help="The model for --device and --tensor-parallel.  [default: demo]",
)
@click.option(
    "--controls",
    metavar="MODEL",
    help="Count the layers that suffice of MODEL, and of what should give another count.",
    shell_complete=complete_models,
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@run_prompt_options
@model_options
@cache_dir_option
def doctor(
    model: str,
    controls: str | None,
    as_json: bool,
    prompt_options: PromptOptions,
    spec: ModelSpec,
    trusted: TrustedModels,
    overrides: Overrides,
) -> int:
    """Say what works here: versions, devices, schedulers, terminal, cache, hub, models that fit.

    With --device, compute every metric there and on the CPU in float32, and compare.

    With --tensor-parallel, say whether the model can be cut for so many ranks, and for how many.

    With --controls, count the layers that suffice of a model beside those for shuffled tokens,
    for layers left out at random, and of an untrained model of its shape; ten commonsense prompts
    where no others are named.
    """
    if controls is not None:
        from depthtui.cli.controls import print_controls

        return print_controls(
            replace(spec, name=controls), prompt_options, trusted, overrides, as_json
        )
    if prompt_options != PromptOptions((), (), None, None, None, prompt_options.by_itself):
        raise click.UsageError("Prompts need --controls MODEL.")
    if spec.device != ModelSpec.device:
        return _compare(replace(spec, name=model), trusted, overrides, as_json)
    if spec.tensor_parallel > 1:
        from depthtui.cli.checks import check_plan

        return _print_checks(
            list(check_plan(replace(spec, name=model), overrides.settings(), trusted)), as_json
        )
    for name, value in vars(spec).items():
        if value != getattr(ModelSpec, name):
            raise click.UsageError(f"--{name} needs --device or --controls.")
    return _check(overrides, as_json)


def _check(overrides: Overrides, as_json: bool) -> int:
    return _print_checks(list(_checks(overrides)), as_json)


def _print_checks(checks: Sequence[Check], as_json: bool) -> int:
    works = all(check.level != "broken" for check in checks)
    if as_json:
        _print_json({"ok": works, "checks": checks})
    else:
        rows = []
        for check in checks:
            rows.append((check.level, check.topic, check.says))
            if check.helps:
                rows.append(("", "", f"-> {check.helps}"))
        print_table(("", "what", "found"), rows)
    return 0 if works else 1


def _checks(overrides: Overrides) -> Iterator[Check]:
    from depthtui.cli import checks

    yield from checks.check_versions()
    here, found = checks.check_devices()
    yield from found
    yield from checks.check_schedulers(here)
    yield from checks.check_elsewhere()
    yield from checks.check_ranks(here)
    yield from checks.check_terminal()
    settings, found = checks.check_settings()
    yield from found
    settings = overrides.over(settings)
    yield from checks.check_cache(settings)
    yield from checks.check_hub()
    yield from checks.check_models(settings, here)


def _compare(spec: ModelSpec, trusted: TrustedModels, overrides: Overrides, as_json: bool) -> int:
    from depthtui.engine.acceptance import compare_devices
    from depthtui.engine.factory import Storage, make_engine
    from depthtui.settings import models_dir

    folder = overrides.settings().cache_folder
    storage = Storage(folder, models_dir(folder), keep_results=False)
    engine = make_engine(storage, lambda event: None, say, trusted=trusted)
    found = list(compare_devices(spec, engine, say))
    works = all(comparison.ok for comparison in found)
    if as_json:
        values = [vars(comparison) | {"ok": comparison.ok} for comparison in found]
        _print_json({"ok": works, "metrics": values})
    else:
        _print_comparisons(found)
    return 0 if works else 1


def _print_comparisons(found: Sequence[DeviceComparison]) -> None:
    from depthtui.sizes import format_size

    headings = ("metric", "", "off by", "allowed", "largest", "floor", "there", "here", "memory")
    rows = [
        (
            comparison.title,
            "ok" if comparison.ok else "off",
            _number(comparison.difference),
            _number(comparison.tolerance),
            _number(comparison.largest),
            _number(comparison.floor),
            _seconds(comparison.seconds_there),
            _seconds(comparison.seconds_here),
            "–" if comparison.peak_bytes is None else format_size(comparison.peak_bytes),
        )
        for comparison in found
    ]
    print_table(headings, rows, numbers=range(2, len(headings)))
    for comparison in found:
        if comparison.missing:
            click.echo(f"{comparison.title}: {comparison.missing}")
    click.echo(
        "\nOff by: root-mean-square of the differences over that of the values on the CPU in "
        "float32.\nLargest: the largest difference over the largest value. Floor: in the metric's "
        "own unit.\nNothing is allowed or forbidden where 16 bits change a metric by its size."
    )


def _number(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.1e}"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"


def _print_json(value: dict[str, Any]) -> None:
    from depthtui.data.plain import to_plain

    click.echo(json.dumps(to_plain(value), indent=1, default=str))
