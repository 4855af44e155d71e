"""Blocks of layers that run twice in one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TypeAlias

from torch import nn
from torch.utils.hooks import RemovableHandle

from depthtui.data.run_settings import Repeated
from depthtui.models.devices import execution_device
from depthtui.tracing.modules import first_tensor, with_hidden_states

Guard: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Wraps a hook; the result is registered."""


class Twice:
    """Runs blocks of layers once more when their last one has run.

    In the second pass each layer gets its first arguments with the current residual. No keys and
    values are kept between, so that the second pass attends to its own.

    Args:
        layers: the model's layers.
        repeated: the blocks; none overlap.
    """

    def __init__(self, layers: Sequence[nn.Module], repeated: Collection[Repeated]) -> None:
        self._blocks = [_Block(layers[block.first : block.last + 1]) for block in repeated]
        self._of_layer = {
            layer: block
            for block, place in zip(self._blocks, repeated, strict=True)
            for layer in place.layers
        }

    def is_first_pass(self, layer: int) -> bool:
        """Whether a layer that runs now will run again."""
        block = self._of_layer.get(layer)
        return block is not None and not block.is_again

    def hooks(self, guarded: Guard = lambda hook: hook) -> Iterator[RemovableHandle]:
        """Register the hooks, after any that change a layer's output.

        Args:
            guarded: wraps each hook before it is registered.
        """
        for block in self._blocks:
            yield from block.hooks(guarded)


class _Block:
    """One block that runs twice.

    Attributes:
        is_again: whether its second pass is running.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._layers = layers
        self._calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.is_again = False

    def hooks(self, guarded: Guard) -> Iterator[RemovableHandle]:
        for layer in self._layers:
            yield layer.register_forward_pre_hook(guarded(self._note), with_kwargs=True)
        yield self._layers[-1].register_forward_hook(guarded(self._run_again))

    def _note(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self.is_again:
            self._calls.append((args, kwargs))

    def _run_again(self, _module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        if self.is_again:
            return None
        calls, self._calls, self.is_again = self._calls, [], True
        try:
            for layer, (args, kwargs) in zip(self._layers, calls, strict=True):
                hidden = first_tensor(output).to(execution_device(layer))
                args, kwargs = with_hidden_states(args, kwargs, hidden)
                output = layer(*args, **kwargs)
        finally:
            self.is_again = False
        return output
