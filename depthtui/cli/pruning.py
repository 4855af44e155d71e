"""`depthtui prune`: chooses and checks layers or parts, writes and measures a model, prints it."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import click

from depthtui.cli.output import print_table, print_written, stopped_by_ctrl_c
from depthtui.cli.progress import ProgressDisplay
from depthtui.data.model import ModelInfo
from depthtui.data.pieces import (
    NO_PARTS,
    PER_LAYER,
    NumberedParts,
    Piece,
    coarsest,
    layers_named,
    pieces_in,
    pieces_words,
)
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.data.selection import numbers_text, ranges_of
from depthtui.engine import surgery
from depthtui.engine.choosing import (
    check_count,
    keeping_answers,
    least_costly,
    within_budget,
)
from depthtui.engine.control import Control
from depthtui.engine.engine import Engine
from depthtui.engine.factory import Storage, make_engine
from depthtui.engine.healing import NOT_HEALED, Healing
from depthtui.engine.held_out_prompts import OutputComparison, WholeOutput, paired
from depthtui.engine.layer_choice import (
    MODEL_ORDER,
    AnswersGate,
    BudgetGate,
    LayerChoice,
    LeastCostly,
)
from depthtui.engine.pruning import PrunedModel, check_source, check_target
from depthtui.errors import DepthError
from depthtui.metrics.accuracy.answer_statistics import PairedAnswers
from depthtui.metrics.layer_order import TEXTS
from depthtui.models.catalog import check_layers, configured_layers
from depthtui.models.reach import check_can_open
from depthtui.models.recipe import RECIPE
from depthtui.models.silent_parts import DROP_LISTS, SKIP_LAYERS
from depthtui.token_text import shell_word

Choice = LayerChoice[float] | LayerChoice[PairedAnswers]


@dataclass(frozen=True)
class PruneJob:
    """The pieces to leave out, and the folder for the rest, if it is to be written.

    One of `layers`, `budget`, `share` and `least` chooses the pieces.

    Attributes:
        spec: the model.
        out: the folder to write; None where nothing is written.
        storage: the storage of models and results.
        trusted: the models whose own Python code may run.
        layers: pieces by their numbers, such as `3,5-7m`; empty where they are chosen.
        piece: whether layers go, or parts of layers.
        budget: the largest mean KL to the whole model's output, in nats.
        share: the right answers to keep, as a share of the whole model's.
        least: the number of pieces that go, the first ones of the model's order.
        prompts: the prompts to measure on; with a share, every second one chooses how many pieces
            go.
        settings: how prompts are read.
        heals: whether a map makes up for the layers that go.
        heal_texts: the file of texts that it is fitted on; empty for those that the model writes.
    """

    spec: ModelSpec
    out: Path | None
    storage: Storage
    trusted: Container[ModelSpec]
    layers: str
    budget: float | None
    share: float | None
    least: int | None
    prompts: Sequence[Prompt]
    settings: RunSettings
    piece: Piece = "layer"
    heals: bool = False
    heal_texts: str = ""


@dataclass(frozen=True)
class Pruning:
    """Chosen pieces, and the model written without them, measured where there are prompts.

    Attributes:
        info: the whole model.
        left_out: the pieces that go, sorted by number.
        choice: how they were chosen; None where they or their number were named.
        protocol: the order of those whose number was named, in a line; else empty.
        pruned: the written model; None where none was to be written.
        healing: how it is healed; None where that was not asked for.
        helps: whether healing lowers the cost, so that the healed model is written.
        cut, healed: the model without these pieces, cut alone and healed, beside the whole one on
            each held-out prompt; empty where it was not compared.
        answers: the right answers to the held-out prompts of the whole model and without these
            pieces, of the written one where there is one; None where the prompts have none, or
            the choice by answers has them.
        piece: the kind of pieces.
    """

    info: ModelInfo
    left_out: Sequence[int]
    choice: Choice | None
    protocol: str = ""
    pruned: PrunedModel | None = None
    healing: Healing | None = None
    helps: bool = False
    cut: Sequence[OutputComparison] = ()
    healed: Sequence[OutputComparison] = ()
    answers: PairedAnswers | None = None
    piece: Piece = "layer"

    @property
    def used_healing(self) -> Healing:
        """The healing of this model, which may be none."""
        return self.healing if self.healing is not None and self.helps else NOT_HEALED

    @property
    def smaller(self) -> Sequence[OutputComparison]:
        """The smaller model that is written, or would be, beside the whole one."""
        return self.healed if self.helps else self.cut

    def with_smaller(self, comparisons: Sequence[OutputComparison]) -> Pruning:
        """The same with other comparisons of this model."""
        if self.helps:
            return replace(self, healed=comparisons)
        return replace(self, cut=comparisons)

    @property
    def passes(self) -> bool:
        """Whether the written model passes the gate too; rounding may change its value."""
        gate = None if self.choice is None else self.choice.gate
        if isinstance(gate, BudgetGate):
            return gate.passes(_mean(self.smaller, "kl"))
        if isinstance(gate, AnswersGate) and self.answers is not None:
            return gate.passes(self.answers)
        return True


def prune_model(job: PruneJob, notice: Callable[[str], None]) -> Pruning:
    """Choose pieces and check the choice; where a folder is named, write, load, measure the model.

    Raises:
        DepthError: the gate fails, or the model cannot be loaded, run or written; then no folder is
            left.
        RunStopped: ctrl-c stopped it.
    """
    # A wrong name, layer or folder is found before the model loads.
    check_can_open(job.spec, job.storage.models_dir, job.spec in job.trusted)
    check_layers(job.spec, job.storage.models_dir, layers_named(job.layers))
    if job.least is not None:
        n_layers = configured_layers(job.spec, job.storage.models_dir)
        check_count(job.least, PER_LAYER[job.piece] * n_layers, job.piece)
    check_source(job.spec)
    if job.out is not None:
        check_target(job.out)
    control = Control()
    with ProgressDisplay(notice) as display:
        engine = make_engine(job.storage, display.emit, notice, trusted=job.trusted)
        with stopped_by_ctrl_c(control):
            info = engine.load(job.spec, control)
            if info.calls and not job.layers:
                raise DepthError(
                    f"{info.name} runs its blocks in passes, and its order is of layers in one.",
                    "Name the layers with --drop, each in all of its passes.",
                )
            if job.heals:
                surgery.check_can_heal(engine)
            piece, named = job.piece, list[int]()
            if job.layers:
                piece, named = coarsest(*pieces_in(job.layers, info.n_layers))
            if piece == "part":
                surgery.check_can_write(engine, named)
            outputs = surgery.whole_outputs(
                engine, job.prompts, job.settings.chat_template, control
            )
            held_out = outputs if job.share is None else outputs[::2]
            choice, protocol = _choice(job, engine, outputs, control), ""
            if choice is not None:
                choice.check_some_go()
                left_out = choice.left_out
            elif job.least is not None:
                first = least_costly(engine, job.least, outputs, job.settings, control, job.piece)
                with display.out_of_the_way():
                    click.echo(f"by {MODEL_ORDER}:")
                    print_table(*_costs_table(first, len(outputs)))
                    click.echo()
                left_out, protocol = first.left_out, first.protocol
            else:
                left_out = named
            piece, left_out = coarsest(piece, left_out)
            shown = sorted(info.blocks_of(left_out)) if piece == "layer" else left_out
            pruning = Pruning(info, shown, choice, protocol, piece=piece)
            if job.heals:
                pruning = _with_healing(job, engine, pruning, held_out, control)
            if pruning.choice is not None:
                pruning.choice.check()
            if job.out is None:
                if job.share is not None:
                    return pruning
                if pruning.healed:
                    return replace(pruning, answers=paired(pruning.smaller))
                pairs = surgery.paired_answers(engine, held_out, [left_out], control, piece)
                return replace(pruning, answers=pairs[0]) if pairs else pruning
            pruned = surgery.prune(
                engine,
                left_out,
                job.out,
                control,
                keep_loaded=False,
                healed=pruning.used_healing,
                piece=piece,
            )
            comparisons: Sequence[OutputComparison] = ()
            if held_out:
                # In the whole model's dtype: `auto` may choose another for a smaller model.
                spec = replace(info.spec, name=str(job.out), revision="", dtype=info.dtype)
                engine.load(spec, control)
                comparisons = surgery.compare(engine, held_out, control)
    pruning = pruning.with_smaller(comparisons)
    return replace(pruning, pruned=pruned, answers=paired(comparisons))


def _with_healing(
    job: PruneJob,
    engine: Engine,
    pruning: Pruning,
    held_out: Sequence[WholeOutput],
    control: Control,
) -> Pruning:
    """Heal the model, and compare it with the one that is cut alone."""
    left_out, choice = pruning.left_out, pruning.choice
    healing = surgery.heal(engine, left_out, job.heal_texts, job.settings.seed, control)
    if not healing.blocks or not held_out:
        return replace(pruning, healing=healing, helps=healing.helps)
    cut, healed = (
        surgery.compare(engine, held_out, control, left_out, healed)
        for healed in (NOT_HEALED, healing)
    )
    helps = _costs(choice, healed) < _costs(choice, cut)
    if helps and choice is not None:
        choice = _with_healed(choice, healed)
    return replace(pruning, choice=choice, healing=healing, helps=helps, cut=cut, healed=healed)


def _costs(choice: Choice | None, comparisons: Sequence[OutputComparison]) -> tuple[float, float]:
    """The cost that a gate limits, and the mean KL, which decides between equal ones."""
    kl, answers = _mean(comparisons, "kl"), paired(comparisons)
    gate = None if choice is None else choice.gate
    if isinstance(gate, AnswersGate) and answers is not None:
        return gate.number(answers), kl
    return kl, kl


def _with_healed(choice: Choice, healed: Sequence[OutputComparison]) -> Choice:
    """The choice with the cost of the healed model on the held-out prompts."""
    by_nats = isinstance(choice.gate, BudgetGate)
    cost: Any = _mean(healed, "kl") if by_nats else paired(healed)
    return replace(choice, healed=cost)


def _choice(
    job: PruneJob, engine: Engine, outputs: Sequence[WholeOutput], control: Control
) -> Choice | None:
    """The choice of pieces; None where they or their number are named."""
    settings, piece = job.settings, job.piece
    if job.budget is not None:
        return within_budget(engine, job.budget, outputs, settings, control, piece)
    if job.share is not None:
        choosing, held_out = outputs[1::2], outputs[::2]
        return keeping_answers(engine, job.share, choosing, held_out, settings, control, piece)
    return None


def _costs_table(
    first: LeastCostly, n_prompts: int
) -> tuple[list[str], list[list[str]], list[int]]:
    """What the first pieces of an order cost: headings, rows and columns of numbers."""
    headings = ["drop", first.piece, f"KL in nats on {TEXTS} texts of the model's own"]
    columns = [first.costs]
    if first.held_out:
        headings.append(f"on {n_prompts} held-out prompt{'s' * (n_prompts > 1)}")
        columns.append(first.held_out)
    rows = [
        [
            str(number),
            _piece_cell(piece, first.piece),
            *(f"{costs[number - 1]:.3f}" for costs in columns),
            f"<- --least {number}" if number == first.count else "",
        ]
        for number, piece in enumerate(first.order, start=1)
    ]
    return [*headings, ""], rows, list(range(len(headings)))


def _piece_cell(number: int, piece: Piece) -> str:
    """A piece in a column under its kind, such as `7` or `attention 7`."""
    return str(number) if piece == "layer" else NumberedParts.of([number]).numbers


def print_choice(pruning: Pruning, writing: str) -> None:
    """Print the chosen pieces where nothing was written, and the command line that writes."""
    if pruning.choice is None:
        click.echo(f"left out: {pieces_words(pruning.left_out, pruning.piece)}")
    else:
        click.echo(pruning.choice.protocol)
    _print_answers(pruning, "without them")
    if pruning.healing is not None:
        _print_table(pruning)
        click.echo(healing_words(pruning, pruning.healing))
    click.echo(
        f"\nNothing was written. This writes the model without these {pruning.piece}s:\n{writing}"
    )


def print_pruning(pruning: Pruning, pruned: PrunedModel) -> None:
    """Print the written model's layers and cost, and the equivalents for other tools."""
    info = pruning.info
    stay = f"{len(pruned.layers)} of {info.n_blocks} layers: {numbers_text(pruned.layers)}\n"
    if pruned.parts != NO_PARTS:
        parts = pruned.parts.others(info.n_layers)
        stay = f"{parts.words} of {info.n_layers} layers stay\n{pruned.parts.at_zero}\n"
    click.echo(
        f"{stay}{pruned.parameters:,} of {info.parameters:,} parameters\n"
        f"logits as without these {pruning.piece}s{', healed' * pruning.helps}, "
        f"off by {pruned.off:.2g} roundings"
    )
    print_written([pruned.folder])
    if pruning.smaller:
        click.echo()
        _print_table(pruning)
        _print_answers(pruning, "of the written model")
    if pruning.healing is not None:
        click.echo("\n" + healing_words(pruning, pruning.healing))
    if pruning.choice is not None:
        click.echo(f"\n{pruning.choice.protocol}")
    alone = "Other tools cut alone, without the healing.\n" * pruning.helps
    has_parts = pruned.parts != NO_PARTS
    tools = _tools_of_parts(pruned, info) if has_parts else _other_tools(pruned, pruning.left_out)
    click.echo(f"\n{alone}{tools}")


def _print_answers(pruning: Pruning, whose: str) -> None:
    """Print the right answers beside the whole model's, and where they fall unlimited by a gate."""
    answers, choice = pruning.answers, pruning.choice
    if answers is None:
        return
    click.echo(f"right answers {whose}: {answers.words()}")
    if answers.is_worse and not (choice and isinstance(choice.gate, AnswersGate)):
        click.echo(
            "Warning: fewer answers are right, beyond chance (McNemar's exact test, "
            f"p = {answers.p_value:.2g}); nats alone do not show this. --keep-answers SHARE "
            f"chooses the {pruning.piece}s by answers."
        )


@dataclass(frozen=True)
class ComparedRow:
    """A number of the whole model beside that of each smaller one, by prompt.

    Attributes:
        title: its name.
        form: the format of its mean.
        whole: of the whole model.
        smaller: of each smaller model.
    """

    title: str
    form: str
    whole: Sequence[float]
    smaller: Sequence[Sequence[float]]


def compared_rows(compared: Sequence[Sequence[OutputComparison]]) -> list[ComparedRow]:
    """The KL, first choices and loss of smaller models on the same prompts."""
    first = compared[0]

    def row(title: str, form: str, name: str, whole: Sequence[float]) -> ComparedRow:
        of_smaller = [[getattr(prompt, name) for prompt in prompts] for prompts in compared]
        return ComparedRow(title, form, whole, of_smaller)

    losses = [prompt.loss_before for prompt in first]
    return [
        row("KL to the whole model's output, nats", ".3f", "kl", [0.0] * len(first)),
        row("first choices kept", ".0%", "same_choices", [1.0] * len(first)),
        row("loss, nats", ".3f", "loss", losses),
    ]


def compared_answers(compared: Sequence[Sequence[OutputComparison]]) -> list[list[bool]]:
    """Which answers are right, of the whole model and of each smaller one; empty without any."""
    answered = [prompt for prompt in compared[0] if prompt.right is not None]
    if not answered:
        return []
    of_smaller = [
        [bool(prompt.right) for prompt in prompts if prompt.right is not None]
        for prompts in compared
    ]
    return [[bool(prompt.right_before) for prompt in answered], *of_smaller]


def _mean(comparisons: Sequence[OutputComparison], name: str) -> float:
    return fmean(getattr(prompt, name) for prompt in comparisons)


def _table(
    models: Mapping[str, Sequence[OutputComparison]],
) -> tuple[list[str], list[list[str]], list[int]]:
    """A table of smaller models beside the whole one: headings, rows and columns of numbers."""
    compared = list(models.values())
    rows = []
    for row in compared_rows(compared):
        whole = format(fmean(row.whole), row.form) if any(row.whole) else "0"
        rows.append([row.title, whole, *(f"{fmean(values):{row.form}}" for values in row.smaller)])
    if rights := compared_answers(compared):
        rows.append(["answers right", *(f"{sum(right)} of {len(right)}" for right in rights)])
    count = len(compared[0])
    on = f"on {count} prompts" if count > 1 else "on 1 prompt"
    return [on, "whole", *models], rows, [*range(1, len(models) + 2)]


def _print_table(pruning: Pruning) -> None:
    """Print the smaller models beside the whole one, where they were compared."""
    if pruning.healed:
        print_table(*_table({"cut": pruning.cut, "healed": pruning.healed}))
    elif pruning.cut:
        print_table(*_table({"written": pruning.cut}))


def healing_words(pruning: Pruning, healing: Healing) -> str:
    """How the model is healed, or why not."""
    lines, width = healing.lines(pruning.helps), pruning.info.d_model
    if healing.tokens:
        few = f", fewer tokens than the width {width:,}" * (healing.tokens < width)
        lines.append(healing.fit_words + few)
    return "\n".join(lines)


def _other_tools(pruned: PrunedModel, left_out: Sequence[int]) -> str:
    """The same layers for mergekit, llama.cpp and transformers, each with its own numbering."""
    ranges = ", ".join(f"[{first}, {last + 1}]" for first, last in ranges_of(pruned.layers))
    removed = ",".join(map(str, left_out))
    draft = "`depthtui run --metrics logit_lens,kept,speed` tells whether that is faster here"
    if pruned.exits_early:
        draft += (
            "\ntransformers, the same draft without this folder: whole.generate(**inputs, "
            f"assistant_early_exit={len(pruned.layers)})"
        )
    return (
        f"mergekit: {shell_word(str(pruned.folder / RECIPE))}; the layers that stay, each "
        f"range without its end: {ranges}\n"
        f"llama.cpp: llama-quantize --prune-layers {removed} MODEL.gguf PRUNED.gguf TYPE; the "
        "layers that go, one by one\n"
        "transformers: whole.generate(**inputs, assistant_model=AutoModelForCausalLM."
        f"from_pretrained({str(pruned.folder)!r})); {draft}"
    )


def _tools_of_parts(pruned: PrunedModel, info: ModelInfo) -> str:
    """The tools that leave parts out, each with what it reads."""
    skip_file = str(pruned.folder / SKIP_LAYERS)
    return (
        f"LLM-Drop: {' and '.join(DROP_LISTS)} in config.json; its modeling code leaves these "
        "parts out once `auto_map` there names it (Llama, Mistral, Gemma 2, Baichuan, DeepSeek)\n"
        f"SWIFT, Draft & Verify (Llama): skip = json.load(open({skip_file!r}))[{info.name!r}]; "
        "whole.set_skip_layers(skip['attention'], skip['mlp']), as a draft of the whole model"
    )
