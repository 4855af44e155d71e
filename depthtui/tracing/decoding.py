"""Reading a text token by token, with every layer's residual at the last token, and writing texts
with a layer left out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from depthtui.models.devices import execution_device
from depthtui.models.out_of_memory import is_out_of_memory
from depthtui.tracing.anatomy import Anatomy, Tap
from depthtui.tracing.left_out import NOTHING, Substitute
from depthtui.tracing.loops import of_call
from depthtui.tracing.modules import decoder, first_tensor, hidden_states, hooks, with_first_tensor

_CACHE_NAMES = ("cache", "past_key_values", "cache_params")
"""Names of the cache, the same in a model's output and in its input."""

_PROBE_TOKENS = 8

_MOST_ROUNDED = 8.0
"""How far a token read alone may be from the same token read with others, in roundings.

Measured up to 2.7; 17 or more where the cache lacks or mistakes one of seven tokens.
"""

_FINEST = 2.0**-16
"""Float32 products add up in any order: they are less exact than one float32 rounding."""


@dataclass(eq=False)
class Decoding:
    """Reads tokens, each call after those read before; a context that removes its hooks.

    Attributes:
        model: a causal language model.
        anatomy: its layers.
        checkpoint: called before every layer; raising there ends the reading.
        cached: keep the keys and values of tokens that were read; otherwise every call reads
            all tokens again.
    """

    model: nn.Module
    anatomy: Anatomy
    checkpoint: Callable[[], None] = lambda: None
    cached: bool = True
    _cache: dict[str, Any] = field(default_factory=dict, init=False)
    _streams: list[Tensor] = field(default_factory=list, init=False)
    _read: list[np.ndarray] = field(default_factory=list, init=False)
    _stack: ExitStack = field(default_factory=ExitStack, init=False)

    def __enter__(self) -> Decoding:
        handles = self._stack.enter_context(hooks())
        for block in dict.fromkeys(self.anatomy.layers):
            handles.append(block.register_forward_pre_hook(self._before))
        handles.extend(_keep_streams(self.anatomy, self._streams))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def read(self, ids: np.ndarray) -> Tensor:
        """Read the next tokens `[n]`; return h_0 … h_L at the last of them, `[L+1, d]`."""
        self._read.append(ids)
        unread = torch.from_numpy(ids if self.cached else np.concatenate(self._read))
        embedding: Any = self.model.get_input_embeddings()  # type: ignore[operator]
        unread = unread.to(execution_device(embedding))
        self._streams.clear()
        with torch.inference_mode():
            outputs = decoder(self.model)(
                input_ids=unread[None], use_cache=self.cached, **self._cache
            )
        if self.cached:
            self._cache = cache_in(outputs)
        device = self._streams[-1].device
        return torch.stack([stream[0].to(device) for stream in self._streams])

    def _before(self, _module: nn.Module, _args: tuple[Any, ...]) -> None:
        self.checkpoint()


def reads_on(model: nn.Module, anatomy: Anatomy) -> bool:
    """Whether the cache works: a short text read in two parts gives the same as read in one."""
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    ids = (np.arange(_PROBE_TOKENS) * 7919 + 11) % embedding.num_embeddings
    with Decoding(model, anatomy, cached=False) as without_cache:
        expected = without_cache.read(ids)
    try:
        with Decoding(model, anatomy) as with_cache:
            with_cache.read(ids[:-1])
            cached_output = with_cache.read(ids[-1:])
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # A cache that a model accepts but cannot use fails with any error of the model's own.
        return False
    tolerance = _MOST_ROUNDED * max(torch.finfo(expected.dtype).eps, _FINEST)
    # Medians: a few dimensions of massive activations must not hide errors in the others.
    miss = (cached_output.float() - expected.float()).abs().median(dim=-1).values
    size = expected.float().abs().median(dim=-1).values
    return bool((miss <= tolerance * size).all())


def write_greedily(
    model: nn.Module,
    anatomy: Anatomy,
    ids: Tensor,
    count: int,
    left_out: Sequence[Collection[int]],
    part: str = "layer",
    checkpoint: Callable[[], None] = lambda: None,
    cached: bool = True,
    substitute: Substitute = NOTHING,
    is_over: Callable[[np.ndarray], bool] = lambda texts: False,
) -> np.ndarray:
    """Continue a text greedily, once for each set of layers left out.

    Every continuation is the text that the model itself would generate with hooks that skip the
    layers.

    Args:
        model, anatomy: a causal language model with a lens.
        ids: `[n]`, the text to continue, on the embedding's device.
        count: tokens to write, at least 1.
        left_out: for each text, the layers that it is written without.
        part: the part left out: `layer`, `attention` or `mlp`.
        checkpoint: called before every layer; raising there ends the writing.
        cached: keep the keys and values of tokens that were read; otherwise all are read again
            with every token.
        substitute: the substitute for a layer; a sublayer has no mean update.
        is_over: returns whether the texts so far, `[texts, n]`, are long enough.

    Returns:
        `[texts, n]` token ids, n at most `count`.
    """
    assert anatomy.unembedding is not None, anatomy.lens_missing
    streams: list[Tensor] = []
    sequences = ids.expand(len(left_out), -1)
    unread, cache = sequences, dict[str, Any]()

    def keeps_first() -> bool:
        # A call that continues from a cache has no token 0.
        return substitute.keeps_first and not cache

    with torch.inference_mode(), hooks() as handles:
        for index, layer in enumerate(anatomy.layers):
            handles.append(layer.register_forward_pre_hook(lambda *_call: checkpoint()))
            handles.extend(_leave_out(anatomy, index, part, left_out, substitute, keeps_first))

        handles.extend(_keep_streams(anatomy, streams))
        for _ in range(count):
            streams.clear()
            outputs = decoder(model)(input_ids=unread, use_cache=cached, **cache)
            last = anatomy.readable(len(anatomy.layers), streams.__getitem__)
            next_ids = anatomy.unembedding.logits(last).argmax(dim=-1, keepdim=True)
            sequences = torch.cat([sequences, next_ids.to(ids.device)], dim=1)
            cache = cache_in(outputs) if cached else {}
            unread = sequences[:, -1:] if cached else sequences
            written = sequences[:, len(ids) :].to("cpu").numpy()
            if is_over(written):
                break
    return written


def _keep_streams(anatomy: Anatomy, streams: list[Tensor]) -> Iterator[RemovableHandle]:
    """Append h_0 … h_L of the last token, each `[texts, d]`, to a list in each forward pass."""

    def keep_input(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        streams.append(hidden_states(args, kwargs)[:, -1].clone())

    def keep_output(_block: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        streams.append(first_tensor(output)[:, -1].clone())

    first = of_call(anatomy.layers, 0, keep_input)
    yield anatomy.layers[0].register_forward_pre_hook(first, with_kwargs=True)
    for block in dict.fromkeys(anatomy.layers):
        yield block.register_forward_hook(keep_output)


def _leave_out(
    anatomy: Anatomy,
    layer: int,
    part: str,
    left_out: Sequence[Collection[int]],
    substitute: Substitute,
    keeps_first: Callable[[], bool],
) -> Iterator[RemovableHandle]:
    """Let a layer, or a part of it, write nothing to the texts that leave it out.

    It writes its mean update where that is the substitute. `keeps_first` returns whether the first
    token of a call keeps the layer.
    """
    texts = len(left_out)
    rows = [row for row, layers in enumerate(left_out) if layer in layers]
    if not rows:
        return

    def restore(
        _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        replacement = substitute.updated(layer, hidden_states(args, kwargs))
        return _with_rows(output, replacement, rows, texts, keeps_first())

    if part == "layer":
        hook = of_call(anatomy.layers, layer, restore)
        yield anatomy.layers[layer].register_forward_hook(hook, with_kwargs=True)
        return
    for tap in (anatomy.attention if part == "attention" else anatomy.mlp)[layer]:

        def skip(_module: nn.Module, args: tuple[Any, ...], output: Any, tap: Tap = tap) -> Any:
            replacement = first_tensor(tap.skip(args, output))
            return _with_rows(output, replacement, rows, texts, keeps_first())

        yield tap.module.register_forward_hook(of_call(anatomy.layers, layer, skip))


def _with_rows(
    output: Any, replacement: Tensor, rows: Sequence[int], texts: int, keeps_first: bool
) -> Any:
    """A module's output with some rows of its batch replaced, all but a first token to keep."""
    value = first_tensor(output).contiguous().clone()
    start = value.shape[-1] if keeps_first else 0
    # Experts may write the tokens of all texts one after another, `[texts * T, d]`.
    replacement_rows = replacement.reshape(texts, -1)[rows, start:]
    value.view(texts, -1)[rows, start:] = replacement_rows.to(value.device)
    return with_first_tensor(output, value)


def cache_in(outputs: Any) -> dict[str, Any]:
    """The cache in a model's output, by its name as an argument."""
    # Not by `get`, which accepts deprecated names too.
    fields = dict(outputs.items()) if isinstance(outputs, dict) else {}
    name = next((name for name in _CACHE_NAMES if fields.get(name) is not None), None)
    return {} if name is None else {name: fields[name]}
