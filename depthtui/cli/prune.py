"""`depthtui prune`: a model without some of its layers, or of their attentions and MLPs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from depthtui.cli.command_help import command_line, in_section, words_of
from depthtui.cli.output import INTERRUPTED, print_notice
from depthtui.cli.prompt_command import PromptCommand, is_task, is_text
from depthtui.cli.shared_options import (
    CommandPrompts,
    DatasetOptions,
    Folder,
    NumberRange,
    Overrides,
    PromptOptions,
    WholeNumberRange,
    cache_dir_option,
    corpus_options,
    declared,
    gather_prompts,
    model_argument_or_option,
    model_options,
    override_options,
    row_options,
    run_prompt_options,
)
from depthtui.data.pieces import names_parts, read_pieces
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.data.trust import TrustedModels
from depthtui.options import WrongValue
from depthtui.settings import Settings

if TYPE_CHECKING:
    from depthtui.cli.pruning import PruneJob

_TASK, _TASK_OF_ANSWERS = "grade_school", "addition"
"""Default tasks of the held-out prompts; the second has short answers."""

_WAYS = ("--keep", "--least", "--drop")
"""The options of which one chooses the layers."""

_GATE = re.compile(r"[a-z]+=[0-9.]+")


def _layers(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    try:
        return "" if value is None else read_pieces(value)
    except WrongValue as error:
        raise click.BadParameter(f"{value!r} is not {error}.") from None


def _gate(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[str, float] | None:
    """A column and its limit."""
    if value is None:
        return None

    from depthtui.engine.left_out_costs import GATE_COLUMNS, SHARES
    from depthtui.metrics.layer_order import MOST_COST

    column, _, limit = value.partition("=")
    if column not in GATE_COLUMNS:
        raise click.BadParameter(
            f"{value!r} is no column with its limit: write one of knowledge=0.9, loss=0.1, kl=0.3, "
            "choices=0.9 and answers=0.95."
        )
    most = 1 if column in SHARES else None
    number = NumberRange(min=0, max=most, min_open=True).convert(limit, parameter, context)
    if column == "kl" and number > MOST_COST:
        words = f"the order ends at {MOST_COST:g} nats."
        if number.is_integer():
            words += f" --least {number:.0f} leaves {number:.0f} out."
        raise click.BadParameter(words)
    return column, number


class _PruneCommand(PromptCommand):
    """The command, whose further arguments are likely numbers, layers or the folder."""

    def options_for(self, extra: Sequence[str]) -> list[str]:
        """The options that arguments beside the model were meant to be; none if uncertain."""
        options: list[str] = []
        rest: list[str] = []
        for word in extra:
            if word.isdecimal():
                options += ["--least", word]
            elif _names_layers(word):
                options += ["--drop", word]
            elif _GATE.fullmatch(word):
                options += ["--keep", word]
            else:
                rest.append(word)
        if len(rest) > 1:
            return super().options_for(extra)
        if rest and not is_text(rest[0]) and not is_task(rest[0]):
            return [*options, "--out", rest[0]]
        return options + (super().options_for(rest) if rest else [])

    def meant_line(
        self, words: Sequence[str], arguments: Sequence[str], has_model: bool
    ) -> list[str]:
        """The words with the arguments in their places; none without one way to choose layers."""
        line = super().meant_line(words, arguments, has_model)
        ways = [word for word in line if word.partition("=")[0] in _WAYS]
        return line if len(ways) == 1 else []


def _names_layers(word: str) -> bool:
    with suppress(WrongValue):
        return bool(read_pieces(word))
    return False


@click.command(
    cls=_PruneCommand,
    examples=[
        "depthtui prune demo --least 5 --out pruned/",
        "depthtui prune demo --keep knowledge=0.9 --out pruned/",
        "depthtui prune demo --keep answers=0.85 --task addition --level 1 \\",
        "    --examples 30",
        "depthtui prune Qwen/Qwen2.5-1.5B-Instruct --drop 20,22-24 --out pruned/",
        "depthtui prune demo --parts --keep kl=0.5 --out pruned/",
    ],
)
@model_argument_or_option
@in_section(
    "Layers to remove",
    click.option(
        "--keep",
        "gate",
        callback=_gate,
        metavar="COLUMN=LIMIT",
        help="As many as keep knowledge, choices or answers at a share of MODEL's, or loss or kl "
        "within nats of it: knowledge=0.9, loss=0.1, kl=0.3, choices=0.9, answers=0.95.",
    ),
    click.option(
        "--least",
        type=WholeNumberRange(1),
        metavar="N",
        help="The first N in MODEL's order.",
    ),
    click.option(
        "--drop",
        "layers",
        callback=_layers,
        help="These layers, such as 3,5-7; 3a is the attention of layer 3, 3m its MLP.",
    ),
    click.option(
        "--parts",
        is_flag=True,
        help="Let --keep and --least count attentions and MLPs, each by itself, not layers.",
    ),
)
@override_options("Layers to remove", *declared(RunSettings, only=["order_search"]))
@in_section(
    "Healing",
    click.option(
        "--instead",
        type=click.Choice(["zero", "mean"]),
        default="zero",
        show_default=True,
        help="What stands in for what goes: nothing, or its mean over MODEL's own texts.",
    ),
    click.option(
        "--heal",
        is_flag=True,
        help="Let a linear map, folded into the MLP before each block that goes, make up for it.",
    ),
    click.option(
        "--heal-texts",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="File of texts to fit it on: JSON lines with `text`, or plain lines; else the model "
        "writes them.",
    ),
)
@run_prompt_options
@corpus_options
@row_options
@override_options("Prompts", *declared(RunSettings, only=["chat_template", "seed"]))
@model_options
@in_section(
    "Files",
    click.option(
        "--out",
        type=Folder(),
        help="Empty or new folder for the model; without it the layers are chosen alone.",
    ),
)
@cache_dir_option
def prune(
    gate: tuple[str, float] | None,
    least: int | None,
    layers: str,
    parts: bool,
    instead: str,
    heal: bool,
    heal_texts: Path | None,
    out: Path | None,
    prompt_options: PromptOptions,
    dataset: DatasetOptions,
    spec: ModelSpec,
    trusted: TrustedModels,
    overrides: Overrides,
) -> int:
    """Write MODEL without some of its layers to --out, as a new model.

    The folder opens in transformers: safetensors in the dtype of MODEL's files with the layers
    renumbered, its configuration and its tokenizer, and a recipe for mergekit. It is written only
    if its logits are those of MODEL without these layers; then it is loaded and measured on the
    prompts. Without --out nothing is written. A table of the costs on the prompts comes first.

    Layers are removed in MODEL's order, as in a run. Their number is given (--least), or
    chosen by a column of that table and a limit (--keep) on the texts of that order, for answers
    on as many further prompts. A chosen number is checked on held-out prompts, by default ten of
    grade_school, or of addition: if the check fails, nothing is written. A healed model is written
    only if it is closer to MODEL there than the one that is cut alone.

    Without some attentions or MLPs (--parts, --drop 3a) the folder has every layer, with zeros in
    the last projections of these parts, and lists of them for LLM-Drop, SWIFT and Draft & Verify.
    """
    by_parts = parts or names_parts(layers)
    _check_usage((gate, least, layers), by_parts, parts, heal, heal_texts, instead)
    settings = overrides.settings()
    of_answers = gate is not None and gate[0] == "answers"
    prompts = _prompts(prompt_options, dataset, settings, of_answers)

    from depthtui.cli.pruning import PruneJob
    from depthtui.engine.factory import Storage
    from depthtui.engine.layer_choice import Gate

    job = PruneJob(
        spec=spec,
        out=out,
        storage=Storage.of(settings),
        trusted=trusted,
        layers=layers,
        least=least,
        gate=None if gate is None else Gate(*gate),
        prompts=prompts.prompts,
        corpus=prompts.corpus,
        names_prompts=_names_prompts(prompt_options),
        settings=overrides.over(RunSettings(chat_template=settings.chat_template)),
        piece="part" if by_parts else "layer",
        heals=heal,
        instead=instead,
        heal_texts="" if heal_texts is None else str(heal_texts),
    )
    return _prune(job)


def _check_usage(
    ways: Sequence[object],
    by_parts: bool,
    parts: bool,
    heal: bool,
    heal_texts: Path | None,
    instead: str,
) -> None:
    """Refuse options that do not go together."""
    if heal and instead == "mean":
        raise click.UsageError("--heal and --instead mean exclude each other: choose one of them.")
    chosen = [name for name, value in zip(_WAYS, ways, strict=True) if value]
    if len(chosen) != 1:
        *others, last = _WAYS
        problem = f", not {' and '.join(chosen)}" if chosen else ""
        raise click.UsageError(
            f"Choose the layers to remove by one of {', '.join(others)} and {last}{problem}."
        )
    if parts and chosen == ["--drop"]:
        raise click.UsageError(
            "--parts is of --keep and --least: --drop names parts itself, such as 3a for an "
            "attention."
        )
    if by_parts and heal:
        raise click.UsageError(
            "--heal makes up for blocks of layers that go, by a map in the MLP before each: "
            "attentions and MLPs that go by themselves are not healed."
        )
    if heal_texts is not None and not heal:
        raise click.UsageError("--heal-texts is of no use without --heal.")
    if heal_texts is not None:
        from depthtui.lenses.calibration import read_texts

        # A file without texts is refused before the model loads.
        read_texts(heal_texts)


def _prune(job: PruneJob) -> int:
    """Print the choice, or write the model and its card; returns the exit status."""
    from depthtui.cli.pruned_card import write_card
    from depthtui.cli.pruned_words import print_choice, print_costs, print_pruning
    from depthtui.cli.pruning import prune_model
    from depthtui.errors import RunStopped
    from depthtui.token_text import shell_word

    try:
        pruning = prune_model(job, print_notice, print_costs)
    except RunStopped:
        print_notice("Nothing was written.")
        return INTERRUPTED
    words = words_of(click.get_current_context())
    if pruning.pruned is None:
        # Behind `--` an option would be an argument.
        out_words = ["--out", f"{_last_part(job.spec.name)}-pruned"]
        print_choice(pruning, command_line(["prune", *out_words, *words]))
        return 0
    command, folder = command_line(["prune", *words]), pruning.pruned.folder
    card = write_card(pruning, pruning.pruned, job.storage.models_dir, command)
    print_pruning(pruning, pruning.pruned)
    click.echo(
        f"\nIts card is {shell_word(str(card))}; this would publish it:\n"
        f"hf upload {shell_word(f'YOUR_NAME/{folder.name}')} {shell_word(str(folder))}"
    )
    if not pruning.passes:
        print_notice("Rounding has moved the written model over the limit.")
        return 1
    return 0


def _names_prompts(prompt_options: PromptOptions) -> bool:
    named = prompt_options.prompts, prompt_options.files, prompt_options.task, prompt_options.texts
    return any(named)


def _prompts(
    prompt_options: PromptOptions, dataset: DatasetOptions, settings: Settings, of_answers: bool
) -> CommandPrompts:
    """The held-out prompts; by answers twice as many: every second one of them chooses."""
    if not _names_prompts(prompt_options):
        task = _TASK_OF_ANSWERS if of_answers else _TASK
        prompt_options = replace(prompt_options, task=task)
    if not of_answers:
        return gather_prompts(prompt_options, settings, dataset)
    if prompt_options.task is not None:
        prompt_options = replace(
            prompt_options,
            examples=prompt_options.examples and 2 * prompt_options.examples,
            default_examples=2 * prompt_options.default_examples,
        )
    try:
        prompts = gather_prompts(prompt_options, settings, dataset, in_halves=True)
    except click.UsageError as error:
        raise click.UsageError(
            f"{error.message} --keep answers takes twice the prompts of --examples: one half "
            "chooses the number of layers, the other half checks it."
        ) from error
    if len(prompts.prompts) < 2 or not all(prompt.answer for prompt in prompts.prompts):
        raise click.UsageError(
            "--keep answers needs two prompts or more that have answers: --task NAME, or "
            "--prompt-file FILE in JSONL with `answer`."
        )
    return prompts


def _last_part(model: str) -> str:
    """A folder's name, from a model's name, folder or file."""
    name = Path(model).name if Path(model).name not in ("", "..") else Path(model).resolve().name
    return re.sub(r"\.gguf$", "", name) or "model"
