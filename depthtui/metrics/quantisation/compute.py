"""Loss and KL of the output when the weights of one layer are rounded, at all tokens."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from depthtui.errors import DepthError
from depthtui.metrics.choices import chosen_layers, measured_layers
from depthtui.metrics.context import Context
from depthtui.metrics.loss_change_kernel import Ran, fill_rows
from depthtui.metrics.output_change import Changes, OutputChange
from depthtui.metrics.quantisation import BITS, Quantisation
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.float32 import can_widen, in_float32
from depthtui.tracing.replay import Replay
from depthtui.tracing.rounded_weights import LinearWeight, linear_weights, rounded


def compute(context: Context, partial: Quantisation | None) -> Quantisation:
    """Round each layer's weights to each number of bits; the last layers come first.

    Models with 16-bit weights compute in float32: their rounding moves an output as much as 8 bits.
    Layers already in `partial` are not rounded again.
    """
    # Checked before anything is recorded: some models have no weights that can be rounded.
    check(list(map(linear_weights, context.anatomy.layers)))
    replay, layers = context.replay, measured_layers(context.result)
    count = replay.n_layers
    at_once = context.rows_at_once(len(layers), len(BITS) * replay.n_tokens)
    with torch.no_grad():
        runs = _Runs(replay, context.unembedding)

        def fill(result: Quantisation, group: list[int], ran: Ran) -> Quantisation:
            rows = runs.residual[group[0]][None]
            for layer in range(group[0], count):
                rows = runs.through(layer, rows, BITS if layer in group else ())
                ran(len(rows) - 1)
            changes = runs.changes(rows)
            filled = result.filled(group, changes.loss.numpy())
            filled.fill_outputs(group, changes.kl.numpy())
            return filled

        start_result = partial
        if start_result is None:
            chosen = chosen_layers(context.result)
            start_result = Quantisation.unknown(count, replay.n_tokens, chosen=chosen)
            start_result.loss[:] = runs.losses.numpy()
            start_result.weights[:], start_result.whole_rows[:] = _counts(replay)
        costs = {layer: len(BITS) * (count - layer) for layer in layers}
        return fill_rows(context, start_result, costs, at_once, fill)


def check(weights: Sequence[Sequence[LinearWeight]]) -> None:
    """Check that some of the layers' linear weights can be rounded.

    Raises:
        DepthError: none can be rounded.
    """
    if not any(weight.has_blocks for of_layer in weights for weight in of_layer):
        raise DepthError("no layer has linear weights that can be cut into blocks of 32")


class _Runs:
    """The clean run and changed ones, in float32 where the weights are of 16 bits.

    Attributes:
        residual: h_0 … h_L of the clean run, each `[T, d]`.
    """

    def __init__(self, replay: Replay, unembedding: Unembedding) -> None:
        self._replay = replay
        self._ends = (*unembedding.norm, unembedding.head)
        self._widens = can_widen((*replay.layers, *self._ends))
        self.residual = self._clean() if self._widens else replay.states
        self._change = OutputChange(unembedding, self.residual[-1], replay.ids)

    def _clean(self) -> list[Tensor]:
        """The clean run once more, in float32."""
        first = self._replay.states[0]
        # Replay must record how the layers are called before they are changed.
        self._replay.run_layer(0, first[None])
        residual = [first.float()]
        for layer in range(self._replay.n_layers):
            residual.append(self.through(layer, residual[-1][None])[0])
        return residual

    def through(self, layer: int, rows: Tensor, rounded_to: Sequence[int] = ()) -> Tensor:
        """Rows through a layer, then the clean one through it, rounded to each number of bits."""
        replay = self._replay
        with self._precisely(*replay.modules_of(layer)):
            after = [replay.run_layer(layer, rows)]
            for bits in rounded_to:
                with rounded(replay.layers[layer], bits):
                    after.append(replay.run_layer(layer, self.residual[layer][None]))
        return torch.cat(after)

    @property
    def losses(self) -> Tensor:
        """The clean loss of the token after each, `[T - 1]`."""
        with self._precisely(*self._ends):
            return self._change.losses

    def changes(self, ends: Tensor) -> Changes:
        """The changes of the outputs of h_L of some runs, `[runs, T, d]`."""
        with self._precisely(*self._ends):
            return self._change(ends)

    def _precisely(self, *modules: nn.Module) -> AbstractContextManager[None]:
        return in_float32(*modules) if self._widens else nullcontext()


def _counts(replay: Replay) -> tuple[np.ndarray, np.ndarray]:
    """How many weights of each layer are rounded, and how many linear ones are not, `[L]`."""
    weights_by_layer = [linear_weights(layer) for layer in replay.layers]
    rounded_, unrounded = (
        [
            sum(weight.value.numel() for weight in weights if weight.has_blocks == blocks)
            for weights in weights_by_layer
        ]
        for blocks in (True, False)
    )
    return np.array(rounded_), np.array(unrounded)
