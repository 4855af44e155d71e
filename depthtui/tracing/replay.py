"""Runs from a residual at layer l to the end, batched: the basis of every intervention.

A clean pass is recorded once. After that any batch of residuals can be sent
through any layer, whole prompts or only their last tokens: the keys and values
of the tokens before come from the recording, or from another replayed run.
Nothing below an intervention is computed twice, nor any token before it.

The layers' other arguments are observed once for the whole prompt (see `layer_arguments.py`).
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from depthtui.errors import DepthError
from depthtui.models.devices import execution_device
from depthtui.models.out_of_memory import is_out_of_memory
from depthtui.tracing.anatomy import Anatomy
from depthtui.tracing.batching import at_once, slices
from depthtui.tracing.layer_arguments import (
    Axes,
    LayerArguments,
    Span,
    empty_output,
    idle_calls,
)
from depthtui.tracing.loops import of_call
from depthtui.tracing.modules import as_called, decoder, first_tensor, hidden_states, hooks
from depthtui.tracing.rounding import coarsest_dtype, layer_agrees

_NO_CACHE = (AttributeError, IndexError, TypeError, ValueError)
"""Errors raised by layers whose state has no place in a plain cache."""

KeysValues = tuple[Tensor, Tensor]
"""Keys and values of one layer, each `[batch, heads, tokens, width]`."""


class _LayerEnded(Exception):
    """Ends a layer that has put its keys and values into the cache."""


class LayerOutput(Exception):
    """Ends a layer with an output `[batch, tokens, d]`, raised by a hook on one of its modules."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


class _PastCache(DynamicCache):
    """Stands for the tokens before: `length` of them, whose keys and values come from `past`.

    The keys and values that a layer adds go into `added`, and never into the past. With `stops`
    the layer ends there, before its attention.
    """

    def __init__(self, length: int, past: KeysValues | None = None, stops: bool = False) -> None:
        super().__init__()
        self._length = length
        self._past = past
        self._stops = stops
        self.added: KeysValues | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any
    ) -> KeysValues:
        self.added = key_states, value_states
        if self._stops:
            raise _LayerEnded
        if self._past is None or self._length == 0:
            return key_states, value_states
        batch = len(key_states)
        keys, values = (tensor.expand(batch, -1, -1, -1) for tensor in self._past)
        return torch.cat([keys, key_states], dim=-2), torch.cat([values, value_states], dim=-2)

    def get_seq_length(self, *_args: Any, **_kwargs: Any) -> int:
        return self._length

    def get_query_offset(self, *_args: Any, **_kwargs: Any) -> int:
        return self._length

    def get_mask_sizes(self, query_length: int, *_args: Any, **_kwargs: Any) -> tuple[int, int]:
        return self._length + query_length, 0


class _RecordingCache(DynamicCache):
    """The cache of the clean pass.

    Attributes:
        place: the index of the running layer's keys and values: looped blocks have separate
            places for each pass, in any order. None before the layer has added any.
    """

    place: int | None = None

    def update(
        self,
        key_states: Tensor,
        value_states: Tensor,
        layer_idx: int,
        *args: Any,
        **kwargs: Any,
    ) -> KeysValues:
        if self.place is None:
            self.place = layer_idx
        keys_values: KeysValues = super().update(
            key_states, value_states, layer_idx, *args, **kwargs
        )
        return keys_values


@dataclass(eq=False)
class Replay:
    """One prompt's clean pass, and any number of changed ones from its middle.

    Attributes:
        model, anatomy: the model.
        ids: `[T]` token ids.
        checkpoint: called before every layer; raising there ends the work.
        tokens_at_once: most tokens that go through a layer in one batch; a longer prompt
            still runs whole.
        residual: the residual stream h_0 … h_L, each `[T, d]`.
        states: the states that later layers read at depths 0 … L, each `[T, D]`: mostly the stream.
        whole_only: a token's values depend on all others of the same call, so that layers
            repeat the clean pass only where whole prompts run alone.
        evaluations: how many (token, layer) pairs have been computed, the clean pass included.
        projections: for how many pairs only the keys and values were computed.
    """

    model: nn.Module
    anatomy: Anatomy
    ids: Tensor
    checkpoint: Callable[[], None] = lambda: None
    tokens_at_once: int = 4096
    _calls: dict[tuple[int, bool], list[LayerArguments]] = field(default_factory=dict, init=False)
    _outputs: list[Any] = field(default_factory=list, init=False)
    _stream_shape: tuple[int, ...] = field(default=(), init=False)
    _keys_values: list[KeysValues | None] = field(default_factory=list, init=False)
    _can_resume: bool | None = field(default=None, init=False)
    residual: list[Tensor] = field(default_factory=list, init=False)
    states: list[Tensor] = field(default_factory=list, init=False)
    evaluations: int = field(default=0, init=False)
    projections: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._layers = self.anatomy.layers
        self._problem = self.anatomy.replay_missing
        self._between = self.anatomy.between
        self._carried = self.anatomy.carried
        self.whole_only = mixes_tokens(self._layers)
        self._record()

    @property
    def layers(self) -> tuple[nn.Module, ...]:
        """The model's blocks, in the order in which they run."""
        return self._layers

    def modules_of(self, layer: int) -> tuple[nn.Module, ...]:
        """The modules that `run_layer` calls: the block, in some models also those before it."""
        between = () if self._carried is None else self._carried.between
        return (self._layers[layer], *between)

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
        recorded keys and values of the first, must give the same output again.
        """
        if self._can_resume is None:
            self._can_resume = self._resumes()
            if not self._can_resume:
                self._keys_values = [None] * self.n_layers
        return self._can_resume

    def serves(self, replay: Replay) -> bool:
        """Whether another text's residuals can be sent through the layers in this one's batches.

        Checked by arithmetic: the residuals of its clean pass must come out the same. They differ
        where layers read the text itself, beside the residual.
        """
        if replay is self:
            return True
        if self.whole_only or replay.n_tokens != self.n_tokens:
            return False
        evaluations = self.evaluations
        try:
            with torch.no_grad():
                return all(self._layer_serves(layer, replay) for layer in range(self.n_layers))
        finally:
            self.evaluations = evaluations

    def shares(self, others: Sequence[Replay], first: int) -> bool:
        """Whether other texts, no longer than this one, can be run behind its first tokens.

        Checked by arithmetic: each layer must give the same output as in the text's own pass.

        Args:
            others: the clean passes of texts that begin with the same tokens.
            first: the number of these tokens.
        """
        if first < 1 or self._carried is not None or not self._keeps_keys_values():
            return False
        return self._all_layers(lambda layer: self._layer_shares(layer, others, first))

    def end_for(self, stop: int) -> int:
        """The number of tokens that a run from token 0 needs, to give those before `stop`."""
        return self.n_tokens if self.whole_only else stop

    def keys_values(self, layer: int) -> KeysValues:
        """The clean keys and values of a layer, all tokens."""
        keys_values = self._keys_values[layer]
        assert keys_values is not None
        return keys_values

    def keys_values_before(self, layer: int, token: int) -> KeysValues:
        """Like `keys_values`, of the tokens before one."""
        keys, values = self.keys_values(layer)
        return keys[:, :, :token], values[:, :, :token]

    def run_layer(
        self,
        layer: int,
        states: Tensor,
        start: int = 0,
        past: KeysValues | None = None,
    ) -> Tensor:
        """Send states through one layer, in parts that fit the memory.

        Args:
            layer: the layer's index.
            states: `[batch, tokens, D]`, of the tokens from `start` on.
            start: index of the first token.
            past: keys and values of the tokens before `start`; `[1, …]` or `[batch, …]`.

        Returns:
            the states after it, same shape.
        """
        most = 1 if self.whole_only else self.tokens_at_once
        size = at_once(len(states), most, states.shape[1])
        if len(states) <= size:
            return self._run(layer, states, start, past)[0]
        parts = []
        for rows in slices(len(states), size):
            rows_past = (
                past if past is None or len(past[0]) == 1 else (past[0][rows], past[1][rows])
            )
            parts.append(self._run(layer, states[rows], start, rows_past)[0])
        return torch.cat(parts)

    def run_layer_recording(self, layer: int, states: Tensor) -> tuple[Tensor, KeysValues]:
        """Like `run_layer` from the first token on; returns the computed keys and values too."""
        output, cache = self._run(layer, states, 0, None, recording=True)
        assert cache is not None
        assert cache.added is not None
        return output, cache.added

    def prepare_span(self, start: int) -> None:
        """Prepare `run_span` from this token on, so that it runs nothing but the layer.

        In a model that carries states, `run_span` still runs idle layers first.
        """
        if self._carried is not None:
            return
        if self.can_resume:
            self._call(0, start, cached=True)
        else:
            self._call(0, 0, cached=False)
            with contextlib.suppress(*_NO_CACHE):
                self._call(0, 0, cached=True)

    def run_span(self, layer: int, start: int, stop: int) -> tuple[Tensor, KeysValues | None]:
        """Run some tokens of the clean pass through a layer again, for hooks.

        They run by themselves behind the recorded keys and values, or within the whole prompt where
        tokens cannot be run behind others.

        Returns:
            the residuals after the layer, `[stop - start, d]`, and the keys and values of all
            tokens up to `stop` at least, None where the layer has none.
        """
        states = self.states[layer]
        if self.can_resume:
            past = self.keys_values_before(layer, start)
            output, cache = self._run(layer, states[None, start:stop], start, past)
            assert cache is not None
            return self.stream(output[0]), _join(past, cache.added)
        cache = _PastCache(0)
        try:
            output = self._call_layer(layer, states[None], 0, cache)
        except _NO_CACHE:
            cache, output = _PastCache(0), self._call_layer(layer, states[None], 0, None)
        return self.stream(output[0, start:stop]), cache.added

    def run_on(self, layer: int, token: int, rows: Tensor) -> Tensor:
        """Send changed residuals of one token from a layer to the last depth.

        Args:
            layer: the first layer that runs; L for none.
            token: index of the token; those before it are as in the clean pass.
            rows: `[batch, d]`, each a residual of the token before that layer.

        Returns:
            the token's last states, `[batch, D]`.
        """
        width, clean = rows.shape[-1], self.states[layer]
        if self.can_resume:
            beside = clean[token, width:].expand(len(rows), -1)
            states = torch.cat([rows.to(clean.device), beside], dim=-1)[:, None]
            for number in range(layer, self.n_layers):
                past = self.keys_values_before(number, token)
                states = self.run_layer(number, states, token, past)
            return states[:, 0]
        stop = self.end_for(token + 1)
        states = clean[None, :stop].expand(len(rows), -1, -1).clone()
        states[:, token, :width] = rows.to(states.device)
        for number in range(layer, self.n_layers):
            states = self.run_layer(number, states)
        return states[:, token]

    def keys_values_of(self, layer: int, states: Tensor) -> KeysValues:
        """The keys and values that a layer computes from states, without the rest of the layer.

        Only where tokens can be run behind others (see `can_resume`).

        Args:
            layer: the layer's index.
            states: `[batch, tokens, D]`, of the tokens from the first on.
        """
        size = at_once(len(states), self.tokens_at_once, states.shape[1])
        parts = [self._keys_values_of(layer, states[rows]) for rows in slices(len(states), size)]
        keys, values = zip(*parts, strict=True)
        return torch.cat(keys), torch.cat(values)

    def _keys_values_of(self, layer: int, states: Tensor) -> KeysValues:
        cache = _PastCache(0, stops=True)
        evaluations = self.evaluations
        with contextlib.suppress(_LayerEnded):
            self._call_layer(layer, states, 0, cache)
        self.projections += self.evaluations - evaluations
        self.evaluations = evaluations
        assert cache.added is not None
        return cache.added

    def stream(self, states: Tensor) -> Tensor:
        """The residual stream `[..., d]` of states `[..., D]`."""
        return states if self._carried is None else states[..., : self._carried.width]

    def layer_input(self, layer: int, states: Tensor, start: int = 0) -> Tensor:
        """The input of a layer, `[..., tokens, d]`, from the states `[..., tokens, D]` before it.

        The stream itself in most models; some normalise it before they run blocks again, some add
        earlier states.

        Args:
            layer: the layer's index.
            states: the states of the tokens from `start` on.
            start: index of the first token.
        """
        if self._carried is not None:
            if layer not in self._between:
                return self.stream(states)
            rows = states.reshape(-1, *states.shape[-2:])
            layer_input = self._observed_call(layer, rows, start, None).states
            assert layer_input is not None
            return layer_input.reshape(*states.shape[:-1], -1)
        for module in self._between.get(layer, ()):
            states = module(states.to(execution_device(module)))
        return states

    def next_states(self, layer: int, states: Tensor, stream: Tensor) -> Tensor:
        """The states after a layer, from those before it and the stream `[..., d]` after it."""
        if self._carried is None:
            return stream
        return self._carried.next_state(layer, states, stream)

    def input_of(self, layer: int) -> Tensor:
        """The input of a layer in the clean pass, `[T, d]`."""
        return self.layer_input(layer, self.states[layer])

    def last_states(self, ids: Tensor) -> Tensor:
        """The last states `[tokens, D]` of other tokens `[tokens]`, in a separate pass."""
        if self._carried is not None:
            replay = Replay(self.model, self.anatomy, ids, self.checkpoint)
            self.evaluations += replay.evaluations
            return replay.states[-1]
        outputs: list[Tensor] = []

        def keep(_module: nn.Module, _args: object, output: Any) -> None:
            outputs.append(first_tensor(output)[0])

        self.checkpoint()
        last = of_call(self._layers, self.n_layers - 1, keep)
        with hooks() as handles, torch.no_grad():
            handles.append(self._layers[-1].register_forward_hook(last))
            self._decode(ids[None], None)
        self.evaluations += self.n_layers * len(ids)
        return outputs[0]

    def _run(
        self,
        layer: int,
        states: Tensor,
        start: int,
        past: KeysValues | None,
        recording: bool = False,
    ) -> tuple[Tensor, _PastCache | None]:
        cache = _PastCache(start, past) if recording or past is not None else None
        return self._call_layer(layer, states, start, cache), cache

    def _call_layer(
        self, layer: int, states: Tensor, start: int, cache: _PastCache | None
    ) -> Tensor:
        self.checkpoint()
        batch, tokens, _ = states.shape
        self.evaluations += batch * tokens
        if self._problem:
            raise DepthError(f"No layer can be run by itself: {self._problem}.")
        if self._carried is not None:
            call = self._observed_call(layer, states, start, cache)
            output = _output_of(self._layers[layer], call.states, *call.args, **call.kwargs)
            return self._carried.next_state(layer, states, output)
        call = self._call(layer, start, cache is not None)
        span = Span(batch, start, start + tokens, cache)
        module = self._layers[layer]
        layer_input = self.layer_input(layer, states).to(execution_device(module))
        return _output_of(
            module,
            # Contiguous, as it leaves a layer: GPT's own product views its input.
            layer_input.reshape(batch, tokens, *self._stream_shape).contiguous(),
            *span.cut_all(call.args),
            **{name: span.cut(value) for name, value in call.kwargs.items()},
        )

    def _observed_call(
        self, layer: int, states: Tensor, start: int, cache: _PastCache | None
    ) -> LayerArguments:
        """The arguments with which the model's own code calls a layer for given states."""
        assert self._carried is not None
        streams = self._carried.streams(layer, states)
        batch, tokens, _ = states.shape
        ids = self.ids[None, start : start + tokens].expand(batch, -1)
        with torch.set_grad_enabled(states.requires_grad):
            calls = self._carried.calls(
                streams,
                self._layers,
                self._outputs,
                start,
                lambda: self._decode(ids, cache),
                until=layer,
            )
        return replace(calls[-1], states=streams[0]) if layer == 0 else calls[-1]

    def _call(self, layer: int, start: int, cached: bool) -> LayerArguments:
        # Tokens behind others need a mask where a whole prompt needs none.
        key = (min(start, 1), cached)
        if key not in self._calls:
            self._calls[key] = self._observe(*key)
        return self._calls[key][layer]

    def _observe(self, first: int, cached: bool) -> list[LayerArguments]:
        """The arguments of layers for the tokens from `first` on.

        They are observed again with two rows of one token less: the changes reveal the axes of
        the batch and of the tokens.
        """
        second_stop = max(first + 1, self.n_tokens - 1)
        first_calls = self._observe_batch(first, self.n_tokens, cached, 1)
        second_calls = self._observe_batch(first, second_stop, cached, 2)
        axes = Axes(first, self.n_tokens, second_stop)
        return [axes.of_call(*pair) for pair in zip(first_calls, second_calls, strict=True)]

    def _observe_batch(
        self, start: int, stop: int, cached: bool, batch: int
    ) -> list[LayerArguments]:
        ids = self.ids[None, start:stop].expand(batch, -1)
        cache = _PastCache(start) if cached else None
        with torch.no_grad():
            return idle_calls(self._layers, self._outputs, start, lambda: self._decode(ids, cache))

    def _record(self) -> None:
        """Record the clean pass: every residual, every layer's keys and values."""
        # Where no layer is run again, keys and values are not needed.
        try:
            self._record_with(None if self._problem else _RecordingCache())
        except _NO_CACHE:
            self._record_with(None)
        self.evaluations += self.n_layers * self.n_tokens

    def _record_with(self, cache: _RecordingCache | None) -> None:
        count = self.n_layers
        places: list[int | None] = [None] * count
        residual: list[Any] = [None] * (count + 1)
        self._outputs = [None] * count

        def keep(index: int) -> Callable[..., None]:
            def hook(
                _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
            ) -> None:
                if index not in self._between:
                    residual[index] = hidden_states(args, kwargs)[0].clone()
                if index + 1 in self._between:
                    residual[index + 1] = first_tensor(output)[0].clone()
                elif index == count - 1:
                    residual[count] = first_tensor(output)[0]
                self._stream_shape = tuple(as_called(args, kwargs).shape[2:])
                self._outputs[index] = self._empty_output(output)
                if cache is not None:
                    places[index], cache.place = cache.place, None
                self.checkpoint()

            return of_call(self._layers, index, hook)

        with hooks() as handles, torch.no_grad():
            handles.extend(
                layer.register_forward_hook(keep(index), with_kwargs=True)
                for index, layer in enumerate(self._layers)
            )
            self._decode(self.ids[None], cache)
        self._keys_values = [
            None if cache is None or place is None else _keys_values_in(cache.layers[place])
            for place in places
        ]
        self.residual = residual
        self.states = [
            self.anatomy.state(depth, residual.__getitem__) for depth in range(count + 1)
        ]

    def _empty_output(self, output: Any) -> Any:
        try:
            return empty_output(output, self.n_tokens)
        except DepthError as error:
            self._problem = error.message
            return None

    def _decode(self, ids: Tensor, cache: DynamicCache | None) -> None:
        """Run `ids` `[batch, tokens]` through the decoder; the cache has one of two names there."""
        model = decoder(self.model)
        names = inspect.signature(model.forward).parameters
        name = "cache" if "cache" in names else "past_key_values"
        if name not in names and cache is not None:
            raise IndexError("this decoder takes no cache")
        model(
            input_ids=ids, use_cache=cache is not None, **({} if cache is None else {name: cache})
        )

    def _resumes(self) -> bool:
        if self.n_tokens < 2 or not self._keeps_keys_values():
            return False
        return self._all_layers(self._layer_resumes)

    def _keeps_keys_values(self) -> bool:
        """Whether tokens are independent of others in a call, and all keys and values are known."""
        return not self.whole_only and all(value is not None for value in self._keys_values)

    def _all_layers(self, agrees: Callable[[int], bool]) -> bool:
        """Whether a check that runs layers succeeds for all of them; its work is not counted."""
        evaluations = self.evaluations
        try:
            with torch.no_grad():
                return all(agrees(layer) for layer in range(self.n_layers))
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
            # The architecture has another kind of state: whole prompts are run instead.
            return False
        finally:
            self.evaluations = evaluations

    def _layer_shares(self, layer: int, others: Sequence[Replay], first: int) -> bool:
        before, after = self.states[layer], self.states[layer + 1]
        dtype = coarsest_dtype(self._layers[layer], before, after)
        output, past = self.run_layer_recording(layer, before[None, :first])
        if not layer_agrees(output[0], before[:first], after[:first], dtype):
            return False
        for other in others:
            before, after = other.states[layer][first:], other.states[layer + 1][first:]
            if len(before) and not layer_agrees(
                self.run_layer(layer, before[None], first, past)[0], before, after, dtype
            ):
                return False
        return True

    def _layer_serves(self, layer: int, replay: Replay) -> bool:
        before, after = replay.states[layer], replay.states[layer + 1]
        dtype = coarsest_dtype(self._layers[layer], before, after)
        return layer_agrees(self.run_layer(layer, before[None])[0], before, after, dtype)

    def _layer_resumes(self, layer: int) -> bool:
        """Whether the first half of the tokens alone, then the second, give the same output."""
        half = self.n_tokens // 2
        before, after = self.states[layer], self.states[layer + 1]
        dtype = coarsest_dtype(self._layers[layer], before, after)
        first, _ = self.run_layer_recording(layer, before[None, :half])
        if not layer_agrees(first[0], before[:half], after[:half], dtype):
            return False
        rows = before[None, half:].expand(2, -1, -1)
        second = self.run_layer(layer, rows, half, self.keys_values_before(layer, half))[1]
        return layer_agrees(second, before[half:], after[half:], dtype)


def mixes_tokens(layers: Sequence[nn.Module]) -> bool:
    """Whether linear layers treat each row of a call depending on all its rows.

    LLM.int8 (arXiv 2208.07339) computes the columns in which any row has an outlier separately.
    """
    modules = (module for layer in layers for module in layer.modules())
    return any(type(module).__name__ == "Linear8bitLt" for module in modules)


def _output_of(module: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
    """A layer's hidden states `[batch, tokens, d]`, also where a hook ended it."""
    try:
        return first_tensor(module(*args, **kwargs))
    except LayerOutput as output:
        return output.states


def _join(past: KeysValues, added: KeysValues | None) -> KeysValues | None:
    """Join keys and values of the tokens before with those behind them."""
    if added is None:
        return None
    keys, values = (torch.cat(pair, dim=-2) for pair in zip(past, added, strict=True))
    return keys, values


def _keys_values_in(layer: Any) -> KeysValues | None:
    keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
    return (keys, values) if isinstance(keys, Tensor) and isinstance(values, Tensor) else None
