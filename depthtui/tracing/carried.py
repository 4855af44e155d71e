"""Models whose layers read more of earlier depths than the output of the layer before.

Some add what the first layers wrote to the stream again before each pass, some attend to the
streams of earlier depths (attention residuals). The state of a depth is then all that later layers
read: the depth's stream and, beside it, streams of earlier depths.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from depthtui.tracing.layer_arguments import LayerArguments, idle_calls
from depthtui.tracing.modules import replaced


@dataclass(frozen=True)
class CarriedStreams:
    """Which earlier streams lie beside a depth's own one, in slots.

    A state is `[..., (1 + slots) d]`: first the depth's stream, then its slots.

    Attributes:
        width: d.
        slots: for each depth 0 … L, the earlier depth whose stream lies in each slot; None for an
            empty slot.
        readout_reads: whether the final norm reads more than the last stream too.
        embedding: the module that writes the stream of depth 0, where later layers read it again;
            else None.
        between: the modules that run between layers, or after the last one.
    """

    width: int
    slots: tuple[tuple[int | None, ...], ...]
    readout_reads: bool
    embedding: nn.Module | None = None
    between: tuple[nn.Module, ...] = ()

    def state(self, depth: int, stream: Callable[[int], Tensor]) -> Tensor:
        """The state of a depth, `[..., (1 + slots) d]`, from each depth's stream `[..., d]`."""
        stream_here = stream(depth)
        empty = torch.zeros_like(stream_here)
        beside = (
            empty if slot_depth is None else stream(slot_depth).to(stream_here.device)
            for slot_depth in self.slots[depth]
        )
        return torch.cat([stream_here, *beside], dim=-1)

    def readable(self, depth: int, stream: Callable[[int], Tensor]) -> Tensor:
        """The readout's input where the layers from a depth on did not run.

        The depth's stream stands for those of all later ones.
        """
        if not self.readout_reads:
            return stream(depth)
        return self.state(len(self.slots) - 1, lambda earlier: stream(min(earlier, depth)))

    def streams(self, depth: int, state: Tensor) -> dict[int, Tensor]:
        """The streams `[..., d]` that lie in the state of a depth, by their own depths."""
        own, *beside = torch.split(state, self.width, dim=-1)
        streams = {depth: own}
        for slot_depth, stream in zip(self.slots[depth], beside, strict=True):
            if slot_depth is not None:
                streams[slot_depth] = stream
        return streams

    def next_state(self, depth: int, state: Tensor, output: Tensor) -> Tensor:
        """The state of the next depth, from a depth's state and its layer's output."""
        before = self.streams(depth, state) | {depth + 1: output}
        return self.state(depth + 1, lambda earlier: before[earlier])

    def calls(
        self,
        streams: Mapping[int, Tensor],
        blocks: Sequence[nn.Module],
        outputs: Sequence[Any],
        start: int,
        run: Callable[[], object],
        until: int | None = None,
    ) -> list[LayerArguments]:
        """The calls of idle blocks in a pass where the streams `[..., d]` of depths are given.

        Arguments beside `streams` as in `idle_calls`.
        """
        states_after = {depth - 1: stream for depth, stream in streams.items() if depth}
        with self._embedded(streams):
            return idle_calls(blocks, outputs, start, run, states_after, until)

    @contextlib.contextmanager
    def _embedded(self, streams: Mapping[int, Tensor]) -> Iterator[None]:
        """Let the embedding write the given stream of depth 0 for a while, if there are both."""
        if self.embedding is None or 0 not in streams:
            yield
            return
        with replaced(self.embedding, lambda *_args, **_kwargs: streams[0]):
            yield


def lay_out(readers: Sequence[Collection[int]]) -> tuple[tuple[int | None, ...], ...]:
    """The slots of each depth 0 … L.

    Args:
        readers: for each depth 0 … L, which layers read its stream; L stands for the readout.

    Returns:
        for each depth the earlier ones that are read from there on. A stream stays in its slot;
        the slot is free once no later layer reads the stream.
    """
    last = [max(layers, default=-1) for layers in readers]
    slots: list[int | None] = []
    layout: list[list[int | None]] = []
    for depth in range(len(readers)):
        slots = [
            slot_depth if slot_depth is not None and last[slot_depth] >= depth else None
            for slot_depth in slots
        ]
        if depth and last[depth - 1] >= depth:
            if None not in slots:
                slots.append(None)
            slots[slots.index(None)] = depth - 1
        layout.append(list(slots))
    return tuple(tuple(row) + (None,) * (len(slots) - len(row)) for row in layout)
