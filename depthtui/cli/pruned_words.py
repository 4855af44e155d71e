"""What `depthtui prune` prints: the table of costs, the model, its equivalents for other tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from depthtui.cli.output import print_document, print_table, print_written
from depthtui.cli.pruning import Pruning
from depthtui.data.model import ModelInfo
from depthtui.data.pieces import NO_PARTS
from depthtui.data.selection import numbers_text, ranges_of
from depthtui.data.sentence import plural
from depthtui.engine.healing import Healing
from depthtui.engine.layer_choice import LayerChoice
from depthtui.engine.pruning import PrunedModel
from depthtui.metrics.column import LeftOutColumn
from depthtui.models.recipe import RECIPE
from depthtui.models.silent_parts import DROP_LISTS, SKIP_LAYERS
from depthtui.report.blocks import Document
from depthtui.report.left_out import left_out_table
from depthtui.token_text import shell_word


def print_costs(choice: LayerChoice) -> None:
    """Print what the first pieces of the order cost, around the number that goes."""
    costs = choice.held_out
    if not len(costs):
        return
    left_out = costs.left_out(choice.order, choice.n_layers, choice.piece, choice.search)
    stays = [choice.n_pieces - count for count in choice.shown]
    chosen = {choice.n_pieces - choice.count: f"chosen by {choice.option}"}
    prompts = plural(len(costs), "held-out prompt")
    click.echo(f"{choice.piece.capitalize()}s left out {choice.order_words}, on {prompts}:")
    print_document(Document("", [left_out_table(left_out, stays, chosen)]), is_wide=True)
    click.echo()


def print_choice(pruning: Pruning, writing: str) -> None:
    """Print the chosen pieces where nothing was written, and the command line that writes."""
    click.echo(pruning.choice.protocol)
    # A gate of answers has them in its lines.
    if not pruning.of_answers:
        _print_answers(pruning, "without them")
    if pruning.healing is not None:
        _print_models(pruning)
        click.echo(healing_words(pruning, pruning.healing))
    click.echo(
        f"\nNothing was written. This writes the model without these {pruning.piece}s:\n{writing}"
    )


def print_pruning(pruning: Pruning, pruned: PrunedModel) -> None:
    """Print the written model's layers and cost, and the equivalents for other tools."""
    info, has_parts = pruning.info, pruned.parts != NO_PARTS
    stay = f"{len(pruned.layers)} of {info.n_blocks} layers: {numbers_text(pruned.layers)}\n"
    if has_parts:
        parts = pruned.parts.others(info.n_layers)
        stay = f"{parts.words} of {info.n_layers} layers stay\n{pruned.parts.at_zero}\n"
    click.echo(
        f"{stay}{pruned.parameters:,} of {info.parameters:,} parameters\n"
        f"logits as without these {pruning.piece}s"
        f"{f', {pruning.used_healing.name}' if pruning.helps else ''}, "
        f"off by {pruned.off:.2g} roundings"
    )
    print_written([pruned.folder])
    if pruning.written is not None:
        click.echo()
        _print_models(pruning)
        _print_answers(pruning, "of the written model")
    if pruning.healing is not None:
        click.echo("\n" + healing_words(pruning, pruning.healing))
    click.echo(f"\n{pruning.choice.protocol}\n")
    gone = sorted(info.blocks_of(pruning.left_out)) if pruning.piece == "layer" else []
    if pruning.helps:
        click.echo("Other tools cut alone: nothing makes up for these layers there.")
    click.echo(_tools_of_parts(pruned, info) if has_parts else _other_tools(pruned, gone))


def _print_answers(pruning: Pruning, whose: str) -> None:
    """Print the right answers beside the whole model's, and where they fall unlimited by a gate."""
    answers = pruning.smaller.answers(1)
    if answers is None:
        return
    click.echo(f"right answers {whose}: {answers.words()}")
    if answers.is_worse and not pruning.of_answers:
        click.echo(
            "Warning: fewer answers are right, beyond chance (McNemar's exact test, "
            f"p = {answers.p_value:.2g}); nats alone do not show this. --keep answers=SHARE "
            f"chooses the {pruning.piece}s by answers."
        )


def models_table(
    pruning: Pruning, cell: Callable[[LeftOutColumn, int], str]
) -> tuple[list[str], list[list[str]]]:
    """The whole model and the smaller ones on the held-out prompts: headings and rows.

    Args:
        pruning: the models.
        cell: returns a column's value of the whole model, 0, or of the smaller one, 1.
    """
    models = pruning.models
    if not models:
        return [], []
    tables = [costs.table.values() for costs in models.values()]
    headings = [f"on {plural(len(pruning.held_out), 'prompt')}"]
    rows = [["whole", *(cell(column, 0) for column in tables[0])]]
    rows += [
        [name, *(cell(column, 1) for column in table)]
        for name, table in zip(models, tables, strict=True)
    ]
    return headings + [column.title for column in tables[0]], rows


def _print_models(pruning: Pruning) -> None:
    """Print the smaller models beside the whole one, where they were compared."""
    headings, rows = models_table(pruning, LeftOutColumn.text)
    if rows:
        print_table(headings, rows, range(1, len(headings)))


def healing_words(pruning: Pruning, healing: Healing) -> str:
    """How the model is healed, or why not."""
    lines, width = healing.lines(pruning.helps), pruning.info.d_model
    if healing.tokens:
        is_few = healing.tokens < width
        few = f", fewer tokens than the width {width:,}" if is_few else ""
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
        "layers that go, one by one; the fork itayinbarr/llama.cpp skips them as it loads: "
        f"llama-cli -m MODEL.gguf --skip-layers {removed}\n"
        "transformers: whole.generate(**inputs, assistant_model=AutoModelForCausalLM."
        f"from_pretrained({str(pruned.folder)!r})); {draft}"
    )


def _tools_of_parts(pruned: PrunedModel, info: ModelInfo) -> str:
    """The tools that leave parts out, each with what it reads."""
    skip_file = str(pruned.folder / SKIP_LAYERS)
    attention = pruned.parts.attention
    others = [layer for layer in range(info.n_layers) if layer not in attention]
    hybrid = (
        f"\nLinear attention there (arXiv 2512.20569): keep_full_attention_layers: {others}; "
        "short texts chose them; long recall may need more"
    )
    return (
        f"LLM-Drop: {' and '.join(DROP_LISTS)} in config.json; its modeling code leaves these "
        "parts out once `auto_map` there names it (Llama, Mistral, Gemma 2, Baichuan, DeepSeek)\n"
        f"SWIFT, Draft & Verify (Llama): skip = json.load(open({skip_file!r}))[{info.name!r}]; "
        "whole.set_skip_layers(skip['attention'], skip['mlp']), as a draft of the whole model"
        f"{hybrid if attention else ''}"
    )
