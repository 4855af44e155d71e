"""`--protocol shortened-llama`: perplexity without each layer, as Shortened LLaMA measures it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from depthtui.cli.loaded_engine import loaded_engine
from depthtui.cli.output import print_line, print_table
from depthtui.cli.shared_options import Overrides
from depthtui.data.run_settings import ModelSpec
from depthtui.data.trust import TrustedModels

SHORTENED_LLAMA = "shortened-llama"
"""The name of the protocol."""

_LARGEST_FILE = 8 << 30
"""Most bytes of the texts."""


def measure_perplexities(
    spec: ModelSpec, trusted: TrustedModels, overrides: Overrides, texts_file: Path | None
) -> int:
    """Print the perplexity of a model without each of its layers; returns the exit status.

    Published values stand beside a model of theirs, with the rank correlation of both orders.

    Raises:
        UsageError: an option contradicts the protocol, or there is no file of texts.
        DepthError: the file or the model cannot be read.
    """
    _refuse_other_options()
    if texts_file is None:
        raise click.UsageError(f"--protocol {SHORTENED_LLAMA} needs --texts FILE.")

    import numpy as np

    from depthtui.depth import published as publications
    from depthtui.engine.window_perplexity import WINDOWS, drawn_windows, losses_without_each
    from depthtui.lenses.calibration import read_texts

    texts, _ = read_texts(texts_file, _LARGEST_FILE)
    if spec.dtype == "auto":
        row = publications.perplexity_named(spec.name)
        spec = replace(spec, dtype="float16" if row is None else row.dtype)
    with loaded_engine(spec, trusted, overrides) as engine:
        model = engine.freed_model()
        info, published = model.info, publications.published_perplexity(model.info)
        is_gemma = info.architecture.startswith("Gemma")
        windows = drawn_windows(model.loaded.tokenizer, texts, begins=is_gemma)
        losses = losses_without_each(
            model, windows, lambda done: engine.emit_stage("Windows", done, WINDOWS)
        ).mean(axis=0)
    with np.errstate(over="ignore"):
        columns = [np.exp(losses).tolist()]
    if published is not None:
        columns.append([np.nan, *published.perplexity])
    cells = [[f"{value:.6g}".replace("nan", "–") for value in column] for column in columns]
    rows = list(zip(["none", *map(str, range(info.n_layers))], *cells, strict=True))
    headings = ("without layer", "perplexity", "published")[: 1 + len(columns)]
    print_line(f"{info.name}, {info.dtype}, {WINDOWS} windows of {texts_file.name}")
    click.echo()
    print_table(headings, rows, numbers=range(1 + len(columns)))
    if published is not None:
        click.echo("\n" + publications.perplexity_sentences(published, losses[1:], "the same"))
    return 0


def _refuse_other_options() -> None:
    """Refuse options of a run but those of the protocol, of the model and of the cache."""
    context, named = click.get_current_context(), click.core.ParameterSource.COMMANDLINE
    for option in context.command.params:
        is_taken = vars(option).get("section") in ("Model", "Cache")
        is_named = context.get_parameter_source(option.name or "") is named
        if is_named and not is_taken and option.name not in ("protocol", "texts"):
            raise click.UsageError(
                f"The protocol measures --texts alone: leave {option.opts[0]} out."
            )
