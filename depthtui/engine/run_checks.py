"""Checks of a run before it starts: its settings, the text to patch from, the states put in."""

from __future__ import annotations

from depthtui.data.model import ModelInfo
from depthtui.data.run import RunResult
from depthtui.data.run_settings import RunSettings, why_not_repeated
from depthtui.data.selection import check_layer, layers_in
from depthtui.engine.ready_model import ReadyModel
from depthtui.engine.tokens import tokenise_source
from depthtui.errors import DepthError
from depthtui.metrics import patch
from depthtui.metrics.registry import unknown_names


def check_settings(settings: RunSettings, info: ModelInfo) -> None:
    """Refuse metrics and layers that do not exist."""
    # Names are checked where they are typed: this engine may be elsewhere, with other packages.
    if unknown := unknown_names(settings.metrics):
        raise DepthError(
            f"The engine has no metric named {', '.join(unknown)}.",
            "Install the package that has it beside the engine, too.",
        )
    check_layer(layers_in(settings.layers, info.n_layers)[-1], info.n_layers)
    if settings.skip_everywhere and settings.skip_positions:
        raise DepthError(
            "Layers are skipped before positions or at all tokens, not both.",
            "Choose positions, or all tokens.",
        )
    for layer, part in settings.changed_parts:
        check_layer(layer, info.n_layers)
        if part != "layer" and info.split_missing:
            raise DepthError(f"Attention and MLP cannot be told apart: {info.split_missing}.")
    if problem := why_not_repeated(settings.repeated, info.n_layers):
        raise DepthError(f"These layers cannot run twice in {info.name}: {problem}.")
    if settings.repeated and info.calls:
        raise DepthError(f"The blocks of {info.name} run several times already.")


def read_source(model: ReadyModel, result: RunResult) -> None:
    """Read the text that a run is patched from; an unreadable text costs its metric alone."""
    try:
        source = tokenise_source(model.loaded.tokenizer, result, model.vocabulary)
        if source is not None:
            model.check_ids(source.ids)
        result.source = source
        reason = patch.METRIC.why_unavailable(result)
    except DepthError as error:
        reason = str(error).rstrip(".")
    if reason and patch.NAME in result.settings.metrics:
        result.unavailable[patch.NAME] = reason


def check_patched(result: RunResult) -> None:
    """Refuse states of a text that is missing or whose tokens do not match the prompt's."""
    cells = result.settings.patched
    if not cells:
        return
    reason = patch.why_not_beside(result)
    if reason or result.source is None:
        reason = reason or "the text to patch from cannot be read"
        raise DepthError(f"Nothing can be put into this run: {reason}.")
    n_tokens = min(len(result.tokens), len(result.source))
    for cell in cells:
        if not 0 <= cell.token < n_tokens:
            raise DepthError(f"There is no token {cell.token} to put in.")
