"""Run on from a residual at layer l, batched: what every intervention shares.

A clean pass is recorded once. After that any batch of residuals can be sent
through any layer, whole prompts or only their last tokens: the keys and values
of the tokens before come from the recording, or from another replayed run.
Nothing below an intervention is computed twice, and nothing left of it.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from depthtui.errors import DepthError
from depthtui.models.out_of_memory import is_out_of_memory
from depthtui.tracing.anatomy import (
    Anatomy,
    decoder,
    execution_device,
    first_tensor,
    hidden_states,
    with_first_tensor,
)
from depthtui.tracing.parts import at_once

KeysValues = tuple[Tensor, Tensor]
"""Keys and values of one layer, each `[batch, heads, tokens, width]`."""


class _Past(DynamicCache):
    """Stands for the tokens before: `length` of them, whose keys and values come from `held`.

    What a layer adds is kept in `added` and never grows the past.
    """

    def __init__(self, length: int, held: KeysValues | None = None) -> None:
        super().__init__()
        self._length = length
        self._held = held
        self.added: KeysValues | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any
    ) -> KeysValues:
        self.added = key_states, value_states
        if self._held is None or self._length == 0:
            return key_states, value_states
        batch = len(key_states)
        keys, values = (tensor.expand(batch, -1, -1, -1) for tensor in self._held)
        return torch.cat([keys, key_states], dim=-2), torch.cat([values, value_states], dim=-2)

    def get_seq_length(self, *_args: Any, **_kwargs: Any) -> int:
        return self._length

    def get_query_offset(self, *_args: Any, **_kwargs: Any) -> int:
        return self._length

    def get_mask_sizes(self, query_length: int, *_args: Any, **_kwargs: Any) -> tuple[int, int]:
        return self._length + query_length, 0


@dataclass(frozen=True)
class _Call:
    """The arguments that the decoder passes to one layer, beside the residual."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Replay:
    """One prompt's clean pass, and any number of changed ones from its middle.

    Args:
        model, anatomy: the model.
        ids: `[T]` token ids.
        checkpoint: called before every layer; raising there ends the work.
        tokens_at_once: most tokens that go through a layer in one batch; a longer prompt
            still goes whole.

    Attributes:
        ids: the tokens.
        residual: h_0 … h_L, each `[T, d]`.
        evaluations: how many (token, layer) pairs have been computed, the clean pass included.
    """

    def __init__(
        self,
        model: nn.Module,
        anatomy: Anatomy,
        ids: Tensor,
        checkpoint: Callable[[], None] = lambda: None,
        tokens_at_once: int = 4096,
    ) -> None:
        self.tokens_at_once = tokens_at_once
        self._model = model
        self._layers = anatomy.layers
        self._missing = anatomy.replay_missing
        self.ids = ids
        self._checkpoint = checkpoint
        self._calls: dict[tuple[int, int, bool], list[_Call]] = {}
        self._keys_values: list[KeysValues | None] = []
        self._can_resume: bool | None = None
        self.residual: list[Tensor] = []
        self.evaluations = 0
        self._record()

    @property
    def n_layers(self) -> int:
        return len(self._layers)

    @property
    def n_tokens(self) -> int:
        return len(self.ids)

    @property
    def can_resume(self) -> bool:
        """Whether tokens can be run behind others that are not run again.

        Checked by arithmetic: the last tokens of the clean pass, run behind the
        recorded keys and values of the first, must come out as they did.
        """
        if self._can_resume is None:
            self._can_resume = self._resumes()
        return self._can_resume

    def keys_values(self, layer: int) -> KeysValues:
        """The clean keys and values of a layer, all tokens."""
        held = self._keys_values[layer]
        assert held is not None
        return held

    def run_layer(
        self,
        layer: int,
        residual: Tensor,
        start: int = 0,
        past: KeysValues | None = None,
    ) -> Tensor:
        """Send residuals through one layer, in parts that fit the memory.

        Args:
            layer: which.
            residual: `[batch, tokens, d]`, of the tokens from `start` on.
            start: index of the first token.
            past: keys and values of the tokens before `start`; `[1, …]` or `[batch, …]`.

        Returns:
            the residuals after it, same shape.
        """
        size = at_once(len(residual), self.tokens_at_once, residual.shape[1])
        if len(residual) <= size:
            return self._run(layer, residual, start, past)[0]
        parts = []
        for first in range(0, len(residual), size):
            rows = slice(first, first + size)
            held = past if past is None or len(past[0]) == 1 else (past[0][rows], past[1][rows])
            parts.append(self._run(layer, residual[rows], start, held)[0])
        return torch.cat(parts)

    def run_layer_recording(self, layer: int, residual: Tensor) -> tuple[Tensor, KeysValues]:
        """Like `run_layer` from the first token on, and the keys and values that it computed."""
        output, cache = self._run(layer, residual, 0, None, recording=True)
        assert cache is not None
        assert cache.added is not None
        return output, cache.added

    def _run(
        self,
        layer: int,
        residual: Tensor,
        start: int,
        past: KeysValues | None,
        recording: bool = False,
    ) -> tuple[Tensor, _Past | None]:
        if self._missing:
            raise DepthError(f"No layer can be run by itself: {self._missing}.")
        self._checkpoint()
        batch, tokens, _ = residual.shape
        self.evaluations += batch * tokens
        cached = recording or past is not None
        call = self._call(layer, start, start + tokens, cached)
        cache = _Past(start, past) if cached else None
        fitted = _Fitted(batch, cache)
        module = self._layers[layer]
        output = module(
            # Contiguous, as it leaves a layer: GPT's own product views its input.
            residual.to(execution_device(module)).contiguous(),
            *fitted.all(call.args),
            **{name: fitted.one(value) for name, value in call.kwargs.items()},
        )
        return first_tensor(output), cache

    def _call(self, layer: int, start: int, stop: int, cached: bool) -> _Call:
        key = (start, stop, cached)
        if key not in self._calls:
            self._calls[key] = self._observe(start, stop, cached)
        return self._calls[key][layer]

    def _observe(self, start: int, stop: int, cached: bool) -> list[_Call]:
        """What the decoder passes to its layers for a batch of one, without running them."""
        seen = [self._observe_batch(start, stop, cached, batch) for batch in (1, 2)]
        return [_generalise(*pair) for pair in zip(*seen, strict=True)]

    def _observe_batch(self, start: int, stop: int, cached: bool, batch: int) -> list[_Call]:
        calls: list[_Call] = []

        def idle(module: nn.Module) -> Callable[..., Any]:
            output = self._outputs[module]

            def forward(*args: Any, **kwargs: Any) -> Any:
                rest = {name: value for name, value in kwargs.items() if name != "hidden_states"}
                calls.append(_Call(args[1:], rest))
                return with_first_tensor(output, hidden_states(args, kwargs))

            return forward

        with contextlib.ExitStack() as stack, torch.no_grad():
            for module in self._layers:
                stack.enter_context(_replaced_forward(module, idle(module)))
            ids = self.ids[None, start:stop].expand(batch, -1)
            self._decode(ids, _Past(start) if cached else None)
        return calls

    def _record(self) -> None:
        """The clean pass: every residual, every layer's keys and values."""
        count = len(self._layers)
        before: list[Any] = [None] * count
        after: list[Any] = [None] * count
        self._outputs: dict[nn.Module, Any] = {}

        def keep(index: int) -> Callable[..., None]:
            def hook(
                module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
            ) -> None:
                before[index] = hidden_states(args, kwargs)[0].clone()
                after[index] = first_tensor(output)[0]
                self._outputs[module] = _emptied(output)
                self._checkpoint()

            return hook

        handles = [
            layer.register_forward_hook(keep(index), with_kwargs=True)
            for index, layer in enumerate(self._layers)
        ]
        cache = DynamicCache()
        try:
            with torch.no_grad():
                try:
                    self._decode(self.ids[None], cache)
                except (AttributeError, IndexError, TypeError, ValueError):
                    # Layers that keep a state of another kind have no place in a plain cache,
                    # and each says so in its own way.
                    cache = DynamicCache()
                    self._decode(self.ids[None], None)
        finally:
            for handle in handles:
                handle.remove()
        self.residual = [*before, after[-1]]
        self.evaluations += count * self.n_tokens
        self._keys_values = [
            _held(cache.layers[index]) if index < len(cache.layers) else None
            for index in range(count)
        ]

    def _decode(self, ids: Tensor, cache: DynamicCache | None) -> None:
        """Run `ids` `[batch, tokens]` through the decoder, whose cache argument has two names."""
        model = decoder(self._model)
        names = inspect.signature(model.forward).parameters
        name = "cache" if "cache" in names else "past_key_values"
        if name not in names and cache is not None:
            raise IndexError("this decoder takes no cache")
        model(
            input_ids=ids, use_cache=cache is not None, **({} if cache is None else {name: cache})
        )

    def _resumes(self) -> bool:
        if self.n_tokens < 2 or any(value is None for value in self._keys_values):
            return False
        start = self.n_tokens // 2
        try:
            with torch.no_grad():
                for layer in range(self.n_layers):
                    past = tuple(value[:, :, :start] for value in self.keys_values(layer))
                    rows = self.residual[layer][None, start:].expand(2, -1, -1)
                    output = self.run_layer(layer, rows, start, past)  # type: ignore[arg-type]
                    self.evaluations -= 2 * (self.n_tokens - start)
                    if not _close(output[1], self.residual[layer + 1][start:]):
                        return False
        except (
            RuntimeError,
            TypeError,
            ValueError,
            AttributeError,
            IndexError,
            DepthError,
        ) as error:
            if is_out_of_memory(error):
                raise
            # The architecture keeps another kind of state: whole prompts are run instead.
            return False
        return True


class _Fitted:
    """Arguments observed for a batch of one, made to fit another batch."""

    def __init__(self, batch: int, cache: _Past | None) -> None:
        self._batch = batch
        self._cache = cache

    def all(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(self.one(value) for value in values)

    def one(self, value: Any) -> Any:
        if isinstance(value, _PastHere):
            return self._cache
        if isinstance(value, _PerBatch):
            if value.repeats:
                return value.tensor.repeat(self._batch, *[1] * (value.tensor.dim() - 1))
            return value.tensor.expand(self._batch, *value.tensor.shape[1:])
        if isinstance(value, tuple):
            return self.all(value)
        return value


class _PastHere:
    """Stands for the cache in observed arguments."""


@dataclass(frozen=True)
class _PerBatch:
    """A tensor whose first dimension grows with the batch, as observed for a batch of one.

    With `repeats`, its rows come again for every member (BLOOM's position biases).
    """

    tensor: Tensor
    repeats: bool


def _generalise(one: _Call, two: _Call) -> _Call:
    """See which arguments depend on the batch, from a batch of one and one of two."""
    return _Call(
        tuple(_depends(a, b) for a, b in zip(one.args, two.args, strict=True)),
        {name: _depends(value, two.kwargs[name]) for name, value in one.kwargs.items()},
    )


def _depends(one: Any, two: Any) -> Any:
    if isinstance(one, _Past):
        return _PastHere()
    if isinstance(one, tuple):
        return tuple(_depends(a, b) for a, b in zip(one, two, strict=True))
    if isinstance(one, Tensor) and isinstance(two, Tensor) and one.shape != two.shape:
        return _PerBatch(one, repeats=one.shape[0] != 1)
    return one


def _emptied(output: Any) -> Any:
    """What a layer returns, a tensor or a tuple that begins with one, without its values."""
    return type(output)([None] * len(output)) if isinstance(output, tuple | list) else None


@contextlib.contextmanager
def _replaced_forward(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Give a module another `forward` for a while."""
    held = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if held is not None:
            module.forward = held


def _held(layer: Any) -> KeysValues | None:
    keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
    return (keys, values) if isinstance(keys, Tensor) and isinstance(values, Tensor) else None


def _close(some: Tensor, others: Tensor) -> bool:
    epsilon = torch.finfo(some.dtype).eps
    size = others.float().abs().max()
    return bool((some.float() - others.float()).abs().max() <= 64 * epsilon * size)
