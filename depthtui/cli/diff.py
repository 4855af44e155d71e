"""`depthtui diff`: where two recordings of the residual stream differ first."""

from __future__ import annotations

import json
from pathlib import Path

import click

from depthtui.cli.command_help import SectionedCommand, in_section
from depthtui.cli.one_of import OneOf
from depthtui.cli.output import print_document, print_notice
from depthtui.errors import DepthError

DTYPES = ("float32", "bfloat16", "float16")
FORMATS = ("text", "json")

_RECORDING = click.Path(path_type=Path)
_FAILED = 2
"""The exit status of a failure, as of `diff`: 1 is a difference."""


@click.command(
    cls=SectionedCommand,
    examples=[
        "depthtui diff vllm/ transformers/",
        "depthtui diff a.npz b.safetensors --names 'layer_{l}' --names 'mlp={l}_ff'",
    ],
)
@click.argument("a", type=_RECORDING)
@click.argument("b", type=_RECORDING)
@in_section(
    "Recordings",
    click.option(
        "--names",
        multiple=True,
        metavar="PATTERN",
        help="The names of arrays, as 'layer_{l}.npy'; attention= or mlp= before it for what these "
        "write, before= or after= for the stream at layer l. Repeatable.  [default: common names]",
    ),
    click.option(
        "--names-b", multiple=True, metavar="PATTERN", help="The names in B, where others."
    ),
    click.option(
        "--dtype",
        type=OneOf(DTYPES),
        help="The coarser dtype that the models ran in.  [default: that of the numbers]",
    ),
)
@in_section(
    "Output",
    click.option("--all", "every_layer", is_flag=True, help="Show every layer."),
    click.option(
        "--format",
        "form",
        type=OneOf(FORMATS),
        default=FORMATS[0],
        help=f"{' or '.join(FORMATS)}.  [default: {FORMATS[0]}]",
    ),
)
def diff(
    a: Path,
    b: Path,
    names: tuple[str, ...],
    names_b: tuple[str, ...],
    dtype: str | None,
    every_layer: bool,
    form: str,
) -> int:
    """Find the first layer and part where recordings A and B differ.

    A and B are folders or files of npy, npz or safetensors with the residual stream of the same
    tokens, and what attention and MLP write, where given. No model is needed.

    The exit status is 0 where rounding explains every difference, 1 where not, 2 for a failure.
    """
    import torch

    from depthtui.engine.recordings import open_recording
    from depthtui.engine.stream_diff import compare_recordings
    from depthtui.report.stream_diff import diff_document, diff_json

    try:
        ours, theirs = open_recording(a, names), open_recording(b, names_b or names)
        result = compare_recordings(ours, theirs, getattr(torch, dtype) if dtype else None)
    except DepthError as error:
        print_notice(str(error))
        return _FAILED
    if form == "json":
        click.echo(json.dumps(diff_json(result), indent=1))
    else:
        print_document(diff_document(result, every_layer), is_wide=True)
    return _FAILED if result.other_ids else int(not result.is_same)
