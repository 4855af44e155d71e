"""`depthtui doctor --controls`: whether the controls support a model's count of layers."""

from __future__ import annotations

import json
from dataclasses import replace

import click

from depthtui.cli.output import (
    INTERRUPTED,
    print_line,
    print_notice,
    print_table,
    stopped_by_ctrl_c,
)
from depthtui.cli.shared_options import Overrides, PromptOptions, gather_prompts
from depthtui.data.controls import Controls
from depthtui.data.run_settings import ModelSpec
from depthtui.data.trust import TrustedModels

TASK = "commonsense"
"""The task of the prompts where none are named."""


def print_controls(
    spec: ModelSpec,
    prompt_options: PromptOptions,
    trusted: TrustedModels,
    overrides: Overrides,
    as_json: bool,
) -> int:
    """Compute the controls of a model, print them, and save them with its fitted lenses.

    Raises:
        DepthError: the model cannot be loaded, or no prompt can be used.
    """
    from depthtui.cli.progress import ProgressDisplay
    from depthtui.engine.control import Control
    from depthtui.engine.controls import STAGES, find_controls
    from depthtui.engine.factory import Storage, make_engine
    from depthtui.errors import RunStopped
    from depthtui.models.reach import check_can_open

    settings = overrides.settings()
    if not (prompt_options.prompts or prompt_options.files or prompt_options.task):
        prompt_options = replace(prompt_options, task=TASK)
    prompts = gather_prompts(prompt_options, settings).prompts
    storage, control = Storage.of(settings), Control()
    check_can_open(spec, storage.models_dir, spec in trusted)
    with ProgressDisplay(print_notice) as display:
        display.steps = ["loading", *STAGES]
        display.begin("loading")
        engine = make_engine(storage, display.emit, print_notice, trusted=trusted)
        try:
            with stopped_by_ctrl_c(control):
                engine.load(spec, control)
                controls = find_controls(engine, prompts, settings.run_settings(), control)
        except RunStopped:
            print_notice("Nothing was saved.")
            return INTERRUPTED
    if as_json:
        _print_json(controls)
    else:
        _print(controls)
    return 0


def _print(controls: Controls) -> None:
    from depthtui.report.controls import conclusion, notes, table

    headings, rows = table(controls)
    print_table(headings, rows, numbers=range(1, len(headings)))
    click.echo()
    for note in notes(controls):
        print_line(note)
    tasks = ", ".join(controls.tasks)
    print_line(
        f"{controls.prompts} prompts of {tasks}, {controls.tokens} tokens, seed "
        f"{controls.seed}. Known is the loss that context saves; nine tenths, the layers that "
        f"keep so much of it."
    )
    click.echo(f"\n{conclusion(controls)}")


def _print_json(controls: Controls) -> None:
    from depthtui.data.plain import to_plain
    from depthtui.report.controls import conclusion, is_supported

    conclusions = {"stands": is_supported(controls), "sentence": conclusion(controls)}
    click.echo(json.dumps(to_plain(controls) | {"guess": controls.guess} | conclusions, indent=1))
