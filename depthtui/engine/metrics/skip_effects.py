"""What later computation and the output lose when a layer is skipped (paper, metric 2).

Layer s is skipped at tokens 1 … t-1; token 0 and the tokens from t on keep it.
What comes before t is the same for every t, so each layer is skipped once and
its keys and values serve all positions: only the tokens from t on run again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from depthtui.engine.anatomy import Anatomy, Unembedding, first_tensor, hooks, with_first_tensor
from depthtui.engine.metrics.output_distance import OutputDistance
from depthtui.engine.replay import KeysValues, Replay

Part = Literal["layer", "attention", "mlp"]

NORM_FLOOR = 1e-6
"""Smallest denominator of a relative change (paper, metric 2)."""

POSITIONS = 4


@dataclass
class SkipEffects:
    """Effects of skipping each layer; rows that have not been run are NaN.

    Attributes:
        layers: `[L skipped, L measured]`, max over positions t and tokens >= t of
            |c_l - c~_l| / max(|c_l|, 1e-6); 0 up to and including the diagonal.
        output: `[L]`, max over positions and tokens of |p - p~|_2.
        mean_layers: `[L, L]`, the mean over tokens and positions instead of the maximum.
    """

    layers: Tensor
    output: Tensor
    mean_layers: Tensor


def choose_positions(n_tokens: int, rng: random.Random) -> list[int]:
    """Up to four positions t (paper, metric 2); `rng` runs on from prompt to prompt."""
    positions = list(range(8, n_tokens - 4, 8))
    rng.shuffle(positions)
    return positions[:POSITIONS]


def skip_effects(
    replay: Replay,
    unembedding: Unembedding,
    skipped: Sequence[Tensor],
    positions: Sequence[int],
    on_layer: Callable[[int], None] = lambda layer: None,
) -> SkipEffects:
    """Skip every layer at the tokens before each position, and measure what follows.

    Args:
        replay: the clean run.
        unembedding: final norm and LM head.
        skipped: for every layer, the residual after it where it is skipped, `[T, d]`
            (see `skipped_residuals`).
        positions: the positions t; 0 stands for skipping the layer at all tokens.
        on_layer: called after each measured layer.
    """
    count = replay.n_layers
    effects = SkipEffects(torch.zeros(count, count), torch.zeros(count), torch.zeros(count, count))
    sweep = _Sweep(replay, skipped, positions)
    sums, tokens = torch.zeros(count, count), 0
    with torch.no_grad():
        for layer in range(count):
            for position, before, after in sweep.run(layer):
                start = position
                clean = (
                    replay.residual[layer + 1][start:].float()
                    - replay.residual[layer][start:].float()
                )
                change = torch.linalg.vector_norm(after.float() - before.float() - clean, dim=-1)
                change /= torch.linalg.vector_norm(clean, dim=-1).clamp(min=NORM_FLOOR)
                here = effects.layers[:layer, layer]
                torch.maximum(here, change.amax(dim=1).to("cpu"), out=here)
                sums[:layer, layer] += change.sum(dim=1).to("cpu")
            sweep.begin(layer)
            on_layer(layer)
        tokens = sum(replay.n_tokens - position for position in positions)
        for position, rows in sweep.ends():
            distance = OutputDistance(unembedding, replay.residual[-1][position:])
            torch.maximum(effects.output, distance(rows).amax(dim=1), out=effects.output)
    effects.mean_layers = sums / max(1, tokens)
    return effects


def skipped_residuals(
    model: nn.Module, anatomy: Anatomy, replay: Replay, part: Part
) -> list[Tensor]:
    """The residual after each layer with that layer, or one of its sublayers, left out.

    Returns:
        L tensors `[T, d]`: `h_l` itself for the whole layer; what the layer makes of the
        clean `h_l` with its attention or its MLP silenced otherwise.
    """
    if part == "layer":
        return list(replay.residual[:-1])
    taps = anatomy.attention if part == "attention" else anatomy.mlp
    residuals = []
    for layer, tap in enumerate(taps):

        def silence(_module: nn.Module, args: tuple[Any, ...], output: Any, tap: Any = tap) -> Any:
            value = first_tensor(output)
            quiet = args[1].clone() if tap.holds_residual else torch.zeros_like(value)
            return with_first_tensor(output, quiet)

        with torch.no_grad(), hooks() as handles:
            handles.append(tap.module.register_forward_hook(silence))
            residuals.append(replay.run_layer(layer, replay.residual[layer][None])[0])
    return residuals


class _Sweep:
    """Runs with one skipped layer each, all of them through one layer after another.

    For every position the rows are the layers skipped so far, in order.
    """

    def __init__(self, replay: Replay, skipped: Sequence[Tensor], positions: Sequence[int]) -> None:
        self._replay = replay
        self._skipped = skipped
        self._positions = list(positions)
        self._last = max(self._positions, default=0)
        self._resuming = replay.can_resume and self._last > 0
        self._prefix: Tensor | None = None
        self._rows: dict[int, Tensor] = {}

    def begin(self, layer: int) -> None:
        """Add the runs that skip `layer`; their residuals are those after it."""
        clean, skipped = self._replay.residual[layer + 1], self._skipped[layer]
        if self._resuming:
            prefix = torch.cat([clean[:1], skipped[1 : self._last].to(clean.device)])
            self._prefix = _append(self._prefix, prefix)
        for position in self._positions:
            mixed = clean[position:] if self._resuming else _mixed(clean, skipped, position)
            self._rows[position] = _append(self._rows.get(position), mixed)

    def run(self, layer: int) -> list[tuple[int, Tensor, Tensor]]:
        """Send all runs through `layer`: positions, residuals before and after, `[runs, T - t, d]`.

        Where tokens cannot be run behind others, whole prompts are, and cut here.
        """
        if not self._rows:
            return []
        past: KeysValues | None = None
        if self._resuming:
            assert self._prefix is not None
            self._prefix, past = self._replay.run_layer_recording(layer, self._prefix)
        results = []
        for position, rows in self._rows.items():
            if past is None:
                after = self._replay.run_layer(layer, rows)
                results.append((position, rows[:, position:], after[:, position:]))
            else:
                held = past[0][:, :, :position], past[1][:, :, :position]
                after = self._replay.run_layer(layer, rows, position, held)
                results.append((position, rows, after))
            self._rows[position] = after
        return results

    def ends(self) -> list[tuple[int, Tensor]]:
        """The residuals after the last layer, from each position on."""
        cut = 0 if self._resuming else 1
        return [(t, rows[:, cut * t :]) for t, rows in self._rows.items()]


def _mixed(clean: Tensor, skipped: Tensor, position: int) -> Tensor:
    """The residual after a skipped layer: skipped at tokens 1 … t-1, or at all for t = 0."""
    skipped = skipped.to(clean.device)
    if position == 0:
        return skipped
    return torch.cat([clean[:1], skipped[1:position], clean[position:]])


def _append(rows: Tensor | None, row: Tensor) -> Tensor:
    return row[None] if rows is None else torch.cat([rows, row[None].to(rows.device)])
