"""Extras of a what-if's export: the model that it is."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from depthtui.data.pieces import pieces_of_skips
from depthtui.errors import DepthError
from depthtui.files import write_new
from depthtui.settings import models_dir
from depthtui.tui.screens.dialogs.export_screen import Extra
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.what_if import WhatIf


def pruned_model(explorer: Explorer, what_if: WhatIf) -> tuple[Extra, ...]:
    """The recipe and the folder of the model with what is off or runs twice."""
    stack, model = what_if.stack, what_if.clean.model
    problem, blocks = stack.why_no_model, stack.written_layers
    piece, left_out = pieces_of_skips(stack.skipped)
    if piece == "part" and model.calls:
        problem = problem or "a part of a looped block is in all of its passes"
    try:
        skipped_blocks = model.blocks_of(stack.skipped_layers)
    except DepthError as error:
        problem = problem or error.message
    else:
        if model.calls:
            blocks = tuple(block for block in range(model.n_blocks) if block not in skipped_blocks)

    def write_recipe(path: Path) -> str:
        from depthtui.models.recipe import mergekit_recipe

        content = mergekit_recipe(model, models_dir(explorer.cache_dir), blocks)
        return write_new(path, content).name

    def write_model(target: Path, heals: bool = False) -> str:
        if not explorer.can_run or explorer.engine.model != model:
            raise DepthError("The model is written once it is loaded and nothing else goes on.")
        explorer.write_model(left_out, target, stack.repeated, heals, piece)
        return f"{target.name}/ (being written)"

    why_no_recipe = problem or stack.why_only_a_model
    why_not_healed = why_no_recipe or model.why_not_healed
    if stack.repeated:
        why_not_healed = why_not_healed or "layers run twice"
    recipe_words = "mergekit recipe, YAML"
    model_words = "the model as it is changed here, safetensors"
    healed_words = "the same, healed by a map before each block that is off"
    return (
        Extra("yml", recipe_words, ".yml", write_recipe, by_default=True, problem=why_no_recipe),
        Extra("model", model_words, "-model", write_model, problem=problem),
        Extra(
            "healed",
            healed_words,
            "-healed",
            partial(write_model, heals=True),
            problem=why_not_healed,
            other="model",
        ),
    )
