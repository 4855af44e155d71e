"""The arguments of layers beside the residual stream: masks, positions, rotary tables.

They are observed once for a whole prompt by layers that do nothing, and cut to the tokens that run.
Those tokens keep their places in the same prompt, so arguments that depend on its length are right.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from depthtui.errors import DepthError
from depthtui.tracing.modules import as_called, replaced, unhooked


@dataclass(frozen=True)
class LayerArguments:
    """The arguments of one layer's call.

    Attributes:
        args, kwargs: all arguments but the hidden states.
        states: its hidden states, in their own shape.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    states: Tensor | None = None


class _LastCallReached(Exception):
    """Ends a pass at the last call that is needed."""


@dataclass(frozen=True)
class AllTokens:
    """Stands for a choice of all tokens, which a layer passes to later ones.

    In sparse attention, one layer chooses for several the tokens that are attended to.
    """

    dtype: torch.dtype
    device: torch.device

    def of(self, batch: int, start: int, stop: int) -> Tensor:
        """The choice for tokens `start` … `stop - 1`: all tokens up to `stop - 1`."""
        tokens = torch.arange(stop, dtype=self.dtype, device=self.device)
        return tokens.expand(batch, stop - start, stop)


def empty_output(output: Any, n_tokens: int) -> Any:
    """A layer's output for a whole prompt, without the values.

    Raises:
        DepthError: it chose some of the tokens for other layers.
    """
    if not isinstance(output, tuple | list):
        return None
    return type(output)([None, *(_without_values(value, n_tokens) for value in output[1:])])


def _without_values(value: Any, n_tokens: int) -> AllTokens | None:
    if not isinstance(value, Tensor) or value.dtype not in (torch.int32, torch.int64):
        return None
    if value.dim() != 3 or value.shape[:2] != (1, n_tokens):
        return None
    if value.shape[2] < n_tokens:
        raise DepthError(
            f"its layers choose the {value.shape[2]} tokens that others read, of {n_tokens}"
        )
    return AllTokens(value.dtype, value.device)


def idle_calls(
    blocks: Sequence[nn.Module],
    outputs: Sequence[Any],
    start: int,
    run: Callable[[], object],
    states_after: Mapping[int, Tensor] = MappingProxyType({}),
    until: int | None = None,
) -> list[LayerArguments]:
    """The arguments of each call in a pass whose blocks only pass their input on.

    Args:
        blocks: the modules.
        outputs: the output of each call for the whole prompt, from `empty_output`.
        start: index of the first token.
        run: runs the decoder.
        states_after: the states `[batch, tokens, d]` that some calls pass on in place of their
            input.
        until: the last call that is needed; None for all.
    """
    calls: list[LayerArguments] = []
    with_gradients = torch.is_grad_enabled()

    def forward(*args: Any, **kwargs: Any) -> Any:
        number = len(calls)
        states, output = as_called(args, kwargs), outputs[number]
        other_arguments = {name: value for name, value in kwargs.items() if name != "hidden_states"}
        calls.append(LayerArguments(args[1:], other_arguments, states))
        if with_gradients and not torch.is_grad_enabled():
            raise DepthError("The model's own code takes no gradients in some of its passes.")
        if number == until:
            raise _LastCallReached
        states = states_after.get(number, states)
        if output is None:
            return states
        batch, stop = len(states), start + states.shape[1]
        beside = (
            value.of(batch, start, stop) if isinstance(value, AllTokens) else None
            for value in output[1:]
        )
        return type(output)([states, *beside])

    with contextlib.ExitStack() as stack:
        for block in dict.fromkeys(blocks):
            # Hooks of a suspended pass would take these calls for its own layers.
            stack.enter_context(unhooked(block))
            stack.enter_context(replaced(block, forward))
        with contextlib.suppress(_LastCallReached):
            run()
    return calls


@dataclass(frozen=True)
class Span:
    """Tokens `start` … `stop - 1` of a batch, for which observed arguments are cut."""

    batch: int
    start: int
    stop: int
    cache: Cache | None

    def cut_all(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(self.cut(value) for value in values)

    def cut(self, value: Any) -> Any:
        if isinstance(value, CachePlaceholder):
            return self.cache
        if isinstance(value, TokenTensor):
            return value.cut(self)
        if isinstance(value, tuple):
            return self.cut_all(value)
        if type(value) is dict:
            # A new dict for each call, since layers may put something into it.
            return {name: self.cut(part) for name, part in value.items()}
        return value


class CachePlaceholder:
    """Stands for the cache in observed arguments."""


@dataclass(frozen=True)
class TokenTensor:
    """A tensor made for the tokens from `first` on, for a batch of one.

    Attributes:
        queries, keys: the axes over the tokens that run, and over all tokens up to the last.
        batch: the axis that grows with the batch, or None. Where its length is not one, its
            rows repeat for every member (BLOOM's position biases).
    """

    tensor: Tensor
    first: int
    queries: tuple[int, ...]
    keys: tuple[int, ...]
    batch: int | None

    def cut(self, span: Span) -> Tensor:
        """Cut the tensor to a span."""
        part = self.tensor
        for axis in self.queries:
            part = part.narrow(axis, span.start - self.first, span.stop - span.start)
        for axis in self.keys:
            part = part.narrow(axis, 0, span.stop)
        if self.batch is None:
            return part
        sizes = [1] * part.dim()
        sizes[self.batch] = span.batch
        if part.shape[self.batch] != 1:
            return part.repeat(sizes)
        return part.expand([-1 if size == 1 else size for size in sizes])


@dataclass(frozen=True)
class Axes:
    """Finds the axes of arguments by observing them twice.

    Attributes:
        first: index of the first token.
        stop: end of the tokens of the first observation, a batch of one.
        second_stop: end of the tokens of the second one, a batch of two.
    """

    first: int
    stop: int
    second_stop: int

    def of_call(self, first: LayerArguments, second: LayerArguments) -> LayerArguments:
        return LayerArguments(
            tuple(self.of(a, b) for a, b in zip(first.args, second.args, strict=True)),
            {name: self.of(value, second.kwargs[name]) for name, value in first.kwargs.items()},
        )

    def of(self, first: Any, second: Any) -> Any:
        """An observed argument in a form that can be cut to a span.

        Raises:
            DepthError: it depends on the tokens in another way than by a tensor's axes.
        """
        if isinstance(first, Cache):
            return CachePlaceholder()
        if isinstance(first, tuple):
            return tuple(self.of(a, b) for a, b in zip(first, second, strict=True))
        if type(first) is dict:
            return {name: self.of(value, second[name]) for name, value in first.items()}
        if isinstance(first, Tensor):
            return self._of_tensor(first, second if isinstance(second, Tensor) else None)
        if isinstance(first, int | float) and first != second:
            raise _cannot_cut()
        return first

    def _of_tensor(self, first: Tensor, second: Tensor | None) -> Any:
        second_shape = self._guess(first.shape) if second is None else tuple(second.shape)
        queries: list[int] = []
        keys: list[int] = []
        batch: int | None = None
        for axis, (length, second_length) in enumerate(zip(first.shape, second_shape, strict=True)):
            if length == second_length:
                continue
            if (length, second_length) == self._queries:
                queries.append(axis)
            elif (length, second_length) == self._keys:
                keys.append(axis)
            elif second_length == 2 * length and batch is None:
                batch = axis
            else:
                raise _cannot_cut()
        if batch is None and not queries and not keys:
            return first
        return TokenTensor(first, self.first, tuple(queries), tuple(keys), batch)

    @property
    def _queries(self) -> tuple[int, int]:
        return self.stop - self.first, self.second_stop - self.first

    @property
    def _keys(self) -> tuple[int, int]:
        return self.stop, self.second_stop

    def _guess(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that a mask would have had for the shorter prompt, which got none."""
        second_lengths = dict([self._keys, self._queries])
        return tuple(
            2 if axis == 0 and length == 1 else second_lengths.get(length, length)
            for axis, length in enumerate(shape)
        )


def _cannot_cut() -> DepthError:
    return DepthError(
        "What the model hands to its layers follows the prompt's length in a way that depthtui "
        "cannot follow.",
        "Metrics that run layers again are unavailable for this architecture.",
    )
