"""Residual streams of a prompt with layers left out, and substitutes for those layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import torch
from torch import Tensor

from depthtui.models.devices import execution_device
from depthtui.tracing.replay import Replay


@dataclass(frozen=True)
class Substitute:
    """The substitute for the update of a layer that is left out; nothing by default.

    Attributes:
        updates: the update of every token by each layer, instead of its own, `[d]` each, on any
            device; empty for nothing.
        keeps_first: whether token 0 keeps the layer. Token 0 reads no other token, so its residual
            is that of the clean run, whatever the others leave out.
    """

    updates: Sequence[Tensor] = ()
    keeps_first: bool = False

    @classmethod
    def of_means(
        cls,
        means: Sequence[Tensor],
        keeps_first: bool,
        layer_inputs: Mapping[int, Tensor] = MappingProxyType({}),
    ) -> Substitute:
        """The substitute that adds a layer's mean update.

        Args:
            means: the mean residual at depths 0 … L, each `[d]`.
            keeps_first: see the class.
            layer_inputs: the mean of a layer's input, where that is not the output of the layer
                before.
        """
        updates = [
            after - layer_inputs.get(layer, before)
            for layer, (before, after) in enumerate(pairwise(means))
        ]
        return cls(updates, keeps_first)

    def __call__(self, layer: int, before: Tensor, clean: Tensor) -> Tensor:
        """The residual after a layer that is left out.

        Args:
            layer: its index.
            before: the residual before it, `[..., T, d]`.
            clean: the residual after it in the clean run, `[..., T, d]`.
        """
        return self.with_first(self.updated(layer, before), clean)

    def updated(self, layer: int, before: Tensor) -> Tensor:
        """The residual after a layer left out at all tokens, from the residual before it."""
        if not self.updates:
            return before
        # The sum is computed in float32 at least.
        return (before + self.updates[layer].to(before.device)).to(before.dtype)

    def with_first(self, residual: Tensor, clean: Tensor) -> Tensor:
        """A residual `[..., T, d]`, with the clean run's at token 0 where that keeps the layer."""
        if not self.keeps_first:
            return residual
        first = clean[..., :1, :].to(residual).expand_as(residual[..., :1, :])
        return torch.cat([first, residual[..., 1:, :]], dim=-2)


NOTHING = Substitute()


def left_out(
    replay: Replay, layer: int, states: Tensor, clean: Tensor, substitute: Substitute
) -> Tensor:
    """The states after a layer that is left out.

    Args:
        replay: the clean run of the text, or of one that `serves` it.
        layer: its index.
        states: the states before it, `[..., tokens, D]`, from the first token on.
        clean: the states after it in the clean run, `[..., tokens, D]`.
        substitute: the substitute for the layer.
    """
    before = replay.layer_input(layer, states)
    return replay.next_states(layer, states, substitute(layer, before, replay.stream(clean)))


class ShortenedModel:
    """The residual stream of N texts with some layers left out.

    Nothing below the lowest layer of a change is computed again.

    Args:
        replays: the clean run of each text; the first one serves them all (see `Replay.serves`).
        substitute: the substitute for a layer that is left out.

    Attributes:
        left_out: the layers left out so far, in order.
    """

    def __init__(self, replays: Sequence[Replay], substitute: Substitute = NOTHING) -> None:
        self._replay = replays[0]
        self._substitute = substitute
        depths = zip(*(replay.states for replay in replays), strict=True)
        self._clean = [_stack(states) for states in depths]
        self._states = list(self._clean)
        self.left_out: list[int] = []

    def leave_out(self, layer: int) -> None:
        """Leave out one more layer."""
        self.left_out.append(layer)
        states = self._states[layer]
        for above in range(layer, self._replay.n_layers):
            if above in self.left_out:
                states = self._left_out(above, states)
            else:
                states = self._replay.run_layer(above, states)
            self._states[above + 1] = states

    def without_each(self, layers: Sequence[int]) -> Tensor:
        """The last states without each of some further layers, `[layers, N, T, D]`.

        Args:
            layers: one or more layers that are not left out yet.
        """
        replay, places = self._replay, {layer: place for place, layer in enumerate(layers)}
        rows: dict[int, Tensor] = {}
        for layer in range(min(layers), replay.n_layers):
            if layer in self.left_out:
                rows = {place: self._left_out(layer, row) for place, row in rows.items()}
            elif rows:
                rows = _run(replay, layer, rows)
            if layer in places:
                rows[places[layer]] = self._left_out(layer, self._states[layer])
        last = self._states[-1].device
        return torch.stack([rows[place].to(last) for place in range(len(layers))])

    def _left_out(self, layer: int, states: Tensor) -> Tensor:
        return left_out(self._replay, layer, states, self._clean[layer + 1], self._substitute)


def without_first(
    replay: Replay,
    order: Sequence[int],
    counts: Sequence[int],
    substitute: Substitute = NOTHING,
) -> Tensor:
    """The last states without the first layers of an order, `[counts, T, D]`.

    Args:
        replay: the clean run.
        order: layers, the first to leave out first.
        counts: how many of them are left out in each row.
        substitute: the substitute for a layer that is left out.
    """
    return without_layers(replay, [order[:count] for count in counts], substitute)


def without_layers(
    replay: Replay, rows: Sequence[Collection[int]], substitute: Substitute = NOTHING
) -> Tensor:
    """The last states without the layers of each row, `[rows, T, D]`.

    Args:
        replay: the clean run.
        rows: the layers that each row leaves out together.
        substitute: the substitute for a layer that is left out.
    """
    states: dict[int, Tensor] = {}
    for layer in range(replay.n_layers):
        running = {row: state for row, state in states.items() if layer not in rows[row]}
        if running:
            states |= _run(replay, layer, running)
        # A row begins at the lowest layer that it leaves out: below, it equals the clean run.
        clean, after = replay.states[layer : layer + 2]
        for row, left_out_layers in enumerate(rows):
            if layer in left_out_layers:
                before = states.get(row, clean)
                states[row] = left_out(replay, layer, before, after, substitute)
    last = replay.states[-1]
    return torch.stack([states.get(row, last).to(last.device) for row in range(len(rows))])


def _stack(states: Sequence[Tensor]) -> Tensor:
    """Stack states `[T, D]` to `[N, T, D]`; a single one is not copied, since it may be long."""
    return states[0][None] if len(states) == 1 else torch.stack(tuple(states))


def _run(replay: Replay, layer: int, rows: dict[int, Tensor]) -> dict[int, Tensor]:
    """Send rows, each `[..., T, d]`, through a layer together."""
    device = execution_device(replay.layers[layer])
    before = torch.stack([row.to(device) for row in rows.values()])
    after = replay.run_layer(layer, before.flatten(0, -3)).view_as(before)
    return dict(zip(rows, after, strict=True))
