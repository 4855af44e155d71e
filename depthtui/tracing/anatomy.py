"""A model taken apart: its layers, the modules that write attention and MLP, the unembedding.

A block reads `h`, its attention adds `a`, its MLP adds `m`, and the next block
reads `h_next = h + a + m`. `tracing/probe.py` finds which modules these are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from depthtui.models.devices import execution_device
from depthtui.tracing.carried import CarriedStreams
from depthtui.tracing.modules import first_tensor, with_first_tensor
from depthtui.tracing.products import raw_logits


@dataclass(frozen=True)
class Tap:
    """How to read one module's write from its call.

    Attributes:
        module: the module to hook.
        holds_residual: its output includes the residual, its second positional argument (BLOOM).
        scale: the constant that the block multiplies the output by (Granite), else 1.
    """

    module: nn.Module
    holds_residual: bool = False
    scale: float = 1.0

    def write(self, args: tuple[Any, ...], output: Any, like: Tensor) -> Tensor:
        """The module's write to the residual stream, in the shape of `like` `[1, T, d]`."""
        write: Tensor = first_tensor(output)
        if self.holds_residual:
            write = write - args[1]
        if self.scale != 1.0:
            write = write * self.scale
        return write.reshape(like.shape)

    def skip(self, args: tuple[Any, ...], output: Any) -> Any:
        """The module's output with nothing written."""
        quiet = args[1].clone() if self.holds_residual else torch.zeros_like(first_tensor(output))
        return with_first_tensor(output, quiet)

    def put(self, args: tuple[Any, ...], output: Any, tokens: Sequence[int], writes: Tensor) -> Any:
        """The module's output with other writes `[tokens, d]` at some tokens."""
        value = first_tensor(output)
        rows = value.reshape(-1, value.shape[-1]).clone()
        new_rows = writes.to(rows) / self.scale if self.scale != 1.0 else writes.to(rows)
        if self.holds_residual:
            new_rows = new_rows + args[1].reshape(rows.shape)[list(tokens)]
        rows[list(tokens)] = new_rows
        return with_first_tensor(output, rows.view_as(value))

    def silence(self) -> RemovableHandle:
        """Let the module write nothing until the handle is removed."""
        return self.module.register_forward_hook(
            lambda _module, args, output: self.skip(args, output)
        )


Sublayer = tuple[Tap, ...]
"""An attention or an MLP: the modules whose writes add up to its own.

Mostly one module; two where a block has attention and a state-space mixer side by side, or
experts and an MLP that all tokens share.
"""


@dataclass(frozen=True)
class Unembedding:
    """From the residual stream to logits: final norm, LM head, logit scale and soft-cap.

    Attributes:
        norm: the final norm N, with the modules between it and the head, and before it any that
            makes one stream of several.
        head: the LM head W.
        scale: constant factor of the logits.
        soft_cap: `c` of `c * tanh(logits / c)`, or 0.
        streams: how many residual streams the first of `norm` reads, side by side.
        width: how many elements of a state the first of `norm` reads; 0 for all.
        mixes_depths: whether `norm` reads streams of earlier depths, which the last state holds.
    """

    norm: tuple[nn.Module, ...]
    head: nn.Module
    scale: float = 1.0
    soft_cap: float = 0.0
    streams: int = 1
    width: int = 0
    mixes_depths: bool = False

    @property
    def vocab_size(self) -> int:
        """Number of logits; a quantised head's weight has another shape than it computes with."""
        head = self.head
        size = getattr(head, "out_features", None) or getattr(head, "num_embeddings", None)
        return int(size if size is not None else len(head.weight))  # type: ignore[arg-type]

    def normed(self, residual: Tensor) -> Tensor:
        """N(h), `[..., d]`, on the head's device; of a state, only the part that N reads counts."""
        if self.width:
            residual = residual[..., : self.width]
        if self.streams > 1:
            residual = self._one_stream(residual)
        for module in self.norm[1:] if self.streams > 1 else self.norm:
            residual = module(residual.to(execution_device(module)))
        weight = getattr(self.head, "weight", None)
        if isinstance(weight, Tensor) and weight.is_floating_point():
            # Mamba's stream is float32 in half precision too.
            residual = residual.to(weight.dtype)
        return residual.to(execution_device(self.head))

    def _one_stream(self, residual: Tensor) -> Tensor:
        """Make one stream `[..., d]` of the model's streams `[..., streams * d]`."""
        collapse = self.norm[0]
        rows = residual.reshape(1, -1, self.streams, residual.shape[-1] // self.streams)
        single: Tensor = collapse(rows.to(execution_device(collapse)))
        return single.reshape(*residual.shape[:-1], -1)

    def finish(self, logits: Tensor) -> Tensor:
        """Apply logit scale and soft-cap to the head's raw output, in place where it is float32."""
        logits = logits.float()
        if self.scale != 1.0:
            logits.mul_(self.scale)
        if self.soft_cap:
            logits.div_(self.soft_cap).tanh_()
            # tanh computes its gradient from its output, which must not change.
            logits = logits * self.soft_cap if logits.requires_grad else logits.mul_(self.soft_cap)
        return logits

    def logits(self, residual: Tensor) -> Tensor:
        """W N(h) as the model computes it, float32 `[..., V]`."""
        return self.finish(raw_logits(self.head, self.normed(residual)))


@dataclass(frozen=True)
class Anatomy:
    """A model taken apart.

    Attributes:
        layers: the L blocks, in the order in which they run; a looped one several times.
        attention, mlp: a sublayer a layer; empty where the split is unavailable.
        split_missing: why the split is unavailable, or empty.
        parallel: attention and MLP read the same input.
        attention_modules, mlp_modules: for each layer, its modules that work for its attention
            or its MLP alone, in the order they run; empty where the split is unavailable.
        unembedding: None where it could not be verified.
        lens_missing: why the lens is unavailable, or empty.
        replay_missing: why a layer cannot be run again on other residuals, or empty.
        closure_error: largest |h + a + m - h_next| over the largest |h_next|.
        streams: how many residual streams the layers pass on side by side; d is their summed
            width.
        between: for each layer whose input is not the output of the layer before, the modules that
            turn this output into the input; empty where no modules do.
        width: d.
        calls: the pass and the block of each layer, where blocks run several times; else empty.
        carried: which earlier depths' streams layers read too; None where they read the last alone.
    """

    layers: tuple[nn.Module, ...]
    attention: tuple[Sublayer, ...] = ()
    mlp: tuple[Sublayer, ...] = ()
    split_missing: str = ""
    parallel: bool = False
    attention_modules: tuple[tuple[nn.Module, ...], ...] = ()
    mlp_modules: tuple[tuple[nn.Module, ...], ...] = ()
    unembedding: Unembedding | None = None
    lens_missing: str = ""
    replay_missing: str = ""
    closure_error: float = float("nan")
    streams: int = 1
    between: Mapping[int, tuple[nn.Module, ...]] = field(default_factory=dict)
    calls: tuple[tuple[int, int], ...] = ()
    width: int = 0
    carried: CarriedStreams | None = None

    def sublayer(self, part: int) -> Sublayer:
        """The modules that write a part: 2l is the attention of layer l, 2l + 1 its MLP."""
        return (self.attention, self.mlp)[part % 2][part // 2]

    def state(self, depth: int, stream: Callable[[int], Tensor]) -> Tensor:
        """The state of a depth, which later layers read: mostly the depth's stream alone.

        Args:
            depth: 0 … L.
            stream: the residual stream `[..., d]` of a depth.
        """
        return stream(depth) if self.carried is None else self.carried.state(depth, stream)

    def readable(self, depth: int, stream: Callable[[int], Tensor]) -> Tensor:
        """The unembedding's input at a depth: mostly the depth's stream alone."""
        return stream(depth) if self.carried is None else self.carried.readable(depth, stream)

    def all_readable(self, residual: Sequence[Tensor]) -> list[Tensor]:
        """The unembedding's input at depths 0 … L, from the streams of all depths."""
        return [self.readable(depth, residual.__getitem__) for depth in range(len(residual))]
