"""`without`: a loaded model with some of its layers left out for a while."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from depthtui.data.run_settings import Skip
from depthtui.errors import DepthError, short_repr

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def without(
    model: PreTrainedModel,
    layers: int | Iterable[int] = (),
    attention: int | Iterable[int] = (),
    mlp: int | Iterable[int] = (),
) -> Iterator[None]:
    """Leave layers of a loaded model out, or their attention or MLP, until the block ends.

        from depthtui import without

        with without(model, [1, 2]):
            ids = model.generate(**inputs)  # without both, cache included
        with without(model, attention=[3], mlp=[2, 3]):
            logits = model(**inputs).logits

    The model is changed by hooks alone: its weights, modules and configuration stay as they are,
    and at the end, on success or error, the hooks are gone. Blocks may be nested, and what is
    named adds up. A layer that is left out still runs, so that its place in the cache of keys
    and values is filled, and returns its input: a pass takes as long as before. `depthtui prune`
    writes a model that is smaller and faster, and has the same outputs.

    Args:
        model: a causal language model of transformers, on one device or several, quantised or
            offloaded; not compiled, and not sharded by FSDP or DeepSpeed.
        layers: layers by their indices, 0 to the last; each pass of a looped block is one.
        attention, mlp: layers of which this part is left out.

    Raises:
        DepthError: the model cannot be followed, lacks such a layer, would keep none in all blocks
            together, or its attention and MLP cannot be told apart.
    """
    parts = {"layer": layers, "attention": attention, "mlp": mlp}
    skipped = {Skip(layer, part) for part, named in parts.items() for layer in _indices(named)}
    from depthtui.engine.absence import absent

    with absent(model, skipped):
        yield


def _indices(layers: object) -> list[int]:
    """Layers as whole numbers.

    Raises:
        DepthError: one is no whole number.
    """
    if isinstance(layers, str) or not isinstance(layers, Iterable):
        layers = [layers]
    return [_index(layer) for layer in layers]


def _index(layer: object) -> int:
    try:
        if isinstance(layer, bool):
            raise TypeError
        return operator.index(layer)  # type: ignore[arg-type]
    except TypeError:
        raise DepthError(
            f"{short_repr(layer)} is no layer.", "Name layers by whole numbers, such as [17, 25]."
        ) from None
