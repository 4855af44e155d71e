"""`depthtui prune`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from depthtui.cli.help import Command
from depthtui.cli.options import (
    Folder,
    Given,
    cache_dir_option,
    model_argument,
    model_options,
)
from depthtui.cli.output import INTERRUPTED, say, stopped_by_ctrl_c
from depthtui.data.run_settings import ModelSpec
from depthtui.data.selection import layers_in, numbers_text, read_layers
from depthtui.data.trust import TrustedModels
from depthtui.options import WrongValue


def _layers(context: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        return read_layers(value)
    except WrongValue as error:
        raise click.BadParameter(f"{value!r} is not {error}.") from None


@click.command(
    cls=Command,
    examples=["depthtui prune Qwen/Qwen2.5-1.5B-Instruct --layers 20,22-24 --out pruned/"],
)
@model_argument
@click.option(
    "--layers", required=True, callback=_layers, help="Layers to leave out, such as 3,5-7."
)
@click.option(
    "--out",
    required=True,
    type=Folder(),
    help="Folder of the model that is written; it must not be there yet.",
)
@model_options
@cache_dir_option
def prune(
    model: str, layers: str, out: Path, spec: ModelSpec, trusted: TrustedModels, given: Given
) -> int:
    """Write MODEL without some of its layers, as a model of its own.

    The folder opens in transformers: safetensors in the dtype of MODEL's files with the layers
    numbered anew, its configuration and its tokenizer, and the same as a recipe for mergekit. It
    is written where it says, loaded once, what MODEL says without these layers.
    """
    from depthtui.cli.display import Display
    from depthtui.engine.control import Control
    from depthtui.engine.factory import Storage, make_engine
    from depthtui.engine.pruning import check_target
    from depthtui.errors import RunStopped
    from depthtui.models.reach import check_at_hand

    storage = Storage.of(given.settings())
    spec = replace(spec, name=model)
    # What is wrong with a name or a folder is told before the model loads.
    check_at_hand(spec, storage.models_dir, spec in trusted)
    check_target(out)
    control = Control()
    with Display(say) as display:
        engine = make_engine(storage, display.emit, say, trusted=trusted)
        try:
            with stopped_by_ctrl_c(control):
                info = engine.load(spec, control)
                left_out = layers_in(layers, info.n_layers)
                pruned = engine.prune(left_out, out, control, keep_loaded=False)
        except RunStopped:
            say("Nothing was written.")
            return INTERRUPTED
    click.echo(
        f"{len(pruned.kept)} of {info.n_layers} layers: {numbers_text(pruned.kept)}\n"
        f"{pruned.parameters:,} of {info.parameters:,} parameters\n"
        f"logits as without these layers, off by {pruned.off:.2g} roundings\n"
        f"wrote {out}"
    )
    return 0
