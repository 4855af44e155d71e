"""`depthtui doctor`: what works here, and how to mend the rest."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from depthtui.cli.completion import complete_models
from depthtui.cli.no_argument import MeantLine, NoArgumentCommand
from depthtui.cli.output import print_line, print_notice, print_table
from depthtui.cli.shared_options import (
    Overrides,
    PromptOptions,
    cache_dir_option,
    model_options,
    run_prompt_options,
)
from depthtui.data.run_settings import ModelSpec, read_device
from depthtui.data.trust import TrustedModels
from depthtui.options import WrongValue

if TYPE_CHECKING:
    from depthtui.cli.checks import Check
    from depthtui.engine.acceptance import DeviceComparison


def _lines_for_argument(word: str, words: Sequence[str]) -> list[MeantLine]:
    """The line with a device or a model in its place; none where that is taken."""
    others = [other for other in words if other != word]
    names = {other.partition("=")[0] for other in others}
    if _is_device(word):
        option, effect = "--device", "compares it with the CPU"
    elif names & {"--device", "--tensor-parallel"}:
        option, effect = "--model", "checks it there"
    else:
        option, effect = "--controls", "measures what it knows"
    return [] if option in names else [MeantLine(["doctor", option, word, *others], effect)]


def _is_device(word: str) -> bool:
    with suppress(WrongValue):
        return bool(read_device(word))
    return False


@click.command(
    cls=NoArgumentCommand,
    meant=_lines_for_argument,
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
    help="Count the layers that keep what MODEL knows, and those of controls.",
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
    """Check what works here: versions, devices, schedulers, terminal, cache, hub, models that fit.

    With --device, compute every metric there and on the CPU in float32, and compare.

    With --tensor-parallel, check whether the model can be cut for this many ranks, and list the
    numbers for which it can.

    With --controls, measure what a model knows and the layers that keep it, beside the same on
    shuffled words, in random orders, and of an untrained model of its shape; on ten commonsense
    prompts where no others are named.
    """
    if controls is not None:
        from depthtui.cli.controls import print_controls

        return print_controls(
            replace(spec, name=controls), prompt_options, trusted, overrides, as_json
        )
    if prompt_options != PromptOptions((), (), None, None, None, prompt_options.default_examples):
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
    return _print_checks(list(_checks(overrides)), as_json)


def _print_checks(checks: Sequence[Check], as_json: bool) -> int:
    is_ok = all(check.level != "broken" for check in checks)
    if as_json:
        _print_json({"ok": is_ok, "checks": list(map(_check_json, checks))})
    else:
        rows = []
        for check in checks:
            rows.append((check.level, check.topic, check.finding))
            if check.remedy:
                rows.append(("", "", f"To do: {check.remedy}"))
        print_table(("", "what", "found"), rows)
    return 0 if is_ok else 1


def _check_json(check: Check) -> dict[str, Any]:
    """A check under the names that programs read."""
    return {
        "topic": check.topic,
        "level": check.level,
        "says": check.finding,
        "helps": check.remedy,
        "facts": check.facts,
    }


def _checks(overrides: Overrides) -> Iterator[Check]:
    from depthtui.cli import checks

    yield from checks.check_versions()
    devices, device_checks = checks.check_devices()
    yield from device_checks
    yield from checks.check_schedulers(devices)
    yield from checks.check_elsewhere()
    yield from checks.check_ranks(devices)
    yield from checks.check_terminal()
    settings, settings_checks = checks.check_settings()
    yield from settings_checks
    settings = overrides.over(settings)
    yield from checks.check_plugins()
    yield from checks.check_cache(settings)
    yield from checks.check_hub()
    yield from checks.check_models(settings, devices)


def _compare(spec: ModelSpec, trusted: TrustedModels, overrides: Overrides, as_json: bool) -> int:
    from depthtui.engine.acceptance import compare_devices
    from depthtui.engine.factory import Storage, make_engine
    from depthtui.settings import models_dir

    folder = overrides.settings().cache_folder
    storage = Storage(folder, models_dir(folder), save_results=False)
    engine = make_engine(storage, lambda event: None, print_notice, trusted=trusted)
    comparisons = list(compare_devices(spec, engine, print_notice))
    is_ok = all(comparison.ok for comparison in comparisons)
    if as_json:
        values = [vars(comparison) | {"ok": comparison.ok} for comparison in comparisons]
        _print_json({"ok": is_ok, "metrics": values})
    else:
        _print_comparisons(comparisons)
    return 0 if is_ok else 1


def _print_comparisons(comparisons: Sequence[DeviceComparison]) -> None:
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
        for comparison in comparisons
    ]
    print_table(headings, rows, numbers=range(2, len(headings)))
    for comparison in comparisons:
        if comparison.missing:
            print_line(f"{comparison.title}: {comparison.missing}")
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
