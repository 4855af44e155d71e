"""`depthtui inspect`: one layer at one token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import click

from depthtui.cli.command_help import in_section
from depthtui.cli.loaded_engine import loaded_engine
from depthtui.cli.one_of import OneOf
from depthtui.cli.output import print_document
from depthtui.cli.prompt_command import PromptCommand
from depthtui.cli.shared_options import (
    Overrides,
    WholeNumberRange,
    cache_dir_option,
    model_argument_or_option,
    model_options,
)
from depthtui.data.run_settings import LENSES, ModelSpec, RunSettings
from depthtui.data.selection import check_layer
from depthtui.data.trust import TrustedModels

FORMATS = ("text", "md", "html", "json")


class _InspectCommand(PromptCommand):
    """The command, for which a number is likely a layer."""

    def options_for(self, extra: Sequence[str]) -> list[str]:
        """The options that arguments beside the model were meant to be; none if uncertain."""
        if len(extra) == 1 and extra[0].isdecimal():
            return ["--layer", extra[0]]
        return super().options_for(extra)


@click.command(
    cls=_InspectCommand,
    examples=[
        'depthtui inspect demo --prompt "Rome is in" --answer Italy --layer 24',
        'depthtui inspect demo --prompt "2 + 3 = 5" --layer 20 --token -2 --format json',
    ],
)
@model_argument_or_option
@in_section(
    "Place",
    click.option("--prompt", required=True, help="The prompt."),
    click.option("--answer", default="", help="The end of the prompt that is its answer."),
    click.option("--layer", type=WholeNumberRange(), required=True, help="The layer, from 0."),
    click.option(
        "--token",
        type=WholeNumberRange(),
        default=None,
        help="The token, from 0, or from -1 backwards.  [default: the one before the answer, or "
        "the last]",
    ),
    click.option(
        "--chat-template", is_flag=True, help="Wrap the prompt in the model's chat template."
    ),
)
@in_section(
    "Reading",
    click.option(
        "--lens",
        type=OneOf(LENSES),
        default=LENSES[0],
        help=f"The lens of the readouts.  [default: {LENSES[0]}]",
    ),
    click.option(
        "--format",
        "form",
        type=OneOf(FORMATS),
        default=FORMATS[0],
        help=f"{', '.join(FORMATS)}.  [default: {FORMATS[0]}]",
    ),
)
@model_options
@cache_dir_option
def inspect(
    prompt: str,
    answer: str,
    layer: int,
    token: int | None,
    chat_template: bool,
    lens: str,
    form: str,
    spec: ModelSpec,
    trusted: TrustedModels,
    overrides: Overrides,
) -> int:
    """Inspect one layer of MODEL at one token of a prompt.

    Shows the tokens before and after the layer, the tokens that it reads and those that it
    promotes, its heads, neurons and experts, and the rank of the answer at each depth.
    """
    from depthtui.engine.factory import Storage
    from depthtui.models.catalog import configured_layers
    from depthtui.prompts.answers import with_answer

    # Loading the weights of a large model takes minutes.
    if n_layers := configured_layers(spec, Storage.of(overrides.settings()).models_dir):
        check_layer(layer, n_layers)
    prompt_with_answer = with_answer(prompt, answer)
    settings = RunSettings(chat_template=chat_template)
    with loaded_engine(spec, trusted, overrides) as engine:
        if token is None:
            token = max(0, engine.tokens_of(prompt_with_answer, chat_template).answer_start - 1)
        page = engine.inspect(prompt_with_answer, settings, layer, token, lens)
    if form == "json":
        click.echo(json.dumps(page.to_json(), indent=1))
        return 0

    from depthtui.report.inspection_document import inspection_document

    document = inspection_document(page)
    if form != FORMATS[0]:
        from depthtui.report import formats

        click.echo(formats.FORMATS[form].render(document), nl=False)
    else:
        from depthtui.report.blocks import Heading

        print_document(replace(document, blocks=[Heading(document.title), *document.blocks]))
    return 0
