"""Checks whether a model with changed layers can be written, and whether the result is the same."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from depthtui.data.pieces import NO_PARTS, NumberedParts
from depthtui.data.run_settings import ModelSpec, Repeated, path_of, why_not_repeated
from depthtui.data.selection import check_layer
from depthtui.engine.ready_model import ReadyModel
from depthtui.errors import DepthError, RunStopped
from depthtui.files import check_writable
from depthtui.models.catalog import MERGE_WITH_PEFT
from depthtui.models.devices import execution_device
from depthtui.models.loading import LoadedModel
from depthtui.models.out_of_memory import is_out_of_memory
from depthtui.tracing.anatomy import Sublayer
from depthtui.tracing.modules import find_blocks, hooks, return_input
from depthtui.tracing.rounding import MOST_ROUNDINGS, roundings
from depthtui.tracing.twice import Twice

_PROBE_TOKENS = 48
"""Enough to exceed most sliding windows of small models and chunks of recurrent ones."""


@dataclass(frozen=True)
class PrunedModel:
    """A model that was written without some of another's layers or parts, or with some twice.

    Attributes:
        folder: its folder.
        layers: its layers, in order, by their numbers in the other model.
        parameters: the number of its parameters.
        off: the difference of its logits from those of the other model with the same changes, in
            rounding errors; the largest of any token.
        parts: the parts of its layers that write nothing; then it has every layer.
        exits_early: whether it is a draft that transformers runs on the other model's own layers.
    """

    folder: Path
    layers: tuple[int, ...]
    parameters: int
    off: float
    parts: NumberedParts = NO_PARTS
    exits_early: bool = False


def layers_kept(
    n_layers: int, left_out: Collection[int], repeated: Collection[Repeated] = ()
) -> tuple[int, ...]:
    """The layers that the model has, in the order in which they run; some twice.

    Raises:
        DepthError: no layer is left, no layer changes, or a named layer does not exist.
    """
    for layer in left_out:
        check_layer(layer, n_layers)
    if problem := why_not_repeated(repeated, n_layers):
        raise DepthError(f"These layers cannot run twice: {problem}.")
    layers = tuple(layer for layer in path_of(n_layers, repeated) if layer not in left_out)
    if not layers:
        raise DepthError("A model keeps at least one layer.", "Leave fewer out.")
    if layers == tuple(range(n_layers)):
        raise DepthError("No layer is left out, and none runs twice.", "Choose at least one.")
    return layers


def check_source(spec: ModelSpec) -> None:
    """Check that a model's weights are those of its files, from which the result is written.

    Raises:
        DepthError: an adapter is merged into them.
    """
    if spec.adapter:
        raise DepthError(
            "A model with an adapter cannot be written: its files have the base's weights.",
            MERGE_WITH_PEFT,
        )


def check_target(folder: Path) -> None:
    """Check that a model can be written to a folder, which must be empty or not exist.

    Raises:
        DepthError: it is not empty, is a mount point, or cannot be written.
    """
    check_writable(folder)
    if folder.is_mount():
        raise DepthError(
            f"{folder} is a mount point: a model cannot take its place.", "Name a folder in it."
        )
    try:
        is_free = not folder.is_symlink() and not os.listdir(folder)
    except OSError as error:
        is_free = isinstance(error, FileNotFoundError)
    if not is_free:
        raise DepthError(f"There is something in {folder} already.", "Name a new folder.")


def stack_name(model: ReadyModel) -> str:
    """The name of a model's list of layers, such as `layers` or `h`."""
    first = model.anatomy.layers[0]
    path = next(name for name, part in model.loaded.model.named_modules() if part is first)
    return path.split(".")[-2]


def probe_ids(model: nn.Module) -> Tensor:
    """A few dozen arbitrary tokens of a model, `[T]`."""
    embeddings: Any = model.get_input_embeddings()  # type: ignore[operator]
    steps = torch.arange(_PROBE_TOKENS)
    ids: Tensor = (steps * steps * 7919 + steps * 31 + 11) % embeddings.num_embeddings
    return ids


def probe_logits(
    model: nn.Module,
    left_out: Collection[int] = (),
    repeated: Collection[Repeated] = (),
    silent: Collection[Sublayer] = (),
) -> Tensor:
    """A model's logits for its `probe_ids` with its layers changed.

    Args:
        model: the model.
        left_out: layers that return their input.
        repeated: blocks that run twice.
        silent: sublayers that write nothing.

    Returns:
        float32 `[T, V]` on the CPU.
    """
    with changed(model, left_out, repeated, silent):
        return _logits_of_probe(model)


def _logits_of_probe(model: nn.Module) -> Tensor:
    embeddings: Any = model.get_input_embeddings()  # type: ignore[operator]
    with torch.no_grad():
        logits: Tensor = model(
            input_ids=probe_ids(model)[None].to(execution_device(embeddings)), use_cache=False
        ).logits
    return logits[0].float().cpu()


@contextmanager
def changed(
    model: nn.Module,
    left_out: Collection[int],
    repeated: Collection[Repeated] = (),
    silent: Collection[Sublayer] = (),
) -> Iterator[None]:
    """Make some layers return their input, others run twice, and some sublayers write nothing."""
    with hooks() as handles:
        layers = find_blocks(model)
        handles.extend(
            layers[layer].register_forward_hook(return_input, with_kwargs=True)
            for layer in left_out
        )
        handles.extend(Twice(layers, repeated).hooks())
        handles.extend(tap.silence() for sublayer in silent for tap in sublayer)
        yield


def exits_early(model: ReadyModel, layers: Sequence[int], expected: Tensor) -> bool:
    """Whether some layers are a draft that transformers runs by itself.

    `generate(assistant_early_exit=n)` changes the number of layers in the base model's
    configuration; some types of models run every layer nevertheless.

    Args:
        model: the whole model.
        layers: the layers of the draft.
        expected: the `probe_logits` without the others.
    """
    module: Any = model.loaded.model
    config = getattr(getattr(module, module.base_model_prefix, None), "config", None)
    whole, count = getattr(config, "num_hidden_layers", None), len(layers)
    if whole != model.info.n_layers or tuple(layers) != tuple(range(count)) or count == whole:
        return False
    assert config is not None
    config.num_hidden_layers = count
    try:
        logits = _logits_of_probe(module)
        config.num_hidden_layers = whole
        # Assisted generation cuts the cache back; some caches cannot be cut.
        ids = probe_ids(module)[None].to(module.device)
        module.generate(ids, assistant_early_exit=count, max_new_tokens=4, do_sample=False)
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        return False
    finally:
        config.num_hidden_layers = whole
    return _distance(logits, expected, module.dtype) <= MOST_ROUNDINGS


def check(
    load: Callable[[], LoadedModel], expected: Tensor, has_every_layer: bool = False
) -> tuple[float, int]:
    """Load a written model, and check that its logits are as expected.

    Args:
        load: loads the model.
        expected: the `probe_logits` that it must have.
        has_every_layer: whether it has every layer, and parts of some write nothing.

    Returns:
        the difference from these, in rounding errors, and the number of parameters.

    Raises:
        DepthError: it cannot be loaded, or differs by more than rounding.
    """
    try:
        pruned = load()
    except RunStopped:
        raise
    except DepthError as error:
        raise DepthError(
            f"Nothing was written: what is left could not be loaded ({error.message.rstrip('.')}).",
            "Where memory is short, `depthtui prune` keeps one model in it, not two.",
        ) from error
    off = _distance(probe_logits(pruned.model), expected, pruned.model.dtype)
    if has_every_layer and not off <= MOST_ROUNDINGS:
        raise DepthError(
            "Nothing was written: with the last projections of these parts at zero the model says "
            "something else than without the parts.",
            "Leave whole layers out.",
        )
    if not off <= MOST_ROUNDINGS:
        raise DepthError(
            "Nothing was written: what a layer of this architecture computes depends on how many "
            "stand before it, so that a model of its own says something else than the what-if.",
            "mergekit would meet the same.",
        )
    return off, pruned.info.parameters


def _distance(logits: Tensor, expected: Tensor, dtype: torch.dtype) -> float:
    """The difference of logits `[T, V]` from others, in rounding errors; the largest of a token."""
    if logits.shape != expected.shape:
        return math.inf
    typical = expected.square().mean(dim=-1, keepdim=True).sqrt()
    return float(roundings(logits - expected, (expected, typical), dtype).max())
