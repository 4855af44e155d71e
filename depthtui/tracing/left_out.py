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


class LayersToLeave:
    """The layers of N texts, to run without some of them: each layer is a piece.

    Nothing below the lowest piece that is left out is computed again.

    Args:
        replays: the clean run of each text; the first one serves them all (see `Replay.serves`).
        substitute: the substitute for a layer that is left out.

    Attributes:
        per_layer: the number of pieces of a layer; those of layer l are numbered from
            `per_layer * l` on.
        replay: runs the layers.
        ids: the tokens of all texts, one text after another.
        clean: the states of the clean runs at depths 0 … L, each `[N, T, D]`.
    """

    per_layer: int = 1

    def __init__(self, replays: Sequence[Replay], substitute: Substitute = NOTHING) -> None:
        depths = zip(*(replay.states for replay in replays), strict=True)
        self.replay = replays[0]
        self.ids = torch.cat([replay.ids for replay in replays])
        self.clean = [stacked(states) for states in depths]
        self._substitute = substitute

    def __len__(self) -> int:
        return self.per_layer * self.replay.n_layers

    def layer_of(self, piece: int) -> int:
        """The layer of a piece."""
        return piece // self.per_layer

    def of_layer(self, layer: int, pieces: Collection[int]) -> tuple[int, ...]:
        """Those of some pieces that are of a layer, in order."""
        first = self.per_layer * layer
        return tuple(piece for piece in range(first, first + self.per_layer) if piece in pieces)

    def after(self, layer: int, states: Tensor, out: Sequence[int]) -> Tensor:
        """The states after a layer, from those before it.

        Args:
            layer: its index.
            states: the states before it, `[..., N, T, D]`.
            out: its pieces that are left out, in order.
        """
        if len(out) == self.per_layer:
            return left_out(self.replay, layer, states, self.clean[layer + 1], self._substitute)
        return self.replay.run_layer(layer, states.flatten(0, -3)).view_as(states)

    def clean_after(self, layer: int, out: Sequence[int]) -> Tensor | None:
        """The states after a layer, from the clean ones before it, `[N, T, D]`.

        None where they are clean too: nothing is left out, or nothing that writes.
        """
        return self.after(layer, self.clean[layer], out) if out else None

    def through(
        self, layer: int, rows: Mapping[int, Tensor], out: Sequence[int]
    ) -> dict[int, Tensor]:
        """The rows of states `[N, T, D]` after a layer, from those before it; they run together."""
        device = execution_device(self.replay.layers[layer])
        before = torch.stack([row.to(device) for row in rows.values()])
        return dict(zip(rows, self.after(layer, before, out), strict=True))

    def without(self, rows: Sequence[Collection[int]]) -> Tensor:
        """The last states without the pieces of each row, `[rows, N, T, D]`."""
        states: dict[int, Tensor] = {}
        for layer in range(self.replay.n_layers):
            groups: dict[tuple[int, ...], list[int]] = {}
            for row, pieces in enumerate(rows):
                groups.setdefault(self.of_layer(layer, pieces), []).append(row)
            after: dict[int, Tensor] = {}
            for out, group in groups.items():
                if running := {row: states[row] for row in group if row in states}:
                    after |= self.through(layer, running, out)
                clean = [row for row in group if row not in states]
                if clean and (begun := self.clean_after(layer, out)) is not None:
                    after |= dict.fromkeys(clean, begun)
            states = after
        return _with_others(states, len(rows), self.clean[-1])


class ShortenedModel:
    """The residual stream of N texts with some pieces left out.

    Args:
        pieces: the layers of the texts, or their parts.

    Attributes:
        left_out: the pieces left out so far, in order.
    """

    def __init__(self, pieces: LayersToLeave) -> None:
        self._pieces = pieces
        self._states = list(pieces.clean)
        # The last layer before which all states are clean.
        self._last_clean = pieces.replay.n_layers
        self.left_out: list[int] = []

    def leave_out(self, piece: int) -> None:
        """Leave out one more piece."""
        self.left_out.append(piece)
        first = self._pieces.layer_of(piece)
        after = self._begin(first, self.left_out)
        if after is None:
            return
        self._last_clean = min(self._last_clean, first)
        self._states[first + 1] = after
        for layer in range(first + 1, self._pieces.replay.n_layers):
            out = self._pieces.of_layer(layer, self.left_out)
            after = self._pieces.after(layer, after, out)
            self._states[layer + 1] = after

    def without_each(self, pieces: Sequence[int]) -> Tensor:
        """The last states without each of some further pieces, `[pieces, N, T, D]`.

        Args:
            pieces: one or more pieces that are not left out yet.
        """
        rows: dict[int, Tensor] = {}
        for layer in range(self._pieces.layer_of(min(pieces)), self._pieces.replay.n_layers):
            if rows:
                rows = self._pieces.through(
                    layer, rows, self._pieces.of_layer(layer, self.left_out)
                )
            for place, piece in enumerate(pieces):
                if self._pieces.layer_of(piece) == layer:
                    after = self._begin(layer, (*self.left_out, piece))
                    if after is not None:
                        rows[place] = after
        return _with_others(rows, len(pieces), self._states[-1])

    def _begin(self, layer: int, left_out: Collection[int]) -> Tensor | None:
        """The states after a layer without its pieces; None where they are clean."""
        out = self._pieces.of_layer(layer, left_out)
        if layer <= self._last_clean:
            return self._pieces.clean_after(layer, out)
        return self._pieces.after(layer, self._states[layer], out)


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
    rows = [order[:count] for count in counts]
    return LayersToLeave([replay], substitute).without(rows)[:, 0]


def stacked(states: Sequence[Tensor]) -> Tensor:
    """Stack states `[T, D]` to `[N, T, D]`; a single one is not copied, since it may be long."""
    return states[0][None] if len(states) == 1 else torch.stack(tuple(states))


def _with_others(rows: Mapping[int, Tensor], count: int, others: Tensor) -> Tensor:
    """Some rows of `count` with `others` for all the others, `[count, N, T, D]`."""
    return torch.stack([rows.get(row, others).to(others.device) for row in range(count)])
