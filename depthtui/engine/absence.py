"""A model with some of its layers, attentions or MLPs left out for a while."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from depthtui.data.run_settings import Skip
from depthtui.data.selection import check_layer
from depthtui.errors import DepthError, first_line
from depthtui.models.in_memory import borrowed, check_model
from depthtui.tracing.anatomy import Anatomy
from depthtui.tracing.loops import of_call
from depthtui.tracing.modules import decoder, hooks, return_input
from depthtui.tracing.probe import probe_architecture

_left_out: WeakKeyDictionary[PreTrainedModel, list[set[int]]] = WeakKeyDictionary()
"""The whole layers that each block of `absent` leaves out of a model."""


@contextmanager
def absent(model: PreTrainedModel, skipped: Collection[Skip]) -> Iterator[None]:
    """Leave layers, attentions or MLPs out of every pass of a model.

    A layer that is left out still runs, for its place in the cache, and returns its input; an
    attention or an MLP writes nothing. Weights, modules and the configuration stay as they are.

    Args:
        model: a causal language model of transformers.
        skipped: the parts; what is left out around this block stays so.

    Raises:
        DepthError: the model cannot be followed, lacks such a layer, would keep none in all blocks
            together, or its attention and MLP cannot be told apart.
    """
    check_model(model)
    anatomy = _anatomy(model)
    layers = {skip.layer for skip in skipped if skip.part == "layer"}
    around = _left_out.setdefault(model, [])
    _check(skipped, anatomy, layers.union(*around))
    with ExitStack() as stack:
        around.append(layers)
        stack.callback(around.remove, layers)
        handles = stack.enter_context(hooks())

        def leave_out(*_call: Any) -> None:
            while handles:
                handles.pop().remove()
            handles.extend(_hooks(anatomy, skipped))

        leave_out()
        if anatomy.calls:
            # Their hooks count the calls of a looped block, and a pass may have ended early.
            stack.callback(decoder(model).register_forward_pre_hook(leave_out).remove)
        yield


def _anatomy(model: PreTrainedModel) -> Anatomy:
    """The anatomy of a model; parts that are left out already write nothing to it.

    Raises:
        DepthError: a few tokens cannot be run, or their way cannot be followed.
    """
    try:
        with borrowed(model):
            return probe_architecture(model)
    except DepthError:
        raise
    except Exception as error:
        raise DepthError(
            f"A few tokens cannot be run through this {type(model).__name__}: {first_line(error)}."
        ) from error


def _check(skipped: Collection[Skip], anatomy: Anatomy, left_out: Collection[int]) -> None:
    """Check parts; `left_out` are the layers that go with them, those of other blocks included."""
    n_layers = len(anatomy.layers)
    for skip in skipped:
        check_layer(skip.layer, n_layers)
    if len(left_out) == n_layers:
        raise DepthError("A model keeps at least one layer.", "Leave fewer out.")
    if anatomy.split_missing and any(skip.part != "layer" for skip in skipped):
        raise DepthError(
            f"Attention and MLP of this model cannot be told apart: {anatomy.split_missing}.",
            "Leave out whole layers.",
        )


def _hooks(anatomy: Anatomy, skipped: Collection[Skip]) -> Iterator[RemovableHandle]:
    def register(module: nn.Module, layer: int, hook: Callable[..., Any]) -> RemovableHandle:
        in_turn = of_call(anatomy.layers, layer, hook)
        return module.register_forward_hook(in_turn, with_kwargs=True)

    for skip in skipped:
        if skip.part == "layer":
            yield register(anatomy.layers[skip.layer], skip.layer, return_input)
            continue
        sublayers = anatomy.attention if skip.part == "attention" else anatomy.mlp
        for tap in sublayers[skip.layer]:
            yield register(
                tap.module,
                skip.layer,
                lambda _module, args, _kwargs, output, tap=tap: tap.skip(args, output),
            )
