"""The effects of a skipped layer on later computation and on the output (paper, metric 2).

Layer s is skipped at tokens 1 … t-1; it runs at token 0 and at the tokens from t on.
The states before t are the same for every t, so each layer is skipped once and
its keys and values serve all positions: only the tokens from t on run again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from depthtui.metrics.choices import chosen_layers, measured_layers
from depthtui.metrics.context import Context
from depthtui.metrics.output_distance import OutputDistance
from depthtui.metrics.skip_effects import SkipEffects, positions_of, tokens_run
from depthtui.tracing.anatomy import Anatomy, Unembedding
from depthtui.tracing.left_out import NOTHING, Substitute, left_out
from depthtui.tracing.modules import hooks
from depthtui.tracing.norms import norm
from depthtui.tracing.replay import KeysValues, Replay

NORM_FLOOR = 1e-6
"""Smallest denominator of a relative change (paper, metric 2)."""


def compute(context: Context, partial: SkipEffects | None) -> SkipEffects:
    """Skip every layer at the tokens before each position, and measure the effects.

    Layers already in `partial` are not skipped again. Progress is in pairs of a skipped layer and a
    later one.
    """
    replay, skipped, positions = context.replay, context.skipped, positions_of(context.result)
    count, layers = replay.n_layers, measured_layers(context.result)
    result = SkipEffects.unknown(
        count,
        replay.n_tokens,
        part=context.result.settings.skip_part,
        positions=tuple(positions),
        floor=0.0,
        output_floor=0.0,
        chosen=chosen_layers(context.result),
    )
    for layer in layers:
        # No layer changes an earlier one.
        result.layers[layer, : layer + 1] = result.mean_layers[layer, : layer + 1] = 0.0
    if partial is not None:
        result = partial.copied()
    unknown_layers = [layer for layer in layers if not np.isfinite(result.output[layer])]
    total = sum(count - 1 - layer for layer in layers)
    done = total - sum(count - 1 - layer for layer in unknown_layers)
    size = context.layers_at_once(tokens_run(context.result))
    with torch.no_grad():
        for first in range(0, len(unknown_layers), size):
            group = unknown_layers[first : first + size]
            sweep = SkipSweep(replay, skipped, positions, group[0])
            for layer in range(group[0], count):
                _measure_layer(replay, sweep, layer, group[: sweep.n_runs], result)
                done += sweep.n_runs
                if layer in group:
                    sweep.begin(layer)
                context.report(done, total, result.copied())
            _measure_output(replay, context.unembedding, sweep, group, result)
    return result


def _measure_layer(
    replay: Replay, sweep: SkipSweep, layer: int, skipped: Sequence[int], result: SkipEffects
) -> None:
    """Send a sweep's runs, each with one layer `skipped`, through `layer`, and fill in changes."""
    result.layers[skipped, layer] = result.mean_layers[skipped, layer] = 0.0
    tokens = 0
    for unchanged, *changes in relative_changes(replay, sweep, layer):
        result.floor = max(result.floor, float(unchanged.max()))
        tokens += len(unchanged)
        if changes:
            change = torch.stack(changes)
            largest = np.maximum(result.layers[skipped, layer], change.amax(dim=1).numpy())
            result.layers[skipped, layer] = largest
            result.mean_layers[skipped, layer] += change.sum(dim=1).numpy()
    result.mean_layers[skipped, layer] /= max(1, tokens)


def _measure_output(
    replay: Replay,
    unembedding: Unembedding,
    sweep: SkipSweep,
    skipped: Sequence[int],
    result: SkipEffects,
) -> None:
    """Fill in how far a sweep's runs, each with one layer `skipped`, move the output."""
    largest = torch.zeros(len(skipped))
    for position, ends in sweep.ends():
        distance = OutputDistance(unembedding, replay.states[-1][position:])
        unchanged, *far = distance(ends).amax(dim=1)
        result.output_floor = max(result.output_floor, float(unchanged))
        largest = torch.maximum(largest, torch.stack(far).to(largest))
    result.output[skipped] = largest.numpy()


def relative_changes(replay: Replay, sweep: SkipSweep, layer: int) -> Iterator[Tensor]:
    """For every position, |c_l - c~_l| / |c_l| of the sweep's runs, `[1 + runs, T - t]`.

    The unchanged run comes first.
    """
    for position, before, after in sweep.run(layer):
        h, h_next = replay.input_of(layer)[position:].float(), replay.residual[layer + 1][position:]
        clean = h_next.float() - h.to(h_next.device)
        layer_input = replay.layer_input(layer, before, position).float()
        updates = replay.stream(after).float() - layer_input.to(after.device)
        yield (norm(updates - clean) / norm(clean).clamp(min=NORM_FLOOR)).to("cpu")


def skipped_residuals(
    anatomy: Anatomy, replay: Replay, part: str, substitute: Substitute = NOTHING
) -> list[Tensor]:
    """The states after each layer with that layer, or one of its sublayers, left out.

    Args:
        anatomy, replay: the model and the clean run.
        part: the part that is left out: `layer`, `attention` or `mlp`.
        substitute: the substitute for it; a sublayer has no mean update.

    Returns:
        L tensors `[T, D]`: `h_l` itself for a whole layer without a stand-in; for a sublayer, the
        layer's output for the clean `h_l` with its attention or its MLP skipped.
    """
    if part == "layer":
        return [
            left_out(replay, layer, states, after, substitute)
            for layer, (states, after) in enumerate(itertools.pairwise(replay.states))
        ]
    sublayers = anatomy.attention if part == "attention" else anatomy.mlp
    residuals = []
    for layer, sublayer in enumerate(sublayers):
        with torch.no_grad(), hooks() as handles:
            handles.extend(tap.silence() for tap in sublayer)
            skipped = replay.run_layer(layer, replay.states[layer][None])[0]
        residuals.append(substitute.with_first(skipped, replay.states[layer + 1]))
    return residuals


class SkipSweep:
    """Runs with one skipped layer each, all of them through one layer after another.

    For every position the first row is the unchanged run, which measures the change by the
    computation itself; the others are the layers skipped so far, in order: `n_runs` of them.

    Args:
        replay: the clean run.
        skipped: for every layer, the states after it where it is skipped, `[T, D]`.
        positions: the positions t; 0 stands for skipping the layer at all tokens.
        first: the layer that the sweep begins with.
    """

    def __init__(
        self, replay: Replay, skipped: Sequence[Tensor], positions: Sequence[int], first: int
    ) -> None:
        self._replay = replay
        self._skipped = skipped
        self._positions = list(positions)
        self._last = max(self._positions, default=0)
        self._resuming = replay.can_resume and self._last > 0
        self._prefix: Tensor | None = None
        self._rows: dict[int, Tensor] = {}
        self.n_runs = 0
        clean = replay.states[first]
        self.add(clean, clean)

    def begin(self, layer: int) -> None:
        """Add the run that skips `layer`; its residual is the one after `layer`."""
        self.n_runs += 1
        self.add(self._replay.states[layer + 1], self._skipped[layer])

    def add(self, clean: Tensor, changed: Tensor) -> None:
        """Add a run with `changed` at the tokens before each position, `clean` at the others.

        Both are `[T, D]`, the input of later layers.
        """
        if self._resuming:
            prefix = torch.cat([clean[:1], changed[1 : self._last].to(clean.device)])
            self._prefix = _append(self._prefix, prefix)
        for position in self._positions:
            mixed = clean[position:] if self._resuming else _mixed(clean, changed, position)
            self._rows[position] = _append(self._rows.get(position), mixed)

    def run(self, layer: int) -> list[tuple[int, Tensor, Tensor]]:
        """Send all runs through `layer`; return positions with the states before and after it.

        States are `[1 + runs, T - t, D]`. Where tokens cannot be run behind others, whole prompts
        are run, and cut here.
        """
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
                keys_values = past[0][:, :, :position], past[1][:, :, :position]
                after = self._replay.run_layer(layer, rows, position, keys_values)
                results.append((position, rows, after))
            self._rows[position] = after
        return results

    def ends(self) -> list[tuple[int, Tensor]]:
        """The states after the last layer, from each position on."""
        cut = 0 if self._resuming else 1
        return [(t, rows[:, cut * t :]) for t, rows in self._rows.items()]


def _mixed(clean: Tensor, skipped: Tensor, position: int) -> Tensor:
    """The residual after a layer that is skipped at tokens 1 … t-1, or at all tokens for t = 0."""
    skipped = skipped.to(clean.device)
    if position == 0:
        return skipped
    return torch.cat([clean[:1], skipped[1:position], clean[position:]])


def _append(rows: Tensor | None, row: Tensor) -> Tensor:
    return row[None] if rows is None else torch.cat([rows.to(row.device), row[None]])
