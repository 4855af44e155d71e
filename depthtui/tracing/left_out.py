"""Residual streams of a prompt with several layers left out together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from depthtui.models.devices import execution_device
from depthtui.tracing.replay import Replay


class Shortened:
    """A prompt's residual stream with some layers left out at all tokens.

    Nothing below the lowest layer of a change is computed again.

    Args:
        replay: the clean run.

    Attributes:
        gone: the layers left out so far, in order.
    """

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._residual = list(replay.residual)
        self.gone: list[int] = []

    def leave_out(self, layer: int) -> None:
        """Leave out one more layer."""
        self.gone.append(layer)
        residual = self._residual[layer]
        for above in range(layer, self._replay.n_layers):
            if above not in self.gone:
                residual = self._replay.run_layer(above, residual[None])[0]
            self._residual[above + 1] = residual

    def without_each(self, layers: Sequence[int]) -> Tensor:
        """The last residual without each of some further layers, `[layers, T, d]`, in their order.

        Args:
            layers: one or more layers that are not left out yet.
        """
        replay, places = self._replay, {layer: place for place, layer in enumerate(layers)}
        rows: dict[int, Tensor] = {}
        for layer in range(min(layers), replay.n_layers):
            if rows and layer not in self.gone:
                rows = _run(replay, layer, rows)
            if layer in places:
                rows[places[layer]] = self._residual[layer]
        last = self._residual[-1].device
        return torch.stack([rows[place].to(last) for place in range(len(layers))])


def without_first(replay: Replay, order: Sequence[int], counts: Sequence[int]) -> Tensor:
    """The last residual without the first layers of an order, `[counts, T, d]`.

    Args:
        replay: the clean run.
        order: layers, the first to leave out first.
        counts: how many of them are left out in each row.
    """
    places = {layer: place for place, layer in enumerate(order)}
    rows: dict[int, Tensor] = {}
    for layer in range(replay.n_layers):
        place = places.get(layer, len(order))
        running = {count: row for count, row in rows.items() if count <= place}
        if running:
            rows |= _run(replay, layer, running)
        # A row begins at the lowest layer that it is without: below, it is the clean run.
        begun = [count for count in counts if count > place and count not in rows]
        rows |= dict.fromkeys(begun, replay.residual[layer])
    last = replay.residual[-1]
    return torch.stack([rows.get(count, last).to(last.device) for count in counts])


def _run(replay: Replay, layer: int, rows: dict[int, Tensor]) -> dict[int, Tensor]:
    """Send rows through a layer together."""
    device = execution_device(replay.layers[layer])
    after = replay.run_layer(layer, torch.stack([row.to(device) for row in rows.values()]))
    return dict(zip(rows, after, strict=True))
