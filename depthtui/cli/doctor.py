"""`depthtui doctor`: what works here, and what to do about the rest."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from depthtui.cli.help import Command
from depthtui.cli.options import Given, cache_dir_option
from depthtui.cli.output import print_table, say
from depthtui.data.run_settings import ModelSpec
from depthtui.options import options_of

if TYPE_CHECKING:
    from depthtui.cli.checks import Check
    from depthtui.engine.acceptance import Comparison


@click.command(
    cls=Command,
    examples=["depthtui doctor", "depthtui doctor --device cuda:0 --dtype bfloat16"],
)
@click.option("--device", help="Compute every metric there: cpu, cuda, cuda:N or mps.")
@click.option(
    "--dtype",
    type=click.Choice(options_of(ModelSpec)["dtype"].choices),
    help="Type of the weights there.  [default: auto]",
)
@click.option("--model", default="demo", help="The model for --device.  [default: demo]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@cache_dir_option
def doctor(device: str | None, dtype: str | None, model: str, as_json: bool, given: Given) -> int:
    """Say what works here: versions, devices, terminal, cache, hub, and which models fit.

    With --device, compute every metric there and on the CPU in float32, and compare.
    """
    if device is not None:
        return _compare(ModelSpec(model, device=device, dtype=dtype or "auto"), given, as_json)
    if dtype is not None:
        raise click.UsageError("--dtype needs --device.")
    return _check(given, as_json)


def _check(given: Given, as_json: bool) -> int:
    checks = list(_checks(given))
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


def _checks(given: Given) -> Iterator[Check]:
    from depthtui.cli import checks

    yield from checks.check_versions()
    here, found = checks.check_devices()
    yield from found
    yield from checks.check_terminal()
    settings, found = checks.check_settings()
    yield from found
    settings = given.over(settings)
    yield from checks.check_cache(settings)
    yield from checks.check_hub()
    yield from checks.check_models(settings, here)


def _compare(spec: ModelSpec, given: Given, as_json: bool) -> int:
    from depthtui.engine.acceptance import compare_devices
    from depthtui.engine.factory import Storage, make_engine
    from depthtui.settings import models_dir

    folder = given.settings().cache_folder
    storage = Storage(folder, models_dir(folder), keep_results=False)
    engine = make_engine(storage, lambda event: None, say)
    found = list(compare_devices(spec, engine, say))
    works = all(comparison.ok for comparison in found)
    if as_json:
        values = [vars(comparison) | {"ok": comparison.ok} for comparison in found]
        _print_json({"ok": works, "metrics": values})
    else:
        _print_comparisons(found)
    return 0 if works else 1


def _print_comparisons(found: Sequence[Comparison]) -> None:
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
