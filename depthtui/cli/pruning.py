"""`depthtui prune`: chooses and checks layers, writes and measures a model, prints a table."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import click

from depthtui.cli.output import print_table, print_written, stopped_by_ctrl_c
from depthtui.cli.progress import ProgressDisplay
from depthtui.data.model import ModelInfo
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.data.selection import layers_in, numbers_text, ranges_of
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
from depthtui.engine.held_out_prompts import OutputComparison, WholeOutput, paired
from depthtui.engine.layer_choice import (
    MODEL_ORDER,
    AnswersGate,
    BudgetGate,
    LayerChoice,
    LeastCostly,
    layers_words,
)
from depthtui.engine.pruning import PrunedModel, check_source, check_target
from depthtui.errors import DepthError
from depthtui.metrics.accuracy.answer_statistics import PairedAnswers
from depthtui.metrics.layer_order import TEXTS
from depthtui.models.catalog import check_layers, configured_layers
from depthtui.models.reach import check_can_open
from depthtui.models.recipe import RECIPE
from depthtui.token_text import shell_word

Choice = LayerChoice[float] | LayerChoice[PairedAnswers]


@dataclass(frozen=True)
class PruneJob:
    """The layers to leave out, and the folder for the rest, if it is to be written.

    One of `layers`, `budget`, `share` and `least` chooses the layers.

    Attributes:
        spec: the model.
        out: the folder to write; None where nothing is written.
        storage: the storage of models and results.
        trusted: the models whose own Python code may run.
        layers: layers by their numbers, such as `3,5-7`; empty where they are chosen.
        budget: the largest mean KL to the whole model's output, in nats.
        share: the right answers to keep, as a share of the whole model's.
        least: the number of layers that go, the first ones of the model's order.
        prompts: the prompts to measure on; with a share, every second one chooses how many layers
            go.
        settings: how prompts are read.
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


@dataclass(frozen=True)
class Pruning:
    """Chosen layers, and the model written without them, measured where there are prompts.

    Attributes:
        info: the whole model.
        left_out: the layers that go, sorted by number.
        choice: how they were chosen; None where they or their number were named.
        pruned: the written model; None where none was to be written.
        comparisons: the written model beside the whole one, on each held-out prompt.
        answers: the right answers to the held-out prompts of the whole model and without these
            layers, of the written one where there is one; None where the prompts have none, or
            the choice by answers has them.
    """

    info: ModelInfo
    left_out: Sequence[int]
    choice: Choice | None
    pruned: PrunedModel | None = None
    comparisons: Sequence[OutputComparison] = ()
    answers: PairedAnswers | None = None

    @property
    def passes(self) -> bool:
        """Whether the written model passes the gate too; rounding may change its value."""
        gate = None if self.choice is None else self.choice.gate
        if isinstance(gate, BudgetGate):
            return gate.passes(fmean(prompt.kl for prompt in self.comparisons))
        if isinstance(gate, AnswersGate) and self.answers is not None:
            return gate.passes(self.answers)
        return True


def prune_model(job: PruneJob, notice: Callable[[str], None]) -> Pruning:
    """Choose layers and check the choice; where a folder is named, write, load, measure the model.

    Raises:
        DepthError: the gate fails, or the model cannot be loaded, run or written; then no folder is
            left.
        RunStopped: ctrl-c stopped it.
    """
    # A wrong name, layer or folder is found before the model loads.
    check_can_open(job.spec, job.storage.models_dir, job.spec in job.trusted)
    check_layers(job.spec, job.storage.models_dir, job.layers)
    if job.least is not None:
        check_count(job.least, configured_layers(job.spec, job.storage.models_dir))
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
            outputs = surgery.whole_outputs(
                engine, job.prompts, job.settings.chat_template, control
            )
            held_out = outputs if job.share is None else outputs[::2]
            choice = _choice(job, engine, outputs, control)
            if choice is not None:
                choice.check()
                left_out = choice.left_out
            elif job.least is not None:
                first = least_costly(engine, job.least, outputs, job.settings, control)
                with display.out_of_the_way():
                    click.echo(f"by {MODEL_ORDER}:")
                    print_table(*_costs_table(first, len(outputs)))
                    click.echo()
                left_out = first.left_out
            else:
                left_out = layers_in(job.layers, info.n_layers)
            pruning = Pruning(info, sorted(info.blocks_of(left_out)), choice)
            if job.out is None:
                if job.share is not None:
                    return pruning
                pairs = surgery.paired_answers(engine, held_out, [left_out], control)
                return replace(pruning, answers=pairs[0]) if pairs else pruning
            pruned = surgery.prune(engine, left_out, job.out, control, keep_loaded=False)
            comparisons: list[OutputComparison] = []
            if held_out:
                # In the whole model's dtype: `auto` may choose another for a smaller model.
                spec = replace(info.spec, name=str(job.out), revision="", dtype=info.dtype)
                engine.load(spec, control)
                comparisons = surgery.compare(engine, held_out, control)
    return replace(pruning, pruned=pruned, comparisons=comparisons, answers=paired(comparisons))


def _choice(
    job: PruneJob, engine: Engine, outputs: Sequence[WholeOutput], control: Control
) -> Choice | None:
    """The choice of layers; None where they or their number are named."""
    if job.budget is not None:
        return within_budget(engine, job.budget, outputs, job.settings, control)
    if job.share is not None:
        choosing, held_out = outputs[1::2], outputs[::2]
        return keeping_answers(engine, job.share, choosing, held_out, job.settings, control)
    return None


def _costs_table(
    first: LeastCostly, n_prompts: int
) -> tuple[list[str], list[list[str]], list[int]]:
    """What the first layers of an order cost: headings, rows and columns of numbers."""
    headings = ["drop", "layer", f"KL in nats on {TEXTS} texts of the model's own"]
    columns = [first.costs]
    if first.held_out:
        headings.append(f"on {n_prompts} held-out prompt{'s' * (n_prompts > 1)}")
        columns.append(first.held_out)
    rows = [
        [
            str(number),
            str(layer),
            *(f"{costs[number - 1]:.3f}" for costs in columns),
            f"<- --least {number}" if number == first.count else "",
        ]
        for number, layer in enumerate(first.order, start=1)
    ]
    return [*headings, ""], rows, list(range(len(headings)))


def print_choice(pruning: Pruning, writing: str) -> None:
    """Print the chosen layers where nothing was written, and the command line that writes."""
    if pruning.choice is None:
        click.echo(f"left out: {layers_words(pruning.left_out)}")
    else:
        click.echo(pruning.choice.protocol)
    _print_answers(pruning, "without them")
    click.echo(f"\nNothing was written. This writes the model without these layers:\n{writing}")


def print_pruning(pruning: Pruning, pruned: PrunedModel) -> None:
    """Print the written model's layers and cost, and the equivalents for other tools."""
    info = pruning.info
    click.echo(
        f"{len(pruned.layers)} of {info.n_blocks} layers: {numbers_text(pruned.layers)}\n"
        f"{pruned.parameters:,} of {info.parameters:,} parameters\n"
        f"logits as without these layers, off by {pruned.off:.2g} roundings"
    )
    print_written([pruned.folder])
    if pruning.comparisons:
        click.echo()
        print_table(*_table(pruning.comparisons))
        _print_answers(pruning, "of the written model")
    if pruning.choice is not None:
        click.echo(f"\n{pruning.choice.protocol}")
    click.echo(f"\n{_other_tools(pruned, pruning.left_out)}")


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
            "chooses the layers by answers."
        )


def _table(comparisons: Sequence[OutputComparison]) -> tuple[list[str], list[list[str]], list[int]]:
    """A table of a pruned model beside the whole one: headings, rows and columns of numbers."""

    def mean(name: str) -> float:
        return fmean(getattr(prompt, name) for prompt in comparisons)

    count = len(comparisons)
    rows = [
        ["KL to the whole model's output, nats", "0", f"{mean('kl'):.3f}"],
        ["first choices kept", "100%", f"{mean('same_choices'):.0%}"],
        ["loss, nats", f"{mean('loss_before'):.3f}", f"{mean('loss'):.3f}"],
    ]
    answered = [prompt for prompt in comparisons if prompt.right is not None]
    if answered:
        before = sum(bool(prompt.right_before) for prompt in answered)
        after = sum(bool(prompt.right) for prompt in answered)
        rows.append(
            ["answers right", f"{before} of {len(answered)}", f"{after} of {len(answered)}"]
        )
    on = f"on {count} prompts" if count > 1 else "on 1 prompt"
    return [on, "whole", "written"], rows, [1, 2]


def _other_tools(pruned: PrunedModel, left_out: Sequence[int]) -> str:
    """The same layers for mergekit and llama.cpp, each with its own numbering."""
    ranges = ", ".join(f"[{first}, {last + 1}]" for first, last in ranges_of(pruned.layers))
    removed = ",".join(map(str, left_out))
    return (
        f"mergekit: {shell_word(str(pruned.folder / RECIPE))}; the layers that stay, each "
        f"range without its end: {ranges}\n"
        f"llama.cpp: llama-quantize --prune-layers {removed} MODEL.gguf PRUNED.gguf TYPE; the "
        "layers that go, one by one"
    )
