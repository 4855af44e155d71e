"""The time that a model takes on its device, with fewer of its blocks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from depthtui.errors import DepthError, first_line
from depthtui.models.out_of_memory import is_out_of_memory
from depthtui.tracing.decoding import cache_in
from depthtui.tracing.shortened import shortened


@dataclass(frozen=True)
class Times:
    """Times of one text, and the size of its cache.

    Attributes:
        prefill: seconds of the pass over the text.
        passes: seconds of each pass behind it, one after the other.
        cache_bytes: bytes that a token adds to the cache; 0 where it does not grow.
    """

    prefill: float
    passes: tuple[float, ...]
    cache_bytes: float


def times(model: nn.Module, ids: Tensor, layers: Sequence[int], passes: Sequence[int]) -> Times:
    """Time a model that runs only some of its blocks.

    Args:
        model: a causal language model.
        ids: the text, `[T]`, on the device of the embedding.
        layers: the indices of the blocks that run.
        passes: how many tokens each pass behind the text reads.

    Raises:
        DepthError: the architecture does not run without these blocks.
    """
    try:
        return _times(model, ids, layers, passes)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # Blocks that count on their number in the configuration fail in ways of their own.
        raise DepthError(
            f"{type(model).__name__} does not run with only some of its layers: "
            f"{first_line(error)}."
        ) from error


def _times(model: nn.Module, ids: Tensor, layers: Sequence[int], passes: Sequence[int]) -> Times:
    # As a generation does: the logits of the last token alone.
    name = "logits_to_keep"
    last_alone = {name: 1} if name in signature(model.forward).parameters else {}
    with torch.inference_mode(), shortened(model, layers):
        prefill, outputs = _timed(model, ids, last_alone)
        cache = cache_in(outputs)
        before, seconds = _bytes_in(cache), []
        for count in passes:
            taken, outputs = _timed(model, ids[-1:].expand(count), cache)
            cache = cache_in(outputs)
            seconds.append(taken)
    read = sum(passes)
    return Times(prefill, tuple(seconds), (_bytes_in(cache) - before) / read if read else 0.0)


def _timed(model: nn.Module, ids: Tensor, arguments: dict[str, Any]) -> tuple[float, Any]:
    """Seconds of a pass over token ids `[n]`, and its outputs."""
    begin = time.perf_counter()
    outputs = model(input_ids=ids[None], use_cache=True, **arguments)
    # A GPU works on its own until a number is read.
    outputs.logits[0, -1, 0].to("cpu")
    return time.perf_counter() - begin, outputs


def _bytes_in(cache: Any) -> int:
    return sum(tensor.nbytes for tensor in set(_tensors_in(cache)))


def _tensors_in(value: Any, depth: int = 4) -> Iterator[Tensor]:
    """The tensors in a cache, whatever its class."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors_in(item, depth)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors_in(item, depth)
    elif depth and hasattr(value, "__dict__"):
        yield from _tensors_in(vars(value), depth - 1)
