"""One hooked forward pass as a stream of per-layer events.

Nothing is kept here: each layer's residual and writes are passed on as the
layer ends, and freed unless the receiver keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from depthtui.data.run_settings import Repeated, Skip
from depthtui.tracing.anatomy import Anatomy, Sublayer, Tap
from depthtui.tracing.loops import of_call
from depthtui.tracing.modules import (
    decoder,
    first_tensor,
    hidden_states,
    hooks,
    with_first_tensor,
    with_hidden_states,
)
from depthtui.tracing.patches import PatchedRows, Patches
from depthtui.tracing.twice import Twice

_SUBLAYERS = ("attention", "mlp")


@dataclass(frozen=True)
class LayerActivations:
    """The input and the writes of one layer, each `[T, d]` in the model's dtype.

    Attributes:
        layer: its index, 0-based.
        h: the residual stream that it read.
        attention, mlp: the writes of its sublayers; None where the split is unavailable.
        h_next: the residual stream after it.
    """

    layer: int
    h: Tensor
    attention: Tensor | None
    mlp: Tensor | None
    h_next: Tensor

    def part(self, tokens: slice) -> LayerActivations:
        """The activations of some of the tokens."""
        attention, mlp = (
            None if write is None else write[tokens] for write in (self.attention, self.mlp)
        )
        return LayerActivations(self.layer, self.h[tokens], attention, mlp, self.h_next[tokens])


def trace(
    model: nn.Module,
    anatomy: Anatomy,
    ids: Tensor,
    on_layer: Callable[[LayerActivations], None],
    checkpoint: Callable[[], None] = lambda: None,
    skipped: Collection[Skip] = (),
    repeated: Collection[Repeated] = (),
    patches: Patches = MappingProxyType({}),
) -> None:
    """Run `ids` `[T]` through the blocks, calling `on_layer` after each of them.

    The LM head is not run. Calls of the model by `on_layer` itself are not traced.

    Args:
        checkpoint: called before and after every sublayer; raising there ends the pass at once.
        skipped: layers and sublayers that add nothing to the residual stream.
        repeated: blocks that run twice; their second pass is passed on.
        patches: states that replace the pass's own.
    """
    twice = Twice(anatomy.layers, repeated)
    receiver = _Receiver(_last_pass(twice, on_layer))
    with torch.inference_mode(), hooks() as handles:
        for index, layer in enumerate(anatomy.layers):
            parts = {skip.part for skip in skipped if skip.layer == index}
            patched = {part: rows for (at, part), rows in patches.items() if at == index}
            probe = _LayerProbe(index, parts, patched, receiver.pass_on, checkpoint)

            def in_turn(hook: Callable[..., Any], index: int = index) -> Callable[..., Any]:
                return receiver.unless_busy(of_call(anatomy.layers, index, hook))

            handles.append(layer.register_forward_pre_hook(in_turn(probe.before), with_kwargs=True))
            handles.append(layer.register_forward_hook(in_turn(probe.after)))
            sublayers: tuple[Sublayer, ...] = ()
            if anatomy.attention:
                sublayers = anatomy.attention[index], anatomy.mlp[index]
            for place, sublayer in enumerate(sublayers):
                for tap in sublayer:
                    write = in_turn(probe.write(place, tap, tap is sublayer[0]))
                    handles.append(tap.module.register_forward_hook(write))
        handles.extend(twice.hooks(receiver.unless_busy))
        decoder(model)(input_ids=ids[None], use_cache=False)


def _last_pass(
    twice: Twice, on_layer: Callable[[LayerActivations], None]
) -> Callable[[LayerActivations], None]:
    """Wrap a function so that it is called for the last pass of a layer alone."""

    def on_pass(layer: LayerActivations) -> None:
        if not twice.is_first_pass(layer.layer):
            on_layer(layer)

    return on_pass


class _Receiver:
    """Passes layers on, and disables the hooks while their receiver runs the model itself."""

    def __init__(self, on_layer: Callable[[LayerActivations], None]) -> None:
        self._on_layer = on_layer
        self._is_busy = False

    def pass_on(self, layer: LayerActivations) -> None:
        """Pass a layer on to the receiver."""
        self._is_busy = True
        try:
            self._on_layer(layer)
        finally:
            self._is_busy = False

    def unless_busy(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a hook so that it acts in the traced pass alone."""

        def guarded(*args: Any) -> Any:
            return None if self._is_busy else hook(*args)

        return guarded


class _LayerProbe:
    """The hooks of one layer."""

    def __init__(
        self,
        index: int,
        skipped: Collection[str],
        patched: Mapping[str, PatchedRows],
        on_layer: Callable[[LayerActivations], None],
        checkpoint: Callable[[], None],
    ) -> None:
        self._index = index
        self._all_silent = "layer" in skipped
        self._silent = tuple(part in skipped for part in _SUBLAYERS)
        self._patched = patched
        self._on_layer = on_layer
        self._checkpoint = checkpoint
        self._h: Tensor | None = None
        self._writes: list[Tensor | None] = [None, None]

    def before(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._checkpoint()
        self._h = hidden_states(args, kwargs)
        if "layer" not in self._patched:
            return None
        self._h = self._patched["layer"].put_into(self._h)
        return with_hidden_states(args, kwargs, self._h)

    def write(self, place: int, tap: Tap, is_first: bool) -> Callable[..., Any]:
        """The hook of one of the modules that write a sublayer; the first writes the patch."""
        rows = self._patched.get(_SUBLAYERS[place])
        if rows is not None and not is_first:
            rows = rows.nothing()

        def hook(_module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            self._checkpoint()
            assert self._h is not None
            if self._silent[place] or self._all_silent:
                self._writes[place] = torch.zeros_like(self._h)
                return tap.skip(args, output)
            if rows is not None:
                output = tap.put(args, output, rows.tokens, rows.values)
            # Cloned: Falcon adds attention into the MLP's output in place afterwards.
            write, before = tap.write(args, output, self._h).clone(), self._writes[place]
            self._writes[place] = write if before is None else before + write
            return None if rows is None else output

        return hook

    def after(self, _module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        assert self._h is not None
        after = first_tensor(output)
        if self._all_silent:
            after = self._h.to(after.device)
        h_next = after[0]
        attention, mlp = (
            None if write is None else write[0].to(h_next.device) for write in self._writes
        )
        h = self._h[0].to(h_next.device)
        self._h, self._writes = None, [None, None]
        self._on_layer(LayerActivations(self._index, h, attention, mlp, h_next))
        self._checkpoint()
        return with_first_tensor(output, after) if self._all_silent else None
